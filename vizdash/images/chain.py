"""Copies one file from node to node: runs chain.sh on each node and carries out the schedule.

The image host and every node run ``chain.sh``, each over one ssh(1) connection;
``chain_schedule.py`` decides which node feeds which. Nodes connect to each other by ssh(1) as the
deploy account, with the keys that it has on them; no agent is forwarded.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vizdash.errors import Unreachable, VizdashError
from vizdash.images.chain_peer import HEAD, MEASURED_BYTES, REPORT_S, Attach, Move
from vizdash.images.chain_schedule import ChainSchedule
from vizdash.images.copy import CopyTarget
from vizdash.images.node_script import BASH_STDIN, NO_MASTER, NodeShell, new_mark
from vizdash.transport.base import Pipe, PipeRunner
from vizdash.transport.node_ssh import node_ssh_error
from vizdash.util.assets import node_script
from vizdash.util.open_files import raise_limit

#: Nodes that are connected to at the same time: each handshake costs the image host CPU time.
_CONNECTS = 8
#: Seconds that a node has to start its script, and seconds after which the first nodes no longer
#: wait for the others.
_READY_S = 60.0
_GATHER_S = 5.0
#: Seconds that a node has for the rest of its digest once it has the whole file.
_HASH_S = 10.0
#: Seconds without a new byte on any node after which the chain is given up.
_STALL_S = 120.0
#: Bytes that each connection carries first (chain.sh): the last MEASURED_BYTES of them measure its
#: rate. Open files needed for each node.
_PROBE_BYTES = MEASURED_BYTES * 3 // 2
_FILES = 6
#: Where the hard limit of open files is lower (ulimit -Hn): those that each node's pipes take, and
#: those that are left for all else.
_PIPES, _OTHER_FILES = 4, 192


@dataclass(slots=True)
class _Agent:
    """chain.sh running on one node, and the task that reads its reports."""

    pipe: Pipe
    reading: asyncio.Task[None] | None = None


@dataclass(frozen=True, slots=True)
class ChainFile:
    """A file to copy: ``path`` on the image host becomes ``part`` in ``folder`` on each node, which
    reads its digest while it arrives if it is to be ``hashed``.
    """

    folder: str
    path: str
    size_bytes: int
    part: str
    hashed: bool = True


@dataclass(frozen=True, slots=True)
class FileEnd:
    """``why`` a node is left to rsync (empty: it has the whole file); the digest that it read while
    the file arrived, and the file's stamp then (see images.sh), empty if it could not.
    """

    why: str = ""
    digest: str = ""
    stamp: str = ""


class Chain:
    """One chain. However it ends, everything that it started is stopped.

    ``on_bytes`` gets a node and the bytes that it has, ``on_end`` a node and how its copy ended.
    """

    def __init__(
        self,
        shell: NodeShell,
        file: ChainFile,
        targets: Sequence[CopyTarget],
        on_bytes: Callable[[str, int], None],
        on_end: Callable[[str, FileEnd], None],
    ) -> None:
        self._shell = shell
        self._file = file
        self._targets = {target.node: target for target in targets}
        self._on_bytes = on_bytes
        self._on_end = on_end
        self._mark = new_mark()
        self._schedule = ChainSchedule(file.size_bytes)
        self._agents: dict[str, _Agent] = {}
        self._ended: set[str] = set()
        #: When each node had the whole file; the digest and stamp that it read.
        self._complete_at: dict[str, float] = {}
        self._digests: dict[str, tuple[str, str]] = {}
        self._reported = asyncio.Event()
        self._progress_at = time.monotonic()
        self._lock, self._part = f"{file.folder}/.lock", f"{file.folder}/{file.part}"

    async def run(self) -> None:
        """Copy until every node has the whole file or is left to rsync."""
        limit = raise_limit(_FILES * (len(self._targets) + 32))
        for node in list(self._targets)[max(0, limit - _OTHER_FILES) // _PIPES :]:
            self._end(node, f"{limit} open files are too few for more nodes at once (ulimit -Hn)")
        try:
            await self._start(HEAD, self._file.path)
            async with asyncio.TaskGroup() as group:
                joining = group.create_task(self._join())
                await self._run_schedule(joining)
                joining.cancel()
        finally:
            await asyncio.shield(self._close())

    # ------------------------------------------------------------------ nodes

    async def _join(self) -> None:
        slots = asyncio.Semaphore(_CONNECTS)

        async def one(node: str) -> None:
            async with slots:
                try:
                    await asyncio.wait_for(self._start(node, self._part), _READY_S)
                except TimeoutError:
                    self._schedule.remove_node(node, "it does not answer")
                except VizdashError as e:
                    self._schedule.remove_node(node, e.why or e.line)
                self._reported.set()

        await asyncio.gather(*(one(node) for node in self._targets if node not in self._ended))

    async def _start(self, node: str, part: str) -> None:
        """Start the script on a node and wait until it is ready. Raises VizdashError."""
        runner = self._shell.runner
        if not isinstance(runner, PipeRunner):
            raise Unreachable(node or "chain", "no commands can be kept running there")
        hashed = "hash" if self._file.hashed and node != HEAD else ""
        size = str(self._file.size_bytes)
        words = (*BASH_STDIN, self._mark, part, size, str(_PROBE_BYTES), hashed)
        pipe = await runner.pipe(self._shell.argv(node, words))
        agent = self._agents[node] = _Agent(pipe)
        await _send(pipe, node_script("chain.sh").read_text(encoding="utf-8"))
        ready = asyncio.Event()
        agent.reading = asyncio.create_task(self._read(node, pipe, ready))
        await ready.wait()
        if node in self._schedule.peers and self._schedule.peers[node].gone:
            raise VizdashError(node, self._schedule.peers[node].gone)

    async def _read(self, node: str, pipe: Pipe, ready: asyncio.Event) -> None:
        """Read a node's reports until its script ends."""
        rest = b""
        with contextlib.suppress(OSError):
            while data := await pipe.reader.read(65536):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    _, mark, words = line.decode(errors="replace").partition(self._mark)
                    if mark:
                        self._report(node, words.strip(), ready)
        stderr = await pipe.wait()
        if node != HEAD:
            self._schedule.remove_node(node, node_ssh_error(node, node, stderr).why)
        elif not self._ended >= set(self._targets):
            self._progress_at = float("-inf")
        ready.set()
        self._reported.set()

    def _report(self, node: str, words: str, ready: asyncio.Event) -> None:
        kind, _, rest = words.partition(" ")
        now = time.monotonic()
        match kind:
            case "ready":
                if node != HEAD:
                    self._schedule.add_node(node, self._targets[node].arrived, now)
                ready.set()
            case "size" if rest.isdecimal() and node != HEAD:
                self._report_size(node, int(rest), now)
            case "digest" if node != HEAD:
                digest, _, stamp = rest.partition(" ")
                self._digests[node] = (digest, stamp)
                if digest:  # all of it was read, so it is there
                    self._report_size(node, self._file.size_bytes, now)
            case "probing" if rest.strip() in self._targets:
                self._schedule.report_probing(node, rest.strip(), now)
            case "probed":
                child, _, took = rest.partition(" ")
                if child in self._targets and took.isdecimal() and int(took):
                    self._schedule.report_probe(node, child, MEASURED_BYTES * 1e6 / int(took))
            case "later" if rest.strip() in self._targets:
                self._schedule.report_end(node, rest.strip(), "", now)
            case "ended":
                child, _, why = rest.partition(" ")
                if child in self._targets:
                    self._schedule.report_end(node, child, why, now)
        self._reported.set()

    def _report_size(self, node: str, size: int, now: float) -> None:
        if size > self._schedule.peers[node].size:
            self._progress_at = now
            self._on_bytes(node, size)
        self._schedule.report_size(node, size, now)

    # ------------------------------------------------------------------ schedule

    async def _run_schedule(self, joining: asyncio.Task[None]) -> None:
        began = time.monotonic()
        resumed = any(target.arrived for target in self._targets.values())
        while not self._ended >= set(self._targets):
            now = time.monotonic()
            # The bytes that an earlier deploy left decide on the order, so all nodes are waited
            # for.
            if not resumed or joining.done() or now - began > _GATHER_S:
                for move in self._schedule.next_moves(now):
                    await self._execute(move)
            self._report_ends(now, joining)
            self._reported.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._reported.wait(), REPORT_S / 2)
            await asyncio.sleep(0.02)  # handle reports that arrive together in one pass

    def _report_ends(self, now: float, joining: asyncio.Task[None]) -> None:
        """Report the nodes that have the whole file, and those that are left once no node waits for
        them.
        """
        schedule = self._schedule
        for node, peer in schedule.peers.items():
            if peer.size >= self._file.size_bytes and not peer.gone:
                since = self._complete_at.setdefault(node, now)
                if not self._file.hashed or node in self._digests or now - since > _HASH_S:
                    self._end(node, "")
        why = ""
        if now - self._progress_at > _STALL_S:
            why = f"no data for {_STALL_S:.0f} s"
        elif now != self._progress_at and self._progress_at == float("-inf"):
            why = "the chain's script on the image host ended"
        elif schedule.blocked:
            why = schedule.blocked
        if why:
            for node in self._targets:
                self._end(node, "" if node in self._complete_at else why)
        elif joining.done() and not schedule.good:
            for node, peer in schedule.peers.items():
                if peer.gone:
                    self._end(node, peer.gone)

    def _end(self, node: str, why: str) -> None:
        if node not in self._ended:
            self._ended.add(node)
            digest, stamp = ("", "") if why else self._digests.get(node, ("", ""))
            self._on_end(node, FileEnd(why, digest, stamp))

    async def _execute(self, move: Move) -> None:
        agent = self._agents.get(move.feeder)
        if agent is None:
            return
        line = "stop"
        if isinstance(move, Attach):
            target = self._targets[move.child]
            words = (*BASH_STDIN, self._part, self._lock, self._mark, str(_PROBE_BYTES))
            command = shlex.join((*(("sudo", "-n") if target.sudo else ()), *words))
            host = self._shell.host(move.child)
            ssh = (*self._shell.ssh(move.child, shared=False), *NO_MASTER)
            line = shlex.join(("feed", move.child, command, *ssh, host.name))
        try:
            await _send(agent.pipe, f"{line}\n")
        except VizdashError as e:
            # Its connection is lost, which its reader is about to report as well.
            if move.feeder != HEAD:
                self._schedule.remove_node(move.feeder, e.why or e.line)

    async def _close(self) -> None:
        """Stop the script on every node by closing its standard input."""
        await asyncio.gather(*(self._stop_agent(agent) for agent in self._agents.values()))

    async def _stop_agent(self, agent: _Agent) -> None:
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
    """Send text to a script. Raises VizdashError when the script has ended."""
    try:
        pipe.writer.write(text.encode())
        await pipe.writer.drain()
    except OSError as e:
        raise VizdashError("chain", await pipe.wait()) from e
