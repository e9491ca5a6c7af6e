"""A server under measurement: pinned to one core, its processor time and memory as the kernel counts them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

SERVER_CORE, LOAD_CORE = 0, 1
START_S = 30.0
STOP_S = 8.0


class Sample(NamedTuple):
    """What a process and its children have used until now.

    Attributes:
        cpu_s: On a processor.
        delay_s: Ready to run, and waiting for one: how noisy the machine is.
        memory: Resident bytes.
        shared: Resident bytes, where what several have in common counts once (proportional set size).
    """

    cpu_s: float
    delay_s: float
    memory: int
    shared: int = 0


def cores() -> tuple[int, int]:
    """Return the core of servers, and that of the load; the same one if there is no other."""
    ours = sorted(os.sched_getaffinity(0))
    return ours[0], ours[min(1, len(ours) - 1)]


class Server:
    """A server that was started, and listens.

    Args:
        command: `{port}`, `{other}` (another free port) and `{folder}` in it are replaced.
        folder: For its log and what it prints.

    Raises:
        RuntimeError: It did not begin to listen in time.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        env: Mapping[str, str],
        *,
        settle_s: float = 0.5,
        core: int | None = SERVER_CORE,
    ) -> None:
        self.port = _free_port()
        values = {"{port}": str(self.port), "{other}": str(_free_port()), "{folder}": str(folder)}
        filled = [_filled(part, values) for part in command]
        self._output = (folder / "output.txt").open("wb")
        self._process = subprocess.Popen(
            filled if core is None else ["taskset", "-c", str(cores()[core]), *filled],
            cwd=Path(__file__).parent / "peers",
            env={**os.environ, **{name: value.replace("{folder}", str(folder)) for name, value in env.items()}},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        end = time.monotonic() + START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                if self._process.poll() is not None or time.monotonic() > end:
                    self.stop()
                    said = (folder / "output.txt").read_text("utf-8", "replace")[-300:]
                    raise RuntimeError(f"{filled[0]} did not start: {said}") from None
                time.sleep(0.05)
            else:
                break
        time.sleep(settle_s)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def sample(self, *, shared: bool = False) -> Sample:
        """Return what it has used until now.

        Args:
            shared: Whether to find out what is in common, too, which takes long.
        """
        cpu_ns = delay_ns = memory = common = 0
        for pid in _tree(self._process.pid):
            try:
                for task in Path(f"/proc/{pid}/task").iterdir():
                    ran, waited, _ = (task / "schedstat").read_text("ascii").split()
                    cpu_ns += int(ran)
                    delay_ns += int(waited)
                memory += int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
                if shared:
                    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
                    common += 1024 * int(rollup.partition("\nPss:")[2].split()[0])
            except OSError:  # it has ended meanwhile
                continue
        return Sample(cpu_ns / 1e9, delay_ns / 1e9, memory, common)

    def stop(self) -> None:
        """End it, and what it has started."""
        pids = _tree(self._process.pid)
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in pids:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue
            end = time.monotonic() + STOP_S
            while time.monotonic() < end and any(_is_alive(pid) for pid in pids):
                self._process.poll()
                time.sleep(0.05)
        self._process.wait()
        self._output.close()


def _filled(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _tree(root: int) -> list[int]:
    """Return a process and all that it has started, and they have."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text("ascii").rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
