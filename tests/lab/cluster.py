"""The lab: a real Slurm cluster of several hosts on this machine."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from tests.lab import accounting, recipe
from tests.lab.host import CommandError, Host, die_with_parent, output
from tests.lab.images import build_images
from tests.lab.root import build_root, say, sweep_cache
from tests.processes import lasting

#: Nodes that lack an image, to show what happens then.
LACKS = {"viz-node001": ("gedit",)}
#: Changes a host's own files: gets the run's folder, the host's name and the folder that is laid
#: over its root file system.
Lay = Callable[[Path, str, Path], None]


def probe() -> list[str]:
    """The reasons why the lab cannot run here, each with the call that failed; [] if it can."""
    if sys.platform != "linux":
        return [f"the lab needs Linux, this is {sys.platform}"]
    if os.geteuid() != 0:
        return ["the lab needs root (geteuid() is not 0)"]
    problems = []
    with contextlib.ExitStack() as stack:
        folder = Path(recipe.CACHE)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            return [f"mkdir {folder}: {e.strerror}"]
        place = folder / f".probe-{secrets.token_hex(4)}"
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        for name in ("lower", "upper", "work", "on"):
            (place / name).mkdir(parents=True)
        options = f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work"
        overlay = ["mount", "-t", "overlay", "overlay", "-o", options, f"{place}/on"]
        checks = {
            "unshare(CLONE_NEWNET), a network namespace": ["unshare", "--net", "true"],
            "mount(2) of an overlay": ["unshare", "--mount", *overlay],
            "debootstrap": ["debootstrap", "--version"],
        }
        for what, argv in checks.items():
            try:
                done = subprocess.run(argv, capture_output=True, text=True, check=False)
                words = done.stderr.strip() if done.returncode else ""
            except OSError as e:
                words = f"{argv[0]}: {e.strerror}"
            if words:
                problems.append(f"{what} failed: {words}")
    return problems


class Lab(AbstractContextManager["Lab"]):
    """A running cluster, made by ``start``."""

    def __init__(self, run: Path, lock: int) -> None:
        self.run = run
        self._lock = lock
        self.hosts: dict[str, Host] = {}
        self._switch: subprocess.Popen[bytes] | None = None
        self._root = Path()
        self._ports = 0
        self._networks: set[str] = set()

    @classmethod
    def start(
        cls,
        *,
        vizdash: bool = True,
        accounts: bool = False,
        nodes: Sequence[str] = recipe.NODES,
        lay: Lay | None = None,
    ) -> Lab:
        """Start it (a few seconds once its parts are cached). With ``vizdash``, this
        checkout's wheel is installed on the login host; with ``accounts``, there is slurmdbd
        with accounts and limits (files/accounts), and vizadmin is an operator. ``lay`` changes
        the files of each host before it is started."""
        root, images = cls.build()
        lab = cls(*_new_run())
        try:
            lab._up(root, images, accounts=accounts, nodes=nodes, lay=lay)
            if vizdash:
                lab.install_vizdash()
        except BaseException:
            lab.stop()
            raise
        return lab

    @staticmethod
    def build() -> tuple[Path, Path]:
        """Build the root file system and the layer of images unless they are cached."""
        root = build_root()
        images = build_images(root)
        sweep_cache("root-*", root)
        sweep_cache("images-*", images)
        return root, images

    @property
    def login(self) -> Host:
        """The host that users log in to; slurmctld runs on it too."""
        return self.hosts[recipe.LOGIN]

    @property
    def nodes(self) -> tuple[Host, ...]:
        """The viz nodes."""
        return tuple(self.hosts[name] for name in recipe.NODES if name in self.hosts)

    def _up(
        self, root: Path, images: Path, *, accounts: bool, nodes: Sequence[str], lay: Lay | None
    ) -> None:
        self._root = root
        _copy_homes(root, self.run / "home")
        with lasting():
            self._switch = subprocess.Popen(
                ["unshare", "--net", "sleep", "infinity"], preexec_fn=die_with_parent
            )
        for name in (recipe.LOGIN, *nodes):
            role = "login" if name == recipe.LOGIN else "node"
            lower = str(root) if role == "login" else f"{images}:{root}"
            _lay_files(root, self.run / name / "upper/etc")
            if accounts:
                accounting.lay_files(self.run / name / "upper", login=role == "login")
            if lay is not None:
                lay(self.run, name, self.run / name / "upper")
            self.hosts[name] = Host(name, self.run, lower, role)
        _wait_namespace(self._switch.pid)
        self._ip("link set lo up")
        self.add_network(recipe.INSIDE)
        for host in self.hosts.values():
            self.plug(host, recipe.INSIDE, "eth0", host.address)
        for host in self.hosts.values():
            host.wait_up()
        for name, apps in LACKS.items():
            for app in apps if name in self.hosts else ():
                shutil.rmtree(self.hosts[name].root / "opt/apptainers/apps" / app)
        self.wait_idle()

    def _ip(self, *commands: str) -> None:
        """Run ip(8) in the switch's network namespace."""
        self._switch_run("ip", "-batch", "-", input="\n".join(commands))

    def add_network(self, bridge: str) -> None:
        """Add a network unless it exists."""
        if bridge not in self._networks:
            self._networks.add(bridge)
            self._ip(f"link add {bridge} type bridge", f"link set {bridge} up")

    def plug(self, host: Host, bridge: str, device: str, address: str) -> None:
        """Give ``host`` an interface ``device`` on a network."""
        port = f"port{self._ports}"
        self._ports += 1
        self._ip(
            f"link add {port} type veth peer name {device} netns {host.pid}",
            f"link set {port} master {bridge} up",
        )
        host.ports[device] = port
        lines = f"link set lo up\naddr add {address}/24 dev {device}\nlink set {device} up\n"
        output(host.netns_argv(["ip", "-batch", "-"]), input=lines)

    def unplug(self, host: Host, device: str) -> None:
        """Remove an interface."""
        self._ip(f"link del {host.ports.pop(device)}")

    @contextlib.contextmanager
    def cut(self, host: Host, device: str = "eth0") -> Iterator[None]:
        """Drop every packet from and to ``host`` silently: the switch's port forwards nothing
        while the link stays up at both ends.
        """
        self._port(host.ports[device], "disabled")
        try:
            yield
        finally:
            self._port(host.ports[device], "forwarding")

    def _port(self, port: str, state: str) -> None:
        number = {"disabled": "0", "forwarding": "3"}[state]
        self._switch_run("bridge", "link", "set", "dev", port, "state", number)

    @contextlib.contextmanager
    def slow_link(self, *hosts: Host, rate: str = "16mbit", device: str = "eth0") -> Iterator[None]:
        """Limit what each of these hosts receives to ``rate`` (tc(8)), at the switch's ports, so
        that a test has time to interrupt it. Hosts that have lost power are skipped.
        """
        ports = [host.ports[device] for host in hosts]
        # A veth passes on packets of up to 64 KiB: the bucket holds some of them.
        shape = ("root", "tbf", "rate", rate, "burst", "256kb", "latency", "200ms")
        for port in ports:
            self._switch_run("tc", "qdisc", "add", "dev", port, *shape)
        try:
            yield
        finally:
            for port in ports:
                try:
                    self._switch_run("tc", "qdisc", "del", "dev", port, "root")
                except CommandError:
                    # A host without power takes its port with it, some time after it is gone.
                    if f" {port}@" in self._switch_run("ip", "-o", "link"):
                        raise

    def _switch_run(self, *argv: str, input: str | None = None) -> str:
        """Run a program of this machine in the switch's network namespace; its stdout."""
        assert self._switch is not None
        enter = ["nsenter", f"--target={self._switch.pid}", "--net", "--"]
        return output([*enter, *argv], input=input)

    def add_host(self, name: str, role: str, files: Mapping[str, str]) -> Host:
        """Add a host with the common root file system and ``files`` (path: text) over it.
        It waits for an ``eth0``: plug it in, then ``wait_up``.
        """
        upper = self.run / name / "upper"
        _lay_files(self._root, upper / "etc")
        for path, text in files.items():
            place = upper / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        self.hosts[name] = Host(name, self.run, str(self._root), role)
        return self.hosts[name]

    def restart(self, host: Host) -> Host:
        """Switch a node on again that was powered off; its disk is unchanged."""
        place = self.run / host.name
        for left in ("work", "root"):
            shutil.rmtree(place / left, ignore_errors=True)
        lower = host.lower
        self.hosts[host.name] = again = Host(host.name, self.run, lower, host.role)
        self.plug(again, recipe.INSIDE, "eth0", again.address)
        again.wait_up()
        return again

    def remove_host(self, host: Host) -> None:
        """Switch a host off for good."""
        host.power_off()
        del self.hosts[host.name]
        _remove(self.run / host.name)

    def wait_idle(self, seconds: float = 180, states: Collection[str] = ("idle",)) -> None:
        """Wait until every node has registered with slurmctld and is in one of these states."""
        deadline = time.monotonic() + seconds
        while True:
            done = self.login.run(["sinfo", "-hN", "-p", "viz", "-o", "%T"], check=False)
            found = set(done.stdout.split())
            if done.returncode == 0 and found and found <= set(states):
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"nodes are {found}: {done.stderr}")
            time.sleep(0.2)

    def stop_slurmctld(self) -> None:
        """End slurmctld, and wait for it: a new one may not start beside it."""
        stop = "scontrol shutdown slurmctld && while pgrep -x slurmctld; do sleep 0.1; done"
        self.login.run(stop)

    def settle(self) -> None:
        """End all jobs, and wait until nothing of them is left."""
        self.login.run("for u in alice bob vizadmin root; do scancel -u $u; done; true")
        deadline = time.monotonic() + 300
        while states := set(self.login.run(["squeue", "-ah", "-o", "%T"]).stdout.split()):
            assert time.monotonic() < deadline, f"jobs do not end: {states}"
            time.sleep(0.2)
        for host in (self.login, *self.nodes):
            for user in ("alice", "bob"):
                while left := host.processes(user):
                    if time.monotonic() > deadline:
                        # Else it fails the tests to come, too.
                        host.run(["pkill", "-KILL", "-u", user], check=False)
                        raise AssertionError(f"left on {host.name}: {left}")
                    time.sleep(0.1)

    def remove_leftovers(self) -> None:
        """Remove what sessions have left on nodes that Slurm had to kill (KillWait)."""
        for host in self.nodes:
            host.run("rm -rf --one-file-system /tmp/vizdash-*")

    def install_vizdash(self, *hosts: Host) -> None:
        """Install this checkout's wheel on hosts (the login host when none is named), offline."""
        wheels = self.run / "wheels"
        if not wheels.exists():
            build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)]
            output(build, cwd=recipe.CHECKOUT, timeout=600)
        wheel = next(wheels.glob("*.whl"))
        for host in hosts or (self.login,):
            shutil.copy(wheel, host.root / "root" / wheel.name)
            pip = ["/opt/vizdash/bin/pip", "install", "-q", "--no-index", "--no-deps"]
            host.run([*pip, f"/root/{wheel.name}"], timeout=600)
            host.run(["ln", "-sf", "/opt/vizdash/bin/vizdash", "/usr/local/bin/vizdash"])

    def stop(self) -> None:
        """Stop all hosts and remove everything of the lab."""
        for host in self.hosts.values():
            host.power_off()
        if self._switch is not None:
            self._switch.kill()
            self._switch.wait()
        os.close(self._lock)
        _remove(self.run)

    def __exit__(self, *error: object) -> None:
        self.stop()


def _lay_files(root: Path, etc: Path) -> None:
    """Lay a host's own files: Slurm's configuration, addresses and host keys."""
    (etc / "slurm").mkdir(parents=True)
    for file in recipe.SLURM_FILES:
        shutil.copy(recipe.FILES / file, etc / "slurm" / file)
    hosts = [f"{address}\t{name}\n" for name, address in recipe.ADDRESSES.items()]
    (etc / "hosts").write_text("127.0.0.1\tlocalhost\n" + "".join(hosts))
    names = ",".join((*recipe.ADDRESSES, *recipe.ADDRESSES.values(), "localhost"))
    kind, key = (root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()[:2]
    (etc / "ssh").mkdir()
    (etc / "ssh/ssh_known_hosts").write_text(f"{names} {kind} {key}\n")


def _copy_homes(root: Path, home: Path) -> None:
    output(["cp", "-a", str(root / "home.template"), str(home)])


def _wait_namespace(pid: int) -> None:
    ours = os.readlink("/proc/self/ns/net")
    deadline = time.monotonic() + 120
    while os.readlink(f"/proc/{pid}/ns/net") == ours:
        if time.monotonic() > deadline:
            raise RuntimeError("the lab's switch did not start")
        time.sleep(0.01)


def _new_run() -> tuple[Path, int]:
    """A folder for this run, locked while this process lives; sweeps those of killed runs."""
    runs = recipe.CACHE / "run"
    runs.mkdir(parents=True, exist_ok=True)
    sweep()
    with (recipe.CACHE / "new-run.lock").open("w") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)  # a sweep sees no lock that is not held yet
        run = runs / secrets.token_hex(4)
        run.mkdir()
        handle = os.open(run / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
    return run, handle


def sweep() -> list[str]:
    """Remove the folders of runs whose owner is gone.

    Their processes, mounts and links ended with the owner: the kernel kills a host's first process
    then, and its namespaces with it.
    """
    swept = []
    for run in (recipe.CACHE / "run").glob("*"):
        with contextlib.suppress(OSError), (run / "lock").open("r+") as file:
            with (recipe.CACHE / "new-run.lock").open("w") as starting:
                fcntl.flock(starting, fcntl.LOCK_EX)
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(run)
            swept.append(run.name)
    return swept


#: Removes the cgroups that hosts of a run have made (cgroup v1; see variants.py).
_SWEEP_CGROUPS = """
for controller in freezer memory cpuset cpuacct; do
  mount -t cgroup -o $controller cgroup /mnt || continue
  find /mnt -mindepth 1 -depth -type d -path "/mnt/vizdash-lab-$1-*" -exec rmdir {} +
  umount /mnt
done
"""


def _remove(run: Path) -> None:
    if (run / "home/.cgroups").exists():
        output(["unshare", "--mount", "bash", "-c", _SWEEP_CGROUPS, "bash", run.name])
    for _ in range(20):
        shutil.rmtree(run, ignore_errors=True)
        if not run.exists():
            return
        time.sleep(0.1)
    say(f"could not remove all of {run}")
