"""Screens in the middle of long work: builds, deploys, logins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from textual.screen import Screen

from vizdash.config import Cluster
from vizdash.errors import VizdashError
from vizdash.images.build import BuildProgress, BuildRequest, plan_build
from vizdash.images.image_store import ImageStore
from vizdash.images.progress import ChangeProgress, NodeProgress, Phase
from vizdash.model.connection_status import Field, Prompt
from vizdash.ui.background_builds import BackgroundBuild
from vizdash.ui.screens.build import BuildLogScreen, BuildScreen
from vizdash.ui.screens.change_progress import ChangeProgressScreen, RunningChange
from vizdash.ui.screens.clusters import ClustersScreen
from vizdash.ui.screens.login_prompt import LoginPromptScreen, LoginWaitScreen
from vizdash.ui.screens.quit import QuitScreen
from vizdash.ui.screens.tunnels import Tunnel, TunnelsScreen

_MIB = 1 << 20
_HARD = "node-with-a-name-of-forty-characters-00\x1b[2J"


def _run(*rows: NodeProgress, over: bool = False) -> ChangeProgressScreen:
    progress = ChangeProgress([row.node for row in rows])
    progress.nodes.update((row.node, row) for row in rows)
    return ChangeProgressScreen(
        RunningChange("Deploying paraview 5.13.2", progress, lambda: None, over)
    )


def deploying() -> Screen[None]:
    """A deploy: one node done, one copying, one failed, the rest waiting."""
    size = 3400 * _MIB
    copied = NodeProgress("viz-node001", size, Phase.DONE, size, 160 * _MIB, "deployed")
    on_its_way = replace(copied, node="viz-node002", phase=Phase.COPYING, note="")
    on_its_way.bytes_done, on_its_way.bytes_sent = 1200 * _MIB, 90 * _MIB
    why = "no room: it needs 3.3 GiB, /opt has 0.8 GiB free"
    full = NodeProgress("viz-node003", size, Phase.FAILED, note=why, error=VizdashError("", why))
    for row in (copied, on_its_way):
        row.copied = True
    return _run(copied, on_its_way, full, NodeProgress("viz-node004"))


def deployed_badly() -> Screen[None]:
    """A deploy with hostile names and messages."""
    why = "\x1b[31msudo: \u202ea password is required\n" + "가나다 " * 30
    return _run(NodeProgress(_HARD, 0, Phase.FAILED, note=why), over=True)


def _build() -> BackgroundBuild:
    cluster = Cluster("viz", image_store="/srv/images")
    plan = plan_build(
        BuildRequest("gedit", "7.1"), cluster, ImageStore(Path("/srv/images")), slurm=True
    )
    own = replace(plan.definition, path=Path("/etc/vizdash/defs/gedit.def"))
    return BackgroundBuild(replace(plan, definition=own), clock=lambda: 1000.0)


def building() -> Screen[None]:
    """A build in the middle of %post."""
    build = _build()
    build.began = 934.0
    build.phase_began = 952.0
    build.phases = {"start": 1.0, "bootstrap": 17.0}
    build.phase = "post"
    for n in range(1, 60):
        build.record(BuildProgress("post", f"Unpacking libgtk-{n}:amd64 (3.24.{n}-1) ..."))
    return BuildScreen(build, lambda build: None)


def build_failed() -> Screen[None]:
    """A build that has failed."""
    build = _build()
    build.began = 900.0
    build.phases = {"start": 1.0, "bootstrap": 17.0, "post": 40.0}
    build.phase = "post"
    for text in ("+ apt-get install -y gedti", "E: Unable to locate package gedti\x1b[2J"):
        build.record(BuildProgress("post", text))
    build.error = VizdashError(
        "gedit 7.1 was not built",
        "%post failed at: apt-get install -y gedti (E: Unable to locate package gedti)",
        "see vizdash logs --build gedit",
    )
    build.ended = 958.0
    return BuildScreen(build, lambda build: None)


def build_log() -> Screen[None]:
    """The log of a finished build."""
    text = "\n".join(f"Setting up libgtk-{n} ... 가나다\x07" for n in range(40))
    return BuildLogScreen("gedit 7.1", "failed: E: Unable to locate package gedti", text)


def password() -> Screen[tuple[str, ...] | None]:
    """A login that asks two questions below a banner."""
    lines = ("Authorised use only.", "\x1b[2JAll that you do is recorded.")
    fields = (Field("Password"), Field("Verification code", shown=True))
    return LoginPromptScreen(Prompt("Log in to login.hpc.example.org as anna", lines, fields))


def waiting() -> Screen[None]:
    """A login that waits for a push notification to be answered."""
    lines = ("Duo push sent to your phone.", "login.hpc.example.org waits for your answer.")
    return LoginWaitScreen("Log in to login.hpc.example.org as anna", lines)


def host_key() -> Screen[tuple[str, ...] | None]:
    """A login host with an unknown host key."""
    lines = (
        "login.hpc.example.org, port 22, shows this host key:",
        "ED25519 SHA256:u8pJ0YhX1dC6Pn0wV4b2mQ7mVb0t3oR9u2yYw8c1sZk",
        "Compare it with the one that its administrators publish.",
        "It will be added to ~/.ssh/known_hosts.",
    )
    return LoginPromptScreen(Prompt("login.hpc.example.org is unknown", lines, yes="trust it"))


def tunnels() -> Screen[str]:
    """Tunnels of two open desktops, and of one in the background."""
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
    """The list of three clusters, one of them this machine."""
    found = (Cluster("viz", host="anna@login.hpc.example.org"), Cluster("far", host="far"))
    return ClustersScreen((*found, Cluster("here")), "viz")


def leaving() -> Screen[str]:
    """The question on quitting with an open desktop."""
    return QuitScreen(2, may_hold=True)  # type: ignore[return-value]
