"""One host of the lab: a process tree with its own network, file system, name and processes."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.lab import recipe
from tests.processes import lasting

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """For preexec_fn: the kernel kills this process when its parent dies (prctl(2)).

    SIGINT and SIGQUIT work in it also when the tests run in the background, where a shell has them
    ignored (bash(1), "SIGNALS").
    """
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class CommandError(AssertionError):
    """A command of a test failed; the message holds its output."""


def output(
    argv: Sequence[str], *, input: str | None = None, timeout: float = 240, cwd: Path | None = None
) -> str:
    """What a program of this machine prints. Raises CommandError with its output if it fails."""
    done = subprocess.run(
        argv, input=input, capture_output=True, text=True, timeout=timeout, check=False, cwd=cwd
    )
    if done.returncode != 0:
        words = f"stdout: {done.stdout}\nstderr: {done.stderr}"
        raise CommandError(f"{shlex.join(argv)} ended with {done.returncode}\n{words}")
    return done.stdout


def checked(done: subprocess.CompletedProcess[str], what: str) -> subprocess.CompletedProcess[str]:
    """A command that succeeded. Raises CommandError with its output if it failed."""
    if done.returncode != 0:
        raise CommandError(
            f"{what} ended with {done.returncode}\nstdout: {done.stdout}\nstderr: {done.stderr}"
        )
    return done


class Host:
    """A running host. It ends with its first process, which ends with this process."""

    def __init__(self, name: str, run: Path, lower: str, role: str) -> None:
        self.name = name
        self.role = role
        self.lower = lower
        self.address = recipe.ADDRESSES.get(name, "")
        #: The switch's port for each of its interfaces.
        self.ports: dict[str, str] = {}
        self._log = (run / f"{name}.log").open("wb")
        # The builder keeps the machine's network, to reach the package mirror.
        net = [] if role == "bare" else ["--net"]
        argv = ["unshare", "--mount", "--uts", "--ipc", "--pid", *net, "--fork", "--kill-child"]
        argv += ["--mount-proc", "bash", str(recipe.FILES / "host-init.sh")]
        with lasting():
            self._process = subprocess.Popen(
                [*argv, name, str(run), lower, role],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                preexec_fn=die_with_parent,
            )
        self.pid = self._first_process()

    def _first_process(self) -> int:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if pids := children.read_text().split():
                return int(pids[0])
            time.sleep(0.01)
        raise RuntimeError(f"{self.name} did not start; see {self._log.name}")

    @property
    def root(self) -> Path:
        """Its file system, seen from this machine."""
        return Path(f"/proc/{self.pid}/root")

    @property
    def alive(self) -> bool:
        """Whether it has power."""
        return self._process.poll() is None

    def wait_up(self, seconds: float = 180) -> None:
        """Wait until its daemons have been started."""
        deadline = time.monotonic() + seconds
        while not (self.root / "run/lab-up").exists():
            if time.monotonic() > deadline or self._process.poll() is not None:
                answer = Path(self._log.name).read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.name} did not come up: {answer}")
            time.sleep(0.05)

    def argv(
        self,
        command: Sequence[str] | str,
        *,
        user: str = "root",
        env: Mapping[str, str] | None = None,
        dies_with_us: bool = False,
    ) -> list[str]:
        """The command line that runs ``command`` on this host as ``user``, as after a login.

        A text is run by a login shell, a list as it is.
        """
        home = "/root" if user == "root" else f"/home/{user}"
        values = {"HOME": home, "USER": user, "LOGNAME": user, "SHELL": "/bin/bash"}
        values |= {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        values |= {"LANG": "C.UTF-8", "TERM": "xterm-256color", **(env or {})}
        words = ["bash", "-lc", command] if isinstance(command, str) else list(command)
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        if user != "root":
            become += ["--inh-caps=-all"]
        if dies_with_us:
            # nsenter forks: what ends nsenter must reach the program itself.
            become += ["--pdeathsig=SIGTERM"]
        script = f'cd {shlex.quote(home)} && exec "$@"'
        return [
            *self._enter(),
            "env", "-i", *(f"{key}={value}" for key, value in values.items()),
            *become, "sh", "-c", script, "sh", *words,
        ]  # fmt: skip

    def _enter(self) -> list[str]:
        spaces = ["--mount", "--uts", "--ipc", "--pid", "--net"]
        return ["nsenter", f"--target={self.pid}", *spaces, "--wdns=/", "--root", "--"]

    def run(
        self,
        command: Sequence[str] | str,
        *,
        user: str = "root",
        input: str | None = None,
        check: bool = True,
        timeout: float = 240,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end. Raises CommandError with its output if it fails."""
        done = subprocess.run(
            self.argv(command, user=user, env=env),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=timeout,
            check=False,
        )
        return checked(done, f"{user}@{self.name}: {command!r}") if check else done

    def processes(self, user: str) -> str:
        """The user's processes, as lines of PID and command line; empty for none.

        Without those that have ended and that nobody has waited for yet (zombies). The parent of a
        command whose nsenter was stopped is the machine's first process, which takes its time.
        """
        script = f"ps -ww -u {user} -o stat=,pid=,args= | sed -n 's/^[^Z][^ ]* *//p'"
        return self.run(script).stdout

    def popen(self, command: Sequence[str] | str, *, user: str = "root") -> subprocess.Popen[str]:
        """Start a command and return at once; it ends with this process."""
        return subprocess.Popen(
            self.argv(command, user=user, dies_with_us=True),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent,
        )

    def netns_argv(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs this machine's program (a browser) in the host's network."""
        return ["nsenter", f"--target={self.pid}", "--net", "--", *argv]

    def power_off(self) -> None:
        """Cut its power: all of its processes end at once."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._process.wait(timeout=180)
        self._log.close()
