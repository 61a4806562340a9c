"""Hosts behind links of the same rate: vizdash's deploy, the legacy loop of rsyncs, and
``clush --copy``, as multiples of size/rate, the time that one copy takes on one link.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from tests.lab import Host, Lab, recipe

#: Hosts, and the rate of each one's link. Where the machine's own CPUs are the limit (see the
#: table), only a lower rate says anything about the links.
CASES = ((8, 64), (24, 32))
SIZE = 100_000_000
#: Put in near the beginning: an update of one per cent.
MORE = 1_000_000
USER = "vizadmin"
PLACE = "/srv/images"
STORE = "/srv/store"
_DEPLOY = """
import asyncio, hashlib, sys
from pathlib import Path
from vizdash.config import Deploy
from vizdash.images.deploy import Deployment, Site
from vizdash.images.progress import Progress
from vizdash.images.shell import NodeShell
from vizdash.images.distribution import travel
from vizdash.images.travel import Cargo
from vizdash.transport.local import LocalRunner

method, version, root, *nodes = sys.argv[1:]
data = Path(f"/srv/store/gedit-{version}.sif").read_bytes()
cargo = Cargo("gedit", version, hashlib.sha256(data).hexdigest(), len(data),
              f"/srv/store/gedit-{version}.sif")
shell = NodeShell(LocalRunner(), Deploy(method=method, sudo="never", at_once=8))
progress = Progress(nodes, bytes_total=len(data))
asyncio.run(Deployment(Site(shell, root, travel(shell, root)), cargo, progress).run(nodes))
print(progress.bytes_sent)
sys.exit("; ".join(f"{r.node}: {r.note}" for r in progress.failed) or 0)
"""


def run() -> dict[str, float]:
    """Measure each way once (a link's rate is the same at every try) and print a table."""
    found: dict[str, float] = {}
    for count, rate in CASES:
        names = tuple(f"w{n}" for n in range(1, count + 1))
        ideal = SIZE * 8 / (rate * 1e6)
        print(f"{count} hosts, {rate} Mbit/s each, {SIZE / 1e6:.0f} MB: size/rate is {ideal:.1f} s")
        print(f"{'':24}{'first copy':>12}{'CPU':>6}{'update':>12}{'CPU':>6}{'sent':>9}")
        with Lab.start() as lab:
            hosts = _hosts(lab, names, rate)
            ways: dict[str, Callable[[str], None]] = {
                "vizdash deploy": partial(_deploy, lab, "auto", names),
                "vizdash, rsync": partial(_deploy, lab, "rsync", names),
                "a loop of rsyncs": partial(_loop, lab, names),
                "clush --copy": partial(_clush, lab, names),
            }
            for name, way in ways.items():
                _empty(hosts)
                first, busy = _timed(partial(way, "1.0"))
                before = _sent(lab.login)
                second, busy2 = _timed(partial(way, "1.1"))
                share = (_sent(lab.login) - before) / (count * SIZE)
                found |= {f"{count} {name}, first": first / ideal, f"{count} {name}, next": second}
                print(
                    f"{name:24}{first / ideal:>11.2f}x{busy:>6.0%}{second:>10.1f} s{busy2:>6.0%}"
                    f"{share:>9.1%}",
                    flush=True,
                )
    return found


def _timed(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds that it takes, and the share of the machine's CPU time that is used meanwhile."""
    began, idle, total = time.monotonic(), *_cpu()
    work()
    idle2, total2 = _cpu()
    return time.monotonic() - began, 1 - (idle2 - idle) / max(1, total2 - total)


def _cpu() -> tuple[int, int]:
    """Idle and all ticks since the machine is up (proc(5), /proc/stat)."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def _hosts(lab: Lab, members: Sequence[str], rate: int) -> list[Host]:
    """More hosts, and every link of theirs and of the login host shaped alike."""
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
    shape = f"tc qdisc add dev eth0 root tbf rate {rate}mbit burst 128kb latency 100ms"
    for host in (lab.login, *hosts):
        host.run(shape)
        host.run(f"mkdir -p {PLACE} {STORE} && chown {USER}: {PLACE} {STORE}")
    cut = SIZE // 4
    lab.login.run(
        f"cd {STORE} && head -c {SIZE} /dev/urandom >gedit-1.0.sif && "
        f"{{ head -c {cut} gedit-1.0.sif; head -c {MORE} /dev/urandom; "
        f"tail -c +{cut + 1} gedit-1.0.sif; }} >gedit-1.1.sif",
        user=USER,
    )
    return hosts


def _empty(hosts: list[Host]) -> None:
    for host in hosts:
        host.run(f"rm -rf {PLACE}/* {PLACE}/.[a-z]*")


def _loop(lab: Lab, names: Sequence[str], version: str) -> None:
    """As deploy_apptainers.sh does: one host after the other, the same name every time."""
    lab.login.run(f"ln -f {STORE}/gedit-{version}.sif {STORE}/gedit.sif", user=USER)
    for name in names:
        words = ["rsync", "-a", f"{STORE}/gedit.sif", f"{name}:{PLACE}/"]
        lab.login.run(words, user=USER, timeout=1200)


def _clush(lab: Lab, names: Sequence[str], version: str) -> None:
    words = ["clush", "-w", ",".join(names), "--copy", f"{STORE}/gedit-{version}.sif"]
    lab.login.run([*words, "--dest", f"{PLACE}/"], user=USER, timeout=1200)


def _deploy(lab: Lab, method: str, names: Sequence[str], version: str) -> None:
    words = ["/opt/vizdash/bin/python", "-c", _DEPLOY, method, version, PLACE, *names]
    lab.login.run(words, user=USER, timeout=1200)


def _sent(host: Host) -> int:
    return int(host.run(["cat", "/sys/class/net/eth0/statistics/tx_bytes"]).stdout)
