"""An update made once for many nodes: what turns the image that they have into the new one.

The image host compares the new image with the block checksums of one node's old image, and keeps
the difference as a batch of rsync(1) (``--only-write-batch``) for as long as it is sent. Each node
checks its old image's digest before it applies that, and the result's after.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from vizdash.errors import Unreachable, VizdashError
from vizdash.images.shell import BASH, NodeShell, new_mark
from vizdash.images.travel import Cargo, Stop, remote
from vizdash.resources import node_script
from vizdash.transport.base import Pipe, PipeRunner

#: Nodes whose old image is tried; seconds that making a delta may take, and bytes of the image that
#: are compared in each second more.
_SOURCES = 2
_MAKING_S = 60.0
_BYTES_PER_S = 4e6
#: Seconds that a node has to read its old image or to make the new one, beside those by size.
_READ_S = 3600.0


@dataclass(frozen=True, slots=True)
class Delta:
    """A file on the image host that makes an image from one with the digest ``basis``."""

    path: str
    size_bytes: int
    digest: str
    basis: str


@asynccontextmanager
async def made(
    shell: NodeShell, root: str, cargo: Cargo, stops: Sequence[Stop]
) -> AsyncIterator[Delta]:
    """The delta for nodes with one basis. It is removed at the end, also when we are killed.

    Raises VizdashError when it can't be made.
    """
    pipe, delta = await _from_any(shell, root, cargo, stops)
    try:
        yield delta
    finally:
        await asyncio.shield(_release(pipe))


async def _from_any(
    shell: NodeShell, root: str, cargo: Cargo, stops: Sequence[Stop]
) -> tuple[Pipe, Delta]:
    failure = VizdashError("delta", "no node has an older image")
    for stop in stops[:_SOURCES]:
        try:
            return await _from(shell, root, cargo, stop)
        except VizdashError as e:
            failure = VizdashError("delta", f"{stop.node}: {e.why or e.line}")
    raise failure


async def _from(shell: NodeShell, root: str, cargo: Cargo, stop: Stop) -> tuple[Pipe, Delta]:
    """Make it from one node's old image, which is read whole meanwhile: only its digest says that
    it is the one that the other nodes have.
    """
    checking = asyncio.create_task(_check(shell, root, cargo, stop))
    pipe: Pipe | None = None
    try:
        pipe, delta = await _start(shell, root, cargo, stop)
        await checking
    except BaseException:
        checking.cancel()
        await asyncio.gather(checking, return_exceptions=True)
        if pipe is not None:
            await asyncio.shield(_release(pipe))
        raise
    return pipe, delta


async def _check(shell: NodeShell, root: str, cargo: Cargo, stop: Stop) -> None:
    path = f"{cargo.app}/{stop.like}"
    answer = await shell.ask(stop.node, "verify", root, path, sudo=stop.sudo, timeout_s=_READ_S)
    if answer[:3] != ["read", path, stop.basis]:
        raise VizdashError(stop.node, f"its {stop.like} is damaged")


async def _start(shell: NodeShell, root: str, cargo: Cargo, stop: Stop) -> tuple[Pipe, Delta]:
    if not isinstance(shell.runner, PipeRunner):
        raise Unreachable("delta", "commands can't be left running there")
    mark = new_mark()
    options, host = remote(shell, stop, ("rsync",))
    model = f"{host}:{root.rstrip('/')}/{cargo.app}/{stop.like}"
    words = (*BASH, mark, cargo.path, *options, model)
    pipe = await shell.runner.pipe(shell.argv("", words))
    try:
        pipe.writer.write(node_script("delta.sh").read_text(encoding="utf-8").encode())
        await pipe.writer.drain()
        longest_s = _MAKING_S + cargo.size_bytes / _BYTES_PER_S
        size, digest, path = await asyncio.wait_for(_answer(pipe, mark), longest_s)
    except TimeoutError:
        await _release(pipe)
        raise VizdashError("rsync", "it took too long to compare the images") from None
    except OSError as e:
        await pipe.close()
        raise VizdashError("rsync", await pipe.wait()) from e
    except BaseException:
        await asyncio.shield(_release(pipe))
        raise
    return pipe, Delta(path, int(size), digest, stop.basis)


async def _answer(pipe: Pipe, mark: str) -> tuple[str, str, str]:
    data = b""
    while more := await pipe.reader.read(65536):
        data += more
        _, made_, line = data.decode(errors="surrogateescape").partition(f"{mark} made ")
        if made_ and line.endswith("\n"):
            size, digest, path = line[:-1].split(" ", 2)
            return size, digest, path
    raise VizdashError("rsync", await pipe.wait() or "it ended without a word")


async def _release(pipe: Pipe) -> None:
    """End the script, which removes the delta when its input ends."""
    with contextlib.suppress(OSError):
        pipe.writer.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(pipe.wait(), 5)
    await pipe.close()


async def apply(
    shell: NodeShell, root: str, cargo: Cargo, stop: Stop, delta: Delta, *, send: bool
) -> None:
    """Make the new image on a node from its old one, and give it its name. With ``send`` the delta
    goes there first, else it is there.

    Raises VizdashError naming the cause; then the node is as it was.
    """
    deploy = shell.deploy
    await shell.ask(
        stop.node,
        "apply",
        *(root, cargo.app, cargo.version, cargo.digest, str(cargo.size_bytes)),
        *(deploy.owner, deploy.mode, stop.like, stop.basis, delta.digest, str(delta.size_bytes)),
        sudo=stop.sudo,
        timeout_s=_READ_S,
        data=delta.path if send else "",
    )
