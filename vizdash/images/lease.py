"""One change to an app's images at a time, for the whole image host, and who is at it.

A lease is a lock on a file beside the inventory, held by a process of the image host whose standard
input we keep open: when vizdash is killed, however that happens, that input ends and with it the
lock. What stands in the file then is what was cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

import platformdirs

from vizdash.errors import Refused, Unreachable, VizdashError
from vizdash.images.audit import person
from vizdash.images.shell import BASH, NodeShell, fields, new_mark, script_text
from vizdash.transport.base import Pipe, PipeRunner

#: Seconds that the image host has to answer, beside those that one waits for the lock.
_ANSWER_S = 30.0
_VERBS = {"deploy": "deploys", "rollback": "rolls back", "prune": "prunes"}


@dataclass(frozen=True, slots=True)
class Holder:
    """A change, and who makes it: ``nodes`` as a folded node set (empty: a shared image root),
    ``since`` in epoch seconds.
    """

    verb: str
    app: str
    version: str = ""
    run: str = ""
    nodes: str = ""
    user: str = ""
    host: str = ""
    since: int = 0

    @property
    def words(self) -> str:
        """Who does what, where, since when."""
        verb = _VERBS.get(self.verb, self.verb)
        since = time.strftime("%H:%M", time.localtime(self.since))
        if time.time() - self.since > 12 * 3600:
            since = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.since))
        what = " ".join(word for word in (self.user, verb, self.app, self.version) if word)
        return f"{what} from {self.host} since {since}"

    @classmethod
    def parse(cls, text: str) -> Holder | None:
        """From the file's text; None for any other text."""
        try:
            values = json.loads(text)
            since = values.pop("since")
            if type(since) is not int or not all(type(v) is str for v in values.values()):
                return None
            return cls(**values, since=since)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None


def holder(verb: str, app: str, *, version: str = "", run: str = "", nodes: str = "") -> Holder:
    """One's own."""
    host, now = socket.gethostname(), int(time.time())
    return Holder(verb, app, version, run, nodes, person(), host, now)


@asynccontextmanager
async def lease(
    shell: NodeShell,
    folder: str,
    name: str,
    mine: Holder,
    *,
    wait_s: int = 0,
    talk: Callable[[str], None] = lambda text: None,
) -> AsyncIterator[Holder | None]:
    """Hold the lease ``name``; gives what a killed holder was at, if it was killed.

    Where the caller can't write in ``folder``, by sudo(8); where that is not to be had, in a folder
    of the caller's own, which only keeps them from themselves: ``talk`` is told so. Raises Refused,
    naming the holder.
    """
    pipe, left, shared = await _held(shell, folder, name, mine, wait_s)
    if not shared:
        talk(
            f"{folder} can't be written by {mine.user}, so nothing keeps other accounts from "
            f"changing {name} at the same time (deploy.inventory: a file in a folder that all who "
            "deploy can write)"
        )
    try:
        yield left
    finally:
        await asyncio.shield(_release(pipe))


async def _held(
    shell: NodeShell, folder: str, name: str, mine: Holder, wait_s: int
) -> tuple[Pipe, Holder | None, bool]:
    """Also says whether it is where others see it."""
    own = Path(platformdirs.user_state_dir("vizdash")) / "leases"
    places = [(PurePosixPath(folder) / f".lease-{name}", False)]
    if shell.deploy.sudo != "never" and os.geteuid() != 0:
        places.append((places[0][0], True))
    places.append((PurePosixPath(own) / name, False))
    for place, sudo in places:
        try:
            pipe, left = await _open(shell, str(place), mine, wait_s, sudo=sudo)
        except Refused:
            raise
        except VizdashError as e:
            failure = e
        else:
            return pipe, left, place != places[-1][0]
    raise failure


async def _open(
    shell: NodeShell, place: str, mine: Holder, wait_s: int, *, sudo: bool
) -> tuple[Pipe, Holder | None]:
    if not isinstance(shell.runner, PipeRunner):
        raise Unreachable("lease", "commands can't be left running there")
    mark, text = new_mark(), json.dumps(asdict(mine), separators=(",", ":"))
    words = (*BASH, mark, "lease", place, str(wait_s), text)
    pipe = await shell.runner.pipe(shell.argv("", words, sudo=sudo))
    try:
        pipe.writer.write(script_text().encode())
        await pipe.writer.drain()
        told = await asyncio.wait_for(_answer(pipe, mark), wait_s + _ANSWER_S)
    except (OSError, TimeoutError, VizdashError) as e:
        await pipe.close()
        why = await pipe.wait() if isinstance(e, VizdashError | OSError) else "no answer"
        raise VizdashError(f"lease {place}", why) from e
    except BaseException:
        await pipe.close()
        raise
    state, found = told
    if state == "held":
        return pipe, Holder.parse(found)
    await pipe.close()
    there = Holder.parse(found)
    raise Refused(mine.app or place, there.words if there else "another change is at it", "wait")


async def _answer(pipe: Pipe, mark: str) -> tuple[str, str]:
    """Its two fields; the mark that closes an answer comes only when the lease is over."""
    data = b""
    while b"\0end\0" not in data:
        more = await pipe.reader.read(65536)
        if not more:
            raise VizdashError("lease", "it broke off")
        data += more
    state, text, *_ = fields(f"{data.decode(errors='replace')}{mark}\0", mark, "lease")
    return state, text


async def _release(pipe: Pipe) -> None:
    with contextlib.suppress(OSError):
        pipe.writer.write(b"done\n")
        await pipe.writer.drain()
        pipe.writer.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(pipe.wait(), 5)
    await pipe.close()
