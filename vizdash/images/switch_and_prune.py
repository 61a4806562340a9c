"""Switches the current link of nodes to another version, and prunes old images."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from vizdash.config import App
from vizdash.errors import NotFound, Refused, VizdashError
from vizdash.images.deploy import (
    DeploySite,
    WritableNode,
    check_writable,
    legacy_version,
    version_in,
)
from vizdash.images.node_script import NodeShell
from vizdash.images.progress import ChangeProgress, Phase
from vizdash.images.survey import survey_nodes
from vizdash.model import Image, Matrix, Session
from vizdash.model.version import order_key
from vizdash.util import nodesets
from vizdash.util.units import format_size_gib

_TIMEOUT_S = 120.0
#: Seconds that a node has to read a whole image.
_READ_S = 3600.0
#: Seconds that a node has to list the files that its processes have open.
_USED_S = 30.0


_ROOT_FIX = "as root, or with sudo on the nodes: see deploy.sudo"


@dataclass(frozen=True, slots=True)
class OldImage:
    """An old image that may be removed."""

    node: str
    app: str
    name: str
    version: str
    size_bytes: int


async def change_nodes(
    site: DeploySite, progress: ChangeProgress, work: Callable[[str], Awaitable[str]]
) -> None:
    """Run ``work`` on every node of ``progress``, several at once.

    Its result is the note of a finished node; an error ends that node.
    """
    slots = asyncio.Semaphore(site.deploy.at_once)

    async def one(node: str) -> None:
        async with slots:
            try:
                progress.enter(node, Phase.SWITCHING)
                progress.enter(node, Phase.DONE, await work(node))
            except VizdashError as e:
                progress.fail(node, e)

    try:
        async with asyncio.TaskGroup() as group:
            for node in progress.nodes:
                group.create_task(one(node))
    except asyncio.CancelledError:
        progress.cancel()
        raise


async def switch_version(
    site: DeploySite, progress: ChangeProgress, app: str, versions: Mapping[str, str]
) -> None:
    """Make another version current on the nodes of ``progress``, each its own of ``versions``.

    Running sessions keep their image. A version that is not in a node's journal was never current
    there, and is refused.
    """

    async def work(node: str) -> str:
        version = versions[node]
        reached = await check_writable(site, node)
        path = f"{site.root.rstrip('/')}/{app}/{app}-{version}.sif"
        image = next((i for i in reached.images if i.path == path), None)
        fix = f"vizdash deploy {app} --version {version} --node {node}"
        if image is None:
            raise NotFound(node, f"it has no {app} {version}", fix)
        if image.problem:
            raise Refused(node, image.problem, f"{fix} repairs it")
        journal = reached.image_root.journal(app)
        if journal.switches and not image.current and not journal.ran(version):
            raise Refused(node, f"{app} {version} was never current there", fix)
        legacy, now = legacy_version(reached.images, app), str(int(time.time()))
        words = (site.root, app, version, legacy, "rollback", now)
        answer = await site.shell.ask(node, "switch", *words, sudo=reached.sudo, timeout_s=_READ_S)
        was = version_in(answer[0], app)
        if was == version:
            return "already current"
        progress.nodes[node].switched = True
        return f"{version}, before: {was or 'none'}"

    await change_nodes(site, progress, work)


def find_prunable(
    matrix: Matrix,
    app: str,
    keep: int,
    sessions: Iterable[Session],
    catalogue: Iterable[App] = (),
) -> tuple[tuple[OldImage, ...], tuple[tuple[OldImage, str], ...]]:
    """Return the images that may be removed so that each node keeps its ``keep`` newest of ``app``.

    The second value lists older images that stay, with the reason: an image that is current, that a
    process or a session uses, that a session waits for, or that an entry of the ``catalogue``
    names. Sessions of an entry that names an image in the app's folder count as sessions of the
    app.
    """
    folders = {PurePosixPath(i.path).parent for i in matrix.images if i.app == app}
    entries = [(PurePosixPath(e.image), e.name) for e in catalogue if e.image]
    named = dict(entries)
    apps = {app, *(name for path, name in entries if path.parent in folders)}
    claims = {(s.node, s.image_version) for s in sessions if s.live and _may_use(s, apps)}
    removable: list[OldImage] = []
    kept: list[tuple[OldImage, str]] = []
    for image_root in matrix.roots:
        app_images = [
            i for i in matrix.on(image_root.node) if i.app == app and _has_versioned_name(i)
        ]
        since = {s.version: s.at for s in image_root.journal(app).switches}
        app_images.sort(
            key=lambda i: order_key(i.version, max(i.modified_at, since.get(i.version, 0))),
            reverse=True,
        )
        for image in app_images[keep:]:
            name = image.path.rpartition("/")[2]
            old = OldImage(image_root.node, app, name, image.version, image.size_bytes)
            entry = named.get(PurePosixPath(image.path), "")
            reason = _use_of(image, claims) or (entry and f"the app {entry} runs from it")
            if reason:
                kept.append((old, reason))
            else:
                removable.append(old)
    return tuple(removable), tuple(kept)


def merge_shared_copy(
    going: Iterable[OldImage], staying: Iterable[tuple[OldImage, str]]
) -> tuple[tuple[OldImage, ...], tuple[tuple[OldImage, str], ...]]:
    """Merge the lists of nodes that share one copy: what one node uses stays for all."""
    held = {old.name: (replace(old, node=""), why) for old, why in staying}
    free = {old.name: replace(old, node="") for old in going if old.name not in held}
    return tuple(free.values()), tuple(held.values())


def _has_versioned_name(image: Image) -> bool:
    return image.path.endswith(f"/{image.app}-{image.version}.sif") and not image.alias


def _may_use(session: Session, apps: set[str]) -> bool:
    """Whether a session may run from an image of ``apps``.

    A session whose image was given by path may run from any app's image.
    """
    return session.app in apps or session.image_version.startswith("/")


def _matches_claim(image: Image, claim: str) -> bool:
    """Whether a session's claim is this image: its version, or the beginning of its path."""
    return claim == image.version or (claim.startswith("/") and image.path.startswith(claim))


def _use_of(image: Image, claims: set[tuple[str, str]]) -> str:
    if image.current:
        return "it is current"
    if image.linked:
        return f"{image.linked} leads to it"
    if image.open:
        return "a process runs from it"
    if any(node in {"", image.node} and _matches_claim(image, claim) for node, claim in claims):
        return "a session runs from it or waits for it"
    return ""


async def find_open_images(
    shell: NodeShell, nodes: Iterable[str], root: str, *, sudo: bool
) -> Mapping[str, str]:
    """Return the path of each image that a process on one of these nodes has open, with that node.

    Raises Refused naming the nodes that cannot be checked.
    """
    seen = await survey_nodes(shell, nodes, root, full=True, sudo=sudo, timeout_s=_USED_S)
    silent = [image_root for image_root in seen.roots if image_root.failure]
    if silent:
        names = nodesets.fold_nodes(image_root.node for image_root in silent) or "this machine"
        why = f"its open files can't be checked, so nothing is removed: {silent[0].failure}"
        raise Refused(names, why)
    blind = [image_root for image_root in seen.roots if image_root.user != "root"]
    if blind:
        names = nodesets.fold_nodes(image_root.node for image_root in blind) or "this machine"
        why = f"{blind[0].user} can't see other users' open files there, so nothing is removed"
        raise Refused(names, why, _ROOT_FIX)
    return {image.path: image.node for image in seen.images if image.open}


def _needs_sudo(site: DeploySite, reached: WritableNode) -> bool:
    """Return whether sudo(8) is needed to see all open files, which /proc shows only to root.

    Raises Refused where sudo is not permitted.
    """
    user = reached.image_root.user
    if reached.sudo or user == "root":
        return reached.sudo
    if site.deploy.sudo == "never":
        why = f"{user} can't see other users' open files there, so nothing is removed"
        raise Refused(reached.image_root.node, why, _ROOT_FIX)
    return True


async def prune_images(
    site: DeploySite,
    progress: ChangeProgress,
    going: Mapping[str, Sequence[OldImage]],
    find_shared_use: Callable[[bool], Awaitable[Mapping[str, str]]] | None = None,
) -> None:
    """Remove images from nodes.

    Each node checks again whether an image is in use. For a copy that nodes share,
    ``find_shared_use`` checks all of them (with sudo(8) or not), as ``find_open_images`` does.
    """

    async def work(node: str) -> str:
        reached = await check_writable(site, node)
        sudo = _needs_sudo(site, reached)
        old_images = going[node]
        names = [old.name for old in old_images]
        open_on = await find_shared_use(sudo) if find_shared_use else {}
        folder = f"{site.root.rstrip('/')}/{old_images[0].app}"
        used = {name: on for name in names if (on := open_on.get(f"{folder}/{name}"))}
        answer = await site.shell.ask(
            node,
            "remove",
            site.root,
            old_images[0].app,
            *(name for name in names if name not in used),
            sudo=sudo,
            timeout_s=_TIMEOUT_S,
        )
        results = dict(zip(answer[::2], answer[1::2], strict=False))
        results |= {name: f"a process on {on} runs from it" for name, on in used.items()}
        kept = [f"{name}: {results.get(name, 'no answer')}" for name in names]
        kept = [line for line in kept if not line.endswith((": removed", ": gone"))]
        if kept:
            raise Refused(node, "; ".join(kept))
        freed = sum(old.size_bytes for old in old_images)
        return (
            f"removed {', '.join(old.version for old in old_images)}: {format_size_gib(freed)} GiB"
        )

    await change_nodes(site, progress, work)
