"""The house rules that a reviewer should not have to check by hand."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "livefeed"

FLOORS = (
    ("errors", "zone", "settings"),
    ("feed",),
    ("responses",),
    ("newsroom", "reader", "outlets"),
    ("reports", "metrics", "health", "app"),
    ("embedded", "run_file", "logs", "workers", "metrics_port", "server"),
    ("cli", "__main__"),
)
"""Imports go down only. Rooms of one floor may use each other, but for the wings, which may not."""
WINGS = ("newsroom", "reader", "outlets")

PURE = ("item", "position", "sse", "text", "markdown", "html_to_markdown", "filter")
"""Files of feed/ that do no I/O."""
IMPURE = ("redis", "starlette", "uvicorn", "asyncio", "anyio", "socket", "threading")

LINES_MAX = 420


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def module(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def imports(path: Path, *, at_start: bool = False) -> set[str]:
    """Modules a file imports; with `at_start` only those it imports when it is loaded itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(_loaded(tree)) if at_start else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module is not None
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {name for name in names if _is_module(name)}
            found |= modules if modules == names else {node.module, *names}
    return found


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def _loaded(node: ast.AST) -> list[ast.AST]:
    """The nodes that run when a module is loaded: not the bodies of functions, nor what only type checkers see."""
    found: list[ast.AST] = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        found += [child, *_loaded(child)]
    return found


def room(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else ""


def floor(name: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room(name) in rooms)


@pytest.mark.parametrize("path", files(), ids=module)
def test_imports_run_one_way(path: Path) -> None:
    """errors, settings ← feed ← newsroom, reader, outlets ← app ← server ← cli; the wings do not import each other."""
    here = module(path)
    if here == "livefeed":
        return
    for there in imports(path):
        if not there.startswith("livefeed.") or room(there) == room(here):
            continue
        if not any(room(there) in rooms for rooms in FLOORS):
            continue  # a name of the package itself, such as livefeed.__version__
        assert floor(there) <= floor(here), f"{here} imports {there}, which stands above it"
        assert not {room(here), room(there)} <= set(WINGS), f"the wing {here} imports the wing {there}"


def test_there_is_no_circle() -> None:
    """No module imports itself, however many others lie between."""
    known = {module(path): path for path in files()}
    graph = {name: {there for there in imports(path, at_start=True) if there in known} for name, path in known.items()}

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " → ".join((*above[above.index(name) :], name))
        if name not in done:
            for there in graph[name]:
                visit(there, (*above, name))
            done.add(name)

    done: set[str] = set()
    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("name", PURE)
def test_pure_files_do_no_io(name: str) -> None:
    """The wire format and the item know no Redis, no server and no event loop."""
    path = PACKAGE / "feed" / f"{name}.py"
    roots = {there.split(".")[0] for there in imports(path)}
    assert not roots & set(IMPURE)
    inner = {there for there in imports(path) if there.startswith("livefeed.feed.")}
    assert {there.split(".")[2] for there in inner} <= {*PURE}


@pytest.mark.parametrize("path", files(), ids=module)
def test_a_file_is_about_one_thing(path: Path) -> None:
    """No file outgrows a reader's patience, none has a drawer's name, none has lost its opening sentence."""
    source = path.read_text(encoding="utf-8")
    assert source.count("\n") <= LINES_MAX
    assert path.stem not in ("utils", "util", "common", "helpers", "misc")
    if source.strip():
        assert ast.get_docstring(ast.parse(source)), "a module's docstring says what it is about"


def test_every_door_outside_is_listed() -> None:
    """Each room of the package stands on a floor of the house."""
    rooms = {room(module(path)) for path in files()} - {""}
    assert rooms <= {name for names in FLOORS for name in names}
