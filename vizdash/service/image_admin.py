"""Manages the images of one cluster's nodes: survey, verify, deploy, roll back, prune."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from vizdash.errors import Refused, UsageError, VizdashError
from vizdash.images import audit_log, deploy_source, rollback, switch_and_prune
from vizdash.images.change_record import ChangeRecord
from vizdash.images.copy import SourceImage
from vizdash.images.deploy import (
    Deployment,
    DeploySite,
    WritableNode,
    check_writable,
    writable_as_is,
)
from vizdash.images.distribution import choose_copy_method
from vizdash.images.drift import MissingVersion, find_missing, newer_versions
from vizdash.images.image_store import default_store
from vizdash.images.progress import ChangeProgress, NodeProgress
from vizdash.images.rollback import RollbackPlan
from vizdash.images.survey import UNREACHABLE_STATES
from vizdash.images.switch_and_prune import OldImage
from vizdash.images.verify import VerifyResult, verify_images
from vizdash.model import Image, ImageRoot, Matrix, Node, Session
from vizdash.service.service import Service
from vizdash.service.smoke_test import run_smoke_test
from vizdash.transport.base import Command
from vizdash.transport.node_connections import node_connections
from vizdash.util import nodesets

#: Seconds for which the survey of a plan counts: what it says of rights and programs.
_SURVEYED_S = 30.0

OnNodeChange = Callable[[NodeProgress], None]


@dataclass(frozen=True, slots=True)
class ImageOverview:
    """The image matrix, and the sessions that may run from its images."""

    cluster: str
    matrix: Matrix
    sessions: tuple[Session, ...] = ()


@dataclass(frozen=True, slots=True)
class DeployPlan:
    """A deploy that can start: which image goes to which nodes.

    ``all_nodes`` says that no node is left out; ``newer`` gives the nodes that now start a later
    version, and which one. ``matrix`` is what the nodes had at ``surveyed_at`` (time.monotonic).
    """

    source: SourceImage
    nodes: tuple[str, ...]
    all_nodes: bool = True
    newer: Mapping[str, str] = field(default_factory=dict)
    matrix: Matrix = field(default_factory=Matrix, repr=False)
    surveyed_at: float = float("-inf")

    @property
    def warning(self) -> str:
        """What the user must confirm before the deploy; empty if nothing."""
        if not self.newer:
            return ""
        later = ", ".join(sorted(set(self.newer.values())))
        nodes = nodesets.fold_nodes(node for node in self.newer if node) or "the shared image root"
        return f"{self.source.app} {self.source.version} is older than {later}, current on {nodes}"


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """The images that a prune removes, and older ones that it keeps, with the reason.

    ``unchecked_hosts`` may mount a shared image root and run from it.
    """

    app: str
    removable: tuple[OldImage, ...]
    kept: tuple[tuple[OldImage, str], ...] = ()
    unchecked_hosts: str = ""


class ImageAdmin:
    """Manages the images of one cluster; ``notify`` gets lines to show to the user. Methods raise
    VizdashError.
    """

    def __init__(self, service: Service, notify: Callable[[str], None] = lambda text: None) -> None:
        self.service = service
        self.config = service.config
        self.shell = service.images.shell
        self.root = service.config.cluster.image_root
        self._notify = notify

    @property
    def site(self) -> DeploySite:
        """How nodes are reached, and their image root."""
        return DeploySite(self.shell, self.root, choose_copy_method(self.shell, self.root))

    @property
    def record(self) -> ChangeRecord:
        """Records the changes."""
        cluster = self.config.cluster
        return ChangeRecord(
            self.shell, cluster, self._every_node, self.service.images.invalidate, self._notify
        )

    async def _every_node(self) -> tuple[str, ...]:
        return tuple(node.name for node in await self.nodes())

    # ------------------------------------------------------------------ survey and verify

    async def nodes(self, nodeset: str = "") -> tuple[Node, ...]:
        """Return the nodes of the partition that ``nodeset`` names; all for an empty one."""
        snapshot = await self.service.snapshot(all_users=False, images=False)
        selected = set(nodesets.select_nodes(nodeset, (n.name for n in snapshot.nodes)))
        return tuple(n for n in snapshot.nodes if n.name in selected)

    async def target_nodes(self, nodeset: str = "") -> tuple[str, ...]:
        """Return the nodes to deploy to, so that the nodes of ``nodeset`` have the image.

        On a shared file system this is one target with an empty name.
        """
        names = tuple(n.name for n in await self.nodes(nodeset))
        if self.config.cluster.deploy.method == "shared":
            if nodeset:
                raise UsageError("--node", "the image root is shared: all nodes use one copy")
            return ("",)
        return names

    async def overview(self, nodeset: str = "") -> ImageOverview:
        """Survey the nodes now, including which images processes have open."""
        info, nodes, sessions = await asyncio.gather(
            self.service.info(), self.nodes(nodeset), self.service.sessions.query(all_users=True)
        )
        matrix = await self.service.images.survey(nodes, full=True, asked=True, shell=self.shell)
        return ImageOverview(info.cluster, matrix, sessions)

    async def verify(
        self, matrix: Matrix, images: Iterable[Image], notify: Callable[[str], None]
    ) -> tuple[VerifyResult, ...]:
        """Verify images, with sudo(8) where that is needed and permitted, and record their digests.

        Where digests cannot be recorded, ``notify`` gets the reason.
        """
        always = self.config.cluster.deploy.sudo == "always"
        needing = [p for p in matrix.roots if not p.failure and (always or not p.writable)]
        by_sudo = {image_root.node for image_root in needing}
        if needing and (reason := await self.why_not_allowed(matrix)):
            by_sudo = set()
            notify(f"digests are not recorded: {reason} (see deploy.admins)")
        results = await verify_images(
            self.shell,
            images,
            self.root,
            sudo=lambda node: node in by_sudo,
            record=not self.config.read_only,
            notify=notify,
        )
        if not self.config.read_only:
            await self.record.add_verify_results(results)
        return results

    # ------------------------------------------------------------------ rights

    async def why_not_allowed(self, matrix: Matrix, *, asked: bool = False) -> str:
        """Return why the caller cannot change images; empty when they can.

        Unless the user ``asked`` for a change, sudo(8) is only tried for users named in the
        configuration, since it reports all others.
        """
        deploy = self.config.cluster.deploy
        image_roots = [root for root in matrix.roots if not root.failure]
        if self.config.read_only:
            return "vizdash is read-only"
        if self.service.remote is not None:
            return f"images are changed on the image host: ssh {self.config.cluster.host} vizdash"
        if not image_roots:
            cause = next((p.failure for p in matrix.roots), "there are no nodes")
            return f"no node can be reached: {cause}"
        writable = any(image_root.writable for image_root in image_roots)
        if writable and deploy.sudo != "always":
            return ""
        user, named = await self._caller()
        reason = f"{image_roots[0].user or user} may not write {self.root} on the nodes"
        if deploy.sudo == "never" or not (asked or named or deploy.user or writable):
            return f"{reason}; only root and the deploy account may"
        try:
            await check_writable(self.site, image_roots[0].node)
        except VizdashError as e:
            return e.why or e.line
        return ""

    async def require_write_access(self, nodeset: str = "") -> Matrix:
        """Survey the nodes, and check that the caller may change their image root.

        Raises Refused before any change is attempted.
        """
        nodes = await self.nodes(nodeset)
        matrix = await self.service.images.survey(nodes, asked=True, shell=self.shell)
        if reason := await self.why_not_allowed(matrix, asked=True):
            raise Refused("images", reason, "ask your administrator")
        shared = self.config.cluster.deploy.method == "shared"
        return rollback.merge_shared_root(matrix) if shared else matrix

    async def is_deploy_admin(self) -> bool:
        """Whether the caller is root or named in ``deploy.admins``."""
        user, named = await self._caller()
        return named or user == "root"

    async def _caller(self) -> tuple[str, bool]:
        """Return the caller's name, and whether ``deploy.admins`` names them or one of their
        groups.
        """
        words = ("sh", "-c", "id -un; id -Gn")
        result = await self.shell.runner.run(Command(words))
        user, _, groups = result.stdout.partition("\n")
        known = {user.strip(), *(f"@{group}" for group in groups.split())}
        return user.strip(), bool(known & set(self.config.cluster.deploy.admins))

    def _require_changes_allowed(self) -> None:
        if self.config.read_only:
            raise Refused("read-only", "this vizdash changes nothing", "start it without it")
        if self.service.remote is not None:
            host = self.config.cluster.host
            raise Refused("images", "they are changed on the image host", f"ssh {host} vizdash …")

    # ------------------------------------------------------------------ deploy

    async def find_missing(
        self, app: str = "", nodeset: str = ""
    ) -> tuple[tuple[MissingVersion, ...], tuple[ImageRoot, ...]]:
        """Return what nodes lack of the last deploy or rollback to all nodes.

        The second value is the image roots that did not answer although Slurm reports their nodes
        as up.
        """
        self._require_changes_allowed()
        if app:
            self.service.apps.find(app)
        nodes = [n for n in await self.nodes(nodeset) if n.state_text not in UNREACHABLE_STATES]
        if not nodes:
            return (), ()
        matrix = await self.service.images.survey(nodes, asked=True)
        if self.config.cluster.deploy.method == "shared":
            matrix = rollback.merge_shared_root(matrix)
        silent = tuple(image_root for image_root in matrix.roots if image_root.failure)
        return find_missing(matrix, app), silent

    async def plan_deploy(
        self,
        app: str,
        *,
        version: str = "",
        file: str = "",
        nodeset: str = "",
        force: bool = False,
    ) -> DeployPlan:
        """Find the image, read it whole, and choose the nodes.

        ``force`` accepts an image whose labels name another app or version. Raises NotFound,
        Refused or UsageError before anything is changed.
        """
        self._require_changes_allowed()
        self.service.apps.find(app)
        nodes = await self.target_nodes(nodeset)
        surveyed_at = time.monotonic()
        matrix = await self.require_write_access(nodeset)
        if file:
            image = await deploy_source.describe_file(self.shell, app, file, version)
        else:
            image = await deploy_source.find_image(
                self.shell, app, version, (self._store(), self.root)
            )
        signed = self.config.cluster.deploy.signed
        source = await deploy_source.prepare_source(self.shell, image, signed=signed, force=force)
        newer = newer_versions(matrix, app, source.version)
        return DeployPlan(source, nodes, not nodeset, newer, matrix, surveyed_at)

    def _store(self) -> str:
        configured = self.config.cluster.image_store
        return str(Path(configured).expanduser() if configured else default_store())

    async def deploy(
        self,
        plan: DeployPlan,
        *,
        canary: str = "",
        smoke_test: bool = False,
        smoke_gpus: int = 0,
        confirmed: bool = False,
        on_change: OnNodeChange,
    ) -> ChangeProgress:
        """Deploy the image. The progress returned has the outcome of each node. Sessions of the
        smoke test get ``smoke_gpus`` GPUs.

        Raises Refused for a plan with a warning that was not ``confirmed``.
        """
        self._require_changes_allowed()
        if plan.warning and not confirmed:
            raise Refused("nothing was deployed", plan.warning, "--force, or vizdash rollback")
        if canary and canary not in plan.nodes:
            raise UsageError(f"canary {canary}", "not one of the nodes", "see --node")
        source = plan.source
        if smoke_test and self.service.apps.find(source.app).kind == "legacy":
            raise UsageError(
                "--smoke", f"{source.app} is a legacy app, which its own script starts"
            )

        async def test(node: str) -> str:
            return await run_smoke_test(
                self.service, source.app, source.version, node, self._notify, gpus=smoke_gpus
            )

        progress = ChangeProgress(plan.nodes, on_change, source.size_bytes)
        wanted_versions = {source.app: source.version} if plan.all_nodes else {}
        about = audit_log.AuditEvent("deploy", source.app, source.version, source.digest)
        async with (
            self.connected() as admin,
            admin.record.open(about, plan.nodes) as about,
            self._sealed_source(source) as sent,
        ):
            deployment = Deployment(
                admin.site,
                sent,
                progress,
                smoke=test if smoke_test else None,
                surveyed=self._surveyed(plan),
            )
            try:
                await deployment.run(plan.nodes, canary)
            finally:
                await asyncio.shield(admin.record.close(about, progress, wanted_versions))
        return progress

    def _surveyed(self, plan: DeployPlan) -> dict[str, WritableNode]:
        """The nodes that the plan's survey found writable, if that was just now.

        A shared image root is written from the image host, of which no node's survey tells.
        """
        if time.monotonic() - plan.surveyed_at > _SURVEYED_S:
            return {}
        found = {
            root.node: writable_as_is(self.config.cluster.deploy, root, plan.matrix.on(root.node))
            for root in plan.matrix.roots
        }
        return {node: writable for node, writable in found.items() if node and writable}

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[ImageAdmin]:
        """An ImageAdmin whose commands share one connection to each node while this lasts."""
        if self.shell.connections is not None:
            yield self
            return
        async with node_connections(self.shell.runner) as connections:
            admin = ImageAdmin(self.service, self._notify)
            admin.shell = replace(self.shell, connections=connections)
            yield admin

    def _sealed_source(self, source: SourceImage) -> AbstractAsyncContextManager[SourceImage]:
        """Where signatures are required, use a private copy that was verified."""
        if not self.config.cluster.deploy.signed:
            return nullcontext(source)
        return deploy_source.sealed_copy(self.shell, source, self.config.cluster.build.tmpdir)

    # ------------------------------------------------------------------ rollback, prune

    async def plan_rollback(self, app: str, matrix: Matrix, version: str = "") -> RollbackPlan:
        """Plan a rollback on the nodes of the matrix. Raises NotFound when none can go back."""
        self.service.apps.find(app)
        shared = self.config.cluster.deploy.method == "shared"
        return rollback.plan_rollback(
            rollback.merge_shared_root(matrix) if shared else matrix, app, version
        )

    async def rollback(
        self, plan: RollbackPlan, on_change: OnNodeChange, *, all_nodes: bool = True
    ) -> ChangeProgress:
        """Switch each node back. Running sessions keep their image."""
        self._require_changes_allowed()
        await self.require_write_access(nodesets.fold_nodes(name for name in plan.versions if name))
        progress = ChangeProgress((*plan.versions, *plan.refused), on_change)
        for node, why in plan.refused.items():
            progress.fail(node, VizdashError(node, why))
        wanted_versions = {plan.app: plan.version} if all_nodes else {}
        about = audit_log.AuditEvent("rollback", plan.app, plan.version)
        nodes = tuple(plan.versions)
        async with self.connected() as admin, admin.record.open(about, nodes) as about:
            try:
                await switch_and_prune.switch_version(admin.site, progress, plan.app, plan.versions)
            finally:
                await asyncio.shield(
                    admin.record.close(about, progress, wanted_versions, plan.versions)
                )
        return progress

    async def plan_prune(self, app: str, keep: int, nodeset: str = "") -> PrunePlan:
        """Return what a prune would remove; nothing is changed."""
        self.service.apps.find(app)
        overview = await self.overview(nodeset)
        if self.config.cluster.deploy.method != "shared":
            lists = switch_and_prune.find_prunable(
                overview.matrix, app, keep, overview.sessions, self.service.apps.all
            )
            return PrunePlan(app, *lists)
        # A session on a node that does not answer runs from the same copy.
        anywhere = [replace(session, node="") for session in overview.sessions]
        lists = switch_and_prune.find_prunable(
            overview.matrix, app, keep, anywhere, self.service.apps.all
        )
        return PrunePlan(
            app,
            *switch_and_prune.merge_shared_copy(*lists),
            unchecked_hosts=await self._unchecked_hosts(),
        )

    async def prune(self, plan: PrunePlan, on_change: OnNodeChange) -> ChangeProgress:
        """Remove old images.

        Each node checks again whether a process uses them; for a shared image root, all nodes that
        are not powered down do.
        """
        self._require_changes_allowed()
        await self.require_write_access()
        going: dict[str, list[OldImage]] = {}
        for old in plan.removable:
            going.setdefault(old.node, []).append(old)
        progress = ChangeProgress(going, on_change)
        shared = self.config.cluster.deploy.method == "shared"
        versions = ",".join(sorted({old.version for old in plan.removable}))
        about = audit_log.AuditEvent("prune", plan.app, versions)
        if not going:
            return progress
        async with self.record.open(about, tuple(going)) as about:
            try:
                await switch_and_prune.prune_images(
                    self.site, progress, going, self._find_shared_use if shared else None
                )
            finally:
                await asyncio.shield(self.record.close(about, progress, {}))
        return progress

    async def _unchecked_hosts(self) -> str:
        """Return other nodes of the cluster, which may mount a shared image root too."""
        asked = {node.name for node in await self.nodes()}
        asked |= set(nodesets.expand_nodes(self.config.cluster.deploy.mounted_on))
        others = nodesets.fold_nodes(
            {node.name for node in await self.service.engine.nodes()} - asked
        )
        beside = "other hosts that Slurm does not know (see deploy.mounted_on)"
        return f"{others}, and {beside}" if others else beside

    async def _find_shared_use(self, sudo: bool) -> Mapping[str, str]:
        nodes = [n.name for n in await self.nodes() if n.state_text != "powered down"]
        nodes += nodesets.expand_nodes(self.config.cluster.deploy.mounted_on)
        shell = replace(self.shell, here=self.service.engine.name == "local")
        return await switch_and_prune.find_open_images(shell, nodes, self.root, sudo=sudo)
