"""Eight hosts behind links of the same rate: vizdash's deploy, the legacy loop of rsyncs, and
``clush --copy``, as multiples of size/rate, the time that one copy takes on one link.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.lab import Host, Lab, recipe

HOSTS = tuple(f"w{n}" for n in range(1, 9))
RATE_MBIT = 64
SIZE = 32_000_000
#: Put in near the beginning: about what a package more does to an image.
MORE = 300_000
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
from vizdash.images.travel import Cargo, travel
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
    ideal = SIZE * 8 / (RATE_MBIT * 1e6)
    found: dict[str, float] = {}
    with Lab.start() as lab:
        hosts = _hosts(lab)
        ways: dict[str, Callable[[str], None]] = {
            "a loop of rsyncs (legacy)": lambda version: _loop(lab, version),
            "clush --copy": lambda version: _clush(lab, version),
            "vizdash deploy, rsync": lambda version: _deploy(lab, "rsync", version),
            "vizdash deploy, chain": lambda version: _deploy(lab, "chain", version),
        }
        link = f"{len(HOSTS)} hosts, {RATE_MBIT} Mbit/s each, {SIZE / 1e6:.0f} MB"
        print(f"{link}: size/rate is {ideal:.1f} s")
        print(f"{'':28}{'first copy':>12}{'next version':>14}{'bytes sent':>14}")
        for name, way in ways.items():
            _empty(hosts)
            first = _timed(lambda way=way: way("1.0"))  # type: ignore[misc]
            before = _sent(lab.login)
            second = _timed(lambda way=way: way("1.1"))  # type: ignore[misc]
            share = (_sent(lab.login) - before) / (len(HOSTS) * SIZE)
            found |= {f"{name}, first": first / ideal, f"{name}, next": second / ideal}
            print(
                f"{name:28}{first / ideal:>11.1f}x{second / ideal:>13.1f}x{share:>13.1%}",
                flush=True,
            )
    return found


def _timed(work: Callable[[], None]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _hosts(lab: Lab) -> list[Host]:
    """Eight more hosts, and every link of theirs and of the login host shaped alike."""
    names = {name: f"10.77.0.{100 + n}" for n, name in enumerate(HOSTS)}
    lines = "".join(f"{a}\t{n}\n" for n, a in {**recipe.ADDRESSES, **names}.items())
    table = f"127.0.0.1\tlocalhost\n{lines}"
    public = (lab.login.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()[:2]
    files = {"/etc/hosts": table, "/etc/ssh/ssh_known_hosts": f"* {' '.join(public)}\n"}
    for name, address in names.items():
        lab.plug(lab.add_host(name, "jump", files), recipe.INSIDE, "eth0", address)
    hosts = [lab.hosts[name] for name in HOSTS]
    for host in hosts:
        host.wait_up()
    for path, text in files.items():
        (lab.login.root / path.lstrip("/")).write_text(text)
    shape = f"tc qdisc add dev eth0 root tbf rate {RATE_MBIT}mbit burst 128kb latency 100ms"
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


def _loop(lab: Lab, version: str) -> None:
    """As deploy_apptainers.sh does: one host after the other, the same name every time."""
    lab.login.run(f"ln -f {STORE}/gedit-{version}.sif {STORE}/gedit.sif", user=USER)
    for name in HOSTS:
        words = ["rsync", "-a", f"{STORE}/gedit.sif", f"{name}:{PLACE}/"]
        lab.login.run(words, user=USER, timeout=300)


def _clush(lab: Lab, version: str) -> None:
    words = ["clush", "-w", ",".join(HOSTS), "--copy", f"{STORE}/gedit-{version}.sif"]
    lab.login.run([*words, "--dest", f"{PLACE}/"], user=USER, timeout=300)


def _deploy(lab: Lab, method: str, version: str) -> None:
    words = ["/opt/vizdash/bin/python", "-c", _DEPLOY, method, version, PLACE, *HOSTS]
    lab.login.run(words, user=USER, timeout=300)


def _sent(host: Host) -> int:
    return int(host.run(["cat", "/sys/class/net/eth0/statistics/tx_bytes"]).stdout)
