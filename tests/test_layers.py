"""The house: who may import whom, that there is no circle, and that core and wire are pure."""

import ast
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import trunkline

SOURCE = Path(trunkline.__file__).parent
# From the bottom to the top: a module may import modules of its own layer, and of those that its layer names.
LAYERS: dict[str, set[str]] = {
    "errors": set(),
    "observe": set(),
    "core": {"errors", "observe"},
    "wire": {"errors", "core"},
    "stores": {"errors", "observe", "core"},
    "engine": {"errors", "observe", "core", "wire", "stores"},
    "access": {"errors", "observe", "core", "wire", "engine"},
    "handlers": {"errors", "observe", "core", "wire", "stores", "engine", "access"},
    "consumers": {"errors", "observe", "core", "stores", "engine"},
    "admin": {"errors", "observe", "core", "wire", "engine", "access", "handlers", "consumers"},
    "transports": {"errors", "core", "wire", "engine", "access", "admin", "handlers", "consumers"},
    "webhooks": {"errors", "core", "wire", "engine", "consumers", "handlers"},
    "hub_handlers": {"errors", "core", "consumers", "handlers", "transports", "webhooks"},
    "hub_admin": {"errors", "core", "stores", "access", "admin", "consumers", "transports"},
    "hub": {
        "errors",
        "observe",
        "core",
        "stores",
        "engine",
        "access",
        "admin",
        "consumers",
        "handlers",
        "transports",
        "hub_admin",
        "hub_handlers",
        "webhooks",
    },
    "socketio": {"errors", "wire", "transports", "hub"},
    "config": {"errors", "core", "wire", "access"},
    "server": {
        "errors",
        "observe",
        "core",
        "wire",
        "stores",
        "engine",
        "access",
        "admin",
        "transports",
        "hub",
        "config",
    },
    "outbox": {"errors", "core", "client"},
    "starlette": {"core", "wire", "access", "transports", "outbox", "hub"},
    "fastapi": {"errors", "core", "handlers", "outbox", "hub", "starlette"},
    "page_settings": set(),
    "backend": {"errors", "core", "access", "client", "remote_admin"},
    "beside": {"access", "config", "server"},
    "flask": {"errors", "core", "backend", "beside", "page_settings"},
    "django": {
        "errors",
        "core",
        "wire",
        "access",
        "hub",
        "server",
        "client",
        "remote",
        "outbox",
        "backend",
        "beside",
        "page_settings",
    },
    "client": {"errors", "core"},
    "remote": {"errors", "core", "client"},
    "remote_admin": {"remote"},
    "remote_doctor": {"core", "admin"},
    "testing": {"errors", "core", "wire", "stores", "engine", "access", "hub", "server", "client"},
    "cli": {
        "errors",
        "core",
        "stores",
        "access",
        "server",
        "config",
        "remote",
        "remote_admin",
        "testing",
        "cli_admin",
        "cli_log",
    },
    "cli_admin": {"config", "remote_admin"},
    "cli_log": {"errors", "core", "stores", "admin", "config", "remote_doctor"},
    "__init__": {"errors", "core", "wire", "stores", "engine", "access", "handlers", "consumers", "hub"},
    "__main__": {"cli"},
}
IMPURE = {
    "asyncio", "socket", "time", "random", "secrets", "threading", "os", "datetime", "uuid", "sqlite3", "selectors",
}  # fmt: skip
# Imports inside functions: what is not always installed, or costs a start that may not need it.
LATE = {
    ("trunkline.django.apps", "trunkline.django.checks"),
    ("trunkline.django.apps", "trunkline.django.conf"),
    ("trunkline.django.apps", "trunkline.django.logout"),
    ("trunkline.django.apps", "trunkline.django.sessions"),
    ("trunkline.hub", "trunkline.webhooks.hooks"),
    ("trunkline.hub_handlers", "trunkline.webhooks.event_log"),
    ("trunkline.hub_handlers", "trunkline.webhooks.webhook"),
    ("trunkline.cli", "trunkline.core.webhook"),
    ("trunkline.stores", "trunkline.stores.redis"),
    ("trunkline.client", "trunkline.client.client"),
    ("trunkline.client", "trunkline.client.consumer"),
    ("trunkline.client", "trunkline.client.tracing"),
    ("trunkline.engine.engine", "trunkline.engine.tracing"),
    ("trunkline.cli", "trunkline.server.app_server"),
    ("trunkline.cli", "trunkline.server.interpreter"),
    ("trunkline.cli", "trunkline.server.log"),
    ("trunkline.cli", "trunkline.server.server"),
    ("trunkline.cli", "trunkline.server.workers"),
    ("trunkline.cli", "trunkline.access.jwt"),
    ("trunkline.cli", "trunkline.remote"),
    ("trunkline.cli", "trunkline.stores"),
    ("trunkline.cli_admin", "trunkline.remote_admin"),
    ("trunkline.cli_log", "trunkline.admin.doctor"),
    ("trunkline.cli_log", "trunkline.core.retention"),
    ("trunkline.cli_log", "trunkline.remote_doctor"),
    ("trunkline.cli_log", "trunkline.stores"),
    ("trunkline.cli_log", "trunkline.stores.backup"),
    ("trunkline.cli_log", "trunkline.stores.doctor"),
    ("trunkline.cli_log", "trunkline.stores.journal"),
    ("trunkline.cli_log", "trunkline.stores.transfer"),
    ("trunkline.stores.doctor", "trunkline.stores.redis.address"),
    ("trunkline.stores.doctor", "trunkline.stores.redis.client"),
    ("trunkline.cli", "trunkline.testing.dev"),
}

Graph = dict[str, set[str]]


def modules(root: Path) -> dict[str, Path]:
    """Every module of a package, by its name."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(tree: ast.AST, known: Iterable[str]) -> set[str]:
    """The modules that are imported anywhere in it: at the top, in functions, and for type checking."""
    names = set()
    known = set(known)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            base = node.module or ""
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                names.add(inner if inner in known else base)
    return names


def graph_of(root: Path) -> Graph:
    paths = modules(root)
    package = root.name
    return {
        name: {
            target
            for target in imports(ast.parse(path.read_text("utf-8")), paths)
            if target.partition(".")[0] == package and target != name
        }
        for name, path in paths.items()
    }


def find_circle(graph: Graph) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def layer_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


GRAPH = graph_of(SOURCE)


def test_every_module_is_in_a_layer() -> None:
    assert len(GRAPH) > 100
    assert {layer_of(module) for module in GRAPH} == set(LAYERS)


@pytest.mark.parametrize("module", GRAPH)
def test_imports_point_down(module: str) -> None:
    layer = layer_of(module)
    wrong = {target for target in GRAPH[module] if layer_of(target) not in LAYERS[layer] | {layer}}
    assert not wrong, f"{module} imports {wrong}"


def test_there_is_no_circle() -> None:
    assert find_circle(GRAPH) == []


@pytest.mark.parametrize(
    "planted",
    [
        "from package.a import b",
        "def later():\n    from package import a",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import package.a",
    ],
)
def test_a_planted_circle_is_found(tmp_path: Path, planted: str) -> None:
    root = tmp_path / "package"
    root.mkdir()
    (root / "__init__.py").touch()
    (root / "a.py").write_text("from package.c import d\n")
    (root / "c.py").write_text("import os\n")
    assert find_circle(graph_of(root)) == []
    (root / "c.py").write_text(planted + "\n")
    assert {"package.a", "package.c"} <= set(find_circle(graph_of(root)))


def test_no_import_is_hidden() -> None:
    """An import inside a function has a reason that LATE names."""
    late = set()
    for name, path in modules(SOURCE).items():
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                late |= {(name, target) for target in imports(node, GRAPH) if target.startswith("trunkline")}
    assert late == LATE


@pytest.mark.parametrize("layer", ["core", "wire"])
def test_core_and_wire_are_pure(layer: str) -> None:
    for name, path in modules(SOURCE).items():
        if layer_of(name) == layer:
            found = {target.partition(".")[0] for target in imports(ast.parse(path.read_text("utf-8")), GRAPH)}
            assert not found & IMPURE, name


def test_the_api_is_what_the_docs_list() -> None:
    """What `dir(Hub)` shows is what docs/python.md names."""
    text = (SOURCE.parents[1] / "docs" / "python.md").read_text("utf-8")
    for name in dir(trunkline.Hub):
        if not name.startswith("_"):
            assert f"{name}" in text, f"{name} is not documented"


# Modules whose behaviour is a suite's, rather than that of a file of their own.
TESTED_BY = {
    "consumers/cursors": "consumers/test_consumer.py",
    "consumers/discovery": "consumers/test_consumer.py",
    "consumers/message": "consumers/test_consumer.py",
    "consumers/rooms": "consumers/test_consumer.py",
    "consumers/registry": "consumers/test_consumer.py",
    "consumers/settings": "consumers/test_consumer.py",
    "core/call": "handlers/test_calls.py",
    "core/connection_event": "handlers/test_connection_hooks.py",
    "core/incoming": "handlers/test_publishing.py",
    "engine/news": "consumers/test_consumer.py",
    "engine/records": "handlers/test_calls.py",
    "handlers/arguments": "handlers/test_calls.py",
    "handlers/registry": "handlers/test_publishing.py",
    "handlers/runner": "handlers/test_publishing.py",
    "hub_handlers": "handlers/test_publishing.py",
    "socketio/app": "socketio/test_server.py",
    "socketio/engineio": "socketio/test_protocol.py",
    "socketio/exceptions": "socketio/test_server.py",
    "socketio/handlers": "socketio/test_server.py",
    "socketio/managers": "socketio/test_nodes.py",
    "socketio/namespace": "socketio/test_server.py",
    "socketio/threaded": "socketio/test_wsgi.py",
    "transports/frames": "server/test_edge.py",
    "transports/socketio/client": "socketio/test_javascript.py",
    "transports/socketio/edge": "socketio/test_server.py",
    "transports/socketio/endpoint": "socketio/test_protocol.py",
    "transports/socketio/orders": "socketio/test_nodes.py",
    "transports/socketio/recovery": "socketio/test_recovery.py",
    "transports/socketio/relay": "socketio/test_nodes.py",
    "transports/socketio/room_events": "socketio/test_room_events.py",
    "transports/socketio/socket": "socketio/test_javascript.py",
    "transports/socketio/websocket": "socketio/test_protocol.py",
    "transports/acknowledgements": "consumers/test_outside.py",
    "transports/consumption": "consumers/test_outside.py",
    "transports/endpoints/calling": "handlers/test_calls.py",
    "transports/endpoints/consuming": "consumers/test_outside.py",
    "webhooks/event_log": "webhooks/test_webhook.py",
    "backend": "test_flask.py",
    "beside": "test_flask.py",
    "django/apps": "django/test_rooms.py",
    "django/asgi": "django/test_sessions.py",
    "django/checks": "django/test_conf.py",
    "django/logout": "django/test_sessions.py",
    "django/management/commands/runserver": "examples/test_notifications.py",
    "django/management/commands/trunkline_relay": "django/test_outbox.py",
    "django/management/commands/trunkline_server": "interop/test_tasks.py",
    "django/migrations/0001_initial": "django/test_outbox.py",
    "django/models": "django/test_outbox.py",
    "django/reports": "django/test_admin.py",
    "django/templatetags/trunkline": "django/test_views.py",
    "django/urls": "django/test_views.py",
    "page_settings": "test_flask.py",
    "__main__": "server/test_server.py",
    "cli": "server/test_server.py",
    "remote": "server/test_server.py",
    "access/issuer": "access/test_keys.py",
    "admin/sample": "admin/test_timeline.py",
    "admin/exposition": "admin/test_figures.py",
    "access/jwt": "access/test_keys.py",
    "client/errors": "client/test_client.py",
    "client/events": "client/test_client.py",  # types alone
    "client/json_text": "client/test_client.py",
    "client/machine": "testing/test_hub.py",
    "client/websocket": "client/test_clients.py",
    "server/app_front": "server/test_app_server.py",
    "server/gate": "server/test_edge.py",
    "server/protocols": "server/test_app_server.py",
    "server/socket_handover": "server/test_app_server.py",
    "server/uvicorn_http": "transports/test_input.py",
    "server/uvicorn_http2": "server/test_tls.py",
    "server/uvicorn_websocket": "server/test_app_server.py",
    "stores/base": "stores/test_contract.py",
    "stores/memory": "stores/test_contract.py",
    "stores/memory_records": "stores/test_contract.py",
    "stores/redis/records": "stores/test_contract.py",
    "stores/sqlite/records": "stores/test_contract.py",
    "testing/record_contract": "stores/test_contract.py",
    "stores/redis/bus": "stores/redis/test_store.py",
    "stores/redis/client": "stores/redis/test_store.py",
    "stores/sqlite/purger": "stores/sqlite/test_corrections.py",
    "stores/sqlite/reader": "stores/test_contract.py",
    "stores/sqlite/rows": "stores/sqlite/test_store.py",
    "stores/sqlite/writer": "stores/sqlite/test_store.py",
    "testing/clock": "engine/test_clock.py",
    "testing/plain_readers": "transports/test_contract.py",
    "testing/store_contract": "stores/test_contract.py",
    "testing/transport_contract": "transports/test_contract.py",
    "transports/admission": "transports/test_input.py",
    "transports/app": "transports/test_contract.py",
    "transports/asgi": "transports/test_contract.py",
    "transports/context": "transports/endpoints/test_endpoints.py",
    "transports/duplex": "transports/test_contract.py",
    "transports/echo": "conformance/test_autobahn.py",
    "cli_admin": "test_remote_admin.py",
    "core/notes": "stores/test_backup.py",
    "engine/kept_key": "access/test_admin_sessions.py",
    "hub_admin": "access/test_moderation.py",
    "stores/doctor": "test_remote_doctor.py",
    "stores/journal": "stores/sqlite/test_corrections.py",
    "testing/correction_contract": "stores/test_contract.py",
    "transports/endpoints/admin": "transports/endpoints/test_endpoints.py",
    "transports/endpoints/dashboard": "transports/test_follow.py",
    "transports/endpoints/metrics": "server/test_metrics_port.py",
    "transports/endpoints/health": "transports/endpoints/test_endpoints.py",
    "transports/endpoints/presence": "transports/endpoints/test_endpoints.py",
    "transports/endpoints/publishing": "transports/endpoints/test_endpoints.py",
    "transports/endpoints/reading": "transports/endpoints/test_endpoints.py",
    "transports/endpoints/table": "transports/endpoints/test_endpoints.py",
    "transports/exchange": "transports/endpoints/test_endpoints.py",
    "transports/handover": "server/test_app_server.py",
    "transports/poll": "transports/test_contract.py",
    "transports/sse": "transports/test_contract.py",
    "transports/stream": "transports/test_contract.py",
    "transports/websocket": "transports/test_contract.py",
}


def test_each_module_has_its_test_file() -> None:
    """In the same place among the tests; or a suite has it, which TESTED_BY names."""
    tests = Path(__file__).parent
    for path in sorted(SOURCE.rglob("*.py")):
        module = path.relative_to(SOURCE).with_suffix("")
        own = tests / module.parent / f"test_{module.name}.py"
        if module.name == "__init__":
            continue
        suite = TESTED_BY.get(module.as_posix())
        assert own.is_file() is (suite is None), f"{module}: {own.relative_to(tests)} is missing, or not needed"
        assert suite is None or (tests / suite).is_file(), suite
    modules_named = {path.relative_to(SOURCE).with_suffix("").as_posix() for path in SOURCE.rglob("*.py")}
    assert set(TESTED_BY) <= modules_named
