"""The one error shape, on every route."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.routing import Route

from livefeed import errors
from livefeed.errors import ApiError
from livefeed.settings import Settings
from tests.serving import Serving, serving


def check(response: httpx.Response, status: int) -> dict[str, Any]:
    """The response is an error in the one shape; its content."""
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert set(response.json()) == {"error"}
    error: dict[str, Any] = response.json()["error"]
    assert error["status"] == status
    assert re.fullmatch(r"[a-z_]+", error["code"])
    assert error["message"].endswith(".")
    assert "field" in error
    return error


def routes(served: Serving) -> list[Route]:
    return [route for route in served.app.routes if isinstance(route, Route)]


async def test_404_and_405_on_every_route(settings: Settings) -> None:
    """An unknown address is 404; a known one with a wrong method is 405 and names all that are allowed."""
    async with serving(settings) as served:
        for path in ("/nothing", "/api/nothing", "/stream/", "/static/nothing.js", "/i/" + "0" * 18, "/../etc/passwd"):
            assert check(await served.client.get(path), 404)["code"] == "not_found"
        allowed: dict[str, set[str]] = {}
        for route in routes(served):
            path = re.sub(r"{\w+(:path)?}", "x", route.path)
            allowed.setdefault(path, set()).update(route.methods or set())
        for path, methods in allowed.items():
            for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - methods:
                response = await served.client.request(method, path)
                assert check(response, 405)["code"] == "method_not_allowed", (method, path)
                assert set(response.headers["allow"].split(", ")) >= methods, (method, path)


async def test_500_tells_nothing_of_the_inside(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """A bug of ours is 500 in the same shape; what happened is in the log, not in the answer."""

    async def broken(request: Request) -> None:
        raise ZeroDivisionError("the inside")

    async with serving(settings) as served:
        served.app.router.routes.insert(0, Route("/broken", broken))
        response = await served.client.get("/broken")
        assert check(response, 500)["code"] == "internal"
        assert "inside" not in response.text
        assert "the inside" in caplog.text


async def test_413_on_every_route_that_reads(settings: Settings) -> None:
    """Each route with a body bounds it."""
    async with serving(settings) as served:
        for route in routes(served):
            for method in (route.methods or set()) & {"POST", "PATCH", "PUT"}:
                path = re.sub(r"{\w+}", "0" * 18, route.path)
                headers = {**served.auth, "content-type": "application/json", "if-match": '"1"'}
                body = b"x" * (settings.request_max_bytes + 1)
                response = await served.client.request(method, path, content=body, headers=headers)
                assert check(response, 413)["code"] == "too_large"


async def test_people_get_a_page(settings: Settings) -> None:
    """A browser at a page's address gets HTML in the edition's language; at an API's address JSON all the same."""
    browser = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    async with serving(settings) as served:
        page = await served.client.get("/nothing", headers=browser)
        assert page.status_code == 404
        assert page.headers["content-type"].startswith("text/html")
        check(await served.client.get("/api/nothing", headers=browser), 404)


def test_each_class_has_a_status_and_a_code_of_its_own() -> None:
    """Codes are stable and tell the errors apart."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ApiError)]
    codes = [kind.code for kind in kinds if kind is not ApiError]
    assert len(codes) == len(set(codes)) == 17
    assert {kind.status for kind in kinds} == {
        400,
        401,
        403,
        404,
        405,
        408,
        409,
        410,
        412,
        413,
        415,
        422,
        428,
        431,
        500,
        503,
    }
