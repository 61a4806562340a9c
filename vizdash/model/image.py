"""Apptainer images found on nodes, and the folders that they lie in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vizdash.model.journal import Journal

#: Programs that run an image, the preferred first. SingularityCE takes Apptainer's words.
RUNTIMES = ("apptainer", "singularity")


@dataclass(frozen=True, slots=True)
class Image:
    """One SIF file: where it is, its version (empty when unknown) and size in bytes.

    ``node`` is the node it was seen on; ``current`` says that ``<app>.sif`` leads to it.
    ``digest`` is its SHA-256 as recorded (empty: never read whole, or changed since),
    ``problem`` why it can't be used (damaged, half a file), ``open`` whether a process on the
    node has it open, as far as the caller may see. ``alias`` says that it is itself a link,
    ``linked`` names a link beside ``<app>.sif`` that leads to it, below the image root.
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
class Stray:
    """A file in an image root that is no image: left by a killed copy, or put there by hand."""

    path: str
    size_bytes: int = 0
    modified_at: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """The image root of one node. ``failure`` says why it could not be looked at; ``seen_at``
    (epoch seconds) is 0 when it was looked at just now, else the time of the inventory that
    this was taken from. Sizes are of its file system. ``journals`` is known of a node that was
    looked at just now.
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
    strays: tuple[Stray, ...] = ()
    journals: tuple[Journal, ...] = ()

    def journal(self, app: str) -> Journal:
        """What was current when, of one app; an empty one where nobody wrote it down."""
        return next((j for j in self.journals if j.app == app), Journal(app))

    @property
    def known(self) -> bool:
        """Whether what it holds is known, be it of old."""
        return not self.failure or self.seen_at > 0


@dataclass(frozen=True, slots=True)
class Matrix:
    """Images × nodes: every image on every node that answered, and each node's image root.

    ``wanted`` is the version that an app should have everywhere, as the last deploy or rollback
    of it said.
    """

    images: tuple[Image, ...] = ()
    places: tuple[Place, ...] = ()
    wanted: tuple[tuple[str, str], ...] = ()

    @property
    def looked(self) -> frozenset[str]:
        """The nodes that answered just now."""
        return frozenset(p.node for p in self.places if not p.failure)

    def without(self, path: str) -> frozenset[str]:
        """The nodes known to have no file at ``path``.

        What an inventory says counts only where some node has it: images may have been brought
        by other means since it was written.
        """
        having = {i.node for i in self.images if i.path == path}
        known = {p.node for p in self.places if p.known} if having else self.looked
        return frozenset(known - having)

    def on(self, node: str) -> tuple[Image, ...]:
        """The images of one node."""
        return tuple(i for i in self.images if i.node == node)

    def place(self, node: str) -> Place | None:
        """The image root of one node."""
        return next((p for p in self.places if p.node == node), None)


def version_of(images: Iterable[Image], path: str) -> str:
    """The version that ``path`` leads to, from the names of its siblings; empty if unknown."""
    found = tuple(images)
    for image in found:
        if image.path == path and image.version:
            return image.version
    apps = {image.app for image in found if image.path == path}
    versions = {i.version for i in found if i.app in apps and i.current and i.version}
    return versions.pop() if len(versions) == 1 else ""
