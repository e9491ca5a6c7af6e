"""`trunkline dev`: a server to develop against, and with `--faults` a prompt that makes its network worse."""

from __future__ import annotations

import errno
import signal
import time
from collections.abc import Callable, Iterable

from trunkline.errors import ConfigError
from trunkline.server.interpreter import UNOPTIMISED
from trunkline.testing.fault import Fault
from trunkline.testing.live_server import LiveServer
from trunkline.testing.proxy import FAULTS

LOOK_S = 0.2

Say = Callable[[str], object]

HELP = "\n".join(
    [
        "faults, until they are typed again or `mend`:",
        *(f"  {name:<15} {what}" for name, (_, _, what) in FAULTS.items()),
        "once:",
        "  reset           break all connections; they may come back",
        "  restart         stop the server and start it again",
        "  kill            the same without a goodbye",
        "and:",
        "  mend            end all faults",
        "  status          what is wrong, and how many connections there are",
        "  help            this",
        "  quit            stop the server",
    ]
)


class FaultPrompt:
    """What is typed, line by line.

    Args:
        say: Called with what is answered.
    """

    def __init__(self, server: LiveServer, say: Say) -> None:
        self._server = server
        self._say = say
        self._faults: dict[str, Fault] = {}

    def run(self, lines: Iterable[str]) -> None:
        """Carry out lines until they end, or one is `quit`."""
        for line in lines:
            if line.strip() == "quit":
                return
            self.carry_out(line)

    def carry_out(self, line: str) -> None:
        """Carry out one line. What it does not know it says."""
        words = line.split()
        if not words:
            return
        name, arguments = words[0], words[1:]
        if name in FAULTS:
            self._toggle(name, arguments)
        elif name in ("restart", "kill"):
            try:
                self._server.restart(kill=name == "kill")
            except RuntimeError as error:
                self._say(str(error).rstrip())
            else:
                self._say("the server is back")
        elif name == "reset":
            self._server.reset()
            self._say("all connections are broken")
        elif name == "mend":
            for fault in self._faults.values():
                fault.end()
            self._faults.clear()
            self._say("all is well")
        elif name == "status":
            wrong = ", ".join(self._faults) or ("nothing" if self._server.is_running else "the server has ended")
            self._say(f"wrong: {wrong}; connections: {self._server.proxy.connections}")
        elif name == "help":
            self._say(HELP)
        else:
            self._say(f"{name} is no command: type help")

    def _toggle(self, name: str, arguments: list[str]) -> None:
        before = self._faults.pop(name, None)
        if before is not None:
            before.end()
            if not arguments:
                self._say(f"{name} is over")
                return
        verb, kinds, _ = FAULTS[name]
        try:
            values = [kind(argument) for kind, argument in zip(kinds, arguments, strict=True)]
        except ValueError:
            self._say(f"{name} takes {len(kinds) or 'no'} argument{'s' if len(kinds) != 1 else ''}: type help")
            return
        try:
            self._faults[name] = self._server.cause(verb, *values)
        except ValueError as error:
            self._say(str(error))
            return
        self._say(f"{' '.join([name, *arguments])}: until you type {name} again")


def run(app: str | None, port: int, lines: Iterable[str] | None, say: Say) -> None:
    """Serve until the lines end; without any, until Ctrl-C or SIGTERM.

    Args:
        app: An ASGI application as `module:attribute`; by default rooms alone.
        lines: What is typed, for faults; None for a server without.

    Raises:
        ConfigError: The server does not start, or the port is taken.
    """
    signal.signal(signal.SIGTERM, _stop)

    def echo(line: str) -> None:
        if line != UNOPTIMISED:  # what it costs is no matter here
            say(line)

    try:
        with LiveServer(app, port=port, echo=echo) as server:
            name = app or "Trunkline"
            if lines is None:
                say(f"{name} on {server.url}")
                while server.is_running:
                    time.sleep(LOOK_S)
                raise ConfigError("the server has ended")
            say(f"{name} on {server.url}, with faults: type help")
            FaultPrompt(server, say).run(lines)
    except KeyboardInterrupt:
        pass  # the end of it
    except RuntimeError as error:
        raise ConfigError(str(error)) from None
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise ConfigError(f"cannot listen on 127.0.0.1:{port}: it is in use") from None


def _stop(*_: object) -> None:
    raise KeyboardInterrupt  # as Ctrl-C does: on its way up the server is stopped
