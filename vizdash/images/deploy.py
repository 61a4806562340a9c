"""Brings an image to nodes: looked at, copied, checked, named, tried, and only then switched to.

Every node goes its own way; one that fails harms no other. What a killed deploy leaves behind
has a name that is none of an image's, and the next one takes it up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from vizdash.config import Deploy
from vizdash.errors import Refused, VizdashError
from vizdash.images.matrix import ASKED_S, look_at
from vizdash.images.progress import Phase, Progress
from vizdash.images.shell import NodeShell
from vizdash.images.travel import Arrival, Cargo, Stop, Travel, arrived
from vizdash.model import Image, Place

#: Seconds that a node has to read an image whole.
_READ_S = 3600.0
#: What uname -m calls the architectures that Go (and so a SIF) names otherwise.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "armv7l": "arm"}

Smoke = Callable[[str], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Site:
    """Where images go: the way to the nodes, and the image root on them."""

    shell: NodeShell
    root: str
    travel: Travel

    @property
    def deploy(self) -> Deploy:
        """The configuration's part."""
        return self.shell.deploy


@dataclass(frozen=True, slots=True)
class Reached:
    """A node that can be changed, as it was seen; ``sudo`` says by whose rights."""

    place: Place
    images: tuple[Image, ...]
    sudo: bool


async def reach(site: Site, node: str) -> Reached:
    """Look at a node that is to be changed.

    Raises VizdashError naming why nothing can be changed there.
    """
    place, images = await look_at(site.shell, node, site.root, timeout_s=ASKED_S)
    missing = [tool for tool in ("rsync", "flock") if tool not in place.tools]
    if missing:
        raise Refused(node, f"it has no {' and no '.join(missing)}", "install it there")
    policy = site.deploy.sudo
    if place.writable and policy != "always":
        return Reached(place, images, sudo=False)
    if policy == "never":
        raise Refused(node, f"{place.user} may not write {site.root}", "see deploy.sudo")
    try:
        place, images = await look_at(site.shell, node, site.root, sudo=True, timeout_s=ASKED_S)
    except VizdashError as e:
        why = f"{place.user} may not write {site.root}, and sudo says: {e.why or e.line}"
        raise Refused(node, why, "deploy as root or as an account with sudo") from e
    return Reached(place, images, sudo=True)


class Deployment:
    """One image to several nodes. ``smoke`` tries a node before it is switched: it gives words
    on what it found, or raises VizdashError.
    """

    def __init__(
        self, site: Site, cargo: Cargo, progress: Progress, *, smoke: Smoke | None = None
    ) -> None:
        self.site = site
        self.cargo = cargo
        self.progress = progress
        self._smoke = smoke
        self._stops: dict[str, Stop] = {}
        self._legacy: dict[str, str] = {}
        #: Nodes that it is brought to together with others, and how that went.
        self._arrivals: dict[str, asyncio.Future[Arrival]] = {}
        self._arrived: dict[str, Arrival] = {}

    async def run(self, nodes: Sequence[str], canary: str = "") -> None:
        """Bring it to all; with a ``canary``, to that one first and to the others only when it
        went well there. How each ended is in ``progress``. A cancelled run leaves what arrived
        for the next one.
        """
        try:
            if canary:
                await self._wave((canary,))
                if self.progress.nodes[canary].phase is not Phase.DONE:
                    error = VizdashError("", f"it failed on {canary}, which went first")
                    for node in nodes:
                        if node != canary:
                            self.progress.fail(node, error, Phase.SKIPPED)
                    return
            # A shared file system is one place, whose name is empty.
            await self._wave([node for node in nodes if not canary or node != canary])
        except asyncio.CancelledError:
            self.progress.cancel()
            raise

    async def _wave(self, nodes: Sequence[str]) -> None:
        least = self.site.travel.least
        if least and len(nodes) >= least:
            await self._together(nodes)
        else:
            await self._all(nodes, self._whole)

    async def _together(self, nodes: Sequence[str]) -> None:
        """What can be brought to several nodes together is; each has its own checked and switched
        as soon as it is there.
        """
        await self._all(nodes, self._prepare, self.site.shell.gate.places)
        rows = self.progress.nodes
        coming = [self._stops[n] for n in nodes if n in self._stops and rows[n].copied]
        loop = asyncio.get_running_loop()
        coming = list(self.site.travel.together(coming))
        self._arrivals = {stop.node: loop.create_future() for stop in coming}
        gates = asyncio.Semaphore(self.site.shell.gate.places), self._gate()

        async def one(node: str) -> None:
            if node in self._arrivals:
                self._arrived[node] = await self._arrivals[node]
            quick = not rows[node].copied or self._came(node)
            async with gates[0 if quick else 1]:
                await self._tried(node, self._bring)

        async with asyncio.TaskGroup() as group:
            group.create_task(self._prime(coming))
            for node in nodes:
                if not rows[node].phase.over:
                    group.create_task(one(node))

    async def _prime(self, coming: Sequence[Stop]) -> None:
        why = "it was left out"
        try:
            if coming:
                await self.site.travel.prime(self.cargo, coming, self._primed, self._over)
        except VizdashError as e:
            why = e.line
        for arrival in self._arrivals.values():
            if not arrival.done():
                arrival.set_result(Arrival(why))

    def _over(self, node: str, arrival: Arrival) -> None:
        if not self._arrivals[node].done():
            self._arrivals[node].set_result(arrival)

    def _came(self, node: str) -> bool:
        """Whether it is there, brought together with others."""
        arrival = self._arrived.get(node)
        return arrival is not None and not arrival.why

    def _gate(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(self.site.deploy.at_once)

    async def _all(
        self, nodes: Sequence[str], work: Callable[[str], Awaitable[None]], at_once: int = 0
    ) -> None:
        """Do it on several nodes at once; what fails is written down there."""
        gate = asyncio.Semaphore(at_once) if at_once else self._gate()

        async def one(node: str) -> None:
            async with gate:
                await self._tried(node, work)

        async with asyncio.TaskGroup() as group:
            for node in nodes:
                group.create_task(one(node))

    async def _tried(self, node: str, work: Callable[[str], Awaitable[None]]) -> None:
        try:
            await work(node)
        except VizdashError as e:
            self.progress.fail(node, e)

    # ------------------------------------------------------------------ one node

    async def _whole(self, node: str) -> None:
        await self._prepare(node)
        await self._bring(node)

    async def _prepare(self, node: str) -> None:
        """Look, and lay a basis for what is to come."""
        cargo = self.cargo
        self.progress.enter(node, Phase.LOOKING)
        reached = await reach(self.site, node)
        arch = _ARCHITECTURES.get(reached.place.arch, reached.place.arch)
        if cargo.arch and arch and cargo.arch != arch:
            raise Refused(node, f"the image is for {cargo.arch}, the node is {arch}")
        self.progress.enter(node, Phase.COMPARING)
        words = (cargo.app, cargo.version, cargo.digest, str(cargo.size_bytes))
        answer = await self._ask(node, "prepare", *words, sudo=reached.sudo)
        state, like, come, _, basis = answer
        if state.startswith("other"):
            raise Refused(
                node,
                f"it has a {cargo.name} with another content ({state[6:18]})",
                "versions are never overwritten: build it as a new one, or remove that file",
            )
        self._stops[node] = Stop(node, reached.sudo, like, int(come), basis)
        self._legacy[node] = legacy_version(reached.images, cargo.app)
        if state == "have":
            self.progress.enter(node, Phase.WAITING, "it has the image")
        else:
            self.progress.nodes[node].copied = True
            self.progress.enter(node, Phase.WAITING, "mends" if state == "damaged" else "")

    def _primed(self, node: str, done: int) -> None:
        row = self.progress.nodes[node]
        if row.phase is Phase.WAITING:
            like = self._stops[node].like
            version = version_in(like, self.cargo.app)
            note = f"what differs from {version}" if like else "from node to node"
            self.progress.enter(node, Phase.COPYING, note)
        self.progress.copied(node, done)

    async def _bring(self, node: str) -> None:
        """Copy, check, name, try, switch."""
        cargo, stop = self.cargo, self._stops[node]
        row = self.progress.nodes[node]
        mended = row.note == "mends"
        if row.copied:
            await self._copy(node, stop)
            arrival = self._arrived.get(node)
            if arrival is None or not arrival.placed:
                await self._place(node, stop)
        found = ""
        if self._smoke is not None:
            self.progress.enter(node, Phase.TESTING)
            found = await self._smoke(node)
        self.progress.enter(node, Phase.SWITCHING)
        was, *_ = await self._ask(
            node, "switch", cargo.app, cargo.version, self._legacy[node], "deploy", sudo=stop.sudo
        )
        row.switched = was != cargo.name
        note = "mended" if mended else "deployed" if row.copied else "it had it"
        if row.switched and was:
            note += f", before: {version_in(was, cargo.app)}"
        if (arrival := self._arrived.get(node)) and arrival.why:
            note += f", from the image host: {arrival.why}"
        self.progress.enter(node, Phase.DONE, f"{note}; {found}" if found else note)

    async def _place(self, node: str, stop: Stop) -> None:
        cargo, deploy = self.cargo, self.site.deploy
        self.progress.enter(node, Phase.CHECKING)
        about = (cargo.app, cargo.version, cargo.digest, str(cargo.size_bytes))
        await self._ask(node, "place", *about, deploy.owner, deploy.mode, sudo=stop.sudo)

    async def _copy(self, node: str, stop: Stop) -> None:
        row, note = self.progress.nodes[node], ""
        if arrival := self._arrived.get(node):
            row.bytes_sent = arrival.sent
            if not arrival.why:
                self.progress.copied(node, self.cargo.size_bytes)
                return
            # rsync is for what is missing still.
            note = f"from the image host: {arrival.why}"
            come = await arrived(self.site.shell, self.site.root, self.cargo, stop)
            row.bytes_sent += max(0, come - stop.arrived)
            stop = replace(stop, arrived=come)
        self.progress.enter(node, Phase.COPYING, note)

        def done(count: int) -> None:
            self.progress.copied(node, count)

        row.bytes_sent += await self.site.travel.send(self.cargo, stop, done)
        self.progress.copied(node, self.cargo.size_bytes)

    async def _ask(self, node: str, verb: str, *words: str, sudo: bool) -> list[str]:
        return await self.site.shell.ask(
            node, verb, self.site.root, *words, sudo=sudo, timeout_s=_READ_S
        )


def legacy_version(images: Sequence[Image], app: str) -> str:
    """The version under which an image is kept that has no other name than ``<app>.sif``."""
    names = (i.version for i in images if i.path.endswith(f"/{app}/{app}.sif"))
    return next(names, "") or "legacy"


def version_in(name: str, app: str) -> str:
    """The version in a file's name."""
    return name.removesuffix(".sif").removeprefix(f"{app}-")
