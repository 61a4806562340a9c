"""Big clusters: vizdash beside the other dashboards for Slurm that PyPI has, in one run, each in a
pseudo-terminal of 160x48 on a real slurmctld. The nodes are powered-down cloud nodes
(slurm.conf(5), State=CLOUD), so that no slurmd is needed; the jobs are real ones.

Printed as a table for the docs. A program that fails gets its row, and why.
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
#: Keys that lead to a long list, before the cursor is moved in it.
_TO_LIST = {"vizdash": b"1", "vizdash, first start": b"1", "slurm-viewer": b"\t"}
#: What a useful screen shows: a node, or the job that everybody's own list has.
_USEFUL = re.compile(rb"viz-node0|vizdash-desktop|desktop")
#: Seconds that a program may take to show it, that it is watched, and that it is let settle.
_PATIENCE_S, _WATCHED_S, _SETTLE_S = 90.0, 60.0, 10.0

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
class Row:
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


class Screen:
    """A program of a lab host in a pseudo-terminal."""

    def __init__(self, host: Host, argv: Sequence[str], user: str = "alice") -> None:
        env = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        whole = host.argv(argv, user=user, env=env)
        self._began = time.monotonic()
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.execvp(whole[0], whole)
        size = struct.pack("HHHH", _LINES, _COLUMNS, 0, 0)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, size)
        self.said = b""

    def read(self, seconds: float) -> bytes:
        """What it writes next; empty when it writes nothing for ``seconds``, or has ended."""
        if not select.select([self._fd], [], [], seconds)[0]:
            return b""
        try:
            data = os.read(self._fd, 1 << 20)
        except OSError:  # it has ended
            return b""
        self.said += data
        return data

    def shown(self) -> float | None:
        """Seconds from its start to a useful screen; None when there is none."""
        while not _USEFUL.search(self.said):
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
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.read(left)
            self.said = self.said[-4096:]

    def answer_ms(self, first: bytes) -> float | None:
        """Milliseconds from a key to output, the median of some; ``first`` is pressed before."""
        found = []
        os.write(self._fd, first)
        for key in (b"\x1b[B", b"\x1b[A") * 8:
            while self.read(0.2):
                pass
            began = time.perf_counter()
            os.write(self._fd, key)
            if self.read(2.0):
                found.append((time.perf_counter() - began) * 1000)
        return statistics.median(found) if found else None

    def close(self) -> None:
        """End it and what it started."""
        for pid in reversed(_tree(self.pid)):
            _kill(pid)
        os.close(self._fd)
        if not self.ended:
            os.waitpid(self.pid, 0)


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
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


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


class Cluster:
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


def measure(cluster: Cluster, name: str, argv: Sequence[str], idle_s: float) -> Row:
    """One program; ``idle_s`` is the CPU of slurmctld in such a time without it."""
    screen = Screen(cluster.host, argv)
    try:
        start = screen.shown()
        if start is None:
            words = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b" ", screen.said[-2000:]).split()
            told = b" ".join(words)[-120:].decode(errors="replace").replace("|", "/")
            state = "ended" if screen.ended else f"nothing useful in {_PATIENCE_S:.0f} s"
            return Row(name, failure=f"{state}: {told}")
        screen.drain(_SETTLE_S)
        key = screen.answer_ms(_TO_LIST.get(name, b""))
        pids = _tree(screen.pid)
        before, theirs = _cpu_s(pids), cluster.controller_s()
        screen.drain(_WATCHED_S)
        pids = _tree(screen.pid)
        return Row(
            name,
            start,
            key if key is not None else float("nan"),
            (_cpu_s(pids) - before) * 60 / _WATCHED_S,
            _memory_mb(pids),
            (cluster.controller_s() - theirs - idle_s) * 60 / _WATCHED_S,
        )
    finally:
        screen.close()


def _idle(cluster: Cluster) -> float:
    before = cluster.controller_s()
    time.sleep(_WATCHED_S)
    return cluster.controller_s() - before


def _verbs(cluster: Cluster) -> Iterator[str]:
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
                failed[name] = "PyPI has none that installs: " + done.stderr.splitlines()[-1][:80]
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
                failed[name] = "pip: " + done.stderr.splitlines()[-1][:80]
    yield failed


def run(sizes: Sequence[tuple[int, int]] = SIZES) -> None:
    """All programs at each size."""
    if problems := probe():
        say(f"not measured, no lab here: {'; '.join(problems)}")
        return
    with Lab.start() as lab, lone_host(lab) as scheduler:
        host = scheduler.host
        lab.install_vizdash(host)
        with _peers(host) as failed:
            for nodes, jobs in sizes:
                say(f"{nodes:,} nodes and {jobs:,} jobs are being made")
                cluster = Cluster(host, nodes, jobs)
                idle = _idle(cluster)
                print(f"\n{nodes:,} nodes, {jobs:,} jobs\n")
                print("| program | useful screen, s | key, ms | CPU, s/min | memory, MB "
                      "| slurmctld above its own, s/min |\n|---|---|---|---|---|---|")  # fmt: skip
                programs = {"vizdash, first start": ["vizdash"], "vizdash": ["vizdash"]}
                programs |= {n: [f"{_PACKAGES}/{n}/bin/{a[0]}", *a[1:]] for n, a in PEERS.items()}
                for name, argv in programs.items():
                    if name in failed:
                        row = Row(name, failure=failed[name])
                    else:
                        row = measure(cluster, name, argv, idle)
                    print(row.markdown(), flush=True)
                print("\n| verb, s | vizdash | Slurm's own |\n|---|---|---|")
                for line in _verbs(cluster):
                    print(line, flush=True)


if __name__ == "__main__":
    run(((50, 200),) if "--small" in sys.argv else SIZES)
