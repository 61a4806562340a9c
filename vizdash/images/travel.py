"""How an image travels from the image host to a node: by rsync(1)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from vizdash.errors import VizdashError, last_line
from vizdash.images.shell import NodeShell, new_mark
from vizdash.transport.base import Command, Result, follow

#: Seconds that a copy may take, and seconds without a byte after which it is given up.
_LONGEST_S = 24 * 3600.0
_STALL_S = 300
#: What rsync's --info=progress2 says of a file: bytes done (read or found at the far end).
_PROGRESS = re.compile(r"^\s*(\d+)\s+\d+%")
_SENT = re.compile(r"^vizdash-sent (\d+)$")
#: Lines of rsync's that tell less than the ones beside them.
_HOLLOW = ("rsync error:", "rsync: connection unexpectedly closed", "rsync: [sender] write error")

#: What rsync runs as its remote shell: ``_SHELL _CLEAN clean MARK COUNT SSH... HOST COMMAND...``,
#: SSH being COUNT words. What a node's shell prints when it starts would break rsync's protocol: it
#: is dropped, up to the mark. Without single quotes, since rsync cuts the option at those.
_SHELL = ("bash", "--norc", "-c")  # with a socket for its input, it would read ~/.bashrc
_CLEAN = (
    "set -o pipefail; mark=$1 count=$2; shift 2; "
    'way=("${@:1:count}"); shift "$count"; host=$1; shift; '
    '"${way[@]}" "$host" "echo $mark; exec $*" | { '
    "while IFS= read -r line; do case $line in *$mark) exec cat ;; esac; done; }"
)


@dataclass(frozen=True, slots=True)
class Cargo:
    """An image on the image host. ``arch`` is Go's name of the architecture (empty: any)."""

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
        """Its name on a node while it is on its way (see images.sh)."""
        return f".{self.name}.{self.digest[:12]}.part"

    @property
    def delta(self) -> str:
        """The name on a node of what makes it from an older image."""
        return f".{self.name}.{self.digest[:12]}.delta"

    @property
    def basis(self) -> str:
        """The folder on a node that holds an image like it."""
        return f".{self.name}.{self.digest[:12]}.basis"


@dataclass(frozen=True, slots=True)
class Stop:
    """A node to bring an image to. ``like`` is the image there that it is compared with (empty:
    none), ``basis`` its digest where a delta against it would do, ``arrived`` the bytes that an
    earlier try left.
    """

    node: str
    sudo: bool = False
    like: str = ""
    arrived: int = 0
    basis: str = ""


@dataclass(frozen=True, slots=True)
class Arrival:
    """How it went to bring an image to a node together with others: ``why`` not (empty: it is
    there), the bytes ``sent``, and whether it has its real name already (``placed``).
    """

    why: str = ""
    sent: int = 0
    placed: bool = False


class Travel(Protocol):
    """Brings a cargo's bytes into the part file of a node, which a verb has prepared."""

    @property
    def least(self) -> int:
        """From how many nodes on ``prime`` can do anything for them; 0: never."""
        ...

    def together(self, stops: Sequence[Stop]) -> tuple[Stop, ...]:
        """Those of the nodes that ``prime`` can do something for."""
        ...

    async def prime(
        self,
        cargo: Cargo,
        stops: Sequence[Stop],
        tell: Callable[[str, int], None],
        over: Callable[[str, Arrival], None],
    ) -> None:
        """Bring an image to several nodes together, as ``together`` gave them. ``tell`` gets a node
        and the bytes that are there, ``over`` how it went there; nodes that are not named, or got a
        reason, are left to ``send``. Raises VizdashError.
        """
        ...

    async def send(self, cargo: Cargo, stop: Stop, tell: Callable[[int], None]) -> int:
        """Bring all that is missing at one node. Returns the bytes that travelled.

        Raises VizdashError naming the cause; what arrived stays for the next try.
        """
        ...


@dataclass(frozen=True, slots=True)
class Rsync:
    """From the image host to each node, by what differs from an image that it has."""

    shell: NodeShell
    root: str

    least: int = 0

    def folder(self, cargo: Cargo) -> str:
        """The app's folder on a node."""
        return f"{self.root.rstrip('/')}/{cargo.app}"

    def together(self, stops: Sequence[Stop]) -> tuple[Stop, ...]:
        """See Travel.together: none."""
        return ()

    async def prime(
        self,
        cargo: Cargo,
        stops: Sequence[Stop],
        tell: Callable[[str, int], None],
        over: Callable[[str, Arrival], None],
    ) -> None:
        """See Travel.prime: nothing."""

    async def send(self, cargo: Cargo, stop: Stop, tell: Callable[[int], None]) -> int:
        """See Travel.send."""
        sent = 0

        def line(text: str) -> None:
            nonlocal sent
            if found := _SENT.match(text):
                sent = int(found[1])
            elif found := _PROGRESS.match(text):
                tell(int(found[1]))

        command = Command(self._argv(cargo, stop), timeout_s=_LONGEST_S)
        result = await follow(self.shell.runner, command, Lines(line))
        if result.code != 0:
            raise VizdashError(stop.node or "rsync", why(result), "deploy again: it goes on there")
        return sent

    def _argv(self, cargo: Cargo, stop: Stop) -> tuple[str, ...]:
        """The command line. The far rsync holds the folder's lock, so that nobody gives the file
        its name while it is written. --ignore-times: same size and time prove nothing.
        """
        folder = self.folder(cargo)
        locked = ("flock", "-n", f"{folder}/.lock", "rsync")
        words = [
            *("--inplace", "--no-whole-file", "--ignore-times"),
            *("--info=progress2", "--no-human-readable", "--out-format=vizdash-sent %b"),
            f"--timeout={_STALL_S}",
        ]
        if stop.like:
            words.append(f"--copy-dest={folder}/{cargo.basis}")
        target = f"{folder}/{cargo.part}"
        if self.shell.is_here(stop.node):
            become = ("sudo", "-n") if stop.sudo else ()
            return (*become, *locked, *words, "--", cargo.path, target)
        options, host = remote(self.shell, stop, locked)
        return ("rsync", *words, *options, "--", cargo.path, f"{host}:{target}")


def remote(shell: NodeShell, stop: Stop, program: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Options of rsync that reach a node and run ``program`` there, and its name for the node."""
    ssh = shell.ssh(stop.node)
    clean = shlex.join((*_SHELL, _CLEAN, "clean", new_mark(), str(len(ssh)), *ssh))
    far = (*(("sudo", "-n") if stop.sudo else ()), *program)
    return (f"--rsh={clean}", f"--rsync-path={shlex.join(far)}"), shell.host(stop.node).rsync


class Lines:
    """Cuts text that comes in pieces into lines, which a carriage return ends too."""

    def __init__(self, line: Callable[[str], None]) -> None:
        self._line = line
        self._rest = ""

    def __call__(self, text: str) -> None:
        """Take the next piece."""
        *whole, self._rest = re.split(r"[\r\n]", self._rest + text)
        for line in whole:
            if line:
                self._line(line)


def why(result: Result) -> str:
    """The cause in what rsync said: the first line that names one."""
    lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(_HOLLOW)]
    if telling:
        cause = telling[0].removeprefix("rsync: ")
        return re.sub(r"^\[\w+\] ", "", cause).removeprefix("sudo: ")
    if any("unexpectedly closed" in line for line in lines):
        return "the node closed the connection, or another deploy is writing there"
    return last_line(result.stderr) or f"rsync ended with {result.code}"


async def arrived(shell: NodeShell, root: str, cargo: Cargo, stop: Stop) -> int:
    """How many bytes of the part file are on the node. Raises VizdashError."""
    words = (root, cargo.app, cargo.part)
    answer = await shell.ask(stop.node, "sizes", *words, sudo=stop.sudo)
    return int(answer[0])
