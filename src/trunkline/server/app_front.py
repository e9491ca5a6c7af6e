"""What holds for all connections of an application on our server."""

from __future__ import annotations

import resource

import msgspec

from trunkline.access.policy import Access
from trunkline.core.limits import Limits
from trunkline.engine.clock import Clock, SystemClock
from trunkline.observe.counters import Counters

OWN_FILES = 128  # of the files a process may have open, for the log, the pages and what waits to be accepted


def connections_max(wanted: int) -> int:
    """Return how many connections the process may hold open, after it has taken all that it may take."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return wanted if hard == resource.RLIM_INFINITY else max(1, min(wanted, hard - OWN_FILES))


class AppFront:
    """How many connections there may be, and how long they may take (`gate.Front`).

    Who is let in, and how often, is the application's to say, and the rooms'.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits: Limits = msgspec.structs.replace(limits, connections_max=connections_max(limits.connections_max))
        self.clock: Clock = SystemClock()
        self.access = Access(self.limits, Counters(), self.clock, trusted=("*",))
