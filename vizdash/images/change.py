"""Changes on nodes that bring nothing new: another current version, or fewer old ones."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from vizdash import nodesets
from vizdash.config import App
from vizdash.errors import NotFound, Refused, VizdashError
from vizdash.images.deploy import Reached, Site, legacy_version, reach, version_in
from vizdash.images.matrix import collect
from vizdash.images.progress import Phase, Progress
from vizdash.images.shell import NodeShell
from vizdash.model import Image, Matrix, Session
from vizdash.model.drift import order_key

_TIMEOUT_S = 120.0
#: Seconds that a node has to read an image whole.
_READ_S = 3600.0
#: Seconds that a node has to tell what its processes have open.
_USED_S = 30.0


_SEEING = "as root, or with sudo on the nodes: see deploy.sudo"


@dataclass(frozen=True, slots=True)
class Old:
    """An image that may go."""

    node: str
    app: str
    name: str
    version: str
    size_bytes: int


async def everywhere(site: Site, progress: Progress, work: Callable[[str], Awaitable[str]]) -> None:
    """Do ``work`` on every node of ``progress``, several at once. What it says is the note of a
    node that is done; what it raises is that node's end.
    """
    gate = asyncio.Semaphore(site.deploy.at_once)

    async def one(node: str) -> None:
        async with gate:
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


async def switch(site: Site, progress: Progress, app: str, versions: Mapping[str, str]) -> None:
    """Make another version the current one on the nodes of ``progress``, to each its own of
    ``versions``. Sessions that run from another one keep it.

    A version that a node's journal does not know was never current there, and is refused.
    """

    async def work(node: str) -> str:
        version = versions[node]
        reached = await reach(site, node)
        path = f"{site.root.rstrip('/')}/{app}/{app}-{version}.sif"
        image = next((i for i in reached.images if i.path == path), None)
        fix = f"vizdash deploy {app} --version {version} --node {node}"
        if image is None:
            raise NotFound(node, f"it has no {app} {version}", fix)
        if image.problem:
            raise Refused(node, image.problem, f"{fix} repairs it")
        journal = reached.place.journal(app)
        if journal.switches and not image.current and not journal.ran(version):
            raise Refused(node, f"{app} {version} was never the current one there", fix)
        words = (site.root, app, version, legacy_version(reached.images, app), "rollback")
        answer = await site.shell.ask(node, "switch", *words, sudo=reached.sudo, timeout_s=_READ_S)
        was = version_in(answer[0], app)
        if was == version:
            return "it was the current one"
        progress.nodes[node].switched = True
        return f"{version}, before: {was or 'none'}"

    await everywhere(site, progress, work)


def prunable(
    matrix: Matrix,
    app: str,
    keep: int,
    sessions: Iterable[Session],
    catalogue: Iterable[App] = (),
) -> tuple[tuple[Old, ...], tuple[tuple[Old, str], ...]]:
    """What may go so that each node keeps its ``keep`` newest images of ``app``, and what stays
    although it is older, with the reason.

    The current one and whatever a process or a session has in use stay; so do those that a
    session waits for, and those that an entry of the ``catalogue`` names. Sessions of an entry
    that names an image in the app's folder count as the app's own.
    """
    folders = {PurePosixPath(i.path).parent for i in matrix.images if i.app == app}
    entries = [(PurePosixPath(e.image), e.name) for e in catalogue if e.image]
    named = dict(entries)
    apps = {app, *(name for path, name in entries if path.parent in folders)}
    claims = {(s.node, s.image_version) for s in sessions if s.live and _means(s, apps)}
    going: list[Old] = []
    staying: list[tuple[Old, str]] = []
    for place in matrix.places:
        mine = [i for i in matrix.on(place.node) if i.app == app and _named(i)]
        since = {s.version: s.at for s in place.journal(app).switches}
        mine.sort(
            key=lambda i: order_key(i.version, max(i.modified_at, since.get(i.version, 0))),
            reverse=True,
        )
        for image in mine[keep:]:
            name = image.path.rpartition("/")[2]
            old = Old(place.node, app, name, image.version, image.size_bytes)
            entry = named.get(PurePosixPath(image.path), "")
            reason = _held(image, claims) or (entry and f"the catalogue's {entry} runs from it")
            if reason:
                staying.append((old, reason))
            else:
                going.append(old)
    return tuple(going), tuple(staying)


def one_copy(
    going: Iterable[Old], staying: Iterable[tuple[Old, str]]
) -> tuple[tuple[Old, ...], tuple[tuple[Old, str], ...]]:
    """The same where every node sees one copy: what one node has in use stays for all."""
    held = {old.name: (replace(old, node=""), why) for old, why in staying}
    free = {old.name: replace(old, node="") for old in going if old.name not in held}
    return tuple(free.values()), tuple(held.values())


def _named(image: Image) -> bool:
    return image.path.endswith(f"/{image.app}-{image.version}.sif") and not image.alias


def _means(session: Session, apps: set[str]) -> bool:
    """Whether it may run from an image of ``apps``: one that was named by its path may be
    anybody's.
    """
    return session.app in apps or session.image_version.startswith("/")


def _is(image: Image, claim: str) -> bool:
    """Whether a session's claim is this image: its version, or as much of its path as a claim
    has room for.
    """
    return claim == image.version or (claim.startswith("/") and image.path.startswith(claim))


def _held(image: Image, claims: set[tuple[str, str]]) -> str:
    if image.current:
        return "it is the current one"
    if image.linked:
        return f"{image.linked} leads to it"
    if image.open:
        return "a process runs from it"
    if any(node in {"", image.node} and _is(image, claim) for node, claim in claims):
        return "a session runs from it or waits for it"
    return ""


async def used_on(
    shell: NodeShell, nodes: Iterable[str], root: str, *, sudo: bool
) -> Mapping[str, str]:
    """Each image that a process on one of these nodes has open, by its path, with such a node.

    Raises Refused naming the nodes that can't be asked.
    """
    seen = await collect(shell, nodes, root, full=True, sudo=sudo, timeout_s=_USED_S)
    silent = [place for place in seen.places if place.failure]
    if silent:
        names = nodesets.fold(place.node for place in silent) or "this machine"
        why = f"what runs there can't be asked, so nothing is removed: {silent[0].failure}"
        raise Refused(names, why)
    blind = [place for place in seen.places if place.user != "root"]
    if blind:
        names = nodesets.fold(place.node for place in blind) or "this machine"
        why = f"{blind[0].user} can't see what others have open there, so nothing is removed"
        raise Refused(names, why, _SEEING)
    return {image.path: image.node for image in seen.images if image.open}


def _seeing(site: Site, reached: Reached) -> bool:
    """Whether sudo(8) is needed to see what everybody has open: /proc shows that to root alone.

    Raises Refused where it may not be used.
    """
    user = reached.place.user
    if reached.sudo or user == "root":
        return reached.sudo
    if site.deploy.sudo == "never":
        why = f"{user} can't see what others have open there, so nothing is removed"
        raise Refused(reached.place.node, why, _SEEING)
    return True


async def prune(
    site: Site,
    progress: Progress,
    going: Mapping[str, Sequence[Old]],
    sharing: Callable[[bool], Awaitable[Mapping[str, str]]] | None = None,
) -> None:
    """Remove images from nodes. Each node looks once more whether one is in use; for a copy that
    nodes share, ``sharing`` asks them (by sudo(8), or not) as ``used_on`` does.
    """

    async def work(node: str) -> str:
        reached = await reach(site, node)
        sudo = _seeing(site, reached)
        wanted = going[node]
        names = [old.name for old in wanted]
        open_on = await sharing(sudo) if sharing else {}
        folder = f"{site.root.rstrip('/')}/{wanted[0].app}"
        used = {name: on for name in names if (on := open_on.get(f"{folder}/{name}"))}
        answer = await site.shell.ask(
            node,
            "remove",
            site.root,
            wanted[0].app,
            *(name for name in names if name not in used),
            sudo=sudo,
            timeout_s=_TIMEOUT_S,
        )
        said = dict(zip(answer[::2], answer[1::2], strict=False))
        said |= {name: f"a process on {on} runs from it" for name, on in used.items()}
        kept = [f"{name}: {said.get(name, 'no answer')}" for name in names]
        kept = [line for line in kept if not line.endswith((": removed", ": gone"))]
        if kept:
            raise Refused(node, "; ".join(kept))
        freed = sum(old.size_bytes for old in wanted)
        return f"removed {', '.join(old.version for old in wanted)}: {freed >> 20} MiB"

    await everywhere(site, progress, work)
