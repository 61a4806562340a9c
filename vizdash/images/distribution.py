"""An image to many nodes at once: from node to node, in about the time of one copy.

What travels is the image, or for nodes that have the same older one a delta (``delta.py``). The
image host and every node run ``chain.sh`` over one ssh(1) each; ``schedule.py`` says who feeds
whom. Nodes reach each other by ssh(1) as the account that deploys, with the keys that it has there;
no agent is forwarded. What could not be brought that way is left to rsync(1) from the image host.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from vizdash.errors import Unreachable, VizdashError
from vizdash.images import delta
from vizdash.images.peer import HEAD, REPORT_S, Attach, Move
from vizdash.images.schedule import Schedule
from vizdash.images.shell import BASH, NodeShell, new_mark
from vizdash.images.travel import Arrival, Cargo, Rsync, Stop, Travel
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
#: Bytes of a delta for all nodes together up to which the image host sends it to each itself: that
#: takes less than to set up a chain.
_EACH_BYTES = 32 << 20


@dataclass(slots=True)
class _Agent:
    """chain.sh on one node, and the last line that it printed beside its reports."""

    pipe: Pipe
    reading: asyncio.Task[None] | None = None


@dataclass(frozen=True, slots=True)
class _File:
    """What a chain brings: ``path`` of the image host, to be ``part`` in the app's folder."""

    app: str
    path: str
    size_bytes: int
    part: str


@dataclass(frozen=True, slots=True)
class Distribution(Rsync):
    """A first copy from node to node, and an update as one delta, each where ``least`` nodes or
    more want it.
    """

    least: int = 4

    def together(self, stops: Sequence[Stop]) -> tuple[Stop, ...]:
        """See Travel.together."""
        groups = self._groups(stops).values()
        return tuple(stop for group in groups for stop in group)

    def _groups(self, stops: Sequence[Stop]) -> dict[str, list[Stop]]:
        """Nodes by the digest of the image that they have; "" for those that have none."""
        found: dict[str, list[Stop]] = {}
        for stop in stops:
            if not self.shell.is_here(stop.node) and bool(stop.like) == bool(stop.basis):
                found.setdefault(stop.basis, []).append(stop)
        return {basis: group for basis, group in found.items() if len(group) >= max(2, self.least)}

    async def prime(
        self,
        cargo: Cargo,
        stops: Sequence[Stop],
        tell: Callable[[str, int], None],
        over: Callable[[str, Arrival], None],
    ) -> None:
        """See Travel.prime."""

        async def one(basis: str, group: Sequence[Stop]) -> None:
            before = {stop.node: stop.arrived for stop in group}

            def come(node: str, why: str) -> None:
                over(node, Arrival(why, 0 if why else cargo.size_bytes - before[node]))

            try:
                if basis:
                    await self._update(cargo, group, tell, over)
                else:
                    image = _File(cargo.app, cargo.path, cargo.size_bytes, cargo.part)
                    await _Run(self, image, group, tell, come).run()
            except VizdashError as e:
                for stop in group:
                    over(stop.node, Arrival(e.line))

        async with asyncio.TaskGroup() as tasks:
            for basis, group in self._groups(stops).items():
                tasks.create_task(one(basis, group))

    async def _update(
        self,
        cargo: Cargo,
        stops: Sequence[Stop],
        tell: Callable[[str, int], None],
        over: Callable[[str, Arrival], None],
    ) -> None:
        """Make the delta, and bring it to all of these nodes, which have its basis."""
        gate = asyncio.Semaphore(self.shell.gate.places)
        async with delta.made(self.shell, self.root, cargo, stops) as made:
            send = made.size_bytes * len(stops) <= _EACH_BYTES

            async def one(stop: Stop, sent: int) -> None:
                async with gate:
                    tell(stop.node, 0)
                    try:
                        await delta.apply(self.shell, self.root, cargo, stop, made, send=send)
                    except VizdashError as e:
                        over(stop.node, Arrival(e.why or e.line, sent))
                    else:
                        over(stop.node, Arrival(sent=sent, placed=True))

            async with asyncio.TaskGroup() as tasks:
                if send:
                    for stop in stops:
                        tasks.create_task(one(stop, made.size_bytes))
                    return
                feeding = _Feeding(self, cargo, made)
                there = await feeding.expected(stops, over)

                def come(node: str, why: str) -> None:
                    stop = there[node]
                    if why:
                        over(node, Arrival(why))
                    else:
                        tasks.create_task(one(stop, made.size_bytes - stop.arrived))

                await feeding.run(list(there.values()), tell, come)


@dataclass(frozen=True, slots=True)
class _Feeding:
    """A delta on its way from node to node, as a file of its own."""

    site: Distribution
    cargo: Cargo
    made: delta.Delta

    async def expected(
        self, stops: Sequence[Stop], over: Callable[[str, Arrival], None]
    ) -> dict[str, Stop]:
        """Have it begun on the nodes: those that do, with what is there of it."""
        found: dict[str, Stop] = {}
        words = (self.site.root, self.cargo.app, self.cargo.delta)

        async def one(stop: Stop) -> None:
            try:
                answer = await self.site.shell.ask(stop.node, "expect", *words, sudo=stop.sudo)
            except VizdashError as e:
                over(stop.node, Arrival(e.why or e.line))
            else:
                size = int(answer[0])
                found[stop.node] = replace(stop, arrived=size)

        async with asyncio.TaskGroup() as tasks:
            for stop in stops:
                tasks.create_task(one(stop))
        return found

    async def run(
        self,
        stops: Sequence[Stop],
        tell: Callable[[str, int], None],
        over: Callable[[str, str], None],
    ) -> None:
        """Feed it to them. ``tell`` gets bytes of the image that they make up."""
        size = self.made.size_bytes
        file = _File(self.cargo.app, self.made.path, size, self.cargo.delta)

        def told(node: str, done: int) -> None:
            tell(node, self.cargo.size_bytes * done // size)

        await _Run(self.site, file, stops, told, over).run()


class _Run:
    """One chain. Everything that is started is ended with it, however that happens."""

    def __init__(
        self,
        site: Distribution,
        file: _File,
        stops: Sequence[Stop],
        tell: Callable[[str, int], None],
        over: Callable[[str, str], None],
    ) -> None:
        self._shell = site.shell
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
        folder = f"{site.root.rstrip('/')}/{file.app}"
        self._lock, self._part = f"{folder}/.lock", f"{folder}/{file.part}"

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
        with contextlib.suppress(OSError):
            await _send(agent.pipe, f"{line}\n")

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


def travel(shell: NodeShell, root: str) -> Travel:
    """The way that the configuration names."""
    if shell.deploy.method in {"auto", "chain"}:
        return Distribution(shell, root, least=2 if shell.deploy.method == "chain" else 4)
    return Rsync(shell, root)
