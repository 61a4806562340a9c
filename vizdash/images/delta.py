"""Updates many nodes with one delta, which turns their old image into the new one.

The image host compares the new image with the block checksums of one node's old image, and keeps
the difference as a batch of rsync(1) (``--only-write-batch``) while it is sent. Each node verifies
the digest of its old image before it applies the delta, and the digest of the result after.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from vizdash.errors import Unreachable, VizdashError
from vizdash.images.copy import CopyTarget, SourceImage, rsync_options
from vizdash.images.node_script import BASH_STDIN, NodeShell, new_mark
from vizdash.transport.base import Pipe, PipeRunner
from vizdash.util.assets import node_script

#: Nodes whose old image is tried; seconds that making a delta may take, plus one for so many bytes
#: of the image.
_SOURCES = 2
_MAKING_S = 60.0
_BYTES_PER_S = 4e6
#: Seconds that a node has to read its old image or to write the new one.
_READ_S = 3600.0


@dataclass(frozen=True, slots=True)
class Delta:
    """A file on the image host that makes an image from one with the digest ``basis``."""

    path: str
    size_bytes: int
    digest: str
    basis: str


@asynccontextmanager
async def make_delta(
    shell: NodeShell, root: str, source: SourceImage, targets: Sequence[CopyTarget]
) -> AsyncIterator[Delta]:
    """Make the delta for targets with one basis; it is removed at the end, even if vizdash is
    killed.

    Raises VizdashError when it cannot be made.
    """
    pipe, delta = await _make_from_any(shell, root, source, targets)
    try:
        yield delta
    finally:
        await asyncio.shield(_release(pipe))


async def _make_from_any(
    shell: NodeShell, root: str, source: SourceImage, targets: Sequence[CopyTarget]
) -> tuple[Pipe, Delta]:
    failure = VizdashError("delta", "no node has an older image")
    for target in targets[:_SOURCES]:
        try:
            return await _make_from(shell, root, source, target)
        except VizdashError as e:
            failure = VizdashError("delta", f"{target.node}: {e.why or e.line}")
    raise failure


async def _make_from(
    shell: NodeShell, root: str, source: SourceImage, target: CopyTarget
) -> tuple[Pipe, Delta]:
    """Make the delta from one node's old image while verifying that image's digest.

    Only the digest proves that it is the image that the other nodes have.
    """
    checking = asyncio.create_task(_verify_basis(shell, root, source, target))
    pipe: Pipe | None = None
    try:
        pipe, delta = await _start(shell, root, source, target)
        await checking
    except BaseException:
        checking.cancel()
        await asyncio.gather(checking, return_exceptions=True)
        if pipe is not None:
            await asyncio.shield(_release(pipe))
        raise
    return pipe, delta


async def _verify_basis(
    shell: NodeShell, root: str, source: SourceImage, target: CopyTarget
) -> None:
    path = f"{source.app}/{target.like}"
    answer = await shell.ask(
        target.node, "verify", root, "1", path, sudo=target.sudo, timeout_s=_READ_S
    )
    if answer[:3] != ["read", path, target.basis]:
        raise VizdashError(target.node, f"its {target.like} is damaged")


async def _start(
    shell: NodeShell, root: str, source: SourceImage, target: CopyTarget
) -> tuple[Pipe, Delta]:
    if not isinstance(shell.runner, PipeRunner):
        raise Unreachable("delta", "no commands can be kept running there")
    mark = new_mark()
    options, host = rsync_options(shell, target, ("rsync",))
    model = f"{host}:{root.rstrip('/')}/{source.app}/{target.like}"
    words = (*BASH_STDIN, mark, source.path, *options, model)
    pipe = await shell.runner.pipe(shell.argv("", words))
    try:
        pipe.writer.write(node_script("delta.sh").read_text(encoding="utf-8").encode())
        await pipe.writer.drain()
        longest_s = _MAKING_S + source.size_bytes / _BYTES_PER_S
        size, digest, path = await asyncio.wait_for(_answer(pipe, mark), longest_s)
    except TimeoutError:
        await _release(pipe)
        raise VizdashError("rsync", "comparing the images took too long") from None
    except OSError as e:
        await pipe.close()
        raise VizdashError("rsync", await pipe.wait()) from e
    except BaseException:
        await asyncio.shield(_release(pipe))
        raise
    return pipe, Delta(path, int(size), digest, target.basis)


async def _answer(pipe: Pipe, mark: str) -> tuple[str, str, str]:
    data = b""
    while more := await pipe.reader.read(65536):
        data += more
        _, made_, line = data.decode(errors="surrogateescape").partition(f"{mark} made ")
        if made_ and line.endswith("\n"):
            size, digest, path = line[:-1].split(" ", 2)
            return size, digest, path
    raise VizdashError("rsync", await pipe.wait() or "it ended without an answer")


async def _release(pipe: Pipe) -> None:
    """Stop the script, which removes the delta when its input ends."""
    with contextlib.suppress(OSError):
        pipe.writer.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(pipe.wait(), 5)
    await pipe.close()


async def apply_delta(
    shell: NodeShell,
    root: str,
    source: SourceImage,
    target: CopyTarget,
    delta: Delta,
    *,
    send: bool,
) -> str:
    """Make the new image on a node from its old one, and give it its final name. Returns the node's
    answer.

    With ``send``, the delta is sent first; otherwise it is already there. Raises VizdashError
    naming the cause; unless it could only not be made current, the node is then unchanged.
    """
    deploy = shell.deploy
    placed, *_ = await shell.ask(
        target.node,
        "apply",
        *(root, source.app, source.version, source.digest, str(source.size_bytes)),
        *(
            deploy.owner,
            deploy.mode,
            *target.switch_words(),
            target.like,
            target.basis,
            delta.digest,
            str(delta.size_bytes),
        ),
        sudo=target.sudo,
        timeout_s=_READ_S,
        data=delta.path if send else "",
    )
    return placed
