"""The house: who may import whom, and that the core is pure."""

import ast
from pathlib import Path

import pytest

import trunkline

SOURCE = Path(trunkline.__file__).parent
LAYERS = {
    "errors": set(),
    "core": {"errors"},
    "wire": {"errors", "core"},
    "stores": {"errors", "core"},
    "auth": {"errors", "core", "wire"},
    "access": {"errors", "core", "wire", "auth"},
    "nodes": {"errors", "core", "stores"},
    "live": {"errors", "core", "wire", "stores", "nodes"},
    "background": set(),
    "hub": {"errors", "core", "wire", "stores", "auth", "access", "live", "nodes", "background"},
    "transports": {"errors", "core", "wire", "auth", "access", "live", "hub"},
    "tls": {"errors"},
    "board": set(),
    "server": {"errors", "core", "wire", "stores", "auth", "hub", "transports", "config", "tls", "board"},
}
IMPURE = {
    "asyncio",
    "socket",
    "time",
    "random",
    "secrets",
    "threading",
    "os",
    "datetime",
    "uuid",
    "sqlite3",
    "selectors",
}


def imports(path: Path) -> set[str]:
    """Modules imported at the top of a file (not under TYPE_CHECKING, not inside functions)."""
    found = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def files(layer: str) -> list[Path]:
    folder = SOURCE / layer
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [SOURCE / f"{layer}.py"]


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_one_way(layer: str) -> None:
    for path in files(layer):
        ours = {name.split(".")[1] for name in imports(path) if name.startswith("trunkline.")}
        assert ours <= LAYERS[layer] | {layer}, f"{path} imports {ours - LAYERS[layer] - {layer}}"


@pytest.mark.parametrize("layer", ["core", "wire"])
def test_core_and_wire_are_pure(layer: str) -> None:
    for path in files(layer):
        assert not {name.split(".")[0] for name in imports(path)} & IMPURE, path
