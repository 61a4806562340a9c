"""Hosts behind links of the same rate: vizdash's deploy, the legacy loop of rsyncs, and
``clush --copy``, as multiples of size/rate, the time that one copy takes on one link.

A deploy is everything that the verb does: checks, digest, lease, copies, verification, inventory.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests import fakes
from tests.integration.images.operators import image_bytes
from tests.lab import Host, Lab, recipe

#: Hosts, and the rate in Mbit/s of each one's link.
CASES = ((8, 64), (24, 32))
SIZE = 100_000_000
#: A run that uses more of the machine's CPU time measures the machine and not the links: it is
#: repeated with half the rate.
MOST_CPU, REPEATS = 0.8, 2
USER = "vizadmin"
PLACE = "/srv/images"
STORE = "/srv/store"
#: Of a copy, when a node fails or vizdash is killed.
_MIDWAY = 0.4
_FAULTS = (("slow",), ("hangs",), ("dies",), ("slow", "hangs", "dies"))
#: The verb on an engine that names the hosts: Slurm has none of them.
_DEPLOY = """
import asyncio, json, sys, time
from tests.fakes import FakeEngine, service_on
from vizdash.config import App, Cluster, Config, Deploy
from vizdash.model import Node
from vizdash.service.image_admin import ImageAdmin
from vizdash.transport.local import LocalRunner

method, version, place, store, *nodes = sys.argv[1:]
began = time.monotonic()
deploying = Deploy(method=method, sudo="never", inventory=f"{store}/inventory.json")
cluster = Cluster("viz", image_root=place, image_store=store, audit_log=f"{store}/log.jsonl",
                  deploy=deploying)
config = Config(cluster, {}, {"gedit": App("gedit")})
engine = FakeEngine(all_nodes=tuple(Node(name, "IDLE") for name in nodes))
service = service_on(engine, config=config, runner=LocalRunner())
took_s = {}

def on_change(row):
    if row.phase.over:
        took_s[row.node] = time.monotonic() - began

async def deploy():
    async with ImageAdmin(service).connected() as admin:
        plan = await admin.plan_deploy("gedit", version=version)
        return await admin.deploy(plan, confirmed=True, on_change=on_change)

rows = asyncio.run(deploy()).nodes.values()
print(json.dumps([[r.node, took_s[r.node], r.bytes_sent, r.phase.value, r.note] for r in rows]))
"""


@dataclass(frozen=True, slots=True)
class DeployOutcome:
    """How a deploy ended on one node, and after how many seconds."""

    took_s: float
    bytes_sent: int
    phase: str
    note: str


Outcomes = Mapping[str, DeployOutcome]


def run() -> dict[str, float]:
    """Measure each way once (a link's rate is the same at every try) and print the tables."""
    return measure(CASES, SIZE)


def measure(cases: Sequence[tuple[int, int]], size: int) -> dict[str, float]:
    """Measure an image of ``size`` bytes on so many hosts with links of so many Mbit/s."""
    figures: dict[str, float] = {}
    for count, first_rate in cases:
        for rate in (first_rate >> halved for halved in range(REPEATS + 1)):
            busy, measured = _measure_case(count, rate, size)
            if busy <= MOST_CPU:
                break
            print(
                f"{busy:.0%} of the CPU time: the machine was measured, not the links", flush=True
            )
        figures |= measured
    return figures


def _measure_case(count: int, rate: int, size: int) -> tuple[float, dict[str, float]]:
    """The share of CPU time of vizdash's first copy, and the figures."""
    names = tuple(f"w{n}" for n in range(1, count + 1))
    ideal = size * 8 / (rate * 1e6)
    figures: dict[str, float] = {}
    shares: list[float] = []
    print(f"{count} hosts, {rate} Mbit/s each, {size / 1e6:.0f} MB: size/rate is {ideal:.1f} s")
    print(f"{'':24}{'first copy':>12}{'CPU':>6}{'update':>12}{'CPU':>6}{'sent':>9}")
    with Lab.start() as lab:
        hosts = _hosts(lab, names, rate, size)
        ends: list[Outcomes] = []
        ways: dict[str, Callable[[str], object]] = {
            "vizdash deploy": lambda version: ends.append(_deploy(lab, "auto", names, version)),
            "vizdash, rsync": partial(_deploy, lab, "rsync", names),
            "a loop of rsyncs": partial(_loop, lab, names),
            "clush --copy": partial(_clush, lab, names),
        }
        for name, way in ways.items():
            _empty(lab, hosts)
            first, busy = _timed(partial(way, "1.0"))
            before = _sent(lab.login)
            second, busy2 = _timed(partial(way, "1.1"))
            share = (_sent(lab.login) - before) / (count * size)
            figures |= {f"{count} {name}, first": first / ideal, f"{count} {name}, next": second}
            shares.append(busy)
            print(
                f"{name:24}{first / ideal:>11.2f}x{busy:>6.0%}{second:>10.1f} s{busy2:>6.0%}"
                f"{share:>9.1%}",
                flush=True,
            )
        switched = [max(row.took_s for row in outcomes.values()) for outcomes in ends]
        print(
            f"of vizdash deploy, all nodes are switched after {switched[0] / ideal:.2f}x and "
            f"{switched[1]:.1f} s; the rest is the inventory",
            flush=True,
        )
        figures |= _measure_faults(lab, hosts, rate, size)
        figures |= _measure_resume(lab, hosts, size)
    return shares[0], figures


def _measure_faults(lab: Lab, hosts: Sequence[Host], rate: int, size: int) -> dict[str, float]:
    """How much later the last of the other nodes is done when some fail midway."""
    names = tuple(host.name for host in hosts)
    _empty(lab, hosts)
    usual = _deploy(lab, "auto", names, "1.0")
    figures = {}
    print(f"{'nodes that fail midway':24}{'others':>12}{'CPU':>6}  how the failed nodes end")
    for faults in _FAULTS:
        _empty(lab, hosts)
        victims = dict(zip(faults, hosts[1::2], strict=False))
        others = set(names) - {host.name for host in victims.values()}
        cpu = _cpu()
        outcomes = _deploy_with_faults(lab, hosts, victims, rate, size)
        busy = _busy_since(cpu)
        late = max(outcomes[n].took_s for n in others) / max(usual[n].took_s for n in others) - 1
        figures[f"{len(hosts)} {'+'.join(faults)}"] = late
        ends = "; ".join(
            f"{host.name} {fault}: {outcomes[host.name].phase}, {outcomes[host.name].note}"
            for fault, host in victims.items()
        )
        failed = [name for name in others if outcomes[name].phase != "done"]
        ends += f"; FAILED TOO: {', '.join(failed)}" if failed else ""
        print(f"{'+'.join(faults):24}{late:>+12.0%}{busy:>6.0%}  {ends}", flush=True)
    return figures


def _deploy_with_faults(
    lab: Lab, hosts: Sequence[Host], victims: Mapping[str, Host], rate: int, size: int
) -> Outcomes:
    """Deploy 1.0 while one node is slow all the time, and others hang or die midway."""
    with contextlib.ExitStack() as stack:
        if slow := victims.get("slow"):
            stack.enter_context(lab.slow_link(slow, rate=f"{rate * 100}kbit"))
            slow.run(_shape("change", rate / 10))
            stack.callback(slow.run, _shape("change", rate))
        process = _start(lab, "auto", [host.name for host in hosts], "1.0")
        stack.callback(process.kill)
        if len(victims) > 1 or not slow:
            _wait_midway(process, hosts, size, max)
        if dying := victims.get("dies"):
            stack.enter_context(lab.cut(dying))
        if hanging := victims.get("hangs"):
            # There is no dd while it gets another feeder.
            hanging.run("until pkill -STOP -x dd; do sleep 0.05; done", timeout=60)
            stack.callback(hanging.run, "pkill -CONT -x dd; true")
        return _outcomes(process)


def _measure_resume(lab: Lab, hosts: Sequence[Host], size: int) -> dict[str, float]:
    """SIGKILL midway, and the same command again: what is sent twice."""
    names = [host.name for host in hosts]
    _empty(lab, hosts)
    process = _start(lab, "auto", names, "1.0")
    _wait_midway(process, hosts, size, min)
    lab.login.run(["pkill", "-KILL", "-f", "service.image_admin"])
    process.communicate(timeout=60)
    for host in hosts:
        host.run("while pgrep -x dd >/dev/null; do sleep 0.05; done", timeout=120)
    had = {host.name: _arrived(host) for host in hosts}
    outcomes = _deploy(lab, "auto", names, "1.0")
    twice = sum(max(0, outcomes[n].bytes_sent - (size - had[n])) for n in names)
    share = sum(had.values()) / (len(hosts) * size)
    print(f"killed when {share:.0%} had arrived: {twice} bytes of it are sent again", flush=True)
    return {f"{len(hosts)} resumed, bytes sent again": float(twice)}


def _wait_midway(
    process: subprocess.Popen[str],
    hosts: Sequence[Host],
    size: int,
    which: Callable[[Iterator[int]], int],
) -> None:
    """Wait until the node with the most bytes (``max``) or the fewest (``min``) is midway."""
    while which(_arrived(host) for host in hosts) < _MIDWAY * size:
        if process.poll() is not None:
            raise RuntimeError(f"the deploy ended too soon: {process.communicate()}")
        time.sleep(0.05)


def _arrived(host: Host) -> int:
    """Bytes of the image on its way that a host has."""
    parts = (host.root / PLACE[1:] / "gedit").glob(".*.part")
    sizes = [_size(part) for part in parts]
    return max(sizes, default=0)


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds that it takes, and the share of the machine's CPU time that is used meanwhile."""
    began, cpu = time.monotonic(), _cpu()
    work()
    return time.monotonic() - began, _busy_since(cpu)


def _busy_since(before: tuple[int, int]) -> float:
    """The share of CPU time that was used since ``before``, a result of ``_cpu``."""
    idle, total = _cpu()
    return 1 - (idle - before[0]) / max(1, total - before[1])


def _cpu() -> tuple[int, int]:
    """Idle and all ticks since the machine is up (proc(5), /proc/stat)."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def _shape(change: str, rate: float) -> str:
    return f"tc qdisc {change} dev eth0 root tbf rate {rate:g}mbit burst 128kb latency 100ms"


def _hosts(lab: Lab, members: Sequence[str], rate: int, size: int) -> list[Host]:
    """More hosts, and every link of theirs and of the login host shaped alike; two images."""
    names = {name: f"10.77.0.{100 + n}" for n, name in enumerate(members)}
    lines = "".join(f"{a}\t{n}\n" for n, a in {**recipe.ADDRESSES, **names}.items())
    table = f"127.0.0.1\tlocalhost\n{lines}"
    public = (lab.login.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()[:2]
    files = {"/etc/hosts": table, "/etc/ssh/ssh_known_hosts": f"* {' '.join(public)}\n"}
    for name, address in names.items():
        lab.plug(lab.add_host(name, "jump", files), recipe.INSIDE, "eth0", address)
    hosts = [lab.hosts[name] for name in members]
    for host in hosts:
        host.wait_up()
    for path, text in files.items():
        (lab.login.root / path.lstrip("/")).write_text(text)
    for host in (lab.login, *hosts):
        host.run(_shape("add", rate))
        # The nodes share this machine's disk, which is no link of theirs.
        host.run(f"mkdir -p {PLACE} {STORE} && mount -t tmpfs tmpfs {PLACE}")
        host.run(f"chown {USER}: {PLACE} {STORE}")
    _fill_store(lab, size)
    return hosts


def _fill_store(lab: Lab, size: int) -> None:
    """Two images, with 1 % more near the beginning of the second, and the engine of ``_DEPLOY``."""
    root = lab.login.root
    images, module = root / STORE[1:] / "gedit", root / "srv/bench/tests"
    images.mkdir()
    module.mkdir(parents=True)
    (module / "__init__.py").touch()
    (module / "fakes.py").write_text(Path(fakes.__file__).read_text())
    first, cut = image_bytes("1.0", size=size), size // 4
    more = image_bytes("1.1", size=size)[-size // 100 :]
    (images / "gedit-1.0.sif").write_bytes(first)
    (images / "gedit-1.1.sif").write_bytes(first[:cut] + more + first[cut:])
    lab.login.run(f"chown -R {USER}: {STORE}")


def _empty(lab: Lab, hosts: Sequence[Host]) -> None:
    for host in hosts:
        host.run(f"rm -rf {PLACE}/* {PLACE}/.[a-z]*")
    lab.login.run(f"rm -rf {STORE}/*.json* {STORE}/.lease*")


def _loop(lab: Lab, names: Sequence[str], version: str) -> None:
    """As deploy_apptainers.sh does: one host after the other, the same name every time."""
    lab.login.run(f"ln -f {STORE}/gedit/gedit-{version}.sif {STORE}/gedit.sif", user=USER)
    for name in names:
        words = ["rsync", "-a", f"{STORE}/gedit.sif", f"{name}:{PLACE}/"]
        lab.login.run(words, user=USER, timeout=1200)


def _clush(lab: Lab, names: Sequence[str], version: str) -> None:
    words = ["clush", "-w", ",".join(names), "--copy", f"{STORE}/gedit/gedit-{version}.sif"]
    lab.login.run([*words, "--dest", f"{PLACE}/"], user=USER, timeout=1200)


def _start(lab: Lab, method: str, names: Sequence[str], version: str) -> subprocess.Popen[str]:
    python = ["env", "PYTHONPATH=/srv/bench", "/opt/vizdash/bin/python", "-c", _DEPLOY]
    return lab.login.popen([*python, method, version, PLACE, STORE, *names], user=USER)


def _deploy(lab: Lab, method: str, names: Sequence[str], version: str) -> Outcomes:
    """Deploy to nodes none of which fails. Raises RuntimeError if one does."""
    outcomes = _outcomes(_start(lab, method, names, version))
    failed = {name: row.note for name, row in outcomes.items() if row.phase != "done"}
    if failed:
        raise RuntimeError(f"deploy: {failed}")
    return outcomes


def _outcomes(process: subprocess.Popen[str]) -> Outcomes:
    out, err = process.communicate(timeout=1800)
    if process.returncode != 0:
        raise RuntimeError(f"deploy: {err[-2000:]}")
    return {name: DeployOutcome(*values) for name, *values in json.loads(out)}


def _sent(host: Host) -> int:
    return int(host.run(["cat", "/sys/class/net/eth0/statistics/tx_bytes"]).stdout)
