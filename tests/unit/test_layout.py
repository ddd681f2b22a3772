"""The rooms of service/ and their arrows: who may import whom, no circles, nothing that nobody imports."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import service

PROJECT = Path(__file__).parents[2]
SERVICE = PROJECT / "service"

# A room (or a module at the top) and what it may import beside itself and what stands at the bottom: see BOTTOM.
# ``service`` itself stands for create_app and Parts, which are where parts meet.
MAY_IMPORT = {
    "server": {"service", "http", "logs", "metrics", "ops", "lifecycle"},
    "ops": {"http", "logs", "lifecycle", "metrics"},
    "http": {"service", "logs", "metrics", "sessions", "storage"},
    "logs": set[str](),
    "metrics": {"sessions", "storage"},
    "sessions": set[str](),
    "storage": set[str](),
    "dependencies": {"sessions", "storage"},
    "breaker": set[str](),
    "bulkhead": set[str](),
    "lifecycle": set[str](),
    "name": set[str](),
    "setting_parsers": set[str](),
    "settings": set[str](),
    "service": {"dependencies", "http", "lifecycle", "logs", "metrics", "ops", "sessions", "storage"},
    "__main__": {"service", "dependencies", "logs", "server"},
}
A_FEATURE_MAY_IMPORT = {"service", "http", "sessions", "storage"}
FOR_FEATURES = {"service.http.conditional", "service.http.forms"}  # where no feature needs them, they wait for one
BOTTOM = {"breaker", "bulkhead", "name", "settings", "setting_parsers"}
LIBRARIES = {"gunicorn": "server", "redis": "sessions", "pymemcache": "sessions", "google": "storage", "flask": ""}


def modules() -> dict[str, Path]:
    """Every module by its dotted name."""
    found = {}
    for path in sorted(SERVICE.rglob("*.py")):
        parts = path.relative_to(PROJECT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def stores(room: str) -> set[str]:
    """The modules that the room's ``open_store`` imports."""
    body = ast.parse(MODULES[f"service.{room}"].read_text()).body
    opener = next(node for node in body if isinstance(node, ast.FunctionDef) and node.name == "open_store")
    nodes = [node for node in ast.walk(opener) if isinstance(node, ast.ImportFrom)]
    return {node.module.rpartition(".")[2] for node in nodes if node.module}


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "service"


def imports(module: str, *, with_types: bool = True) -> Iterator[str]:
    """The dotted names that a module imports, wherever in it; without ``with_types`` not those for type checks only."""

    def visit(nodes: list[ast.stmt]) -> Iterator[str]:
        for node in nodes:
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not with_types:
                continue
            for inner in ast.walk(node):
                if isinstance(inner, ast.Import):
                    yield from (alias.name for alias in inner.names)
                elif isinstance(inner, ast.ImportFrom) and inner.module:
                    for alias in inner.names:
                        name = f"{inner.module}.{alias.name}"
                        yield name if name in MODULES else inner.module

    yield from visit(ast.parse(MODULES[module].read_text()).body)
    if module == "service":
        yield from service.FEATURES


@pytest.mark.parametrize("module", MODULES)
def test_arrows_point_down(module: str) -> None:
    room = room_of(module)
    features = {room_of(name) for name in service.FEATURES}
    allowed = A_FEATURE_MAY_IMPORT if room in features else MAY_IMPORT[room]
    allowed = allowed | BOTTOM | {room} | (features if module == "service" else set())
    wrong = [name for name in imports(module) if name.startswith("service") and room_of(name) not in allowed]
    assert not wrong


@pytest.mark.parametrize("module", MODULES)
def test_a_library_is_known_to_its_room_only(module: str) -> None:
    for name in imports(module):
        room = LIBRARIES.get(name.partition(".")[0], "")
        assert room in ("", room_of(module)), f"{module} imports {name}"


@pytest.mark.parametrize("room", ["sessions", "storage"])
def test_no_store_knows_another(room: str) -> None:
    """A store's module imports its contract, its client library, and what stores share."""
    names = stores(room)
    assert len(names) > 1
    for module in MODULES:
        parts = module.split(".")
        if len(parts) > 2 and parts[1] == room and parts[2] in names:
            others = {f"service.{room}.{store}" for store in names - {parts[2]}}
            known = {
                name for name in imports(module) for other in others if name == other or name.startswith(f"{other}.")
            }
            assert not known, module


def test_there_are_no_circles() -> None:
    """Of modules, at run time: what is imported for types only makes none."""
    edges = {
        module: {name for name in imports(module, with_types=False) if name in MODULES and name != module} - {"service"}
        for module in MODULES
        if module != "service"
    }
    done: set[str] = set()

    def follow(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"a circle: {' -> '.join((*path, module))}"
        if module in done:
            return
        for name in edges.get(module, ()):
            follow(name, (*path, module))
        done.add(module)

    for module in edges:
        follow(module, ())


def test_every_module_is_imported_by_another() -> None:
    imported = {name for module in MODULES for name in imports(module)}
    packages = {module for module in MODULES if any(other.startswith(f"{module}.") for other in MODULES)}
    assert set(MODULES) - imported - packages - FOR_FEATURES == {"service.__main__"}


def test_a_class_name_is_used_once() -> None:
    places: dict[str, list[str]] = {}
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name.lstrip("_"), []).append(module)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_the_suite_imports_nothing_of_the_rest() -> None:
    for path in (PROJECT / "conformance").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            assert not [name for name in names if name.partition(".")[0] in ("service", "tests", "bench")], path


def test_nothing_imports_the_sample_but_its_own_tests() -> None:
    """A fork deletes it, and its folder in tests/."""
    for root in ("tests", "bench", "scripts", "sidecars"):
        for path in (PROJECT / root).rglob("*.py"):
            if path.is_relative_to(PROJECT / "tests" / "sample"):
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
                assert not [name for name in names if name.startswith(("service.sample", "tests.sample"))], path
