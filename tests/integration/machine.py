"""A machine of a test's own: the real programs of this one, with places, processes and a
loopback network that no other program sees, so that whatever a session leaves is seen.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.lab.host import CommandError, die_with_parent

CHECKOUT = Path(__file__).resolve().parents[2]
_INIT = Path(__file__).with_name("machine.sh")
#: Folders that sessions and programs leave things in.
_PLACES = ("/tmp", "/var/tmp", "/dev/shm", "/home")
_SPACES = ("--mount", "--pid", "--net", "--ipc")
#: An ordinary user that only a test's machine knows.
USER = "alice"
_UID = 61234
#: What the tests need of this machine.
PROGRAMS = ("Xvnc", "vncpasswd", "websockify", "openbox", "xterm", "xmessage", "xsetroot",
            "dbus-daemon", "chromium-headless-shell", "tmux", "unshare", "nsenter", "setpriv", "ip",
            "ss", "pkill", "curl")  # fmt: skip


def probe() -> list[str]:
    """What keeps the tests from running here, by name; [] when nothing."""
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
    """Running from construction to ``stop``. Commands run as an ordinary user, at home."""

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
        """A path of its own, seen from outside; ``~/`` is the user's home."""
        text = str(path)
        inside = self.home / text[2:] if text.startswith("~/") else Path(text)
        return self.root / inside.relative_to("/")

    # ------------------------------------------------------------------ commands

    def netns_argv(self, argv: Sequence[str]) -> list[str]:
        """A program of the outside (a browser), in this machine's network."""
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
        # What tests and users must not see is what this process happens to have around it.
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
        """Run to the end. Raises CommandError, with what it said, when it fails."""
        done = subprocess.run(
            self.argv(command, root=root, env=env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            raise CommandError(
                f"{command!r} ended with {done.returncode}\n"
                f"stdout: {done.stdout}\nstderr: {done.stderr}"
            )
        return done

    def hide(self, *programs: str) -> None:
        """As if none of ``programs`` (of /usr/bin) were installed."""
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
        """One verb."""
        return self.run(["vizdash", *words], check=check, timeout=timeout, env=env)

    def start(self, app: str = "desktop", *words: str) -> dict[str, Any]:
        """A small session, ready, as JSON."""
        size = ("--cpus", "1", "--memory", "256M")
        done = self.vizdash("start", app, *size, *words, "--wait", "--json")
        session: dict[str, Any] = json.loads(done.stdout)["session"]
        assert session["state"] == "ready", done.stderr
        return session

    def sessions(self) -> list[dict[str, Any]]:
        """What ``vizdash sessions --json`` says."""
        found: list[dict[str, Any]] = json.loads(self.vizdash("sessions", "--json").stdout)[
            "sessions"
        ]
        return found

    def wait_state(self, session_id: str, state: str, seconds: float = 180) -> dict[str, Any]:
        """Wait until a session has a state."""
        found: dict[str, Any] = {}

        def there() -> bool:
            found.update(next((s for s in self.sessions() if s["id"] == session_id), {}))
            return bool(found.get("state") == state)

        wait_until(there, f"session {session_id} to be {state}", seconds, lambda: str(found))
        return found

    @contextlib.contextmanager
    def opened(self, session_id: str) -> Iterator[str]:
        """The address that ``vizdash open --print`` gives, while it holds."""
        argv = self.argv(["vizdash", "open", session_id, "--print"], dies_with_us=True)
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, preexec_fn=die_with_parent,
        )  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        said: list[str] = []
        errors = process.stderr
        reader = threading.Thread(target=lambda: said.extend(errors), daemon=True)
        reader.start()
        try:
            url = process.stdout.readline().strip()
            assert url, "".join(said)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=60)
            reader.join(timeout=60)
            process.stdout.close()
            process.stderr.close()

    # ------------------------------------------------------------------ what is left

    def processes(self) -> list[str]:
        """Every process inside but its first and that one's sleep, as ``PID ARGS`` lines."""
        said = self.run(["ps", "-eo", "pid=,ppid=,args="], root=True).stdout
        rows = [line.split(None, 2) for line in said.splitlines()]
        ours = {("0", "ps -eo pid=,ppid=,args="), ("1", "sleep 3600")}
        return [
            f"{pid} {args}"
            for pid, parent, args in rows
            if pid != "1" and (parent, args) not in ours
            # What has ended and is about to be buried: by its first process, or by us outside.
            if not (parent in {"0", "1"} and args.endswith("<defunct>"))
        ]

    def leftovers(self) -> list[str]:
        """Processes, sockets, and files where temporary ones go (X's own folder aside)."""
        script = "find /tmp /var/tmp /dev/shm -xdev -mindepth 1; ss -xlH; ss -tlH"
        names = self.run(script, root=True).stdout.splitlines()
        kept = (CHECKOUT, Path(sys.prefix), Path(sys.base_prefix))
        ways = {str(above) for path in kept for above in (path, *path.parents)}
        ours = ways | {"/tmp/.X11-unix", "/tmp/.ICE-unix"}
        return [*self.processes(), *(name for name in names if name not in ours)]

    def stop(self) -> None:
        """As if its power were cut; nothing of it is left."""
        self._process.kill()
        self._process.wait(timeout=60)
        self._log.close()
        shutil.rmtree(self.run_folder, ignore_errors=True)


def _whoami() -> str:
    return subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()


def wait_until(
    true: Callable[[], bool], what: str, seconds: float = 180, seen: Callable[[], str] = str
) -> None:
    """Poll until ``true``; fails naming what did not come, and what was seen last."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"no {what} after {seconds:g} s: {seen()}"
        time.sleep(0.1)
