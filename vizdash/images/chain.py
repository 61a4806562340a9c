"""One file from node to node: chain.sh on each of them, and what its scheduler wants done.

The image host and every node run ``chain.sh`` over one ssh(1) each; ``schedule.py`` says who feeds
whom. Nodes reach each other by ssh(1) as the account that deploys, with the keys that it has there;
no agent is forwarded.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vizdash.errors import Unreachable, VizdashError
from vizdash.images.peer import HEAD, REPORT_S, Attach, Move
from vizdash.images.schedule import Schedule
from vizdash.images.shell import BASH, NodeShell, new_mark
from vizdash.images.travel import Stop
from vizdash.resources import node_script
from vizdash.transport.base import Pipe, PipeRunner
from vizdash.transport.ssh_words import node_failure

#: Nodes that are connected to at once: each handshake costs the image host's CPU time.
_CONNECTS = 8
#: Seconds that a node has to run its part, and after which the first ones are not kept waiting
#: for the others.
_READY_S = 60.0
_GATHER_S = 5.0
#: Seconds without a new byte anywhere until the chain is given up.
_STALL_S = 120.0
#: Bytes that each connection carries first, to be timed; and open files for each node.
_PROBE_BYTES = 1 << 18
_FILES = 6


@dataclass(slots=True)
class _Agent:
    """chain.sh on one node, and the last line that it printed beside its reports."""

    pipe: Pipe
    reading: asyncio.Task[None] | None = None


@dataclass(frozen=True, slots=True)
class File:
    """What a chain brings: ``path`` of the image host, to be ``part`` in ``folder`` of a node."""

    folder: str
    path: str
    size_bytes: int
    part: str


class Chain:
    """One chain. Everything that is started is ended with it, however that happens."""

    def __init__(
        self,
        shell: NodeShell,
        file: File,
        stops: Sequence[Stop],
        tell: Callable[[str, int], None],
        over: Callable[[str, str], None],
    ) -> None:
        self._shell = shell
        self._file = file
        self._stops = {stop.node: stop for stop in stops}
        self._tell = tell
        self._over = over
        self._mark = new_mark()
        self._schedule = Schedule(file.size_bytes)
        self._agents: dict[str, _Agent] = {}
        self._told: set[str] = set()
        self._news = asyncio.Event()
        self._progress_at = time.monotonic()
        self._lock, self._part = f"{file.folder}/.lock", f"{file.folder}/{file.part}"

    async def run(self) -> None:
        """Until every node has it all, or is left to rsync."""
        _raise_limit(_FILES * (len(self._stops) + 32))
        try:
            await self._start(HEAD, self._file.path)
            async with asyncio.TaskGroup() as group:
                joining = group.create_task(self._join())
                await self._chain(joining)
                joining.cancel()
        finally:
            await asyncio.shield(self._close())

    # ------------------------------------------------------------------ the nodes

    async def _join(self) -> None:
        gate = asyncio.Semaphore(_CONNECTS)

        async def one(node: str) -> None:
            async with gate:
                try:
                    await asyncio.wait_for(self._start(node, self._part), _READY_S)
                except TimeoutError:
                    self._schedule.lost(node, "it does not answer")
                except VizdashError as e:
                    self._schedule.lost(node, e.why or e.line)
                self._news.set()

        await asyncio.gather(*(one(node) for node in self._stops))

    async def _start(self, node: str, part: str) -> None:
        """Run the script there, and wait for its first word. Raises VizdashError."""
        runner = self._shell.runner
        if not isinstance(runner, PipeRunner):
            raise Unreachable(node or "chain", "commands can't be left running there")
        words = (*BASH, self._mark, part, str(self._file.size_bytes), str(_PROBE_BYTES))
        pipe = await runner.pipe(self._shell.argv(node, words))
        agent = self._agents[node] = _Agent(pipe)
        await _send(pipe, node_script("chain.sh").read_text(encoding="utf-8"))
        ready = asyncio.Event()
        agent.reading = asyncio.create_task(self._read(node, pipe, ready))
        await ready.wait()
        if node in self._schedule.peers and self._schedule.peers[node].gone:
            raise VizdashError(node, self._schedule.peers[node].gone)

    async def _read(self, node: str, pipe: Pipe, ready: asyncio.Event) -> None:
        """Take what a node reports until it ends."""
        rest = b""
        with contextlib.suppress(OSError):
            while data := await pipe.reader.read(65536):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    _, mark, words = line.decode(errors="replace").partition(self._mark)
                    if mark:
                        self._report(node, words.strip(), ready)
        said = await pipe.wait()
        if node != HEAD:
            self._schedule.lost(node, node_failure(node, node, said).why)
        elif not self._told >= set(self._stops):
            self._progress_at = float("-inf")
        ready.set()
        self._news.set()

    def _report(self, node: str, words: str, ready: asyncio.Event) -> None:
        kind, _, rest = words.partition(" ")
        now = time.monotonic()
        match kind:
            case "ready":
                if node != HEAD:
                    self._schedule.joined(node, self._stops[node].arrived, now)
                ready.set()
            case "size" if rest.isdecimal() and node != HEAD:
                self._size(node, int(rest), now)
            case "probed":
                child, _, took = rest.partition(" ")
                if child in self._stops and took.isdecimal() and int(took):
                    self._schedule.probed(node, child, _PROBE_BYTES * 1e6 / int(took))
            case "later" if rest.strip() in self._stops:
                self._schedule.ended(node, rest.strip(), "", now)
            case "ended":
                child, _, why = rest.partition(" ")
                if child in self._stops:
                    self._schedule.ended(node, child, why, now)
        self._news.set()

    def _size(self, node: str, size: int, now: float) -> None:
        if size > self._schedule.peers[node].size:
            self._progress_at = now
            self._tell(node, size)
        self._schedule.told(node, size, now)

    # ------------------------------------------------------------------ the chain

    async def _chain(self, joining: asyncio.Task[None]) -> None:
        began = time.monotonic()
        resumed = any(stop.arrived for stop in self._stops.values())
        while not self._told >= set(self._stops):
            now = time.monotonic()
            # What arrived at an earlier try decides on the order, so all are waited for.
            if not resumed or joining.done() or now - began > _GATHER_S:
                for move in self._schedule.moves(now):
                    await self._carry_out(move)
            self._settle(now, joining)
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), REPORT_S / 2)
            await asyncio.sleep(0.02)  # what comes together is worked off together

    def _settle(self, now: float, joining: asyncio.Task[None]) -> None:
        """Say which nodes have it all; and which are left, once nobody waits for them any more."""
        schedule = self._schedule
        for node, peer in schedule.peers.items():
            if peer.size >= self._file.size_bytes and not peer.gone:
                self._end(node, "")
        why = ""
        if now - self._progress_at > _STALL_S:
            why = f"nothing came for {_STALL_S:.0f} s"
        elif now != self._progress_at and self._progress_at == float("-inf"):
            why = "the image host's own part of the chain ended"
        elif schedule.blocked:
            why = schedule.blocked
        if why:
            for node in self._stops:
                self._end(node, why)
        elif joining.done() and not schedule.good:
            for node, peer in schedule.peers.items():
                if peer.gone:
                    self._end(node, peer.gone)

    def _end(self, node: str, why: str) -> None:
        if node not in self._told:
            self._told.add(node)
            self._over(node, why)

    async def _carry_out(self, move: Move) -> None:
        agent = self._agents.get(move.feeder)
        if agent is None:
            return
        line = "stop"
        if isinstance(move, Attach):
            stop = self._stops[move.child]
            words = (*BASH, self._part, self._lock, self._mark, str(_PROBE_BYTES))
            command = shlex.join((*(("sudo", "-n") if stop.sudo else ()), *words))
            host = self._shell.host(move.child)
            line = shlex.join(
                ("feed", move.child, command, *self._shell.ssh(move.child), host.name)
            )
        try:
            await _send(agent.pipe, f"{line}\n")
        except VizdashError as e:
            # Its connection is gone, which its reader is about to say, too.
            if move.feeder != HEAD:
                self._schedule.lost(move.feeder, e.why or e.line)

    async def _close(self) -> None:
        """End the script everywhere: its standard input ends, and with it what it started."""
        await asyncio.gather(*(self._shut(agent) for agent in self._agents.values()))

    async def _shut(self, agent: _Agent) -> None:
        with contextlib.suppress(OSError):
            agent.pipe.writer.close()
        if agent.reading is not None:
            await asyncio.wait((agent.reading,), timeout=2)
        await agent.pipe.close()
        if agent.reading is not None:
            agent.reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await agent.reading


async def _send(pipe: Pipe, text: str) -> None:
    """Raises VizdashError when it has ended."""
    try:
        pipe.writer.write(text.encode())
        await pipe.writer.drain()
    except OSError as e:
        raise VizdashError("chain", await pipe.wait()) from e


def _raise_limit(files: int) -> None:
    """As many open files as are needed, as far as the system lets us (getrlimit(2))."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < files:
        most = files if hard == resource.RLIM_INFINITY else min(files, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
