"""``make run`` on a machine with nothing installed: ``python -m tests.fresh_machine``.

A minimal Debian from this machine's own mirror (debootstrap, kept beside the lab's parts) with git,
make and python3 only; in it a clone of this checkout, ``make run`` in a terminal, and the keys of a
first session: ``n`` Enter, ``o``, ``q``, vizdash again, ``x`` ``y``. Takes some minutes, most of
them apt and pip. Needs root, as the lab does.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.lab import recipe
from tests.lab.host import die_with_parent
from tests.lab.root import building, debootstrap, say
from tests.terminal import Terminal

PACKAGES = ("ca-certificates", "git", "make", "python3")
#: Devices that programs expect, besides a terminal.
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


def pip_settings() -> tuple[dict[str, str], list[Path]]:
    """This machine's own pip settings, as environment, and the local folders they name."""
    output = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    ).stdout
    found: dict[str, str] = {}
    for line in output.splitlines():
        key, _, value = line.partition("=")
        name = key.replace(":env:", "env").rpartition(".")[2].upper().replace("-", "_")
        found.setdefault(f"PIP_{name}", value.strip("'"))
    folders = []
    for word in " ".join(found.values()).split():
        # A local index leads to files beside it.
        local = word.startswith("file:")
        path = Path(unquote(urlsplit(word).path)).parent if local else Path(word)
        if path.is_absolute() and path.exists():
            folders.append(path)
    return found, folders


class FreshMachine:
    """A running machine: a file system over the minimal system, and its own processes."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fresh-", dir=recipe.CACHE))
        self.root = self.folder / "root"
        self.environment, folders = pip_settings()
        lower = base()
        for name in ("upper", "work", "root"):
            (self.folder / name).mkdir()
        options = f"lowerdir={lower},upperdir={self.folder}/upper,workdir={self.folder}/work"
        root = shlex.quote(str(self.root))
        lines = [
            "set -e",
            "mount --make-rprivate /",
            f"mount -t overlay overlay -o {options} {root}",
            f"mount -t tmpfs -o mode=755 dev {root}/dev",
            f"mkdir {root}/dev/pts {root}/dev/shm",
            f"mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts {root}/dev/pts",
            f"ln -s pts/ptmx {root}/dev/ptmx",
            f"ln -s /proc/self/fd {root}/dev/fd",
            f"mount -t tmpfs -o mode=1777 shm {root}/dev/shm",
            *(f"touch {root}/dev/{d}; mount --bind /dev/{d} {root}/dev/{d}" for d in _DEVICES),
            f"mount -t proc proc {root}/proc",
            f"mount --rbind /sys {root}/sys",
            f"cat /etc/resolv.conf >{root}/etc/resolv.conf",
            *(_bind(path, root) for path in folders),
            f"touch {root}/up",
            "while :; do sleep 3600 & wait $! || true; done",
        ]
        self._process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child",
             "bash", "-c", "\n".join(lines)],
            stdin=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
        )  # fmt: skip
        deadline = time.monotonic() + 30
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        while not (self.folder / "upper/up").exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the fresh machine did not start")
            time.sleep(0.05)
        self.pid = int(children.read_text().split()[0])

    def argv(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> list[str]:
        """The command line that runs ``command`` on the machine, as root in its home folder."""
        values = {"HOME": "/root", "USER": "root", "LOGNAME": "root", "SHELL": "/bin/bash"}
        values |= {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        values |= {"TERM": "xterm-256color", "LANG": "C.UTF-8"} | self.environment | dict(env or {})
        return [
            "nsenter", f"--target={self.pid}", "--mount", "--pid", "--ipc", "--uts", "--",
            "chroot", str(self.root), "env", "-i",
            *(f"{key}={value}" for key, value in values.items()),
            "sh", "-c", 'cd "$HOME" && exec "$@"', "sh", *command,
        ]  # fmt: skip

    def run(self, *command: str) -> str:
        """Run a command to its end and return its output. Raises CalledProcessError."""
        done = subprocess.run(
            self.argv(command),
            stdin=subprocess.DEVNULL,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return str(done.stdout)

    def put(self, file: Path, place: str) -> None:
        """Copy a file into the machine."""
        with file.open("rb") as source:
            subprocess.run(
                self.argv(["tee", place]), check=True, stdin=source, stdout=subprocess.DEVNULL
            )

    def stop(self) -> None:
        """Stop the machine and remove everything of it."""
        self._process.kill()
        self._process.wait(timeout=20)
        shutil.rmtree(self.folder, ignore_errors=True)


def base() -> Path:
    """The minimal system, from the cache if it is there."""
    target = recipe.CACHE / f"fresh-base-{recipe.key(recipe.SUITE, PACKAGES)}"
    with building(target) as place:
        if place is not None:
            say("building a minimal Debian")
            debootstrap(place, PACKAGES, recipe.CACHE / "fresh.log")
    return target


def _bind(path: Path, root: str) -> str:
    inside = f"{root}{shlex.quote(str(path))}"
    make = (
        f"mkdir -p {inside}" if path.is_dir() else f"mkdir -p $(dirname {inside}); touch {inside}"
    )
    return f"{make}; mount --bind -o ro {shlex.quote(str(path))} {inside}"


def check(machine: FreshMachine) -> None:
    """Do what a user does, and check what they see."""
    began = time.monotonic()

    def report(what: str) -> None:
        say(f"{time.monotonic() - began:4.0f} s  {what}")

    bundle = machine.folder / "bundle"
    make = ["git", "-C", str(recipe.CHECKOUT), "bundle", "create", "-q", str(bundle)]
    subprocess.run([*make, "HEAD"], check=True)
    machine.put(bundle, "/root/bundle")
    quiet = ("-c", "advice.detachedHead=false", "-c", "init.defaultBranch=main")
    machine.run("git", *quiet, "clone", "-q", "bundle", "vizdash")
    report("cloned")
    with Terminal(machine.argv(["make", "-C", "vizdash", "run"]), 100, 30) as terminal:
        terminal.wait("No sessions|n New|New session", 900)
        report("make run shows the dashboard")
        print(terminal.screen())
        terminal.press("n")
        terminal.wait("fits? now", 30)
        terminal.press("Enter")
        terminal.wait(r"ready +desktop", 90)
        report("n Enter gave a ready desktop")
        terminal.press("o")
        terminal.wait(r"http://127\.0\.0\.1:\d+/vnc\.html", 30)
        report("o shows the address")
        print(terminal.screen())
        terminal.press("Escape")
        terminal.wait_gone("autoconnect=1")
        terminal.press("q")
        terminal.wait(r"Quit vizdash\?")
        terminal.press("y")
        terminal.wait_end(30)
    output = machine.run("vizdash/.venv/bin/vizdash", "sessions")
    assert re.search(r"desktop +root +ready", output), output
    report("quitting left it running, and a new vizdash finds it")
    with Terminal(machine.argv(["make", "-C", "vizdash", "run"]), 100, 30) as terminal:
        terminal.wait(r"ready +desktop", 60)
        terminal.wait_gone(r"saved \d", 60)
        terminal.press("x")
        terminal.wait(r"Stop this session\?")
        terminal.press("y")
        terminal.wait("cancelled|ended", 60)
        report("x y ended it")
        terminal.press("q")
        terminal.wait_end(30)
    left = machine.run("find", "/tmp", "/dev/shm", "-mindepth", "1", "!", "-path", "/tmp/.*-unix")
    assert left == "", left
    report("nothing is left in /tmp")


def main() -> int:
    """Run the check; exit code 0 if it passed."""
    if os.geteuid() != 0:
        say("python -m tests.fresh_machine needs root")
        return 1
    machine = FreshMachine()
    try:
        check(machine)
    finally:
        machine.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
