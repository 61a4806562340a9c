"""Deploys an image to nodes, step by step: check, copy, verify, rename, try, then switch.

Each node proceeds on its own, and one that fails does not affect the others. A killed deploy leaves
only files without an image's name, which the next deploy continues from.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from vizdash.config import Deploy
from vizdash.errors import Refused, VizdashError
from vizdash.images.copy import (
    CopyMethod,
    CopyOutcome,
    CopyTarget,
    SourceImage,
    count_arrived_bytes,
)
from vizdash.images.node_script import NodeShell
from vizdash.images.progress import ChangeProgress, Phase
from vizdash.images.survey import PATIENT_S, survey_node
from vizdash.model import Image, ImageRoot

#: Seconds that a node has to read a whole image.
_READ_S = 3600.0
#: Go's names (as in a SIF file) of the architectures that uname -m prints.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "armv7l": "arm"}

#: Programs that a node needs.
_TOOLS = ("rsync", "flock")

SmokeTest = Callable[[str], Awaitable[str]]


class WrongDigest(VizdashError):
    """What arrived on a node is not the image; it was removed there."""


@dataclass(frozen=True, slots=True)
class DeploySite:
    """Where images are deployed: how nodes are reached, and their image root."""

    shell: NodeShell
    root: str
    copy_method: CopyMethod

    @property
    def deploy(self) -> Deploy:
        """The configuration's ``deploy`` section."""
        return self.shell.deploy


@dataclass(frozen=True, slots=True)
class WritableNode:
    """A node whose image root the caller can change, with sudo(8) or without."""

    image_root: ImageRoot
    images: tuple[Image, ...]
    sudo: bool


async def check_writable(site: DeploySite, node: str) -> WritableNode:
    """Check that a node's image root can be changed.

    Raises VizdashError naming the reason if it cannot.
    """
    image_root, images = await survey_node(site.shell, node, site.root, timeout_s=PATIENT_S)
    if writable := writable_as_is(site.deploy, image_root, images):
        return writable
    missing = [tool for tool in _TOOLS if tool not in image_root.tools]
    if missing:
        raise Refused(node, f"it has no {' and no '.join(missing)}", "install it there")
    policy = site.deploy.sudo
    if policy == "never":
        raise Refused(node, f"{image_root.user} may not write {site.root}", "see deploy.sudo")
    try:
        image_root, images = await survey_node(
            site.shell, node, site.root, sudo=True, timeout_s=PATIENT_S
        )
    except VizdashError as e:
        why = f"{image_root.user} may not write {site.root}, and sudo reports: {e.why or e.line}"
        raise Refused(node, why, "deploy as root or as an account with sudo") from e
    return WritableNode(image_root, images, sudo=True)


def writable_as_is(
    deploy: Deploy, image_root: ImageRoot, images: tuple[Image, ...]
) -> WritableNode | None:
    """Return the node if it can be changed without sudo(8) and has the programs for it."""
    if image_root.failure or not image_root.writable or deploy.sudo == "always":
        return None
    if any(tool not in image_root.tools for tool in _TOOLS):
        return None
    return WritableNode(image_root, images, sudo=False)


class Deployment:
    """Deploys one image to several nodes.

    ``smoke`` tests a node before it is switched: it returns a note on the result, or raises
    VizdashError. ``surveyed`` are nodes that were found writable just before.
    """

    def __init__(
        self,
        site: DeploySite,
        source: SourceImage,
        progress: ChangeProgress,
        *,
        smoke: SmokeTest | None = None,
        surveyed: Mapping[str, WritableNode] | None = None,
    ) -> None:
        self.site = site
        self._surveyed = surveyed or {}
        self.source = source
        self.progress = progress
        self._smoke = smoke
        self._targets: dict[str, CopyTarget] = {}
        self._legacy: dict[str, str] = {}
        #: Nodes that are served by one distribution, and their outcomes.
        self._pending_copies: dict[str, asyncio.Future[CopyOutcome]] = {}
        self._copy_outcomes: dict[str, CopyOutcome] = {}
        #: Copies from the image host during a distribution.
        self._copy_slots = asyncio.Semaphore(site.deploy.at_once)

    async def run(self, nodes: Sequence[str], canary: str = "") -> None:
        """Deploy to all nodes, or first to ``canary`` and then, if it succeeds, to the others.

        ``progress`` has the outcome of each node. A cancelled run keeps what has arrived for the
        next.
        """
        try:
            if canary:
                await self._deploy_wave((canary,))
                if self.progress.nodes[canary].phase is not Phase.DONE:
                    error = VizdashError("", f"the canary {canary} failed")
                    for node in nodes:
                        if node != canary:
                            self.progress.fail(node, error, Phase.SKIPPED)
                    return
            # A shared file system is one target with an empty name.
            await self._deploy_wave([node for node in nodes if not canary or node != canary])
        except asyncio.CancelledError:
            self.progress.cancel()
            raise

    async def _deploy_wave(self, nodes: Sequence[str]) -> None:
        min_nodes = self.site.copy_method.min_nodes
        if min_nodes and len(nodes) >= min_nodes:
            await self._deploy_distributed(nodes)
        else:
            await self._on_all(nodes, self._deploy_node)

    async def _deploy_distributed(self, nodes: Sequence[str]) -> None:
        """Distribute the image; each node is verified and switched as soon as it has it."""
        await self._on_all(nodes, self._prepare, self.site.shell.throttle.limit)
        rows = self.progress.nodes
        targets = [self._targets[n] for n in nodes if n in self._targets and rows[n].copied]
        loop = asyncio.get_running_loop()
        targets = list(self.site.copy_method.distributable(targets))
        self._pending_copies = {target.node: loop.create_future() for target in targets}
        quick_slots = asyncio.Semaphore(self.site.shell.throttle.limit)

        async def one(node: str) -> None:
            if node in self._pending_copies:
                self._copy_outcomes[node] = await self._pending_copies[node]
            quick = not rows[node].copied or self._has_arrived(node)
            async with quick_slots if quick else self._copy_slots:
                await self._run_on_node(node, self._finish_node)

        async with asyncio.TaskGroup() as group:
            group.create_task(self._distribute(targets))
            for node in nodes:
                if not rows[node].phase.over:
                    group.create_task(one(node))

    async def _distribute(self, targets: Sequence[CopyTarget]) -> None:
        why = "left out of the distribution"
        try:
            if targets:
                await self.site.copy_method.distribute(
                    self.source, targets, self._on_bytes, self._on_end
                )
        except VizdashError as e:
            why = e.line
        for outcome in self._pending_copies.values():
            if not outcome.done():
                outcome.set_result(CopyOutcome(why))

    def _on_end(self, node: str, outcome: CopyOutcome) -> None:
        if not self._pending_copies[node].done():
            self._pending_copies[node].set_result(outcome)

    def _has_arrived(self, node: str) -> bool:
        """Whether the node received the image by the distribution."""
        outcome = self._copy_outcomes.get(node)
        return outcome is not None and not outcome.why

    async def _on_all(
        self, nodes: Sequence[str], work: Callable[[str], Awaitable[None]], at_once: int = 0
    ) -> None:
        """Run ``work`` on several nodes at once; a failure is recorded as that node's outcome."""
        slots = asyncio.Semaphore(at_once or self.site.deploy.at_once)

        async def one(node: str) -> None:
            async with slots:
                await self._run_on_node(node, work)

        async with asyncio.TaskGroup() as group:
            for node in nodes:
                group.create_task(one(node))

    async def _run_on_node(self, node: str, work: Callable[[str], Awaitable[None]]) -> None:
        try:
            await work(node)
        except VizdashError as e:
            self.progress.fail(node, e)

    # ------------------------------------------------------------------ one node

    async def _deploy_node(self, node: str) -> None:
        await self._prepare(node)
        await self._finish_node(node)

    async def _prepare(self, node: str) -> None:
        """Check the node and prepare it for the copy."""
        source = self.source
        self.progress.enter(node, Phase.INSPECTING)
        reached = self._surveyed.get(node) or await check_writable(self.site, node)
        arch = _ARCHITECTURES.get(reached.image_root.arch, reached.image_root.arch)
        if source.arch and arch and source.arch != arch:
            raise Refused(node, f"the image is for {source.arch}, the node is {arch}")
        self.progress.enter(node, Phase.COMPARING)
        words = (source.app, source.version, source.digest, str(source.size_bytes))
        answer = await self._ask(node, "prepare", *words, sudo=reached.sudo)
        state, like, come, _, basis, delta = answer
        if state.startswith("other"):
            raise Refused(
                node,
                f"it has a different {source.name} ({state[6:18]})",
                "versions are never overwritten: build a new version, or remove that file",
            )
        legacy = self._legacy[node] = legacy_version(reached.images, source.app)
        self._targets[node] = CopyTarget(
            node,
            reached.sudo,
            like,
            int(come),
            basis,
            int(delta),
            legacy="" if self._smoke else legacy,
        )
        if state == "have":
            self.progress.enter(node, Phase.WAITING, "it has the image")
        else:
            self.progress.nodes[node].copied = True
            self.progress.enter(node, Phase.WAITING, "fixes" if state == "damaged" else "")

    def _on_bytes(self, node: str, done: int) -> None:
        row = self.progress.nodes[node]
        if row.phase is Phase.WAITING:
            like = self._targets[node].like
            version = version_in(like, self.source.app)
            note = f"changes from {version}" if like else "from node to node"
            self.progress.enter(node, Phase.COPYING, note)
        self.progress.copied(node, done)

    async def _finish_node(self, node: str) -> None:
        """Copy, verify, rename, test and switch."""
        source, target = self.source, self._targets[node]
        row = self.progress.nodes[node]
        fixed = row.note == "fixes"
        was = result = ""
        if row.copied:
            try:
                was = await self._receive(node, target)
            except WrongDigest as e:
                if not self._has_arrived(node):
                    raise
                was = await self._receive_again(node, e.why)
        if self._smoke is not None:
            self.progress.enter(node, Phase.TESTING)
            result = await self._smoke(node)
        if not (row.copied and target.legacy):
            was = await self._switch(node, target)
        row.switched = was != source.name
        note = "fixed" if fixed else "deployed" if row.copied else "already there"
        if row.switched and was:
            note += f", before: {version_in(was, source.app)}"
        if (outcome := self._copy_outcomes.get(node)) and outcome.why:
            note += f", from the image host: {outcome.why}"
        self.progress.enter(node, Phase.DONE, f"{note}; {result}" if result else note)

    async def _receive(self, node: str, target: CopyTarget) -> str:
        """Copy, verify and rename. Returns the name of the image that was current, if the new one
        is that now. Raises WrongDigest.
        """
        await self._copy(node, target)
        outcome = self._copy_outcomes.get(node, CopyOutcome())
        if outcome.placed is not None:
            return outcome.placed
        return await self._rename(node, target, outcome)

    async def _receive_again(self, node: str, why: str) -> str:
        """Copy from the image host what came wrong from another node, which may have read it wrong
        from its disk.
        """
        self._copy_outcomes[node] = CopyOutcome(why, self._copy_outcomes[node].sent)
        async with self._copy_slots:
            await self._prepare(node)
            return await self._receive(node, self._targets[node])

    async def _rename(self, node: str, target: CopyTarget, outcome: CopyOutcome) -> str:
        """Verify and rename what has arrived; unless it is tested first, make it current. Returns
        the node's answer. Raises WrongDigest.
        """
        source, deploy = self.source, self.site.deploy
        self.progress.enter(node, Phase.VERIFYING)
        about = (source.app, source.version, source.digest, str(source.size_bytes))
        words = (*about, deploy.owner, deploy.mode, *target.switch_words())
        read = () if outcome.why else (outcome.digest, outcome.stamp)
        answer = await self._ask(node, "place", *words, *read, sudo=target.sudo)
        if answer[0] == "wrong":
            why = f"the copy had digest {answer[1][:12]}, not {source.digest[:12]}"
            raise WrongDigest(node, why, "it was removed: deploy again")
        return answer[0]

    async def _switch(self, node: str, target: CopyTarget) -> str:
        """Make the image current. Returns the name of the image that was current."""
        source = self.source
        self.progress.enter(node, Phase.SWITCHING)
        words = (source.app, source.version, self._legacy[node], "deploy", str(int(time.time())))
        answer = await self._ask(node, "switch", *words, sudo=target.sudo)
        return answer[0]

    async def _copy(self, node: str, target: CopyTarget) -> None:
        row, note = self.progress.nodes[node], ""
        if outcome := self._copy_outcomes.get(node):
            row.bytes_sent = outcome.sent
            if not outcome.why:
                self.progress.copied(node, self.source.size_bytes)
                return
            # rsync copies the rest.
            note = f"from the image host: {outcome.why}"
            arrived_bytes = await count_arrived_bytes(
                self.site.shell, self.site.root, self.source, target
            )
            row.bytes_sent += max(0, arrived_bytes - target.arrived)
            target = replace(target, arrived=arrived_bytes)
        self.progress.enter(node, Phase.COPYING, note)

        def report_bytes(count: int) -> None:
            self.progress.copied(node, count)

        row.bytes_sent += await self.site.copy_method.copy(self.source, target, report_bytes)
        self.progress.copied(node, self.source.size_bytes)

    async def _ask(self, node: str, verb: str, *words: str, sudo: bool) -> list[str]:
        return await self.site.shell.ask(
            node, verb, self.site.root, *words, sudo=sudo, timeout_s=_READ_S
        )


def legacy_version(images: Sequence[Image], app: str) -> str:
    """Return the version under which to keep an image whose only name is ``<app>.sif``."""
    names = (i.version for i in images if i.path.endswith(f"/{app}/{app}.sif"))
    return next(names, "") or "legacy"


def version_in(name: str, app: str) -> str:
    """Return the version in a file's name."""
    return name.removesuffix(".sif").removeprefix(f"{app}-")
