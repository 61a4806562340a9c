"""What a face of vizdash may do with images on nodes: see, verify, deploy, roll back, prune."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from vizdash import nodesets
from vizdash.errors import Refused, UsageError, VizdashError
from vizdash.images import audit, change, origin, rollback
from vizdash.images.change import Old
from vizdash.images.deploy import Deployment, Site, reach
from vizdash.images.distribution import travel
from vizdash.images.ledger import Ledger
from vizdash.images.missing import Missing, missing
from vizdash.images.progress import NodeProgress, Progress
from vizdash.images.rollback import Rollback
from vizdash.images.store import default_store
from vizdash.images.travel import Cargo
from vizdash.images.verify import Verdict, verify
from vizdash.images.watch import AWAY
from vizdash.model import Image, Matrix, Node, Place, Session
from vizdash.service import Service
from vizdash.smoke import smoke
from vizdash.transport.base import Command

Tell = Callable[[NodeProgress], None]


@dataclass(frozen=True, slots=True)
class View:
    """The matrix, and the sessions that may run from its images."""

    cluster: str
    matrix: Matrix
    sessions: tuple[Session, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A deploy that may begin: what goes where. ``all_nodes`` says that no node is left out;
    ``backwards`` are nodes that start a later version now, and which.
    """

    cargo: Cargo
    nodes: tuple[str, ...]
    all_nodes: bool = True
    backwards: Mapping[str, str] = field(default_factory=dict)

    @property
    def warning(self) -> str:
        """What a person should agree to before it begins; empty when there is nothing."""
        if not self.backwards:
            return ""
        later = ", ".join(sorted(set(self.backwards.values())))
        nodes = nodesets.fold(node for node in self.backwards if node) or "the shared image root"
        return f"{self.cargo.app} {self.cargo.version} is older than {later}, current on {nodes}"


@dataclass(frozen=True, slots=True)
class Pruning:
    """What a prune takes away, and what it leaves although it is old, with the reason. Hosts that
    are ``unasked`` may mount a shared image root and run from it.
    """

    app: str
    going: tuple[Old, ...]
    staying: tuple[tuple[Old, str], ...] = ()
    unasked: str = ""


class Imaging:
    """Images of one cluster. Methods raise VizdashError."""

    def __init__(self, service: Service, talk: Callable[[str], None] = lambda text: None) -> None:
        self.service = service
        self.config = service.config
        self.shell = service.images.shell
        self.root = service.config.cluster.image_root
        self._talk = talk

    @property
    def site(self) -> Site:
        """Where images go."""
        return Site(self.shell, self.root, travel(self.shell, self.root))

    @property
    def ledger(self) -> Ledger:
        """Where changes are noted."""
        cluster = self.config.cluster
        return Ledger(self.shell, cluster, self._every_node, self.service.images.forget, self._talk)

    async def _every_node(self) -> tuple[str, ...]:
        return tuple(node.name for node in await self.nodes())

    # ------------------------------------------------------------------ seeing

    async def nodes(self, nodeset: str = "") -> tuple[Node, ...]:
        """The nodes of the partition that ``nodeset`` names; all for an empty one."""
        snapshot = await self.service.snapshot(all_users=False, images=False)
        wanted = set(nodesets.chosen(nodeset, (n.name for n in snapshot.nodes)))
        return tuple(n for n in snapshot.nodes if n.name in wanted)

    async def places(self, nodeset: str = "") -> tuple[str, ...]:
        """Where an image must be brought for these nodes to have it. One place, with an empty
        name, where a file system is shared.
        """
        names = tuple(n.name for n in await self.nodes(nodeset))
        if self.config.cluster.deploy.method == "shared":
            if nodeset:
                raise UsageError("--node", "the image root is shared: one copy is for all nodes")
            return ("",)
        return names

    async def view(self, nodeset: str = "") -> View:
        """All there is to see now, what processes have open included."""
        info, nodes, sessions = await asyncio.gather(
            self.service.info(), self.nodes(nodeset), self.service.sessions(all_users=True)
        )
        matrix = await self.service.images.look(nodes, full=True, asked=True)
        return View(info.cluster, matrix, sessions)

    async def verify(
        self, matrix: Matrix, images: Iterable[Image], tell: Callable[[str], None]
    ) -> tuple[Verdict, ...]:
        """Read these images whole, by sudo(8) where that is needed and given: what is found is
        recorded there, so that it stays told. Where it can't be, the reason is told.
        """
        always = self.config.cluster.deploy.sudo == "always"
        needing = [p for p in matrix.places if not p.failure and (always or not p.writable)]
        by_sudo = {place.node for place in needing}
        if needing and (reason := await self.rights(matrix)):
            by_sudo = set()
            tell(f"digests are not recorded: {reason} (see deploy.admins)")
        verdicts = await verify(
            self.shell, images, self.root, sudo=lambda node: node in by_sudo, tell=tell
        )
        if not self.config.read_only:
            await self.ledger.verified(verdicts)
        return verdicts

    # ------------------------------------------------------------------ rights

    async def rights(self, matrix: Matrix, *, asked: bool = False) -> str:
        """Why the caller can't change images; empty when they can. Unless they have ``asked``
        for a change, sudo(8) is only tried for those whom the configuration names: it reports
        everybody else.
        """
        deploy, places = self.config.cluster.deploy, [p for p in matrix.places if not p.failure]
        if self.config.read_only:
            return "this vizdash is read-only"
        if self.service.remote is not None:
            return f"images are changed on the image host: ssh {self.config.cluster.host} vizdash"
        if not places:
            cause = next((p.failure for p in matrix.places), "there are no nodes")
            return f"no node can be reached: {cause}"
        writable = any(place.writable for place in places)
        if writable and deploy.sudo != "always":
            return ""
        user, named = await self._who()
        reason = f"{places[0].user or user} may not write {self.root} on the nodes"
        if deploy.sudo == "never" or not (asked or named or deploy.user or writable):
            return f"{reason}; that is for root and the deploy account"
        try:
            await reach(self.site, places[0].node)
        except VizdashError as e:
            return e.why or e.line
        return ""

    async def may_change(self, nodeset: str = "") -> Matrix:
        """The nodes as they are now. Raises Refused when the caller has no rights to the image
        root, before anything is tried.
        """
        matrix = await self.service.images.look(await self.nodes(nodeset), asked=True)
        if reason := await self.rights(matrix, asked=True):
            raise Refused("images", reason, "ask who deploys images here")
        shared = self.config.cluster.deploy.method == "shared"
        return rollback.one_place(matrix) if shared else matrix

    async def named(self) -> bool:
        """Whether the caller is one who deploys: root, or one whom the configuration names."""
        user, named = await self._who()
        return named or user == "root"

    async def _who(self) -> tuple[str, bool]:
        """The caller's name, and whether they are among ``deploy.admins``."""
        words = ("sh", "-c", "id -un; id -Gn")
        result = await self.shell.runner.run(Command(words))
        user, _, groups = result.stdout.partition("\n")
        known = {user.strip(), *(f"@{group}" for group in groups.split())}
        return user.strip(), bool(known & set(self.config.cluster.deploy.admins))

    def _writable(self) -> None:
        if self.config.read_only:
            raise Refused("read-only", "this vizdash changes nothing", "start it without it")
        if self.service.remote is not None:
            host = self.config.cluster.host
            raise Refused("images", "they are changed on the image host", f"ssh {host} vizdash …")

    # ------------------------------------------------------------------ deploying

    async def missing(
        self, app: str = "", nodeset: str = ""
    ) -> tuple[tuple[Missing, ...], tuple[Place, ...]]:
        """What nodes lack that the last deploy or rollback brought everywhere; and the nodes that
        did not answer although Slurm has them up.
        """
        self._writable()
        if app:
            self.service.app(app)
        nodes = [n for n in await self.nodes(nodeset) if n.state_words not in AWAY]
        if not nodes:
            return (), ()
        matrix = await self.service.images.look(nodes, asked=True)
        if self.config.cluster.deploy.method == "shared":
            matrix = rollback.one_place(matrix)
        silent = tuple(place for place in matrix.places if place.failure)
        return missing(matrix, app), silent

    async def plan(
        self,
        app: str,
        *,
        version: str = "",
        file: str = "",
        nodeset: str = "",
        force: bool = False,
    ) -> Plan:
        """Find the image, read it whole once, and choose the nodes. ``force`` takes an image whose
        labels name another app or version.

        Raises NotFound, Refused or UsageError before anything is changed.
        """
        self._writable()
        self.service.app(app)
        nodes = await self.places(nodeset)
        matrix = await self.may_change(nodeset)
        if file:
            image = await origin.of_file(self.shell, app, file, version)
        else:
            image = await origin.find(self.shell, app, version, (self._store(), self.root))
        signed = self.config.cluster.deploy.signed
        cargo = await origin.cargo_of(self.shell, image, signed=signed, force=force)
        backwards = rollback.backwards(matrix, app, cargo.version)
        return Plan(cargo, nodes, all_nodes=not nodeset, backwards=backwards)

    def _store(self) -> str:
        wanted = self.config.cluster.image_store
        return str(Path(wanted).expanduser() if wanted else default_store())

    async def deploy(
        self,
        plan: Plan,
        *,
        canary: str = "",
        smoke_test: bool = False,
        agreed: bool = False,
        tell: Tell,
    ) -> Progress:
        """Bring it there. How each node ended is in what is returned (and told on the way).

        Raises Refused for a plan with a warning that nobody has ``agreed`` to.
        """
        self._writable()
        if plan.warning and not agreed:
            raise Refused("nothing was deployed", plan.warning, "--force, or vizdash rollback")
        if canary and canary not in plan.nodes:
            raise UsageError(f"canary {canary}", "it is not among the nodes", "see --node")
        cargo = plan.cargo
        if smoke_test and self.service.app(cargo.app).kind == "legacy":
            raise UsageError("--smoke", f"{cargo.app} is started by a script of the legacy kind")

        async def trying(node: str) -> str:
            return await smoke(self.service, cargo.app, cargo.version, node, self._talk)

        progress = Progress(plan.nodes, tell, cargo.size_bytes)
        wanted = {cargo.app: cargo.version} if plan.all_nodes else {}
        about = audit.Event("deploy", cargo.app, cargo.version, cargo.digest)
        async with self.ledger.changing(about, plan.nodes) as about, self._sealed(cargo) as sent:
            deployment = Deployment(self.site, sent, progress, smoke=trying if smoke_test else None)
            try:
                await deployment.run(plan.nodes, canary)
            finally:
                await asyncio.shield(self.ledger.after(about, progress, wanted))
        return progress

    def _sealed(self, cargo: Cargo) -> AbstractAsyncContextManager[Cargo]:
        """Where signatures are demanded, a copy that nobody else can change, verified."""
        if not self.config.cluster.deploy.signed:
            return nullcontext(cargo)
        return origin.sealed(self.shell, cargo, self.config.cluster.build.tmpdir)

    # ------------------------------------------------------------------ rolling back, pruning

    async def rollback_plan(self, app: str, matrix: Matrix, version: str = "") -> Rollback:
        """What a rollback does on the matrix's nodes. Raises NotFound when none can go back."""
        self.service.app(app)
        shared = self.config.cluster.deploy.method == "shared"
        return rollback.plan(rollback.one_place(matrix) if shared else matrix, app, version)

    async def rollback(self, plan: Rollback, tell: Tell, *, all_nodes: bool = True) -> Progress:
        """Switch each node back. Running sessions keep what they run from."""
        self._writable()
        await self.may_change(nodesets.fold(name for name in plan.versions if name))
        progress = Progress((*plan.versions, *plan.refused), tell)
        for node, why in plan.refused.items():
            progress.fail(node, VizdashError(node, why))
        wanted = {plan.app: plan.version} if all_nodes else {}
        about = audit.Event("rollback", plan.app, plan.version)
        async with self.ledger.changing(about, tuple(plan.versions)) as about:
            try:
                await change.switch(self.site, progress, plan.app, plan.versions)
            finally:
                await asyncio.shield(self.ledger.after(about, progress, wanted, plan.versions))
        return progress

    async def prunable(self, app: str, keep: int, nodeset: str = "") -> Pruning:
        """What a prune would take away; nothing is changed."""
        self.service.app(app)
        view = await self.view(nodeset)
        if self.config.cluster.deploy.method != "shared":
            found = change.prunable(view.matrix, app, keep, view.sessions, self.service.apps())
            return Pruning(app, *found)
        # A session of a node that does not answer runs from the same copy.
        anywhere = [replace(session, node="") for session in view.sessions]
        found = change.prunable(view.matrix, app, keep, anywhere, self.service.apps())
        return Pruning(app, *change.one_copy(*found), unasked=await self._unasked())

    async def prune(self, pruning: Pruning, tell: Tell) -> Progress:
        """Take it away. Each node looks once more whether something runs from it; where it is
        shared, all of them do, but for those without power.
        """
        self._writable()
        await self.may_change()
        going: dict[str, list[Old]] = {}
        for old in pruning.going:
            going.setdefault(old.node, []).append(old)
        progress = Progress(going, tell)
        shared = self.config.cluster.deploy.method == "shared"
        versions = ",".join(sorted({old.version for old in pruning.going}))
        about = audit.Event("prune", pruning.app, versions)
        if not going:
            return progress
        async with self.ledger.changing(about, tuple(going)) as about:
            try:
                await change.prune(self.site, progress, going, self._used if shared else None)
            finally:
                await asyncio.shield(self.ledger.after(about, progress, {}))
        return progress

    async def _unasked(self) -> str:
        """The cluster's other nodes, which may mount a shared image root, too."""
        asked = {node.name for node in await self.nodes()}
        asked |= set(nodesets.expand(self.config.cluster.deploy.mounted_on))
        others = nodesets.fold({node.name for node in await self.service.engine.nodes()} - asked)
        beside = "hosts that Slurm does not know, but for this one (see deploy.mounted_on)"
        return f"{others}, and {beside}" if others else beside

    async def _used(self, sudo: bool) -> Mapping[str, str]:
        nodes = [n.name for n in await self.nodes() if n.state_words != "powered down"]
        nodes += nodesets.expand(self.config.cluster.deploy.mounted_on)
        shell = replace(self.shell, here=self.service.engine.name == "local")
        return await change.used_on(shell, nodes, self.root, sudo=sudo)
