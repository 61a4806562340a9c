"""A service made of frozen data, and a clock that stands still."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.fakes import FakeEngine, FakeForwarder, FakeRemote, MemoryStore, NoCommands
from vizdash.config import App, Cluster, Config
from vizdash.config.model import UiSettings
from vizdash.errors import VizdashError
from vizdash.images.rollback import RollbackPlan
from vizdash.model import (
    CommandRun,
    Gres,
    Image,
    Job,
    JobState,
    Matrix,
    Node,
    Resources,
    Session,
    SessionRequest,
    SessionState,
    Snapshot,
)
from vizdash.service.image_admin import ImageAdmin, ImageOverview
from vizdash.service.load_history import LoadHistory
from vizdash.service.service import Service
from vizdash.sessions import comment, last_request
from vizdash.sessions.capacity import CapacityVerdict
from vizdash.sessions.folder_summary import FolderSummary
from vizdash.sessions.handoff import Handoff
from vizdash.sessions.join import Offer
from vizdash.sessions.preview import Picture
from vizdash.sessions.routes import Route
from vizdash.sessions.start_plan import StartPlan, resolve_plan
from vizdash.sessions.tunnel_records import HeldTunnels, TunnelRecord
from vizdash.ui.app import VizdashApp
from vizdash.ui.pending_service import ControllerOptions

#: The moment at which the clock stands.
AT = 1_800_000_000.0
G = 1024


def node(number: int, used: int = 0, **changes: object) -> Node:
    """viz-nodeNNN of 16 cores, 64 GiB and two GPUs, of which ``used`` cores are taken."""
    made = Node(
        name=f"viz-node{number:03}",
        state="MIXED" if used else "IDLE",
        cores=16,
        cores_alloc=used,
        memory_mib=64 * G,
        memory_alloc_mib=used * 4 * G,
        gres=(Gres("gpu", "a100", 2, min(2, used // 4)),),
        partitions=("viz",),
        features=("a100", "vgl"),
        os_load=used * 0.45,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def session(number: int, state: SessionState, **changes: object) -> Session:
    made = Session(
        id=f"{0x4F2A91C0 + number:08x}",
        job_id=str(1040 + number),
        app="desktop",
        user="anna",
        state=state,
        partition="viz",
        resources=Resources(cores=2, memory_mib=4 * G, gpus=0, time_s=7200),
        image_version="2.1",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def ready(number: int = 1, **changes: object) -> Session:
    values: dict[str, object] = {
        "node": "viz-node002",
        "time_left_s": 4329,
        "submitted_at": int(AT) - 2875,
        "started_at": int(AT) - 2871,
    }
    return session(number, SessionState.READY, **(values | changes))


def job_of(session: Session) -> Job:
    """The job of a session, with what it claims in its comment."""
    claim = comment.Claim(
        session.id, session.app, session.image_version, str(session.state), session.step
    )
    return Job(
        session.job_id, session.user, "vizdash", JobState.RUNNING, comment=comment.encode(claim)
    )


def images(*nodes: str) -> tuple[Image, ...]:
    root = "/opt/apptainers/apps"
    found = []
    for name in nodes:
        for app, version, size, current in (
            ("desktop", "2.0", 1_900_000_000, False),
            ("desktop", "2.1", 1_950_000_000, True),
            ("paraview", "5.13.1", 3_650_000_000, True),
        ):
            path = f"{root}/{app}/{app}-{version}.sif"
            found.append(Image(app, path, version, size, int(AT) - 86400, name, current))
    return tuple(found)


def snapshot(**changes: object) -> Snapshot:
    made = Snapshot(
        cluster="viz", engine="slurm 24.11.5", partition="viz", user="anna", taken_at=AT - 3
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def busy() -> Snapshot:
    """A cluster on a usual day."""
    nodes = (
        node(1, 14),
        node(2, 6),
        node(3),
        node(4, 0, flags=("DRAIN",), reason="fan 2 failed, replaced on Thursday"),
    )
    paraview = Resources(cores=8, memory_mib=32 * G, gpus=1, time_s=14400)
    sessions = (
        session(
            6,
            SessionState.PENDING,
            app="paraview",
            resources=paraview,
            image_version="5.13.1",
            reason="waiting for free cores, memory or GPUs",
            expected_start_at=int(AT) + 760,
        ),
        session(5, SessionState.STARTING, node="viz-node001", step="xvnc", time_left_s=7194),
        ready(4, app="paraview", resources=paraview, image_version="5.13.1", node="viz-node001"),
        ready(1),
        ready(3, mine=False, user="björn", node="viz-node001", time_left_s=241),
        session(
            2,
            SessionState.ENDED,
            result="failed",
            step="app",
            node="viz-node002",
            app="paraview",
            image_version="5.12.0",
            error="paraview: error while loading shared libraries: libGLU.so.1",
            submitted_at=int(AT) - 3610,
            started_at=int(AT) - 3600,
            ended_at=int(AT) - 3550,
        ),
        session(0, SessionState.ENDED, result="finished", node="viz-node003"),
    )
    found = (*images("viz-node001", "viz-node002"), *images("viz-node003")[:2])
    return snapshot(nodes=nodes, sessions=sessions, images=found)


def empty() -> Snapshot:
    return snapshot(nodes=(node(1), node(2)))


def small() -> Snapshot:
    """The legacy site: one node of 3.5 GB, one desktop."""
    only = Node(
        name="viz-node001",
        state="MIXED",
        cores=4,
        cores_alloc=2,
        memory_mib=3584,
        memory_alloc_mib=2048,
        partitions=("viz",),
        os_load=0.31,
    )
    one = ready(1, app="gedit", node="viz-node001", image_version="1.0")
    image = Image("gedit", "/opt/apptainers/apps/gedit/gedit-1.0.sif", "1.0", 245_000_000, int(AT))
    found = (replace(image, node="viz-node001", current=True),)
    return snapshot(nodes=(only,), sessions=(one,), images=found)


def hard() -> Snapshot:
    """Your session with names as long, wide and hostile as possible."""
    one = ready(
        1,
        app="a-name-of-forty-characters-is-quite-long",
        user="\x1b[31m한국어사용자이름이아주길다",
        node="viz-node-with-a-name-of-forty-characters",
        image_version="2.1-한국어판-\u202e3.2",
    )
    return snapshot(nodes=(node(1),), sessions=(one,))


def broken() -> Snapshot:
    """Names with terminal sequences, and unusual states."""
    evil = "\x1b[2J\x1b]0;pwned\x07[red]bold[/red]\u202egnp.exe\u200b"
    nodes = (
        node(1, 0, state="DOWN", reason=f"not responding {evil}"),
        node(2, 0, flags=("NOT_RESPONDING",), name=f"viz{evil}"),
        node(3, 16, state="ALLOCATED", gres=(), memory_mib=0, memory_alloc_mib=0),
    )
    sessions = (
        ready(1, app=evil, mine=False, user="한국어사용자이름이아주길다", node="viz-node003"),
        session(2, SessionState.UNKNOWN, app="파라뷰뷰어"),
        session(3, SessionState.ENDED, result="failed", step="app", error=evil * 4),
        session(4, SessionState.ENDED, result="timed out"),
    )
    found = (Image("desktop", f"/opt/{evil}.sif", evil, 0, 0, "viz-node003"),)
    return snapshot(nodes=nodes, sessions=sessions, images=found)


def many(count: int) -> Snapshot:
    nodes = tuple(node(n, n % 17, name=f"viz-node{n:04}") for n in range(1, count + 1))
    sessions = tuple(ready(n, node=f"viz-node{n:04}", mine=n % 9 == 0) for n in range(count // 2))
    return snapshot(nodes=nodes, sessions=sessions, images=images("viz-node0001"))


APPS = {
    "desktop": App(
        "desktop",
        "Desktop",
        resources=Resources(2, 2 * G, 0, 7200),
        presets={
            "small": Resources(1, 1 * G, 0, 3600),
            "medium": Resources(2, 2 * G, 0, 7200),
            "large": Resources(4, 8 * G, 0, 28800),
        },
    ),
    "gedit": App("gedit", "gedit", resources=Resources(2, 2 * G, 0, 7200)),
    "paraview": App(
        "paraview",
        "ParaView",
        resources=Resources(4, 8 * G, 1, 14400),
        presets={"large": Resources(8, 16 * G, 1, 28800)},
        geometry="1920x1080",
    ),
}


def watched() -> Snapshot:
    """Desktops with numbers of viewers, as an administrator sees them."""
    hour = 3600
    mine = ready(1, viewers=1)
    seldom = ready(2, mine=False, user="björn", viewers=0, idle_since=int(AT) - 26 * hour)
    just = ready(3, mine=False, user="carla", viewers=0, idle_since=int(AT) - 720)
    two = ready(4, mine=False, user="dora", viewers=2)
    silent = ready(5, mine=False, user="emil")
    return replace(busy(), sessions=(mine, just, two, silent, seldom, *busy().sessions[:1]))


def ending() -> Snapshot:
    """A desktop whose time is nearly up."""
    return replace(busy(), sessions=(ready(4, time_left_s=250), ready(1), *busy().sessions[4:]))


def day() -> LoadHistory:
    """A day's load: quiet at night, full in the afternoon."""
    history = LoadHistory(None)
    for n in range(24 * 60):
        hour = n / 60
        used = round(24 * max(0.0, 1 - abs(hour - 15) / 9)) + n % 3
        nodes = (node(1, min(16, used)), node(2, max(0, used - 16)), node(3))
        live = busy().sessions[: 1 + used // 6]
        taken = AT - 86400 + 60 + n * 60
        history.take(replace(busy(), nodes=nodes, sessions=live, taken_at=taken))
    return history


#: Commands that were run: one well, one refused, one without an answer.
RAN = (
    CommandRun(3, AT, ("squeue", "-h", "-u", "anna"), 0.016, 0),
    CommandRun(2, AT - 9, ("scancel", "1040"), 0.2, 1, "Invalid job id specified"),
    CommandRun(1, AT - 20, ("ssh", "viz-node002", "true"), 30.0, None, "no answer in 30 s"),
)

#: Without pictures of desktops, unless a test wants them.
QUIET = Config(Cluster("viz", refresh_s=3600), {}, APPS, ui=UiSettings(preview=False))

#: The config of those who look at their desktops.
LOOKING = Config(Cluster("viz", refresh_s=3600), {}, APPS)

#: What a job's log looks like.
LOG = "\n".join(
    (
        "vizdash: session 4f2a91c1 on viz-node002, job 1041",
        "vizdash: step image: /opt/apptainers/apps/desktop/desktop-2.1.sif",
        "vizdash: step xvnc: display :1",
        *(f"openbox: something was done, number {n}" for n in range(60)),
        "vizdash: step ready",
    )
)


def desktop_picture(width: int, height: int) -> Picture:
    """A blue desktop of 16:9 with a white window on it."""
    wide = min(width, height * 16 // 9)
    tall = wide * 9 // 16
    rgb = bytearray(b"\x31\x51\x6f" * (wide * tall))
    for y in range(tall // 4, tall // 2):
        for x in range(wide // 4, wide * 3 // 4):
            rgb[(y * wide + x) * 3 : (y * wide + x + 1) * 3] = b"\xf0\xf0\xf0"
    return Picture(wide, tall, bytes(rgb), (1280, 720))


@dataclass
class FakeRoute(Route):
    """A tunnel that is lost when told so; to close it ends its ssh, as SshForward does."""

    gone: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False

    async def wait_lost(self) -> str:
        await self.gone.wait()
        return "ssh to viz-node002 ended"

    async def close(self) -> None:
        self.closed = True
        self.gone.set()


class FakeTunnels(HeldTunnels):
    """Those of other processes; remembers which were closed."""

    def __init__(self) -> None:
        super().__init__("viz", Path("/nonexistent"))
        self.others: list[TunnelRecord] = []
        self.closed: list[str] = []
        self.refusal: VizdashError | None = None

    async def read_others(self) -> tuple[TunnelRecord, ...]:
        return tuple(self.others)

    async def close_other(self, id: str) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.closed.append(id)


class FakeImageAdmin(ImageAdmin):
    """What may be done with the images that a fake service has on its nodes, by the config of the
    moment when it was made.
    """

    def __init__(self, service: FakeService) -> None:
        super().__init__(service)
        self.fake = service
        self.refusal = service.image_refusal

    async def why_not_allowed(self, matrix: Matrix, *, asked: bool = False) -> str:
        self.fake.rights_asked += 1
        if matrix.answered:
            return self.refusal
        return f"no node can be reached: {matrix.roots[0].failure}"

    async def overview(self, nodeset: str = "") -> ImageOverview:
        assert self.fake.now is not None
        return ImageOverview("viz", self.fake.now.matrix)

    async def plan_rollback(self, app: str, matrix: Matrix, version: str = "") -> RollbackPlan:
        version = next(i.version for i in matrix.images if i.app == app and not i.current)
        return RollbackPlan(
            app,
            versions={p.node: version for p in matrix.roots if not p.failure},
            refused={p.node: p.failure for p in matrix.roots if p.failure},
        )


class FakeService(Service):
    """The real service, its parts too, but for what a cluster or a desktop would answer: that is
    what the test puts here. It remembers what it was asked.
    """

    def __init__(self, now: Snapshot | None = None, **changes: object) -> None:
        config = changes.pop("config", None) or QUIET
        catalogue = changes.pop("catalogue", None)
        assert isinstance(config, Config)
        if isinstance(catalogue, dict):
            config = replace(config, apps=catalogue)
        last, history = changes.pop("last", None), changes.pop("history", None)
        if isinstance(last, SessionRequest):
            last_request.save(config.cluster.name, last)
        engine = changes.pop("engine", None) or FakeEngine()
        assert isinstance(engine, FakeEngine)
        store = changes.pop("store", None) or MemoryStore()
        assert isinstance(store, MemoryStore)
        remote = changes.pop("remote", None)
        assert remote is None or isinstance(remote, FakeRemote)
        super().__init__(config, engine, NoCommands(), FakeForwarder(), store=store, remote=remote)
        self.fake_engine = engine
        engine.about = replace(engine.about, user="anna")
        engine.on_answer = self._take_message
        self._failure: VizdashError | None = None
        self.now = now
        self.fit_failure: VizdashError | None = None
        self.refusal: VizdashError | None = None
        self.open_refusal: VizdashError | None = None
        self.image_refusal = ""
        self.rights_asked = 0
        self.verdict = CapacityVerdict(
            fits_now=(("viz-node002", 1), ("viz-node003", 1)), candidates=("viz-node002",)
        )
        self.expected: int | VizdashError | None = None
        self.log = ""
        self.log_refusal: VizdashError | None = None
        self.trail_refusal: VizdashError | None = None
        self.preview_refusal: VizdashError | None = None
        self.trails: list[str] = []
        self.looked_at: list[str] = []
        self.browser = True
        self.offers: tuple[Offer, ...] = ()
        self.started: list[SessionRequest] = []
        self.stopped: list[str] = []
        self.routes: list[FakeRoute] = []
        self.browsed = 0
        self.quality = "auto"
        self.viewer: Any = None
        self.judged: list[SessionRequest] = []
        self.foreseen: list[SessionRequest] = []
        self.asked = 0
        self.gate: asyncio.Event | None = None
        self.slow = False
        self.runs: tuple[CommandRun, ...] = ()
        self.stay: tuple[str, ...] = ()
        self.tunnels = FakeTunnels()
        self.desktops.tunnels = self.tunnels
        if isinstance(history, LoadHistory):
            self.user_data.history = history
        self._use_parts_of_the_test()
        for name, value in changes.items():
            assert hasattr(self, name), name
            setattr(self, name, value)

    def _use_parts_of_the_test(self) -> None:
        """What reads a folder, reaches a desktop or starts a browser."""
        desktops: Any = self.desktops
        desktops.open_desktop, desktops.show = self.open_desktop, self.show
        desktops.hand_off, desktops.preview = self.hand_off, self.preview
        desktops.load_quality, desktops.save_quality = self.load_quality, self.save_quality
        desktops.open_viewer = self.open_viewer
        sessions: Any = self.sessions
        sessions.log, sessions.folder_summary = self.read_log, self.read_summary
        shares: Any = self.shares
        shares.query_offers = self.query_offers

    @property
    def catalogue(self) -> dict[str, App]:
        return dict(self.config.apps)

    @property
    def now(self) -> Snapshot | None:
        """What the next snapshot is. The engine has its nodes and the jobs of its sessions."""
        return self._now

    @now.setter
    def now(self, now: Snapshot | None) -> None:
        self._now = now
        if now is not None:
            self.fake_engine.all_nodes = now.nodes
            self.fake_engine.queues = [tuple(job_of(one) for one in now.sessions)]

    @property
    def failure(self) -> VizdashError | None:
        """Why the cluster does not answer."""
        return self._failure

    @failure.setter
    def failure(self, failure: VizdashError | None) -> None:
        self._failure = failure
        self.fake_engine.refusals.pop("info", None)
        if failure is not None:
            self.fake_engine.refusals["info"] = failure

    @property
    def admin(self) -> bool:
        """Whether this user is one of Slurm's operators."""
        return self.fake_engine.about.admin

    @admin.setter
    def admin(self, admin: bool) -> None:
        self.fake_engine.about = replace(self.fake_engine.about, admin=admin)

    @property
    def node_admin(self) -> bool:
        """Whether this user may change nodes."""
        return self.fake_engine.about.node_admin

    @node_admin.setter
    def node_admin(self, node_admin: bool) -> None:
        self.fake_engine.about = replace(self.fake_engine.about, node_admin=node_admin)

    def _take_message(self, job: Job) -> None:
        """A desktop shows a message when it next looks at its job's comment."""
        claim = comment.decode(job.comment)
        if claim is not None and claim.note:
            text = comment.encode(comment.with_note(claim, ""))
            self.fake_engine.write_comment(job.id, text)

    @property
    def commands_run(self) -> tuple[CommandRun, ...]:
        return self.runs

    async def snapshot(
        self, *, all_users: bool = True, images: bool = True, nodes_max_age_s: float = 0.0
    ) -> Snapshot:
        self.asked += all_users
        if self.slow and self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        assert self.now is not None
        return self.now

    def use(self, config: Config) -> tuple[str, ...]:
        super().use(config)
        return self.stay

    async def plan(self, request: SessionRequest) -> StartPlan:
        self.judged.append(request)
        if self.fit_failure is not None:
            raise self.fit_failure
        return resolve_plan(
            request,
            self.apps.find(request.app),
            self.config.cluster,
            runtime="apptainer",
            verdict=self.verdict,
        )

    async def expected_start(self, plan: StartPlan) -> int | None:
        self.foreseen.append(plan.request)
        if isinstance(self.expected, VizdashError):
            raise self.expected
        return self.expected

    async def start(self, request: SessionRequest, *, remember: bool = True) -> Session:
        if self.gate is not None:
            await self.gate.wait()
        if self.refusal is not None:
            raise self.refusal
        self.started.append(request)
        made = session(100 + len(self.started), SessionState.PENDING, app=request.app)
        return replace(made, resources=request.resources)

    def become_ready(self) -> None:
        """What was started answers."""
        assert self.now is not None
        known = {s.job_id for s in self.now.sessions}
        new = (
            ready(100 + n, app=request.app, resources=request.resources)
            for n, request in enumerate(self.started, 1)
        )
        fresh = tuple(one for one in new if one.job_id not in known)
        self.now = replace(self.now, sessions=(*fresh, *self.now.sessions))

    async def stop(self, session: Session, note: str = "") -> None:
        await super().stop(session, note)
        self.stopped.append(session.id)

    async def read_log(self, session: Session, *, lines: int = 200) -> str:
        if self.log_refusal is not None:
            raise self.log_refusal
        return self.log

    async def read_summary(self, session: Session, *, lines: int) -> FolderSummary:
        self.trails.append(session.id)
        if self.trail_refusal is not None:
            raise self.trail_refusal
        if not session.node:
            return FolderSummary(note="the job has not begun")
        ready = session.started_at + 12 if session.started_at else None
        log = tuple(self.log.splitlines()[-lines:])
        return FolderSummary(ready, log, "" if log else "empty so far")

    async def preview(
        self, session: Session, size: Callable[[], tuple[int, int]]
    ) -> AsyncGenerator[Picture, None]:
        self.looked_at.append(session.id)
        if self.preview_refusal is not None:
            raise self.preview_refusal
        try:
            shown = (0, 0)
            while True:
                if size() != shown:
                    shown = size()
                    yield desktop_picture(*shown)
                await asyncio.sleep(0.005)
        finally:
            self.looked_at.remove(session.id)

    async def query_offers(self, via: str = "") -> tuple[tuple[Offer, ...], str]:
        return self.offers, ""

    async def open_desktop(self, session: Session) -> tuple[Route, bool]:
        if self.gate is not None:
            await self.gate.wait()
        if self.open_refusal is not None:
            raise self.open_refusal
        url = "http://127.0.0.1:40123/vnc.html#autoconnect=1&resize=remote&password=Xk29fQpa"
        kind = "tunnel" if self.browser else "handoff"
        self.routes.append(FakeRoute(kind, url, "127.0.0.1", 40123, "/tmp/vizdash-x7k2m9qd/s"))
        return self.routes[-1], await self.show(self.routes[-1])

    async def load_quality(self) -> str:
        return self.quality

    async def save_quality(self, quality: str) -> None:
        self.quality = quality

    async def open_viewer(self, session: Session) -> tuple[Route, Any]:
        self.routes.append(FakeRoute("viewer", "", socket="/tmp/vizdash-x7k2m9qd/s"))
        return self.routes[-1], self.viewer

    async def show(self, route: Route) -> bool:
        self.browsed += self.browser
        return self.browser

    async def hand_off(self, route: Route, session: Session, attempt: int = 0) -> Handoff:
        port = 21345 + attempt
        route.set_address("127.0.0.1", port)
        command = f"ssh -N -L {port}:{route.socket} anna@login2.hpc.example.org"
        return Handoff(command, "login2.hpc.example.org", port)


def app_on(
    now: Snapshot | None = None,
    clock: Callable[[], float] = lambda: AT,
    reload: Callable[[], Config | None] = lambda: None,
    **changes: object,
) -> tuple[VizdashApp, FakeService]:
    """The real program on a fake service."""
    service = FakeService(now if now is not None else busy(), **changes)
    options = ControllerOptions(reload, image_admin=lambda: FakeImageAdmin(service))
    app = VizdashApp(service, clock=clock, options=options)
    return app, service
