"""Erasures: everything that a user ever sent is redacted, and the user with it, in all rooms.

That may take long, so it is a job, which is noted in the log: where it stands, room by room. A node that dies in the
middle of one leaves it to another, or to its own next start, which goes on behind the last page of rooms. What was done
twice was done once: a message that has no sender any more is not found again.

The user's name stands in the note until the job is done, and nowhere after it.
"""

from __future__ import annotations

import logging
import secrets
from typing import Literal

import msgspec

from trunkline.access.administration import Administration
from trunkline.access.audit import Audit
from trunkline.core.message import SYSTEM_PREFIX
from trunkline.core.notes import ERASURE
from trunkline.core.system_rooms import CONNECTION_LOG, PRESENCE_LOG
from trunkline.engine.engine import Engine
from trunkline.errors import RequestError, ShuttingDown, StoreUnavailable, TrunklineError, explain

log = logging.getLogger("trunkline")

ROOMS_AT_ONCE = 50  # between two notes of where the job stands
LOOK_S = 5.0  # how often jobs are looked for that no node does
PURGE_WAIT_S = 300.0
KEPT_MAX = 100  # reports of jobs that are done


class Erasure(msgspec.Struct, kw_only=True):
    """An erasure, and where it stands.

    Attributes:
        state: `purging`, once all rooms are done: copies that the store has are being overwritten.
        user: Who is erased; None once all rooms are done.
        user_hash: A keyed hash of the user.
        by: Who has ordered it.
        began_at, ended_at: ms since 1970 UTC.
        node: Which node does it, or did last.
        after: The last room that is done.
        rooms: How many rooms had messages of the user.
        messages: How many messages were redacted; a few less than that, if a node has died in the middle.
        marks: How many read marks were removed.
        missing_nodes: Nodes that did not answer, and may have some of it in memory until they do.
        unpurged: What could not be overwritten, such as files of replicas.
    """

    id: str
    state: Literal["running", "purging", "done"]
    user: str | None
    user_hash: str
    by: str | None
    began_at: int
    ended_at: int | None = None
    node: str = ""
    after: str = ""
    rooms: int = 0
    messages: int = 0
    marks: int = 0
    missing_nodes: list[str] = []
    unpurged: list[str] = []


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Erasure).decode


class Erasures:
    """The erasures of one log, as far as this node does them."""

    def __init__(self, engine: Engine, administration: Administration, audit: Audit) -> None:
        self._engine = engine
        self._administration = administration
        self._audit = audit
        self._running: set[str] = set()  # by their ids

    def start(self) -> None:
        """Look for jobs that no node does."""
        if self._engine.cluster is None:  # else it is not known yet which nodes run
            self._engine.tasks.spawn(self._take_over_or_log())
        self._engine.tasks.every(LOOK_S, self._take_over_or_log)

    async def begin(self, user: str, by: str | None) -> Erasure:
        """Begin to erase a user, and end the user's connections; return at once, with the job.

        A job for the same user that is running is returned, and no other one begun.

        Raises:
            RequestError: `bad_command`.
            StoreUnavailable: It is not begun.
        """
        if not user:
            raise RequestError("bad_command", "name the user")
        for known in await self.all():
            if known.user == user:
                return known
        job = Erasure(
            id=secrets.token_hex(8),
            state="running",
            user=user,
            user_hash=await self._audit.hash_of(user),
            by=by,
            began_at=self._engine.clock.wall_ms(),
            node=self._engine.name,
        )
        await self._note(job)
        await self._administration.disconnect(user)
        self._run_soon(job)
        return job

    async def all(self) -> list[Erasure]:
        """Return the jobs that are running, and the last ones that are done; the newest first.

        Raises:
            StoreUnavailable: The log could not be read.
        """
        notes = await self._engine.store.notes()
        jobs = [_decode(value) for name, value in notes.items() if name.startswith(ERASURE)]
        return sorted(jobs, key=lambda job: job.began_at, reverse=True)

    async def get(self, job_id: str) -> Erasure:
        """Return a job.

        Raises:
            RequestError: `not_found`.
            StoreUnavailable: The log could not be read.
        """
        for job in await self.all():
            if job.id == job_id:
                return job
        raise RequestError("not_found", "there is no erasure of that id")

    async def _take_over_or_log(self) -> None:
        try:
            for job in await self.all():
                if job.state != "done" and job.id not in self._running and self._is_abandoned(job):
                    job.node = self._engine.name
                    self._run_soon(job)
        except StoreUnavailable as error:
            log.debug("erasures cannot be looked for: %s", explain(error))

    def _is_abandoned(self, job: Erasure) -> bool:
        cluster = self._engine.cluster
        if cluster is None or job.node == self._engine.name:
            return True
        return job.node not in cluster and cluster.is_eldest

    def _run_soon(self, job: Erasure) -> None:
        self._running.add(job.id)
        self._engine.tasks.spawn(self._run(job))

    async def _run(self, job: Erasure) -> None:
        try:
            await self._erase(job)
        except ShuttingDown:
            log.info("erasure %s goes on after the next start", job.id)
        except TrunklineError as error:
            log.warning("erasure %s goes on in a moment: %s", job.id, explain(error))
        finally:
            self._running.discard(job.id)

    async def _erase(self, job: Erasure) -> None:
        if job.user is not None:
            await self._erase_rooms(job, job.user)
            await self._audit.add("erase", job.by, job.messages, rooms=job.rooms, user_hash=job.user_hash)
            job.user, job.state, job.after = None, "purging", ""
            await self._note(job)
        job.unpurged = await self._engine.purge.run(wait_s=PURGE_WAIT_S)
        job.state, job.ended_at = "done", self._engine.clock.wall_ms()
        await self._note(job)
        await self._forget_reports()
        log.info("user erased", extra={"erasure": job.id, "rooms": job.rooms, "messages": job.messages})

    async def _erase_rooms(self, job: Erasure, user: str) -> None:
        store, corrections, missing = self._engine.store, self._engine.corrections, set(job.missing_nodes)
        while page := await store.find_rooms("", job.after, ROOMS_AT_ONCE):
            changed = []
            for room in [info.room for info in page if _has_users(info.room)]:
                count = await corrections.erase(room, user)
                if count:
                    changed.append(room)
                    job.messages += count
            job.rooms += len(changed)
            missing.update(await corrections.corrected(changed))
            job.after, job.missing_nodes = page[-1].room, sorted(missing)
            await self._note(job)
        job.marks += await store.erase_marks(user)

    async def _note(self, job: Erasure) -> None:
        await self._engine.store.note(ERASURE + job.id, _encode(job))

    async def _forget_reports(self) -> None:
        done = [job for job in await self.all() if job.state == "done"]
        for job in done[KEPT_MAX:]:
            await self._engine.store.note(ERASURE + job.id, None)


def _has_users(room: str) -> bool:
    """Return whether what a user has sent, or what was noted of one, stands in a room."""
    return not room.startswith(SYSTEM_PREFIX) or room in (PRESENCE_LOG, CONNECTION_LOG)
