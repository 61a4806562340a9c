"""A chain whose nodes are made up, with connections that break."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from vizdash.config import Deploy
from vizdash.images.chain import Chain, File
from vizdash.images.shell import BASH, NodeShell
from vizdash.images.travel import Stop
from vizdash.transport.base import Command, Result

SIZE = 1000


class Line:
    """A connection to a node that is ready at once, and has all of the file as soon as another was
    told to feed it. A ``dead`` one takes no command, although nothing says yet that it has ended.
    """

    def __init__(self, node: str, mark: str, nodes: Nodes, *, dead: bool) -> None:
        self.node, self.mark, self.nodes, self.dead = node, mark, nodes, dead
        self.reader = asyncio.StreamReader()
        self.writer = self
        self.say("ready")

    def say(self, words: str) -> None:
        self.reader.feed_data(f"{self.mark} {words}\n".encode())

    def write(self, data: bytes, /) -> None:
        if data.startswith(b"feed ") and not self.dead:
            self.nodes.lines[data.split()[1].decode()].say(f"size {SIZE}")
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


class Pipe:
    """See the protocol."""

    def __init__(self, line: Line) -> None:
        self.reader, self.writer, self.wait = line.reader, line, line.wait

    async def close(self) -> None:
        self.writer.close()


class Nodes:
    """Runs chain.sh, as it were."""

    def __init__(self, dead: Sequence[str]) -> None:
        self.dead = dead
        self.lines: dict[str, Line] = {}

    async def run(self, command: Command) -> Result:
        raise AssertionError(command)

    def has(self, program: str) -> bool:
        return True

    async def pipe(self, argv: Sequence[str]) -> Pipe:
        remote = argv[0] == "ssh"
        node = argv[-2] if remote else ""
        words = argv[-1].split() if remote else argv
        mark = words[len(BASH)]
        self.lines[node] = Line(node, mark, self, dead=node in self.dead)
        return Pipe(self.lines[node])


async def test_a_node_whose_connection_breaks_while_it_is_told_is_left_out(tmp_path: Path) -> None:
    runner = Nodes(dead=("n1",))
    ended: dict[str, str] = {}
    chain = Chain(
        NodeShell(runner, Deploy()),
        File("/apps/gedit", str(tmp_path / "image"), SIZE, ".gedit-1.0.sif.part"),
        [Stop(f"n{at}") for at in range(1, 5)],
        lambda node, size: None,
        ended.__setitem__,
    )
    # The first feeds the second from the beginning on: it is told to before it has anything.
    await asyncio.wait_for(chain.run(), 60)
    assert ended.pop("n1") in {"", "Connection to it timed out."}
    assert ended == dict.fromkeys(("n2", "n3", "n4"), "")
