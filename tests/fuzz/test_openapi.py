"""schemathesis over openapi.yaml, which the server serves: whatever it makes up gets an answer that the page names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.routing import Route

from tests.access.support import ADMIN, SECRET, bearer, token
from tests.support import ROOT, Server
from trunkline import Hub
from trunkline.errors import REQUEST_ERRORS

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
PAGE = ROOT / "src/trunkline/web/openapi.yaml"
schema = schemathesis.openapi.from_path(str(PAGE))
EXAMPLES = int(os.environ.get("TRUNKLINE_EXAMPLES", "25"))
WAIT = httpx.Timeout(20)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    config = tmp_path_factory.mktemp("openapi") / "trunkline.toml"
    config.write_text(f'auth = "jwt"\n[jwt]\nsecret = "{SECRET}"\n')
    with Server("--config", str(config)) as running:
        yield running


@schema.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_operations(case: Any, server: Server) -> None:
    if case.query and "wait" in case.query:
        case.query["wait"] = 0 if str(case.query["wait"]).isdigit() else case.query["wait"]
    if case.headers:
        case.headers.pop("Last-Event-ID", None)
    headers = bearer(token("fuzz", rooms=ADMIN)) | {"Accept": "application/json"}
    case.call_and_validate(base_url=server.url, headers=headers, checks=CHECKS, timeout=20)


def test_it_is_served_and_complete(server: Server) -> None:
    """Every route of the application is in it, with each method, and nothing else."""
    page = yaml.safe_load(httpx.get(f"{server.url}/openapi.yaml", timeout=WAIT).text)
    assert page == yaml.safe_load(PAGE.read_text("utf-8"))
    operations = [
        (path, method.upper(), operation)
        for path, item in page["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    ]
    pages = {"/", "/lab", "/live", "/admin", "/static"}
    routes = {
        (route.path, method)
        for route in Hub("memory:").app.routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD" and route.path not in pages
    }
    assert {(path, method) for path, method, _ in operations} == routes
    statuses = {int(code) for _, _, operation in operations for code in operation["responses"] if code.isdigit()}
    assert statuses >= {400, 401, 403, 404, 413, 415, 421, 429, 501, 503} & set(REQUEST_ERRORS.values())
