"""A chain of simulated nodes with connections that break."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from vizdash.config import Deploy
from vizdash.images.chain import Chain, ChainFile, FileEnd
from vizdash.images.copy import CopyTarget
from vizdash.images.node_script import BASH_STDIN, NodeShell
from vizdash.transport.base import Command, Result

SIZE = 1000


class Line:
    """A connection to a node that is ready at once, and has all of the file as soon as another was
    told to feed it. A ``dead`` one takes no command, although nothing says yet that it has ended.
    """

    def __init__(self, node: str, mark: str, nodes: ChainNodes, *, dead: bool) -> None:
        self.node, self.mark, self.nodes, self.dead = node, mark, nodes, dead
        self.reader = asyncio.StreamReader()
        self.writer = self
        self.say("ready")

    def say(self, words: str) -> None:
        self.reader.feed_data(f"{self.mark} {words}\n".encode())

    def write(self, data: bytes, /) -> None:
        if data.startswith(b"feed ") and not self.dead:
            fed = self.nodes.lines[data.split()[1].decode()]
            fed.say(f"size {SIZE}")
            if self.nodes.hashes:
                fed.say("digest abc size=1000 inode=1")
        self.refuses = self.dead and data.startswith((b"feed ", b"stop"))

    async def drain(self) -> None:
        if self.refuses:
            raise ConnectionResetError("Connection lost")

    def can_write_eof(self) -> bool:
        return False

    def write_eof(self) -> None:
        raise AssertionError

    def close(self) -> None:
        if not self.reader.at_eof():
            self.reader.feed_eof()

    async def wait(self) -> str:
        return "Connection to it timed out."


class ChainPipe:
    """See the protocol."""

    def __init__(self, line: Line) -> None:
        self.reader, self.writer, self.wait = line.reader, line, line.wait

    async def close(self) -> None:
        self.writer.close()


class ChainNodes:
    """Runs chain.sh, as it were."""

    def __init__(self, dead: Sequence[str] = (), *, hashes: bool = True) -> None:
        self.dead, self.hashes = dead, hashes
        self.lines: dict[str, Line] = {}

    async def run(self, command: Command) -> Result:
        raise AssertionError(command)

    def has(self, program: str) -> bool:
        return True

    async def pipe(self, argv: Sequence[str]) -> ChainPipe:
        remote = argv[0] == "ssh"
        node = argv[-2] if remote else ""
        words = argv[-1].split() if remote else argv
        mark = words[len(BASH_STDIN)]
        self.lines[node] = Line(node, mark, self, dead=node in self.dead)
        return ChainPipe(self.lines[node])


async def test_a_node_whose_connection_breaks_while_it_gets_orders_is_left_out(
    tmp_path: Path,
) -> None:
    runner = ChainNodes(dead=("n1",))
    ended: dict[str, FileEnd] = {}
    chain = Chain(
        NodeShell(runner, Deploy()),
        ChainFile("/apps/gedit", str(tmp_path / "image"), SIZE, ".gedit-1.0.sif.part"),
        [CopyTarget(f"n{at}") for at in range(1, 5)],
        lambda node, size: None,
        ended.__setitem__,
    )
    # The first feeds the second from the beginning: it gets that order before it has data.
    await asyncio.wait_for(chain.run(), 60)
    assert ended.pop("n1").why in {"", "Connection to it timed out."}
    assert ended == dict.fromkeys(("n2", "n3", "n4"), FileEnd("", "abc", "size=1000 inode=1"))


async def test_a_node_that_reports_no_digest_has_its_copy_read_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vizdash.images.chain._HASH_S", 0.01)
    ended: dict[str, FileEnd] = {}
    chain = Chain(
        NodeShell(ChainNodes(hashes=False), Deploy()),
        ChainFile("/apps/gedit", str(tmp_path / "image"), SIZE, ".gedit-1.0.sif.part"),
        [CopyTarget(f"n{at}") for at in range(1, 5)],
        lambda node, size: None,
        ended.__setitem__,
    )
    await asyncio.wait_for(chain.run(), 60)
    assert ended == dict.fromkeys(("n1", "n2", "n3", "n4"), FileEnd())
