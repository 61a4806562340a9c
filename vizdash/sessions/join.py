"""What other users share with this one, as a guest's vizdash finds it on a login host.

assets/nodes/share.py asks the shares there as the guest. What it answers was written by another
user: only who owns a share is certain (the owner of its folder and of the program behind its
socket). A share counts only if its job is its owner's.
"""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace

from typing_extensions import override

from vizdash.errors import NotFound, Refused, Unreachable, UsageError, VizdashError, last_line
from vizdash.model import Job
from vizdash.sessions.comment import is_id
from vizdash.sessions.share import PRESENT, RUN_PYTHON
from vizdash.transport.base import Command, CommandRunner, Forward, Reader, Writer
from vizdash.transport.forwarders import SSH_OPTIONS
from vizdash.util import checked_json
from vizdash.util.assets import node_script

#: Seconds in which a login host has to list the shares there.
_LIST_S = 60.0
#: Owners whose jobs are looked up, and bytes of the answer.
_OWNERS, _LIMIT = 64, 1 << 20
_FOLDER = re.compile(r"/(?:tmp|dev/shm)/vizdash-share-\w{1,40}", re.ASCII)
_HOST = re.compile(r"[\w][\w.@:-]*", re.ASCII)
_APP_LIMIT = 80


@dataclass(frozen=True, slots=True)
class Offer:
    """A desktop that ``owner`` shares with this user. ``password`` is that of the share, known only
    for the one that is joined.
    """

    session: str
    job_id: str
    app: str
    owner: str
    control: bool
    expires_at: int | None
    folder: str
    password: str = field(default="", repr=False)

    def is_called(self, word: str) -> bool:
        """Whether ``word`` is its session's id, the beginning of that, or its job's id."""
        return word == self.job_id or (bool(word) and self.session.startswith(word))


def parse_offers(text: str) -> tuple[Offer, ...]:
    """The offers in lines of JSON; lines with other values are left out."""
    return tuple(offer for line in text.splitlines() if (offer := _parse(line)) is not None)


def _parse(line: str) -> Offer | None:
    offer = checked_json.parse(line, Offer, extra_keys=True)
    if offer is None or len(offer.password) > 8:
        return None
    if offer.expires_at is not None and not 0 < offer.expires_at < 1 << 40:
        return None
    if not is_id(offer.session) or not _FOLDER.fullmatch(offer.folder):
        return None
    if not re.fullmatch(r"[0-9_]{1,20}|[0-9a-f]{8}", offer.job_id):
        return None
    return replace(offer, app=offer.app[:_APP_LIMIT])


class SharesOfOthers:
    """Finds what others share with this user. Methods raise VizdashError.

    ``runner`` runs commands on a login host; ``jobs_of`` are the jobs of a user, and ``trusted`` is
    whether there are none to compare with, because sessions are processes of that very host.
    """

    def __init__(
        self,
        runner: CommandRunner,
        jobs_of: Callable[[str], Awaitable[Collection[Job]]],
        *,
        trusted: bool,
    ) -> None:
        self._runner = runner
        self._jobs_of = jobs_of
        self._trusted = trusted

    async def query(self, via: str = "") -> tuple[tuple[Offer, ...], str]:
        """The offers on this login host, or on ``via``, and a note on those that do not count.

        Raises Refused where that host has no Python.
        """
        offers = await self._ask(("list",), via)
        if self._trusted:
            return offers, ""
        owners = sorted({offer.owner for offer in offers})[:_OWNERS]
        known = await asyncio.gather(*(self._live_jobs(owner) for owner in owners))
        jobs = dict(zip(owners, known, strict=True))
        found = tuple(o for o in offers if o.job_id in jobs.get(o.owner, ()))
        others = sorted({o.owner for o in offers} - {o.owner for o in found})
        why = "which Slurm does not show as theirs"
        note = f"{', '.join(others)} offer a job {why}" if others else ""
        return found, note

    async def _live_jobs(self, owner: str) -> frozenset[str]:
        jobs = await self._jobs_of(owner)
        return frozenset(job.id for job in jobs if job.user == owner)

    async def find(self, word: str, via: str = "") -> Offer:
        """The offer that ``word`` names (empty: the only one), with its password. Raises NotFound,
        UsageError where there are several.
        """
        offers, note = await self.query(via)
        hits = [offer for offer in offers if not word or offer.is_called(word)]
        if not hits:
            where = f" on {via}" if via else ""
            what = f"session {word}" if word else "a session"
            why = f"nobody shares it with you{where}" if word else f"nobody shares one{where}"
            fix = note or "on another login host? name it: --via HOST"
            raise NotFound(what, why, fix)
        if len({(hit.owner, hit.session) for hit in hits}) > 1:
            words = ", ".join(f"{hit.session} of {hit.owner}" for hit in hits)
            raise UsageError("session", "several are shared with you", f"name one: {words}")
        # With several shares of one session, that with control.
        best = max(hits, key=lambda hit: hit.control)
        for offer in await self._ask(("ask", best.folder), via):
            if offer.owner == best.owner and offer.job_id == best.job_id and offer.password:
                return offer
        raise NotFound(f"session {best.session}", f"{best.owner} no longer shares it")

    async def _ask(self, words: tuple[str, ...], via: str) -> tuple[Offer, ...]:
        text = node_script("share.py").read_text(encoding="utf-8")
        argv = ("sh", "-c", RUN_PYTHON, "sh", text, *words)
        command = Command(argv, timeout_s=_LIST_S, limit_bytes=_LIMIT)
        if via:
            options = [word for option in SSH_OPTIONS for word in ("-o", option)]
            # By sh's stdin: other login shells read lines of a quoted text otherwise.
            command = Command(
                ("ssh", "-T", *options, checked_host(via), "exec sh"),
                input=f"exec {shlex.join(argv)}\n",
                timeout_s=_LIST_S,
                limit_bytes=_LIMIT,
            )
        result = await self._runner.run(command)
        if result.code != 0:
            why = last_line(result.stderr) or f"exit code {result.code}"
            where = via or "the login host"
            if result.code == 255:
                raise Unreachable(where, why)
            raise Refused(f"shares on {where}", why)
        return parse_offers(result.stdout)


def checked_host(name: str) -> str:
    """``name`` if it can be that of a host. Raises UsageError."""
    if not _HOST.fullmatch(name):
        raise UsageError(f"--via {name}", "that is no host's name")
    return name


class SharedForward(Forward):
    """A route to a share. It is lost when the share ends, which a stream that stays open tells."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward

    @override
    async def dial(self) -> tuple[Reader, Writer]:
        return await self._forward.dial()

    @override
    async def wait_lost(self) -> str:
        """Wait until the share has ended, and return that, or why it can't be reached."""
        lost = asyncio.create_task(self._forward.wait_lost())
        ended = asyncio.create_task(self._wait_ended())
        try:
            done, _ = await asyncio.wait((lost, ended), return_when=asyncio.FIRST_COMPLETED)
            return ended.result() if ended in done else lost.result()
        finally:
            for task in (lost, ended):
                task.cancel()
            await asyncio.gather(lost, ended, return_exceptions=True)

    async def _wait_ended(self) -> str:
        # A connection that was lost and came back leads to the share again.
        while await self._stay():
            pass
        return "it is no longer shared"

    async def _stay(self) -> bool:
        """Stay as long as a stream lasts; whether there was one."""
        try:
            reader, writer = await self._forward.dial()
        except (OSError, VizdashError):
            return False
        try:
            writer.write(f"GET {PRESENT} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            answered = False
            while await reader.read(4096):
                answered = True
            return answered
        except OSError:
            return answered
        finally:
            writer.close()

    @override
    async def close(self) -> None:
        await self._forward.close()
