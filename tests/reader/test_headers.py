"""What answers say to browsers about safety."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

from tests.reader.site import Site


@pytest.mark.parametrize("path", ["/", "/ar/", "/nothing", "/i/nothing"])
async def test_pages_are_kept_to_their_own_scripts(site: Site, path: str) -> None:
    """Every HTML answer, errors too, has a strict policy: nothing inline, nothing evaluated, nothing from elsewhere."""
    response = await site.get(path)
    policy = response.headers["content-security-policy"]

    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "require-trusted-types-for 'script'; trusted-types livefeed" in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"]
    assert response.headers["permissions-policy"]


async def test_a_bug_of_ours_is_a_safe_page(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to a failure, which no middleware sees, carries the same headers."""

    async def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(site.source, "snapshot", broken)
    response = await site.get("/")

    assert response.status_code == 500
    assert "de notre côté" in response.text
    assert (
        response.headers["content-security-policy"] == (await site.get("/nothing")).headers["content-security-policy"]
    )


async def test_the_import_map_is_the_only_inline_script(site: Site) -> None:
    """The policy allows exactly the page's import map, by its hash; the other inline element is data."""
    response = await site.get("/")
    inline = re.findall(r"<script(?: type=\"(\w+|[\w/]+)\")?[^>]*>([^<]+)</script>", response.text)
    scripts = [text for kind, text in inline if kind == "importmap"]
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()

    assert [kind for kind, _ in inline] == ["importmap", "application/json"]
    assert f"'sha256-{digest}'" in response.headers["content-security-policy"]


async def test_pages_have_no_inline_style(site: Site) -> None:
    """Nothing on a page needs what the policy forbids."""
    site.publish("Une info", "*texte*", level="urgent")
    html = await site.page()

    assert "style=" not in html
    assert "<style" not in html


async def test_other_answers_are_not_sniffed(site: Site) -> None:
    """JSON and static files carry nosniff, and no page's policy."""
    response = await site.get("/static/style.css")

    assert response.headers["x-content-type-options"] == "nosniff"
    assert "content-security-policy" not in response.headers
