"""Big clusters: vizdash beside the other dashboards for Slurm that PyPI has, in one run, each in a
pseudo-terminal of 160x48 on a real slurmctld. The nodes are powered-down cloud nodes
(slurm.conf(5), State=CLOUD), so that no slurmd is needed; the jobs are real ones.

Printed as tables for docs/administration.md. A program that fails gets its row, and why. A trial
of a few minutes: ``python -m bench.scale --small``.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab import Lab, probe
from tests.lab.host import Host
from tests.lab.root import say
from tests.lab.scheduler import ADDRESS, NAME
from tests.lab.scheduler import scheduler as lone_host

SIZES = ((1_000, 10_000), (5_000, 50_000))
_COLUMNS, _LINES = 160, 48
#: Other programs: the package on PyPI, and how it is started.
PEERS = {
    "turm": ["turm"],
    "slurm-viewer": ["slurm-viewer"],
    "stui": ["stui"],
    "sltop": ["sltop"],
    "lazyslurm-py": ["lazyslurm"],
    "slurmhub": ["slurmhub"],
    "slurman": ["slurman"],
}
_PACKAGES = "/opt/peers"
#: The least that a program of this kind needs: what the others' starts are compared with.
_EMPTY = """
from textual.app import App
from textual.widgets import Label
class Empty(App):
    def compose(self):
        yield Label("viz-node0")
Empty().run()
"""
#: The users who watch the same controller at once, and what each may run.
_CROWD = 50
_CROWDS = {
    "vizdash": ["vizdash"],
    "watch squeue --me": ["watch", "squeue", "--me"],
    "watch squeue": ["watch", "squeue"],
}
#: Keys that lead to a long list, before the cursor is moved in it.
_TO_LIST = {"vizdash": b"1", "vizdash, first start": b"1", "slurm-viewer": b"\t"}
#: What a useful screen shows: a node, or one of the user's jobs.
_USEFUL = re.compile(rb"viz-node0|desktop|solver")
#: Seconds that a program may take to show it, that it is watched, and that it is let settle.
_PATIENCE_S, _WATCHED_S, _SETTLE_S = 90.0, 60.0, 10.0
#: Times of that length at most for which slurmctld is let deal with the new jobs.
_MOST_WINDOWS = 8
#: Starts of which the median counts.
_STARTS = 5

_CONF = """\
ClusterName=scale
SlurmctldHost={host}({address})
AuthType=auth/munge
SlurmUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
MpiDefault=none
StateSaveLocation=/var/spool/slurmctld
SlurmctldPidFile=/run/slurmctld.pid
SlurmctldLogFile=/var/log/slurmctld.log
SlurmdTimeout=0
MaxJobCount=200000
MinJobAge=300
PrivateData=cloud
SuspendProgram=/bin/true
ResumeProgram=/bin/true
SuspendTime=INFINITE
ResumeTimeout=64000
SchedulerParameters=defer,bf_max_job_test=100,max_rpc_cnt=100
NodeName=viz-node[00001-{nodes:05}] CPUs=16 RealMemory=65536 State=CLOUD
PartitionName=viz Nodes=ALL Default=YES MaxTime=8:00:00 State=UP
"""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured of one program; ``failure`` says why nothing was."""

    name: str
    start_s: float = 0.0
    key_ms: float = 0.0
    cpu_s: float = 0.0
    memory_mb: float = 0.0
    controller_s: float = 0.0
    failure: str = ""

    def markdown(self) -> str:
        """A line of the table."""
        if self.failure:
            return f"| {self.name} | {self.failure} | | | | |"
        return (
            f"| {self.name} | {self.start_s:.2f} | {self.key_ms:.1f} | {self.cpu_s:.2f} "
            f"| {self.memory_mb:.0f} | {self.controller_s:.2f} |"
        )


class HostProgram:
    """A program of a lab host in a pseudo-terminal."""

    def __init__(self, host: Host, argv: Sequence[str], user: str = "alice") -> None:
        env = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        whole = host.argv(argv, user=user, env=env)
        self._began = time.monotonic()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvp(whole[0], whole)
        size = struct.pack("HHHH", _LINES, _COLUMNS, 0, 0)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, size)
        self.output = b""

    def read(self, seconds: float) -> bytes:
        """What it writes next; empty when it writes nothing for ``seconds``, or has ended."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return b""
        try:
            data = os.read(self.fd, 1 << 20)
        except OSError:  # it has ended
            return b""
        self.output += data
        return data

    def shown(self) -> float | None:
        """Seconds from its start to a useful screen; None when there is none."""
        while not _USEFUL.search(self.output):
            left = self._began + _PATIENCE_S - time.monotonic()
            if left <= 0 or (not self.read(left) and self.ended):
                return None
        return time.monotonic() - self._began

    @property
    def ended(self) -> bool:
        """Whether it runs no more."""
        try:
            return os.waitpid(self.pid, os.WNOHANG)[0] != 0
        except ChildProcessError:
            return True

    def drain(self, seconds: float) -> None:
        """Take what it writes for so long."""
        _drain([self], seconds)

    def answer_ms(self, first: bytes) -> float | None:
        """Milliseconds from a key to output, the median of some; ``first`` is pressed before."""
        times_ms = []
        os.write(self.fd, first)
        for key in (b"\x1b[B", b"\x1b[A") * 8:
            while self.read(0.2):
                pass
            began = time.perf_counter()
            os.write(self.fd, key)
            if self.read(2.0):
                times_ms.append((time.perf_counter() - began) * 1000)
        return statistics.median(times_ms) if times_ms else None

    def close(self) -> None:
        """End it and what it started."""
        for pid in reversed(_tree(self.pid)):
            _kill(pid)
        os.close(self.fd)
        if not self.ended:
            os.waitpid(self.pid, 0)


def _drain(screens: Sequence[HostProgram], seconds: float) -> None:
    """Take what programs write for so long."""
    by_fd = {screen.fd: screen for screen in screens}
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        for fd in select.select([*by_fd], [], [], left)[0]:
            if not by_fd[fd].read(0):
                del by_fd[fd]  # it has ended
            else:
                by_fd[fd].output = by_fd[fd].output[-4096:]
        if not by_fd:
            time.sleep(max(0.0, end - time.monotonic()))


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _tree(root: int) -> list[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))):
            parents[int(entry.name)] = int(stat[1])
    pids = [root]
    for pid in pids:
        pids += [child for child, parent in parents.items() if parent == pid]
    return pids


def _cpu_s(pids: Sequence[int]) -> float:
    """Seconds of CPU of processes (proc(5): utime, stime, and those of children waited for)."""
    ticks = sum(sum(map(int, stat[11:15])) for pid in pids if (stat := _stat(pid)))
    return ticks / os.sysconf("SC_CLK_TCK")


def _memory_mb(pids: Sequence[int]) -> float:
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        match = re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)
        total += int(match[1]) if match else 0
    return total / 1024


class LoadedCluster:
    """A slurmctld with many nodes and jobs."""

    def __init__(self, host: Host, nodes: int, jobs: int) -> None:
        self.host = host
        conf = _CONF.format(host=NAME, address=ADDRESS, nodes=nodes)
        (host.root / "etc/slurm/slurm.conf").write_text(conf)
        self._stop()
        host.run("mkdir -p /var/spool/slurmctld; slurmctld -c", timeout=120)
        self._wait_up()
        for user, count in (("alice", 20), ("bob", jobs // 2), ("vizadmin", jobs // 2 - 21)):
            self._submit(user, count)
        comment = "vizdash/1 id=3f9a01bc app=desktop image=- state=pending step=-"
        host.run(
            ["sbatch", "-Q", "-n2", "--mem=1G", "-Jvizdash-desktop", f"--comment={comment}",
             "-o/dev/null", "--wrap", "sleep 9999"], user="alice",
        )  # fmt: skip
        self.controller = int(host.run(["cat", "/run/slurmctld.pid"]).stdout)
        self.controller_outside = next(pid for pid in _tree(host.pid) if _comm(pid) == "slurmctld")

    def _wait_up(self) -> None:
        deadline = time.monotonic() + 120
        while self.host.run(["sinfo", "-h"], check=False).returncode:
            if time.monotonic() > deadline:
                raise RuntimeError("slurmctld does not answer")
            time.sleep(0.2)

    def _submit(self, user: str, count: int) -> None:
        one = "sbatch -Q -n4 --mem=8G -t 4:00:00 -Jsolver -o/dev/null --wrap 'sleep 9999'"
        self.host.run(
            ["bash", "-c", f"seq {count} | xargs -P4 -I{{}} {one} >/dev/null"],
            user=user,
            timeout=3600,
        )

    def _stop(self) -> None:
        script = """
        pid=$(cat /run/slurmctld.pid 2>/dev/null) && kill -KILL $pid
        while [ -e /proc/${pid:-none} ]; do sleep 0.1; done
        rm -rf /var/spool/slurmctld /run/slurmctld.pid
        """
        self.host.run(["bash", "-c", script])

    def controller_s(self) -> float:
        """Seconds of CPU that slurmctld has used."""
        return _cpu_s([self.controller_outside])


def _comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def measure(cluster: LoadedCluster, name: str, argv: Sequence[str], idle_s: float) -> Measurement:
    """One program; ``idle_s`` is the CPU of slurmctld in such a time without it."""
    first = name.endswith("first start")
    starts = []
    for _ in range(1 if first else _STARTS - 1):
        if first:  # what an earlier one left is no first start
            cluster.host.run("rm -rf ~/.cache/vizdash", user="alice")
            break
        trial = HostProgram(cluster.host, argv)
        starts.append(trial.shown())
        trial.close()
        if starts[-1] is None:
            break
    screen = HostProgram(cluster.host, argv)
    try:
        starts.append(screen.shown())
        start = None if None in starts else statistics.median(s for s in starts if s is not None)
        if start is None:
            words = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b" ", screen.output[-2000:]).split()
            screen_text = b" ".join(words)[-120:].decode(errors="replace").replace("|", "/")
            state = "ended" if screen.ended else f"nothing useful in {_PATIENCE_S:.0f} s"
            return Measurement(name, failure=f"{state}: {screen_text}")
        screen.drain(_SETTLE_S)
        key = screen.answer_ms(_TO_LIST.get(name, b""))
        pids = _tree(screen.pid)
        before, theirs = _cpu_s(pids), cluster.controller_s()
        screen.drain(_WATCHED_S)
        pids = _tree(screen.pid)
        return Measurement(
            name,
            start,
            key if key is not None else float("nan"),
            (_cpu_s(pids) - before) * 60 / _WATCHED_S,
            _memory_mb(pids),
            (cluster.controller_s() - theirs - idle_s) * 60 / _WATCHED_S,
        )
    finally:
        screen.close()


def crowd(cluster: LoadedCluster, argv: Sequence[str], idle_s: float) -> tuple[float, int]:
    """CPU of slurmctld while _CROWD users run the same program, above its own, in seconds a minute;
    and how many of the programs were still running at the end.
    """
    screens = [HostProgram(cluster.host, argv, user) for user in _users(cluster.host)]
    try:
        _drain(screens, _SETTLE_S + _PATIENCE_S / 2)
        before = cluster.controller_s()
        _drain(screens, _WATCHED_S)
        used = cluster.controller_s() - before - idle_s
        return used * 60 / _WATCHED_S, sum(not screen.ended for screen in screens)
    finally:
        for screen in screens:
            screen.close()


def _users(host: Host) -> list[str]:
    names = [f"watcher{number:02}" for number in range(1, _CROWD + 1)]
    made = "; ".join(f"id {name} >/dev/null 2>&1 || useradd -m {name}" for name in names)
    host.run(["bash", "-c", made], timeout=300)
    return names


def _crowds(cluster: LoadedCluster, idle_s: float) -> Iterator[str]:
    for name, argv in _CROWDS.items():
        used, running = crowd(cluster, argv, idle_s)
        yield f"| {running} × `{name}` | {used:.2f} |"


def _idle(cluster: LoadedCluster) -> float:
    """CPU of slurmctld in the time of a measurement, once it has dealt with the new jobs: when it
    needs no less than before. Printed with the tables.
    """
    used = []
    for _ in range(_MOST_WINDOWS):
        before = cluster.controller_s()
        time.sleep(_WATCHED_S)
        used.append(cluster.controller_s() - before)
        if len(used) > 1 and used[-1] > 0.8 * used[-2]:
            break
    say(f"slurmctld's own: {used[-1] * 60 / _WATCHED_S:.2f} s/min")
    return used[-1]


def _verbs(cluster: LoadedCluster) -> Iterator[str]:
    """The verbs of scripts beside Slurm's own commands: medians of wall-clock seconds."""
    pairs = {
        "sessions --all --json": "squeue -a -h -t all -o '%i %u %j %T %P %r %N %C %m %b %l %L %k'",
        "nodes --json": "scontrol show node -o",
    }
    for verb, bare in pairs.items():
        sides = []
        for command in (f"vizdash {verb}", bare):
            took = []
            for _ in range(5):
                began = time.perf_counter()
                cluster.host.run(f"{command} >/dev/null", user="alice", timeout=120)
                took.append(time.perf_counter() - began)
            sides.append(statistics.median(took))
        yield f"| `vizdash {verb}` | {sides[0]:.2f} | {sides[1]:.2f} |"


@contextmanager
def _peers(host: Host) -> Iterator[dict[str, str]]:
    """Install the other programs from PyPI; gives why one could not be, by name."""
    failed: dict[str, str] = {}
    python = host.run(["/opt/vizdash/bin/python", "-V"]).stdout.split()[1].rpartition(".")[0]
    with tempfile.TemporaryDirectory(prefix="vizdash-peers-") as folder:
        for name in PEERS:
            argv = [sys.executable, "-m", "pip", "download", "-q", "-d", folder, name]
            argv += ["--only-binary=:all:", f"--python-version={python}"]
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            if done.returncode:
                failed[name] = "PyPI has none that installs: " + _reason(done.stderr)
        wheels = host.root / "root/peers"
        subprocess.run(["cp", "-r", folder, str(wheels)], check=True)
        for name in PEERS:
            if name in failed:
                continue
            place = f"{_PACKAGES}/{name}"
            host.run(["/opt/vizdash/bin/python", "-m", "venv", place], timeout=120)
            argv = [f"{place}/bin/pip", "install", "-q", "--no-index", "-f/root/peers", name]
            done = host.run(argv, check=False, timeout=300)
            if done.returncode:
                failed[name] = "pip: " + _reason(done.stderr)
    yield failed


def _reason(stderr: str) -> str:
    """pip's last error in a table's cell."""
    errors = [line for line in stderr.splitlines() if line.startswith("ERROR")]
    line = (errors or stderr.splitlines() or ["no message"])[-1]
    return line.removeprefix("ERROR: ").replace("|", "/")[:100]


def run(sizes: Sequence[tuple[int, int]] = SIZES) -> None:
    """All programs at each size."""
    if problems := probe():
        say(f"not measured, no lab here: {'; '.join(problems)}")
        return
    with Lab.start() as lab, lone_host(lab) as scheduler:
        host = scheduler.host
        lab.install_vizdash(host)
        with _peers(host) as failed:
            folders = f"/opt/vizdash {_PACKAGES}"
            host.run(f"/opt/vizdash/bin/python -m compileall -q {folders} || true", timeout=600)
            for nodes, jobs in sizes:
                say(f"{nodes:,} nodes and {jobs:,} jobs are being made")
                _measure_all(
                    LoadedCluster(host, nodes, jobs), failed, f"{nodes:,} nodes, {jobs:,} jobs"
                )


def _measure_all(cluster: LoadedCluster, failed: dict[str, str], title: str) -> None:
    """The three tables of one size."""
    idle = _idle(cluster)
    print(f"\n{title}\n")
    print("| program | useful screen, s | key, ms | CPU, s/min | memory, MB "
          "| slurmctld above its own, s/min |\n|---|---|---|---|---|---|")  # fmt: skip
    empty = ["/opt/vizdash/bin/python", "-c", _EMPTY]
    programs = {"an empty Textual app": empty, "vizdash, first start": ["vizdash"]}
    programs |= {"vizdash": ["vizdash"]}
    programs |= {n: [f"{_PACKAGES}/{n}/bin/{a[0]}", *a[1:]] for n, a in PEERS.items()}
    for name, argv in programs.items():
        if name in failed:
            row = Measurement(name, failure=failed[name])
        else:
            row = measure(cluster, name, argv, idle)
        print(row.markdown(), flush=True)
    print("\n| verb, s | vizdash | Slurm's own |\n|---|---|---|")
    for line in _verbs(cluster):
        print(line, flush=True)
    print("\n| users at once | slurmctld above its own, s/min |\n|---|---|")
    for line in _crowds(cluster, idle):
        print(line, flush=True)


if __name__ == "__main__":
    if small := "--small" in sys.argv:
        _PATIENCE_S, _WATCHED_S, _SETTLE_S, _STARTS, _CROWD = 30.0, 6.0, 2.0, 2, 5
    run(((50, 200),) if small else SIZES)
