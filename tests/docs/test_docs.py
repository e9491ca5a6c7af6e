"""The pages: every snippet runs, and nothing that exists is missing from them."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import typer

from tests.access.support import SECRET
from tests.support import ROOT, WAIT_S, Server, free_port
from trunkline import Hub, Issuer, JwtAuth
from trunkline.cli import app
from trunkline.config import Config, load
from trunkline.core.close_codes import CloseCode, Then, after_close
from trunkline.core.limits import RENAMED, Limits, Tuning
from trunkline.core.retention import Retention
from trunkline.errors import REQUEST_ERRORS, TrunklineError
from trunkline.hub import context_of

PAGES = ["README.md", "PROTOCOL.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "bench/README.md"]
TABLES = (
    "Limits", "Retention", "Tuning", "Issuer", "tuple[Issuer, ...]", "Permissions", "tuple[WebhookSettings, ...]",
    "HooksSettings",
)  # fmt: skip
PAGES += [f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))]


def text(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def snippets(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text(page), re.DOTALL)


# Projects of several files: test_testing.py, test_frameworks.py.
WITH_A_TEST = ("docs/testing.md", "docs/fastapi.md", "docs/django.md", "docs/flask.md")
PYTHON = [
    (page, code)
    for page in PAGES
    for code in snippets(page, "python")
    if "localhost" not in code and page not in WITH_A_TEST and not code.startswith("# views.py")
]


@pytest.mark.parametrize(("page", "code"), PYTHON, ids=[f"{page}-{n}" for n, (page, _) in enumerate(PYTHON)])
def test_python_snippets_run(page: str, code: str, tmp_path: Path) -> None:
    """As they stand, in an empty folder, without a warning."""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
        env=os.environ | {"TRUNKLINE_JWT__SECRET": SECRET},
    )
    assert (ended.returncode, ended.stderr) == (0, "")


@contextmanager
def serving_what_is_called(tmp_path: Path) -> Iterator[Server]:
    """The application of docs/clients.md that answers the calls of its snippets."""
    [application] = [code for code in snippets("docs/clients.md", "python") if "@hub.call" in code]
    (tmp_path / "app.py").write_text(application)
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", "PORT", "--log-level", "error"]
    with Server(command=command, folder=tmp_path) as server:
        yield server


@pytest.mark.parametrize(
    "code",
    [code for page in PAGES if page not in WITH_A_TEST for code in snippets(page, "python") if "localhost" in code],
)
def test_python_snippets_for_a_server_run(code: str, tmp_path: Path) -> None:
    """As they stand, but for the port."""
    calls = re.search(r"\bcall\(", code)
    with serving_what_is_called(tmp_path) if calls else Server(store=f"sqlite:///{tmp_path}/log.db") as server:
        ended = subprocess.run(
            [sys.executable, "-W", "error", "-c", code.replace("http://localhost:8000", server.url)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_calls_of_the_javascript_client(tmp_path: Path) -> None:
    """docs/clients.md: the snippet in JavaScript, as it stands, but for the port."""
    [code] = snippets("docs/clients.md", "js")
    with serving_what_is_called(tmp_path) as server:
        ended = subprocess.run(
            ["node", "--input-type=module", "-"],
            input=code.replace("http://localhost:8000", server.url),
            cwd=ROOT / "client",
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
    assert (ended.stdout, ended.stderr) == ("{ reserved: 2 }\nfull only 4 seats are left\n", "")


@pytest.mark.parametrize("page", PAGES)
def test_json_snippets_are_json(page: str) -> None:
    for code in snippets(page, "json"):
        for line in code.splitlines():
            json.loads(line)


def test_shell_snippets_of_the_readme(tmp_path: Path) -> None:
    """The three curls and the two commands, against a server on another port."""
    with Server(store=f"sqlite:///{tmp_path}/log.db") as server:
        commands = [
            line
            for code in snippets("README.md", "sh")
            for line in code.splitlines()
            if re.match("curl|trunkline (publish|tail)", line)
        ]
        assert len(commands) == 5
        answers = []
        for command in commands:
            command = command.replace("localhost:8000", f"127.0.0.1:{server.port}")
            if command.startswith("trunkline"):
                command = f"{sys.executable} -m {command} --url {server.url}"
            if " -N " in command or " tail " in command:
                command = f"timeout 2 {command}"
            answers.append(subprocess.run(command, shell=True, capture_output=True, text=True, check=False).stdout)
    assert answers[0].startswith(": trunkline")
    assert json.loads(answers[1])["offset"] == 1
    assert [message["data"] for message in json.loads(answers[2])["messages"]] == ["hi"]
    assert re.match(r"general \w+\.2\n", answers[3])
    assert [json.loads(line)["offset"] for line in answers[4].splitlines()] == [1, 2]


def script(code: str, tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A shell snippet, run as it stands but for the port and the address."""
    port = variables.pop("PORT")
    code = code.replace("localhost:8000", f"localhost:{port}").replace("--host 0.0.0.0", "--host 127.0.0.1")
    code = code.replace("trunkline publish", f"trunkline publish --url http://127.0.0.1:{port}")
    lines = ["set -e", "server="]
    for line in code.splitlines():
        if line.startswith(". .venv"):
            continue
        if line.startswith("trunkline serve"):
            scheme = "https" if "--tls-cert" in line else "http"
            lines.append(f"{line.removesuffix('&')} --port {port} >server.log 2>&1 & server=$!")
            lines.append(f"until curl -sk -o /dev/null {scheme}://127.0.0.1:{port}/healthz; do sleep 0.1; done")
        else:
            lines.append(line)
    lines.append('if [ -n "$server" ]; then kill $server; wait $server || true; cat server.log; fi')
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", "\n".join(lines)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
        env=os.environ | variables | {"PATH": path},
    )


def test_shell_snippets_of_authentication(tmp_path: Path) -> None:
    """Two minutes from nothing to a message that only ana may read; and taking it back."""
    first, last = snippets("docs/authentication.md", "sh")
    ended = script(first, tmp_path, PORT=str(free_port()))
    assert ended.returncode == 0, ended.stderr
    assert '"from":"ana"' in ended.stdout
    config = tmp_path / "t.toml"
    config.write_text(f'auth = "jwt"\n[jwt]\nsecret = "{SECRET}"\n')
    with Server("--config", str(config)) as server:
        ended = script(last, tmp_path, PORT=str(server.port), TRUNKLINE_JWT__SECRET=SECRET)
    assert (ended.returncode, ended.stdout) == (0, '{"connections":0,"missing_nodes":[]}' * 2), ended.stderr


def test_the_readmes_server_for_the_internet(tmp_path: Path) -> None:
    [code] = [code for code in snippets("README.md", "sh") if "--tls-cert" in code]
    ended = script(code, tmp_path, PORT=str(free_port()))
    assert ended.returncode == 0, ended.stderr
    assert "Trunkline on https://127.0.0.1" in ended.stdout


def test_the_applications_that_sign_tokens(tmp_path: Path) -> None:
    """What the FastAPI and the Django example answer is a token that counts."""
    fastapi, django = (code for code in snippets("docs/authentication.md", "python") if "realtime" in code)
    ask_fastapi = """
from fastapi.testclient import TestClient
print(TestClient(app).post("/realtime-token").json()["token"])
"""
    ask_django = """
import django, json
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"], LOGIN_URL="/login",
    ALLOWED_HOSTS=["*"], ROOT_URLCONF="__main__",
)
django.setup()
from django.contrib.auth.models import AnonymousUser, User
from django.test import RequestFactory
request = RequestFactory().get("/realtime-token")
request.user = AnonymousUser()
assert realtime_token(request).status_code == 302
request.user = User(pk=7)
print(json.loads(realtime_token(request).content)["token"])
"""
    auth = JwtAuth([Issuer(secret=SECRET)])
    for code, ask, user in ((fastapi, ask_fastapi, "ana"), (django, ask_django, "7")):
        ended = subprocess.run(
            [sys.executable, "-c", code + ask],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env=os.environ | {"TRUNKLINE_JWT__SECRET": SECRET},
        )
        assert ended.returncode == 0, ended.stderr
        grant = auth.verify_now(ended.stdout.strip())
        assert grant is not None
        assert (grant.user, grant.permissions.allows("read", f"inbox:{user}")) == (user, True)


def test_each_threat_names_a_test() -> None:
    """docs/security.md: every row of its tables, and every test is there."""
    rows = [row for row in re.findall(r"^\|(.*)\|$", text("docs/security.md"), re.MULTILINE) if "---" not in row]
    rows = [row for row in rows if "what is tried" not in row]
    assert len(rows) > 40
    for row in rows:
        names = re.findall(r"`([a-z_/]*\.py)?(?:::)?(\w*)`", row.split("|")[-1])
        assert any(file for file, _ in names), row
        file = ""
        for path, name in names:
            file = path or file
            source = text(f"tests/{file}")
            assert not name or f"def {name}(" in source, f"{file} has no {name}"


def test_toml_snippets_are_settings(tmp_path: Path) -> None:
    for code in [
        code for page in ("configuration", "authentication", "handlers") for code in snippets(f"docs/{page}.md", "toml")
    ]:
        path = tmp_path / "t.toml"
        path.write_text(code)
        load(path, {}, {})


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text(page)):
        assert (ROOT / page).parent.joinpath(target).exists(), f"{page} links to {target}"


def test_every_setting_is_documented() -> None:
    page = text("docs/configuration.md")
    for name in (*Config.__struct_fields__, *Tuning.__struct_fields__, *Retention.__struct_fields__):
        assert f"`{name}" in page, name
    for name in set(Limits.__struct_fields__) - set(RENAMED):
        assert f"`limits.{name}`" in text("PROTOCOL.md"), name


def test_every_flag_is_a_setting() -> None:
    """No flag without a setting, and each setting that is no table has one."""
    serve = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    flags = {parameter.name for parameter in serve.params} - {"config", "help"}
    tables = {name for name, kind in Config.__annotations__.items() if kind in TABLES}
    assert flags == set(Config.__struct_fields__) - tables


def test_every_error_is_documented() -> None:
    page = text("PROTOCOL.md")
    for code, status in REQUEST_ERRORS.items():
        row = re.search(rf"^\| `{code}` \| ([^|]+) \|", page, re.MULTILINE)
        assert row, code
        assert str(status) in row[1] or code == "unknown_type"
    for kind in TrunklineError.__subclasses__():
        if kind.code not in ("bad_json", "config", "gap"):
            assert f"| `{kind.code}` |" in page


def test_every_close_code_is_documented() -> None:
    page = text("PROTOCOL.md")
    for code in CloseCode:
        row = re.search(rf"^\| {code.value} \|[^|]*\| ([^|]*) \|", page, re.MULTILINE)
        assert row, code
        assert ("give up" in row[1]) is (after_close(code) is Then.GIVE_UP)
    assert [after_close(code) for code in (1006, 4050, 4150, 4250)] == [
        Then.RETRY,
        Then.RETRY,
        Then.REFRESH,
        Then.GIVE_UP,
    ]


def test_the_numbers_in_the_protocol_are_the_defaults() -> None:
    defaults = msgspec.structs.asdict(Limits())
    page = text("PROTOCOL.md")
    for name, shown in (
        ("message_bytes_max", "64 KiB"),
        ("envelope_bytes_max", "4 KiB"),
        ("json_depth_max", "32"),
        ("handshake_s", "10 s"),
        ("rooms_per_connection_max", "100"),
        ("head_bytes_max", "16 KiB"),
        ("publish_list_max", "1,000"),
    ):
        number, _, unit = shown.replace(",", "").partition(" ")
        assert defaults[name] == float(number) * (1024 if unit == "KiB" else 1)
        assert re.search(rf"\| {shown}[^|]*\| `limits.{name}`", page), name


def test_every_module_says_what_it_is() -> None:
    for path in (ROOT / "src").rglob("*.py"):
        assert ast.get_docstring(ast.parse(path.read_text("utf-8"))) or path.name == "__init__.py", path


def logged() -> list[str]:
    """Every line that the server can log, with … for what differs."""
    found = []
    source = ROOT / "src/trunkline"
    for path in sorted(source.rglob("*.py")):
        if path.relative_to(source).parts[0] in ("client", "testing"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "log"
                and node.func.attr in ("info", "warning", "error", "exception", "log")
            ):
                text = node.args[node.func.attr == "log"]
                if isinstance(text, ast.Constant) and isinstance(text.value, str) and text.value != "%s":
                    found.append(re.sub(r"%[+.0-9]*[a-z]", "…", text.value))
    assert len(found) > 50
    return found


def test_every_line_of_the_log_is_explained() -> None:
    rows = [row for row in text("docs/operating.md").splitlines() if row.startswith("| `")]
    pieces = [piece for row in rows for piece in re.findall(r"`([^`]+)`", row)]
    for line in logged():
        # The page may break off where the rest differs.
        assert any(line == piece or (len(piece) > 8 and line.startswith(piece.rstrip("… "))) for piece in pieces), line


def test_every_metric_is_explained() -> None:
    page = text("docs/operating.md")
    for family in context_of(Hub("memory:")).figures.families():
        name = family.name + ("_total" if family.kind == "counter" else "")
        assert f"`{name}`" in page, name


def test_every_alert_is_explained() -> None:
    page = text("docs/operating.md")
    for name in re.findall(r"alert: (\w+)", (ROOT / "deploy/alerts.yml").read_text("utf-8")):
        assert f"`{name}`" in page, name
