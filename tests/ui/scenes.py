"""Screens as they look in the middle of what takes long: builds, deploys, logins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from textual.screen import Screen

from vizdash.config import Cluster
from vizdash.errors import VizdashError
from vizdash.images.build import BuildRequest, prepare
from vizdash.images.build import Progress as BuildProgress
from vizdash.images.progress import NodeProgress, Phase, Progress
from vizdash.images.store import Store
from vizdash.model.link import Field, Prompt
from vizdash.ui.builds import Build
from vizdash.ui.screens.build import BuildLogScreen, BuildScreen
from vizdash.ui.screens.clusters import ClustersScreen
from vizdash.ui.screens.leave import LeaveScreen
from vizdash.ui.screens.progress import ProgressScreen, Run
from vizdash.ui.screens.prompt import PromptScreen, WaitScreen
from vizdash.ui.screens.tunnels import Tunnel, TunnelsScreen

_MIB = 1 << 20
_HARD = "node-with-a-name-of-forty-characters-00\x1b[2J"


def _run(*rows: NodeProgress, over: bool = False) -> ProgressScreen:
    progress = Progress([row.node for row in rows])
    progress.nodes.update((row.node, row) for row in rows)
    return ProgressScreen(Run("Deploying paraview 5.13.2", progress, lambda: None, over))


def deploying() -> Screen[None]:
    """One node is done, one copies, one has failed, the rest wait."""
    size = 3400 * _MIB
    copied = NodeProgress("viz-node001", size, Phase.DONE, size, 160 * _MIB, "deployed")
    on_its_way = replace(copied, node="viz-node002", phase=Phase.COPYING, note="")
    on_its_way.bytes_done, on_its_way.bytes_sent = 1200 * _MIB, 90 * _MIB
    why = "no room: it needs 3400 MiB, /opt has 812 MiB free"
    full = NodeProgress("viz-node003", size, Phase.FAILED, note=why, error=VizdashError("", why))
    for row in (copied, on_its_way):
        row.copied = True
    return _run(copied, on_its_way, full, NodeProgress("viz-node004"))


def deployed_badly() -> Screen[None]:
    """Names and words that want to break out."""
    why = "\x1b[31msudo: \u202ea password is required\n" + "가나다 " * 30
    return _run(NodeProgress(_HARD, 0, Phase.FAILED, note=why), over=True)


def _build() -> Build:
    cluster = Cluster("viz", image_store="/srv/images")
    plan = prepare(BuildRequest("gedit", "7.1"), cluster, Store(Path("/srv/images")), slurm=True)
    own = replace(plan.definition, path=Path("/etc/vizdash/defs/gedit.def"))
    return Build(replace(plan, definition=own), clock=lambda: 1000.0)


def building() -> Screen[None]:
    """In the middle of %post."""
    build = _build()
    build.began = 934.0
    build.since = 952.0
    build.phases = {"start": 1.0, "bootstrap": 17.0}
    build.phase = "post"
    for n in range(1, 60):
        build.take(BuildProgress("post", f"Unpacking libgtk-{n}:amd64 (3.24.{n}-1) ..."))
    return BuildScreen(build, lambda build: None)


def build_failed() -> Screen[None]:
    """It has ended, and says what failed."""
    build = _build()
    build.began = 900.0
    build.phases = {"start": 1.0, "bootstrap": 17.0, "post": 40.0}
    build.phase = "post"
    for text in ("+ apt-get install -y gedti", "E: Unable to locate package gedti\x1b[2J"):
        build.take(BuildProgress("post", text))
    build.error = VizdashError(
        "gedit 7.1 was not built",
        "%post failed at: apt-get install -y gedti (E: Unable to locate package gedti)",
        "see vizdash logs --build gedit",
    )
    build.ended = 958.0
    return BuildScreen(build, lambda build: None)


def build_log() -> Screen[None]:
    """The log of one that is over."""
    text = "\n".join(f"Setting up libgtk-{n} ... 가나다\x07" for n in range(40))
    return BuildLogScreen("gedit 7.1", "failed: E: Unable to locate package gedti", text)


def password() -> Screen[tuple[str, ...] | None]:
    """A login that asks for two things, below a banner."""
    lines = ("Authorised use only.", "\x1b[2JAll that you do is recorded.")
    fields = (Field("Password"), Field("Verification code", shown=True))
    return PromptScreen(Prompt("Log in to login.hpc.example.org as anna", lines, fields))


def waiting() -> Screen[None]:
    """A login that waits for a push to be answered."""
    lines = ("Duo push sent to your phone.", "login.hpc.example.org waits for your answer.")
    return WaitScreen("Log in to login.hpc.example.org as anna", lines)


def host_key() -> Screen[tuple[str, ...] | None]:
    """A host that nobody knows yet."""
    lines = (
        "login.hpc.example.org shows a key that ~/.ssh/known_hosts does not know:",
        "ED25519 SHA256:u8pJ0YhX1dC6Pn0wV4b2mQ7mVb0t3oR9u2yYw8c1sZk",
        "Ask your site whether that is its fingerprint.",
    )
    return PromptScreen(Prompt("Is this the right host?", lines, yes="trust it"))


def tunnels() -> Screen[str]:
    """Two desktops are open here, and one in the background."""
    found = (
        Tunnel("1041", "desktop", "viz-node002", "127.0.0.1:40123"),
        Tunnel("1042", "paraview", _HARD, "127.0.0.1:40124"),
    )
    other = Tunnel("977", "gedit", "gpu-node01", "http://127.0.0.1:38211", "f00d", 4242,
                   "background", "far")  # fmt: skip

    async def elsewhere() -> tuple[Tunnel, ...]:
        return (other,)

    return TunnelsScreen(found, lambda tunnel: None, elsewhere)


def clusters() -> Screen[str]:
    """Three, one of them on this machine."""
    found = (Cluster("viz", host="anna@login.hpc.example.org"), Cluster("far", host="far"))
    return ClustersScreen((*found, Cluster("here")), "viz")


def leaving() -> Screen[str]:
    """Quit, with a desktop open."""
    return LeaveScreen(2, may_hold=True)  # type: ignore[return-value]
