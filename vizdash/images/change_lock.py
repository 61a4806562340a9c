"""Locks: one change to an app's images at a time on the whole image host, and who makes it.

The lock is on a file beside the inventory, held by a process on the image host whose standard
input we keep open. However vizdash is killed, that input ends and the lock is released. The file's
text then describes the interrupted change.
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
from vizdash.images.audit_log import real_user
from vizdash.images.node_script import BASH_STDIN, NodeShell, new_mark, script_text, split_answer
from vizdash.transport.base import Pipe, PipeRunner
from vizdash.util import checked_json

#: Seconds that the image host has to answer, in addition to the time to wait for the lock.
_ANSWER_S = 30.0
#: The first second after the times that can be shown.
_YEAR_10000 = 253402300800
_VERBS = {"deploy": "deploys", "rollback": "rolls back", "prune": "prunes"}


@dataclass(frozen=True, slots=True)
class LockHolder:
    """A change, and who makes it.

    ``nodes`` is a folded node set (empty: a shared image root), ``since`` epoch seconds.
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
    def description(self) -> str:
        """Who does what, from which host, since when."""
        verb = _VERBS.get(self.verb, self.verb)
        since = time.strftime("%H:%M", time.localtime(self.since))
        if time.time() - self.since > 12 * 3600:
            since = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.since))
        what = " ".join(word for word in (self.user, verb, self.app, self.version) if word)
        return f"{what} from {self.host} since {since}"

    @classmethod
    def parse(cls, text: str) -> LockHolder | None:
        """Parse the text of the lock's file; None for any other text."""
        holder = checked_json.parse(text, cls)
        return holder if holder and 0 < holder.since < _YEAR_10000 else None


def new_holder(
    verb: str, app: str, *, version: str = "", run: str = "", nodes: str = ""
) -> LockHolder:
    """Return a holder for a change that this process makes."""
    host, now = socket.gethostname(), int(time.time())
    return LockHolder(verb, app, version, run, nodes, real_user(), host, now)


@asynccontextmanager
async def hold_lock(
    shell: NodeShell,
    folder: str,
    name: str,
    holder: LockHolder,
    *,
    wait_s: int = 0,
    notify: Callable[[str], None] = lambda text: None,
) -> AsyncIterator[LockHolder | None]:
    """Hold the lock ``name``; yields the change of a killed holder, or None.

    Where the caller cannot write in ``folder``, sudo(8) is used, or else a folder of the caller's
    own. The latter only protects them from themselves, which is reported with ``notify``. Raises
    Refused, naming the holder.
    """
    pipe, interrupted, shared = await _take(shell, folder, name, holder, wait_s)
    if not shared:
        notify(
            f"{holder.user} can't write in {folder}, so other accounts may change {name} at the "
            "same time (set deploy.inventory to a file in a folder that all who deploy can write)"
        )
    try:
        yield interrupted
    finally:
        await asyncio.shield(_release(pipe))


async def _take(
    shell: NodeShell, folder: str, name: str, holder: LockHolder, wait_s: int
) -> tuple[Pipe, LockHolder | None, bool]:
    """Take the lock; the last value says whether other users see it."""
    own = Path(platformdirs.user_state_dir("vizdash")) / "leases"
    paths = [(PurePosixPath(folder) / f".lease-{name}", False)]
    if shell.deploy.sudo != "never" and os.geteuid() != 0:
        paths.append((paths[0][0], True))
    paths.append((PurePosixPath(own) / name, False))
    for path, sudo in paths:
        try:
            pipe, interrupted = await _open(shell, str(path), holder, wait_s, sudo=sudo)
        except Refused:
            raise
        except VizdashError as e:
            failure = e
        else:
            return pipe, interrupted, path != paths[-1][0]
    raise failure


async def _open(
    shell: NodeShell, path: str, holder: LockHolder, wait_s: int, *, sudo: bool
) -> tuple[Pipe, LockHolder | None]:
    if not isinstance(shell.runner, PipeRunner):
        raise Unreachable("lock", "no commands can be kept running there")
    mark, claim = new_mark(), json.dumps(asdict(holder), separators=(",", ":"))
    words = (*BASH_STDIN, mark, "hold_lock", path, str(wait_s), claim)
    pipe = await shell.runner.pipe(shell.argv("", words, sudo=sudo))
    try:
        pipe.writer.write(script_text().encode())
        await pipe.writer.drain()
        answer = await asyncio.wait_for(_read_answer(pipe, mark), wait_s + _ANSWER_S)
    except (OSError, TimeoutError, VizdashError) as e:
        await pipe.close()
        # A TimeoutError is an OSError, too.
        why = "no answer" if isinstance(e, TimeoutError) else await pipe.wait()
        raise VizdashError(f"lock {path}", why) from e
    except BaseException:
        await pipe.close()
        raise
    state, text = answer
    if state == "held":
        return pipe, LockHolder.parse(text)
    await pipe.close()
    other = LockHolder.parse(text)
    raise Refused(
        holder.app or path, other.description if other else "another change is running", "wait"
    )


async def _read_answer(pipe: Pipe, mark: str) -> tuple[str, str]:
    """Return the two fields of the answer; its closing mark comes only when the lock is
    released.
    """
    data = b""
    while b"\0end\0" not in data:
        more = await pipe.reader.read(65536)
        if not more:
            raise VizdashError("lock", "the answer is incomplete")
        data += more
    state, text, *_ = split_answer(f"{data.decode(errors='replace')}{mark}\0", mark, "lock")
    return state, text


async def _release(pipe: Pipe) -> None:
    with contextlib.suppress(OSError):
        pipe.writer.write(b"done\n")
        await pipe.writer.drain()
        pipe.writer.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(pipe.wait(), 5)
    await pipe.close()
