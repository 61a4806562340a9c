"""Copies an image from the image host to a node by rsync(1)."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from typing_extensions import override

from vizdash.errors import VizdashError, last_line
from vizdash.images.node_script import NodeShell, new_mark
from vizdash.transport.base import Command, Result, follow

#: Seconds that a copy may take, and seconds without a byte after which it is given up.
_LONGEST_S = 24 * 3600.0
_STALL_S = 300
#: Seconds to wait for the lock of an app's folder, as images.sh does, and flock(1)'s exit code
#: after that; rsync(1) has none above 35.
_LOCK_S, _LOCKED = 15, 99
#: Output of rsync's --info=progress2: bytes done, whether sent or found on the node.
_PROGRESS = re.compile(r"^\s*(\d+)\s+\d+%")
_SENT = re.compile(r"^vizdash-sent (\d+)$")
#: Lines of rsync that say less than the others.
_VAGUE_LINES = (
    "rsync error:",
    "rsync: connection unexpectedly closed",
    "rsync: [sender] write error",
)

#: The remote shell that rsync runs: ``_SHELL _CLEAN clean MARK COUNT SSH... HOST COMMAND...``, SSH
#: being COUNT words. Output of a node's start-up files would break rsync's protocol: everything up
#: to the mark is dropped. No single quotes, since rsync splits the option at them.
_SHELL = ("bash", "--norc", "-p", "-c")  # with a socket as its input, bash would read ~/.bashrc
_CLEAN = (
    "set -o pipefail; mark=$1 count=$2; shift 2; "
    'way=("${@:1:count}"); shift "$count"; host=$1; shift; '
    '"${way[@]}" "$host" "echo $mark; exec $*" | { '
    "while IFS= read -r line; do case $line in *$mark) exec cat ;; esac; done; }"
)


@dataclass(frozen=True, slots=True)
class SourceImage:
    """An image on the image host. ``arch`` is Go's name of its architecture (empty: any)."""

    app: str
    version: str
    digest: str
    size_bytes: int
    path: str
    arch: str = ""

    @property
    def name(self) -> str:
        """The file's name on a node."""
        return f"{self.app}-{self.version}.sif"

    @property
    def part(self) -> str:
        """The name of the incomplete copy on a node (see images.sh)."""
        return f".{self.name}.{self.digest[:12]}.part"

    @property
    def delta(self) -> str:
        """The name on a node of the delta that makes it from an older image."""
        return f".{self.name}.{self.digest[:12]}.delta"

    @property
    def basis(self) -> str:
        """The folder on a node that holds the image to compare with."""
        return f".{self.name}.{self.digest[:12]}.basis"


@dataclass(frozen=True, slots=True)
class CopyTarget:
    """A node that an image is copied to.

    ``like`` is the image there that it is compared with (empty: none), ``basis`` that image's
    digest if a delta against it is possible, ``arrived`` the bytes that an earlier try left, and
    ``delta_arrived`` those of a delta. ``legacy`` is the version under which to keep an image
    without one when the new image is made current as soon as it is verified; empty when that is not
    to be done yet.
    """

    node: str
    sudo: bool = False
    like: str = ""
    arrived: int = 0
    basis: str = ""
    delta_arrived: int = 0
    legacy: str = ""

    def switch_words(self) -> tuple[str, str]:
        """The words LEGACY and NOW of the verbs ``place`` and ``apply`` of images.sh."""
        return (self.legacy, str(int(time.time())) if self.legacy else "")


@dataclass(frozen=True, slots=True)
class CopyOutcome:
    """The outcome of copying to one node as part of a distribution.

    ``why`` is the reason why it failed (empty: the image is there), ``sent`` the bytes sent.
    ``digest`` was read while the image arrived, when the file had this ``stamp`` (see images.sh).
    ``placed`` is what the node answered when it gave the image its final name; None if that is
    still to be done.
    """

    why: str = ""
    sent: int = 0
    digest: str = ""
    stamp: str = ""
    placed: str | None = None


class CopyMethod(Protocol):
    """Copies an image into the part file of a node, which the verb ``prepare`` has made ready."""

    @property
    def min_nodes(self) -> int:
        """The number of nodes from which ``distribute`` is worth using; 0: never."""
        ...

    def distributable(self, targets: Sequence[CopyTarget]) -> tuple[CopyTarget, ...]:
        """The targets that ``distribute`` can serve."""
        ...

    async def distribute(
        self,
        source: SourceImage,
        targets: Sequence[CopyTarget],
        on_bytes: Callable[[str, int], None],
        on_end: Callable[[str, CopyOutcome], None],
    ) -> None:
        """Copy an image to several targets at once, those that ``distributable`` returned.

        ``on_bytes`` gets a node and the bytes that it has, ``on_end`` its outcome. Nodes without an
        outcome, or with a reason, are left to ``copy``. Raises VizdashError.
        """
        ...

    async def copy(
        self, source: SourceImage, target: CopyTarget, on_bytes: Callable[[int], None]
    ) -> int:
        """Copy all that one node lacks. Returns the bytes sent.

        Raises VizdashError naming the cause; what has arrived is kept for the next try.
        """
        ...


@dataclass(frozen=True, slots=True)
class RsyncCopy(CopyMethod):
    """Copies from the image host to each node, sending only what differs from an image there."""

    shell: NodeShell
    root: str

    min_nodes: int = 0

    def folder(self, source: SourceImage) -> str:
        """Return the app's folder on a node."""
        return f"{self.root.rstrip('/')}/{source.app}"

    @override
    def distributable(self, targets: Sequence[CopyTarget]) -> tuple[CopyTarget, ...]:
        return ()

    @override
    async def distribute(
        self,
        source: SourceImage,
        targets: Sequence[CopyTarget],
        on_bytes: Callable[[str, int], None],
        on_end: Callable[[str, CopyOutcome], None],
    ) -> None:
        pass

    @override
    async def copy(
        self, source: SourceImage, target: CopyTarget, on_bytes: Callable[[int], None]
    ) -> int:
        sent = 0

        def line(text: str) -> None:
            nonlocal sent
            if match := _SENT.match(text):
                sent = int(match[1])
            elif match := _PROGRESS.match(text):
                on_bytes(int(match[1]))

        command = Command(self._argv(source, target), timeout_s=_LONGEST_S)
        result = await follow(self.shell.runner, command, LineSplitter(line))
        if result.code != 0:
            raise VizdashError(
                target.node or "rsync", explain_failure(result), "deploy again to continue"
            )
        return sent

    def _argv(self, source: SourceImage, target: CopyTarget) -> tuple[str, ...]:
        """Return the command line.

        The remote rsync holds the folder's lock, so that no other process renames the file while it
        is written; it waits for one that is just ending. --ignore-times: equal size and time do not
        prove equal content.
        """
        folder = self.folder(source)
        locked = ("flock", "-w", str(_LOCK_S), "-E", str(_LOCKED), f"{folder}/.lock", "rsync")
        words = [
            *("--inplace", "--no-whole-file", "--ignore-times"),
            *("--info=progress2", "--no-human-readable", "--out-format=vizdash-sent %b"),
            f"--timeout={_STALL_S}",
        ]
        if target.like:
            words.append(f"--copy-dest={folder}/{source.basis}")
        part = f"{folder}/{source.part}"
        if self.shell.is_here(target.node):
            become = ("sudo", "-n") if target.sudo else ()
            return (*become, *locked, *words, "--", source.path, part)
        options, host = rsync_options(self.shell, target, locked)
        return ("rsync", *words, *options, "--", source.path, f"{host}:{part}")


def rsync_options(
    shell: NodeShell, target: CopyTarget, program: Sequence[str]
) -> tuple[tuple[str, ...], str]:
    """Return the options with which rsync reaches a node and runs ``program`` there, and its name
    for the node.
    """
    ssh = shell.ssh(target.node)
    clean = shlex.join((*_SHELL, _CLEAN, "clean", new_mark(), str(len(ssh)), *ssh))
    far = (*(("sudo", "-n") if target.sudo else ()), *program)
    return (f"--rsh={clean}", f"--rsync-path={shlex.join(far)}"), shell.host(target.node).rsync


class LineSplitter:
    """Splits a stream of text into lines, which a carriage return ends as well."""

    def __init__(self, line: Callable[[str], None]) -> None:
        self._line = line
        self._rest = ""

    def __call__(self, text: str) -> None:
        """Process the next piece of text."""
        *whole, self._rest = re.split(r"[\r\n]", self._rest + text)
        for line in whole:
            if line:
                self._line(line)


def explain_failure(result: Result) -> str:
    """Return the cause of a failed rsync: the first line that names one."""
    lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
    specific = [line for line in lines if not line.startswith(_VAGUE_LINES)]
    if specific:
        cause = specific[0].removeprefix("rsync: ")
        return re.sub(r"^\[\w+\] ", "", cause).removeprefix("sudo: ")
    if result.code == _LOCKED:
        return "another deploy is writing there"
    if any("unexpectedly closed" in line for line in lines):
        return "the node closed the connection, or another deploy is writing there"
    return last_line(result.stderr) or f"rsync ended with {result.code}"


async def count_arrived_bytes(
    shell: NodeShell, root: str, source: SourceImage, target: CopyTarget
) -> int:
    """Return how many bytes of the part file are on the node. Raises VizdashError."""
    words = (root, source.app, source.part)
    answer = await shell.ask(target.node, "sizes", *words, sudo=target.sudo)
    return int(answer[0])
