"""A network outside the cluster: a laptop, a jump host, a second login host, and their logins.

The lab starts without it. A test module adds it to a running lab and removes it again.
"""

from __future__ import annotations

import contextlib
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.lab import recipe
from tests.lab.cluster import Lab
from tests.lab.host import Host
from tests.vizdash_command import ready_session

#: The network that the laptop and the outer sides of login and jump hosts are on.
OUTSIDE = "br1"
#: name: (address inside, address outside); "" for a network that the host is not on.
ADDRESSES = {
    recipe.LOGIN: (recipe.ADDRESSES[recipe.LOGIN], "10.78.0.10"),
    "login2": ("10.77.0.20", "10.78.0.11"),
    "jump": ("10.77.0.21", "10.78.0.20"),
    "laptop": ("", "10.78.0.30"),
}
#: The round-robin name of both login hosts.
ALIAS = "cluster"
#: Ports of a login host's extra sshds; the laptop reaches these and port 22 only.
SSHD_PORTS = "2200:2299"
#: The laptop's user, and another account on it.
LAPTOP_USER, STRANGER = "lena", "mallory"
_KEYS = "/etc/ssh/outside_keys"
_SLURM = ("sinfo", "squeue", "sbatch", "srun", "scancel", "scontrol", "sacct", "salloc", "sattach")


@dataclass
class OutsideNetwork:
    """The hosts outside the cluster. ``laptop`` has vizdash and no Slurm."""

    lab: Lab
    laptop: Host
    key: str

    def run(self, *words: str, check: bool = True, timeout: float = 300) -> str:
        """Run a command on the laptop as LAPTOP_USER and return its stdout."""
        return self.laptop.run(words, user=LAPTOP_USER, check=check, timeout=timeout).stdout

    def vizdash(
        self, *words: str, check: bool = True, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run vizdash on the laptop as LAPTOP_USER."""
        return self.laptop.run(["vizdash", *words], user=LAPTOP_USER, check=check, timeout=timeout)

    def start(self, *words: str) -> dict[str, Any]:
        """Start a session from the laptop and return it, ready, as JSON."""
        return ready_session(self.vizdash("start", *words, "--wait", "--json"))

    def write(self, path: str, text: str) -> None:
        """Write a file of LAPTOP_USER's, mode 0600; ``path`` is relative to the home folder."""
        script = f"umask 077; mkdir -p $(dirname {shlex.quote(path)}); cat > {shlex.quote(path)}"
        self.laptop.run(["sh", "-c", script], user=LAPTOP_USER, input=text)

    def reset_user(self) -> None:
        """Remove LAPTOP_USER's settings of ssh and vizdash; known_hosts holds login's key."""
        # One whose terminal is gone may still be ending.
        ended = f"! pgrep -u {LAPTOP_USER} -af bin/vizdash"
        self.laptop.run(f"for i in {{1..900}}; do {ended} && break; sleep 0.1; done; {ended}")
        kept = ".config .local .cache .ssh/config browser page asked evil"
        self.laptop.run(f"rm -rf {kept}", user=LAPTOP_USER)
        self.trust_host_keys(recipe.LOGIN)

    def trust_host_keys(self, *names: str) -> None:
        """Make LAPTOP_USER's ~/.ssh/known_hosts, hashed, hold the keys of these hosts only."""
        public = (self.laptop.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text()
        lines = "".join(f"{name} {' '.join(public.split()[:2])}\n" for name in names)
        self.write(".ssh/known_hosts", lines)
        if names:
            self.run("ssh-keygen", "-q", "-H", "-f", ".ssh/known_hosts")
            self.run("rm", "-f", ".ssh/known_hosts.old")


@contextlib.contextmanager
def outside_network(lab: Lab) -> Iterator[OutsideNetwork]:
    """Add the laptop on a separate network, from which it reaches only login's sshd."""
    fence(lab, lab.login, "eth1")
    laptop = lab.add_host("laptop", "laptop", _outer_files())
    try:
        lab.plug(laptop, OUTSIDE, "eth0", ADDRESSES["laptop"][1])
        laptop.wait_up()
        found = OutsideNetwork(lab, laptop, _furnish(lab, laptop))
        authorize_key(found, lab.login)
        found.reset_user()
        yield found
    finally:
        lab.remove_host(laptop)
        lab.unplug(lab.login, "eth1")
        lab.login.run(["iptables", "-F", "INPUT"])


def _outer_files() -> dict[str, str]:
    lines = [f"{outside}\t{name}" for name, (_, outside) in ADDRESSES.items()]
    lines += [f"{ADDRESSES[name][1]}\t{ALIAS}" for name in (recipe.LOGIN, "login2")]
    # A name server that refuses at once: an unknown name must not take half a minute.
    resolver = f"nameserver {ADDRESSES[recipe.LOGIN][1]}\n"
    return {
        "/etc/hosts": "127.0.0.1\tlocalhost\n" + "\n".join(lines) + "\n",
        "/etc/resolv.conf": resolver,
        "/etc/ssh/ssh_known_hosts": "",
    }


def _furnish(lab: Lab, laptop: Host) -> str:
    """Make the laptop's users, remove Slurm, install vizdash; returns LAPTOP_USER's public key."""
    laptop.run(f"rm -rf /etc/slurm /home/*; cd /usr/bin && rm -f {' '.join(_SLURM)}")
    for index, user in enumerate((LAPTOP_USER, STRANGER)):
        laptop.run(["useradd", "-m", "-s", "/bin/bash", "-u", str(3001 + index), user])
        laptop.run(["chmod", "700", f"/home/{user}"])
    laptop.run("ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519", user=LAPTOP_USER)
    lab.install_vizdash(laptop)
    return (laptop.root / f"home/{LAPTOP_USER}/.ssh/id_ed25519.pub").read_text()


def fence(lab: Lab, host: Host, device: str) -> None:
    """Plug a host of the cluster into the outer network, where only its sshds can be reached."""
    lab.add_network(OUTSIDE)
    lab.plug(host, OUTSIDE, device, ADDRESSES[host.name][1])
    for rule in (
        "-p tcp --dport 22 -j ACCEPT",
        f"-p tcp --dport {SSHD_PORTS} -j ACCEPT",
        "-j REJECT",
    ):
        host.run(["iptables", "-A", "INPUT", "-i", device, *rule.split()])


def authorize_key(outside: OutsideNetwork, host: Host, *users: str) -> None:
    """Let LAPTOP_USER's key log in as these users (alice by default) on one host.

    The key is not in the shared home, so that nodes refuse it.
    """
    folder = host.root / _KEYS.lstrip("/")
    folder.mkdir(exist_ok=True)
    for user in users or ("alice",):
        (folder / user).write_text(outside.key)
    settings = host.root / "etc/ssh/sshd_config.d/outside.conf"
    settings.write_text(f"AuthorizedKeysFile .ssh/authorized_keys {_KEYS}/%u\n")
    reload_sshd(host)


def reload_sshd(host: Host) -> None:
    """Make sshd reload its settings; sessions keep running."""
    # It closes its sockets, executes itself again, and writes its pid file when it listens.
    file = "/run/sshd.pid"
    listens = f"until [ -s {file} ]; do sleep 0.05; done"
    host.run(f"{listens}; pid=$(cat {file}) && rm {file} && kill -HUP $pid && {listens}")


@contextlib.contextmanager
def jump_host(outside: OutsideNetwork) -> Iterator[Host]:
    """Add a host on both networks that LAPTOP_USER can jump through."""
    lab = outside.lab
    jump = lab.add_host("jump", "jump", {})
    try:
        lab.plug(jump, recipe.INSIDE, "eth1", ADDRESSES["jump"][0])
        lab.plug(jump, OUTSIDE, "eth0", ADDRESSES["jump"][1])
        jump.wait_up()
        # An earlier jump host had the same address on another interface.
        for host in (outside.laptop, lab.login):
            host.run(["ip", "neigh", "flush", "all"])
        authorize_key(outside, jump)
        yield jump
    finally:
        lab.remove_host(jump)


@contextlib.contextmanager
def second_login(outside: OutsideNetwork) -> Iterator[Host]:
    """Add login2, which shares home and cluster with login; ALIAS resolves to both."""
    lab = outside.lab
    inside = ADDRESSES["login2"][0]
    host = lab.add_host("login2", "submit", {})
    try:
        lab.plug(host, recipe.INSIDE, "eth0", inside)
        # Until it is up, its commands would run on this machine.
        host.wait_up()
        fence(lab, host, "eth1")
        for other in lab.hosts.values():
            if other is not outside.laptop:
                other.run(["sh", "-c", f"printf '{inside}\\tlogin2\\n' >> /etc/hosts"])
        authorize_key(outside, host)
        lab.install_vizdash(host)
        yield host
    finally:
        lab.remove_host(host)


@contextlib.contextmanager
def sshd(
    host: Host, port: int, settings: Sequence[str] = (), *, key: str = "", log: str = ""
) -> Iterator[None]:
    """Run another sshd on a port of SSHD_PORTS, with ``settings`` before the lab's own.

    ``key`` is the file of its host key, made if it is missing; ``log`` is a file for its log.
    """
    key = key or "/etc/ssh/ssh_host_ed25519_key"
    place = f"/run/sshd-{port}"
    lines = (
        *settings,
        f"Port {port}",
        f"HostKey {key}",
        f"PidFile {place}.pid",
        f"AuthorizedKeysFile .ssh/authorized_keys {_KEYS}/%u",
        "UsePAM no",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PrintMotd no",
    )
    (host.root / f"{place}.conf".lstrip("/")).write_text("\n".join(lines) + "\n")
    host.run(f"test -f {key} || ssh-keygen -q -t ed25519 -N '' -f {key}")
    start = shlex.join(["/usr/sbin/sshd", "-f", f"{place}.conf", *(["-E", log] if log else [])])
    # It listens once it has written its pid file.
    host.run(f"rm -f {place}.pid; {start} && until [ -s {place}.pid ]; do sleep 0.05; done")
    try:
        yield
    finally:
        # Logins stay until their clients end.
        end = "kill $pid; while [ -e /proc/$pid ]; do sleep 0.05; done"
        host.run(f"pid=$(cat {place}.pid) && {{ {end}; }}; true")


@contextlib.contextmanager
def closed_nodes(lab: Lab) -> Iterator[None]:
    """Close the nodes' sshd to all users but root, as many sites do."""
    settings = "etc/ssh/sshd_config.d/closed.conf"
    for node in lab.nodes:
        (node.root / settings).write_text("AllowUsers root\n")
        reload_sshd(node)
    try:
        yield
    finally:
        for node in lab.nodes:
            (node.root / settings).unlink()
            reload_sshd(node)


@contextlib.contextmanager
def extra_user(lab: Lab, name: str, shell: str, files: dict[str, str]) -> Iterator[str]:
    """Add a user with another login shell and start-up ``files`` (relative to home)."""
    hosts = [h for h in lab.hosts.values() if h.role in {"login", "node", "submit"}]
    number = str(2000 + sum(name.encode()))
    for host in hosts:
        host.run(["useradd", "-s", shell, "-u", number, "-U", "-M", name])
        host.run(["usermod", "-p", "*", name])
    home = f"/home/{name}"
    script = f"install -d -m 700 -o {name} -g {name} {home}; cp -r /home/alice/.ssh {home}/"
    lab.login.run(script)
    for path, text in files.items():
        lab.login.run(f"mkdir -p $(dirname {home}/{path}); cat > {home}/{path}", input=text)
    lab.login.run(["chown", "-R", f"{name}:{name}", home])
    try:
        yield name
    finally:
        lab.login.run(f"scancel -u {name}; pkill -KILL -u {name}; true")
        for host in hosts:
            host.run(f"pkill -KILL -u {name}; userdel -f {name}; true")
        lab.login.run(["rm", "-rf", home])
