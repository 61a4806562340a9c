"""Apptainer images found on nodes, and each node's journal of which was current when."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

#: Programs that run an image, the preferred first. SingularityCE takes Apptainer's arguments.
RUNTIMES = ("apptainer", "singularity")


@dataclass(frozen=True, slots=True)
class Image:
    """One SIF file: where it is, its version (empty when unknown) and size in bytes.

    ``node`` is its node; ``current`` is whether ``<app>.sif`` links to it. ``digest`` is its
    recorded SHA-256 (empty: never read whole, or changed since), ``problem`` why it cannot be used
    (damaged, incomplete), ``open`` whether a process on the node has it open, as far as the caller
    may see. ``alias`` is whether it is itself a link; ``linked`` names another link to it, below
    the image root.
    """

    app: str
    path: str
    version: str = ""
    size_bytes: int = 0
    modified_at: int = 0
    node: str = ""
    current: bool = False
    digest: str = ""
    problem: str = ""
    open: bool = False
    alias: bool = False
    linked: str = ""


@dataclass(frozen=True, slots=True)
class StrayFile:
    """A file in an image root that is no image: left by a killed copy, or copied by hand."""

    path: str
    size_bytes: int = 0
    modified_at: int = 0


@dataclass(frozen=True, slots=True)
class ImageRoot:
    """The image root of one node. ``failure`` is why it could not be surveyed. ``seen_at`` (epoch
    seconds) is 0 for a survey of now, else the time of the inventory that supplied the data. Sizes
    are of its file system. ``journals`` are known only from a survey of now.
    """

    node: str
    failure: str = ""
    seen_at: int = 0
    arch: str = ""
    user: str = ""
    writable: bool = False
    exists: bool = True
    free_bytes: int = 0
    total_bytes: int = 0
    tools: tuple[str, ...] = ()
    strays: tuple[StrayFile, ...] = ()
    journals: tuple[Journal, ...] = ()

    def journal(self, app: str) -> Journal:
        """The journal of an app; an empty one where none is recorded."""
        return next((j for j in self.journals if j.app == app), Journal(app))

    @property
    def known(self) -> bool:
        """Whether its content is known, be it from an inventory."""
        return not self.failure or self.seen_at > 0


def app_of_file(name: str) -> str:
    """Return the app whose image a file is, by its path below the image root; empty for another."""
    app, _, file = name.partition("/")
    stem = file.removesuffix(".sif")
    if stem == file or "/" in file or stem.startswith("."):
        return ""
    return app if stem == app or stem.startswith(f"{app}-") else ""


@dataclass(frozen=True, slots=True)
class Matrix:
    """Images × nodes: every image on every node that answered, and each node's image root.

    ``wanted`` are apps with the version that every node should have, set by the last deploy or
    rollback. ``root`` is the path of the image roots; empty where it does not matter.
    """

    images: tuple[Image, ...] = ()
    roots: tuple[ImageRoot, ...] = ()
    wanted: tuple[tuple[str, str], ...] = ()
    root: str = ""
    #: Filled by ``on``.
    _by_node: dict[str, tuple[Image, ...]] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    @property
    def answered(self) -> frozenset[str]:
        """The nodes that answered the survey."""
        return frozenset(p.node for p in self.roots if not p.failure)

    def without(self, path: str) -> frozenset[str]:
        """The nodes known to have no file at ``path``. Of files that are no images of the image
        root, nothing is known: a user's own image may be anywhere.

        An inventory counts only if some node has the file: images may have been copied by other
        means since it was written.
        """
        name = path.removeprefix(f"{self.root.rstrip('/')}/")
        if self.root and (name == path or not app_of_file(name)):
            return frozenset()
        having = {i.node for i in self.images if i.path == path}
        known = {p.node for p in self.roots if p.known} if having else self.answered
        return frozenset(known - having)

    def on(self, node: str) -> tuple[Image, ...]:
        """The images of one node."""
        if not self._by_node:
            groups: dict[str, list[Image]] = {}
            for image in self.images:
                groups.setdefault(image.node, []).append(image)
            self._by_node.update((name, tuple(images)) for name, images in groups.items())
        return self._by_node.get(node, ())

    def root_of(self, node: str) -> ImageRoot | None:
        """The image root of one node."""
        return next((p for p in self.roots if p.node == node), None)


def find_version(images: Iterable[Image], path: str) -> str:
    """Find the version of the image at ``path``, by its siblings' names; empty if unknown."""
    all_images = tuple(images)
    for image in all_images:
        if image.path == path and image.version:
            return image.version
    apps = {image.app for image in all_images if image.path == path}
    versions = {i.version for i in all_images if i.app in apps and i.current and i.version}
    return versions.pop() if len(versions) == 1 else ""


_LINE = re.compile(r"(\d{1,11}) (deploy|rollback|found) ([A-Za-z0-9._+-]+)\.sif ([0-9a-f]{64}|-)")


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch of the current image: ``at`` in epoch seconds, by ``verb`` deploy, rollback or found
    (a link made by hand, or an interrupted switch). ``digest`` is its SHA-256 then, empty where it
    was not read.
    """

    at: int
    verb: str
    version: str
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Journal:
    """The switches of one app on one node, the latest last, as images.sh writes them."""

    app: str
    switches: tuple[Switch, ...] = ()

    @classmethod
    def parse(cls, app: str, text: str) -> Journal:
        """Parse a journal file; invalid lines are skipped."""
        switches = []
        for line in text.splitlines():
            match = _LINE.fullmatch(line)
            if match and match[3].startswith(f"{app}-"):
                digest = "" if match[4] == "-" else match[4]
                version = match[3].removeprefix(f"{app}-")
                switches.append(Switch(int(match[1]), match[2], version, digest))
        return cls(app, tuple(switches))

    def stack(self, current: str) -> tuple[Switch, ...]:
        """The versions that rollbacks go back through, oldest first and ``current`` last. A
        rollback, or a link set back by hand, drops the versions that it leaves.
        """
        kept: list[Switch] = []
        now = (Switch(0, "found", current),) if current else ()
        for switch in (*self.switches, *now):
            if kept and kept[-1].version == switch.version:
                continue
            versions = [s.version for s in kept]
            if switch.verb != "deploy" and switch.version in versions:
                del kept[versions.index(switch.version) + 1 :]
            else:
                kept.append(switch)
        return tuple(kept)

    def before(self, current: str) -> tuple[str, ...]:
        """The versions that a rollback can switch to, the next one first."""
        versions = [switch.version for switch in self.stack(current)]
        if current:
            del versions[-1]
        return tuple(v for v in reversed(versions) if v != current)

    def ran(self, version: str) -> bool:
        """Whether a version was ever current."""
        return any(switch.version == version for switch in self.switches)
