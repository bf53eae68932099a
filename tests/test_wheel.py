"""The wheel: complete by itself, away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.servers import LiveServer, fetch

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    target = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(target), str(ROOT)],
        check=True,
        timeout=120,
    )
    return next(target.glob("livefeed-*.whl"))


def test_it_carries_everything_that_is_not_python(wheel: Path) -> None:
    """Scripts of the store, templates, catalogues and the browser's side are in it; tests and benchmarks are not."""
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    data = [path for path in (ROOT / "livefeed").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
    missing = {str(path.relative_to(ROOT)) for path in data} - inside
    browser = [path for path in (ROOT / "static").rglob("*") if path.is_file()]
    missing |= {f"livefeed/_static/{path.relative_to(ROOT / 'static')}" for path in browser} - inside
    assert not missing
    assert not [name for name in inside if name.split("/")[0] in ("tests", "bench")]
    assert not [name for name in inside if name.endswith((".pyc", "~"))]


@pytest.mark.timeout(120)
def test_it_serves_a_page_from_elsewhere(wheel: Path, tmp_path: Path) -> None:
    """Installed in an environment of its own, far from the checkout, the command serves the ticker and its styles."""
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)],
        check=True,
        timeout=120,
    )
    # The dependencies are those of this environment, to be quick; livefeed itself is found first, in its own.
    own = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    others = [path for path in sys.path if "site-packages" in path]
    env = {"PYTHONPATH": os.pathsep.join([str(own), *others])}
    server = LiveServer(tmp_path / "var", env=env, python=python)
    try:
        server.start()
        where = subprocess.run(
            [python, "-c", "import livefeed; print(livefeed.__file__)"],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert where.stdout.startswith(str(own))
        status, page = fetch(server.url)
        assert status == 200
        assert "En continu" in page.decode()
        for name in (path.name for path in (ROOT / "static").glob("*.*")):
            assert fetch(f"{server.url}/static/{name}")[0] == 200, name
    finally:
        assert server.terminate() == 0
