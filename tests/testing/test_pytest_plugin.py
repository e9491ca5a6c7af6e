"""The plugin, in test runs of its own: with each plugin that runs coroutines, and with settings."""

import textwrap

import pytest

pytest_plugins = ["pytester"]

SHOP = """
    from starlette.applications import Starlette
    from starlette.routing import Mount

    from trunkline import Hub

    hub = Hub("sqlite:///must-not-be-there.db")
    app = Starlette(routes=[Mount("/realtime", hub.app)], lifespan=hub.lifespan)
"""
TEST = """
    import pytest

    {head}

    @pytest.mark.transports
    async def test_all_four(hub):
        reader = await hub.reader("r", user="ada")
        with reader.cut():
            await hub.publish("r", 1)
        await reader.expect(1)

    @pytest.mark.transports("sse")
    async def test_one(hub, trunkline_transport):
        assert (await hub.reader("r")).transport == trunkline_transport == "sse"

    async def test_fresh(hub):
        assert hub.stored("r") == []
        assert (await hub.reader("r")).transport == "websocket"

    def test_blocking(blocking_hub):
        reader = blocking_hub.reader("r")
        blocking_hub.publish("r", 1)
        reader.expect(1)

    async def test_that_fails(hub):
        reader = await hub.reader("r")
        await reader.expect({{"status": "shipped"}})
"""
LOOP = ["-o", "asyncio_default_fixture_loop_scope=function"]
RUNNERS = {
    "pytest-asyncio, auto": ("", ["-p", "no:anyio", *LOOP, "-o", "asyncio_mode=auto"]),
    "pytest-asyncio, strict": ("pytestmark = pytest.mark.asyncio", ["-p", "no:anyio", *LOOP]),
    "anyio": (
        "pytestmark = pytest.mark.anyio\n\n    @pytest.fixture\n    def anyio_backend():\n        return 'asyncio'",
        ["-p", "no:asyncio"],
    ),
}


@pytest.mark.parametrize("runner", RUNNERS)
def test_each_runner_of_coroutines(pytester: pytest.Pytester, runner: str) -> None:
    head, arguments = RUNNERS[runner]
    text = textwrap.dedent(TEST.format(head=head))
    if "anyio" in head or "strict" in runner:  # their marks complain of a function that is no coroutine
        text = text.replace("def test_blocking", "@pytest.mark.filterwarnings('ignore')\ndef test_blocking")
    pytester.makepyfile(test_it=text)
    quiet = ["-W", "error", "-W", "ignore::pytest.PytestDeprecationWarning"]
    result = pytester.runpytest_subprocess(*quiet, *arguments)
    result.assert_outcomes(passed=7, failed=1)
    result.stdout.fnmatch_lines(
        [
            ">       await reader.expect({*",
            'E       AssertionError: expected of the websocket reader of r: the message {"status": "shipped"}',
            "E       but nothing came within 5 s of the test's clock",
            "E       the log of r is empty",
        ]
    )


def test_settings_name_the_application(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(shop=textwrap.dedent(SHOP))
    pytester.makepyfile(
        test_it=textwrap.dedent(
            """
            import shop

            async def test_it(hub):
                assert hub.hub is shop.hub
                assert hub.url == "http://testserver/realtime"
                reader = await hub.reader("r")
                await shop.hub.publish("r", 1)
                await reader.expect(1)
            """
        )
    )
    arguments = ["-o", "asyncio_mode=auto", "-o", "pythonpath=.", "-p", "no:anyio"]
    named = ["-o", "trunkline_hub=shop:hub", "-o", "trunkline_app=shop:app"]
    pytester.runpytest_subprocess(*arguments, *named).assert_outcomes(passed=1)
    assert not (pytester.path / "must-not-be-there.db").exists()
    pytester.runpytest_subprocess(*arguments, "-o", "trunkline_app=shop:app").assert_outcomes(passed=1)
    wrong = pytester.runpytest_subprocess(*arguments, "-o", "trunkline_hub=shop:app")
    wrong.stdout.fnmatch_lines(["*trunkline_hub = shop:app is no Hub, but *"])
    wrong = pytester.runpytest_subprocess(*arguments, "-o", "trunkline_hub=shop:hug")
    wrong.stdout.fnmatch_lines(["*trunkline_hub = shop:hug: module 'shop' has no attribute 'hug'*"])


def test_fixtures_give_the_application(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import pytest
        from trunkline import Hub

        mine = Hub("memory:", cookie="session")

        @pytest.fixture
        def trunkline_hub():
            return mine
        """
    )
    pytester.makepyfile(
        """
        from conftest import mine

        async def test_it(hub):
            assert hub.hub is mine
        """
    )
    pytester.runpytest_subprocess("-o", "asyncio_mode=auto", "-p", "no:anyio").assert_outcomes(passed=1)


def test_a_mark_without_the_fixture_is_told(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import pytest\n\n@pytest.mark.transports\ndef test_it(): pass\n")
    pytester.runpytest_subprocess().stdout.fnmatch_lines(["*test_it has the mark `transports`, and no fixture `hub`*"])
    pytester.makepyfile("import pytest\n\n@pytest.mark.transports('pigeon')\ndef test_it(hub): pass\n")
    pytester.runpytest_subprocess().stdout.fnmatch_lines(["*'pigeon' is no transport: there are websocket, *"])


def test_a_mark_where_it_means_nothing_is_told(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        "import unittest\nimport pytest\n\nclass T(unittest.TestCase):\n"
        "    @pytest.mark.transports\n    def test_it(self): pass\n"
    )
    pytester.runpytest_subprocess().stderr.fnmatch_lines(["*a method of a TestCase runs once: make it a function*"])
    pytester.makepyfile(
        "import pytest\n\npytestmark = pytest.mark.transports\n\n"
        "def test_without(): pass\n\ndef test_with(blocking_hub): pass\n"
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=5)


def test_a_run_without_it_imports_nothing(pytester: pytest.Pytester) -> None:
    """The plugin is loaded by every run of pytest where Trunkline is installed."""
    pytester.makepyfile("import sys\n\ndef test_it():\n    assert 'trunkline' not in sys.modules\n")
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
