"""A machine for one test: this machine's programs in separate namespaces.

Its folders, processes and loopback network are its own, so that everything that a session leaves
behind is noticed.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.lab.host import checked, die_with_parent
from tests.vizdash_command import printed_address, ready_session, session_rows, wait_for_state
from tests.waiting import wait_until

CHECKOUT = Path(__file__).resolve().parents[2]
_INIT = Path(__file__).with_name("machine.sh")
#: Folders in which sessions and programs leave files.
_PLACES = ("/tmp", "/var/tmp", "/dev/shm", "/home")
_SPACES = ("--mount", "--pid", "--net", "--ipc")
#: An ordinary user that exists only on a test's machine.
USER = "alice"
_UID = 61234
#: What the tests need of this machine.
PROGRAMS = ("Xvnc", "vncpasswd", "websockify", "openbox", "xterm", "xmessage", "xsetroot",
            "dbus-daemon", "chromium-headless-shell", "tmux", "unshare", "nsenter", "setpriv", "ip",
            "ss", "pkill", "curl")  # fmt: skip


def probe() -> list[str]:
    """The reasons why the tests cannot run here, by name; [] if they can."""
    missing = [f"{name} is not installed" for name in PROGRAMS if shutil.which(name) is None]
    if not Path("/usr/share/novnc/vnc.html").exists():
        missing.append("noVNC is not installed (/usr/share/novnc)")
    if missing:
        return missing
    done = subprocess.run(
        [*_unshare(), "mount", "-t", "tmpfs", "probe", "/tmp"],
        capture_output=True,
        text=True,
        check=False,
    )
    words = done.stderr.strip().partition("\n")[0]
    return [f"namespaces are refused: {words}"] if done.returncode else []


def _unshare() -> list[str]:
    user = [] if os.geteuid() == 0 else ["--user", "--map-current-user", "--keep-caps"]
    return ["unshare", *user, *_SPACES, "--fork", "--kill-child", "--mount-proc"]


def _closed(path: Path) -> str:
    """The topmost folder above ``path`` that other users can't enter; empty for none."""
    for folder in reversed(path.parents):
        if not folder.stat().st_mode & 0o001:
            return str(folder)
    return ""


class Machine:
    """Runs from construction to ``stop``. Commands run as an ordinary user in their home."""

    def __init__(self) -> None:
        self.run_folder = Path(tempfile.mkdtemp(prefix="vizdash-machine-"))
        self._root = os.geteuid() == 0
        self.user = USER if self._root else _whoami()
        self.home = Path("/home") / self.user
        kept = [CHECKOUT, Path(sys.prefix), Path(sys.base_prefix)]
        covered = dict.fromkeys(_PLACES)
        if self._root:
            self._write_users()
            closed = [folder for path in kept if (folder := _closed(path))]
            covered |= dict.fromkeys(f for f in closed if not f.startswith(_PLACES))
        self._log = (self.run_folder / "log").open("wb")
        self._process = subprocess.Popen(
            [*_unshare(), "bash", str(_INIT), str(self.run_folder), *covered, "--",
             *map(str, kept)],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            preexec_fn=die_with_parent,
        )  # fmt: skip
        try:
            wait_until(lambda: (self.run_folder / "up").exists() or self._over(), "machine", 180)
            assert not self._over(), (self.run_folder / "log").read_text()
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
            self.pid = int(children.read_text().split()[0])
            wait_until(lambda: (self.run_folder / "up").read_text() == "up\n", "machine", 180)
            self._make_home()
        except BaseException:
            self.stop()
            raise

    def _over(self) -> bool:
        return self._process.poll() is not None

    def _write_users(self) -> None:
        (self.run_folder / "etc").mkdir()
        for file, line in {
            "passwd": f"{USER}:x:{_UID}:{_UID}::/home/{USER}:/bin/bash\n",
            "group": f"{USER}:x:{_UID}:\n",
        }.items():
            text = Path("/etc", file).read_text()
            (self.run_folder / "etc" / file).write_text(text + line)

    def _make_home(self) -> None:
        home = self.root / "home" / self.user
        home.mkdir(mode=0o700, exist_ok=True)
        if self._root:
            os.chown(home, _UID, _UID)

    @property
    def root(self) -> Path:
        """Its file system, seen from outside."""
        return Path(f"/proc/{self.pid}/root")

    def outside(self, path: str | Path) -> Path:
        """A path of the machine, seen from outside; ``~/`` is the user's home."""
        text = str(path)
        inside = self.home / text[2:] if text.startswith("~/") else Path(text)
        return self.root / inside.relative_to("/")

    # ------------------------------------------------------------------ commands

    def netns_argv(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs an outside program (a browser) in this machine's network."""
        return [*self._enter("--net"), *argv]

    def _enter(self, *spaces: str) -> list[str]:
        user = [] if self._root else ["--user", "--preserve-credentials"]
        return ["nsenter", f"--target={self.pid}", *user, *spaces, "--"]

    def argv(
        self,
        command: Sequence[str] | str,
        *,
        root: bool = False,
        env: Mapping[str, str] | None = None,
        dies_with_us: bool = False,
    ) -> list[str]:
        """The command line that runs ``command`` inside. A text is run by bash."""
        values = {"HOME": str(self.home), "USER": self.user, "LOGNAME": self.user}
        values |= {"SHELL": "/bin/bash", "TERM": "xterm-256color", "LANG": "C.UTF-8"}
        values |= {"PATH": f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
        values |= dict(env or {})
        words = ["bash", "-c", command] if isinstance(command, str) else list(command)
        become = ["setpriv", "--pdeathsig=SIGTERM"] if dies_with_us else ["setpriv"]
        if root:
            values["HOME"] = "/"
        elif self._root:
            become += [f"--reuid={_UID}", f"--regid={_UID}", "--clear-groups", "--inh-caps=-all"]
        else:
            become += ["--ambient-caps=-all", "--inh-caps=-all"]
        inside = f'cd {shlex.quote(values["HOME"])} && exec "$@"'
        return [
            *self._enter(*_SPACES, f"--wdns={self.home if not root else '/'}"),
            "env", "-i", *(f"{key}={value}" for key, value in values.items()),
            *(become if len(become) > 1 else []), "sh", "-c", inside, "sh", *words,
        ]  # fmt: skip

    def run(
        self,
        command: Sequence[str] | str,
        *,
        root: bool = False,
        check: bool = True,
        timeout: float = 300,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end. Raises CommandError with its output if it fails."""
        done = subprocess.run(
            self.argv(command, root=root, env=env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return checked(done, repr(command)) if check else done

    def hide(self, *programs: str) -> None:
        """Hide programs of /usr/bin, as if they were not installed."""
        places = [f"/usr/bin/{name}" for name in programs if Path("/usr/bin", name).exists()]
        over = "lowerdir=/usr/bin,upperdir=/home/.over/up,workdir=/home/.over/work"
        script = (
            "mkdir -p /home/.over/up /home/.over/work && "
            f"mount -t overlay -o {over} overlay /usr/bin && rm {shlex.join(places)}"
        )
        self.run(script, root=True)

    # ------------------------------------------------------------------ vizdash

    def vizdash(
        self,
        *words: str,
        check: bool = True,
        timeout: float = 300,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run one verb."""
        return self.run(["vizdash", *words], check=check, timeout=timeout, env=env)

    def start(self, app: str = "desktop", *words: str) -> dict[str, Any]:
        """Start a small session and return it, ready, as JSON."""
        size = ("--cpus", "1", "--memory", "256M")
        return ready_session(self.vizdash("start", app, *size, *words, "--wait", "--json"))

    def sessions(self) -> list[dict[str, Any]]:
        """The rows of ``vizdash sessions --json``."""
        return session_rows(self.vizdash("sessions", "--json"))

    def wait_for_state(self, session_id: str, state: str, seconds: float = 180) -> dict[str, Any]:
        """Wait until a session has this state; its row."""
        return wait_for_state(self.sessions, session_id, state, seconds)

    @contextlib.contextmanager
    def open_session(self, session_id: str) -> Iterator[str]:
        """Run ``vizdash open --print``; yields the address while the command runs."""
        argv = self.argv(["vizdash", "open", session_id, "--print"], dies_with_us=True)
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, preexec_fn=die_with_parent,
        )  # fmt: skip
        with printed_address(process) as url:
            yield url

    # ------------------------------------------------------------------ what is left

    def processes(self) -> list[str]:
        """All processes but the first and its sleep, as ``PID ARGS`` lines."""
        output = self.run(["ps", "-eo", "pid=,ppid=,args="], root=True).stdout
        rows = [line.split(None, 2) for line in output.splitlines()]
        ours = {("0", "ps -eo pid=,ppid=,args="), ("1", "sleep 3600")}
        return [
            f"{pid} {args}"
            for pid, parent, args in rows
            if pid != "1" and (parent, args) not in ours
            # Zombies that their parent is about to reap.
            if not (parent in {"0", "1"} and args.endswith("<defunct>"))
        ]

    def leftovers(self) -> list[str]:
        """Processes, sockets and temporary files, without X's own folder."""
        script = "find /tmp /var/tmp /dev/shm -xdev -mindepth 1; ss -xlH; ss -tlH"
        names = self.run(script, root=True).stdout.splitlines()
        kept = (CHECKOUT, Path(sys.prefix), Path(sys.base_prefix))
        ways = {str(above) for path in kept for above in (path, *path.parents)}
        ours = ways | {"/tmp/.X11-unix", "/tmp/.ICE-unix"}
        return [*self.processes(), *(name for name in names if name not in ours)]

    def stop(self) -> None:
        """Stop the machine as a power cut does, and remove everything of it."""
        self._process.kill()
        self._process.wait(timeout=180)
        self._log.close()
        shutil.rmtree(self.run_folder, ignore_errors=True)


def _whoami() -> str:
    return subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()
