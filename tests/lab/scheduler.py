"""Slurm's scheduler by itself: one host with slurmctld and a real slurmd for each node.

Switching to another slurm.conf takes a second, so that a test can cover many sites.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.lab.cluster import Lab
from tests.lab.host import Host
from tests.lab.recipe import INSIDE
from vizdash.errors import TimedOut
from vizdash.transport import Command, Result

#: The host, and its address on the cluster's network.
NAME, ADDRESS = "sched", "10.77.0.30"

#: Seconds between two cycles of the scheduler.
CYCLE_S = 1

_CONF = f"""\
ClusterName=sched
SlurmctldHost=sched
AuthType=auth/munge
SlurmUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
GresTypes=gpu
ReturnToService=2
MpiDefault=none
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd/%n
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd-%n.pid
SlurmctldLogFile=/var/log/slurmctld.log
SlurmdLogFile=/var/log/slurmd-%n.log
SlurmctldPort=6817
MinJobAge=10
KillWait=2
MaxJobCount=100000
EnforcePartLimits=ALL
SchedulerParameters=sched_min_interval=20000,sched_interval={CYCLE_S},batch_sched_delay=0,bf_interval=1
"""


#: Two simulated GPUs: Slurm requires a device file for each.
_GRES = "Name=gpu File=/dev/loop[0-1]"


@dataclass(frozen=True)
class Site:
    """The configuration of a cluster: lines of slurm.conf, nodes and partitions.

    ``nodes`` and ``partitions`` map each name to what follows ``NodeName=NAME`` or
    ``PartitionName=NAME`` in slurm.conf.
    """

    lines: Sequence[str] = ("SelectType=select/cons_tres", "SelectTypeParameters=CR_Core_Memory")
    nodes: dict[str, str] = field(default_factory=dict)
    partitions: dict[str, str] = field(default_factory=dict)

    @property
    def conf(self) -> str:
        """Its slurm.conf."""
        nodes = [
            f"NodeName={name} NodeHostname={NAME} Port={6830 + n} {rest} State=UNKNOWN"
            for n, (name, rest) in enumerate(self.nodes.items())
        ]
        partitions = [f"PartitionName={name} {rest}" for name, rest in self.partitions.items()]
        return _CONF + "\n".join([*self.lines, *nodes, *partitions]) + "\n"


class Scheduler:
    """A running slurmctld with its nodes, on ``host``."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._site: Site | None = None

    @property
    def site(self) -> Site:
        """The current configuration."""
        assert self._site is not None
        return self._site

    def use(self, site: Site) -> None:
        """Switch to this configuration, with nothing left of the last; the same one is kept."""
        if site == self._site:
            return
        self.stop()
        (self.host.root / "etc/slurm/slurm.conf").write_text(site.conf)
        gpus = [f"NodeName={name} {_GRES}\n" for name, rest in site.nodes.items() if "gpu" in rest]
        (self.host.root / "etc/slurm/gres.conf").write_text("".join(gpus))
        slurmds = "".join(f"slurmd -N {name} || exit 1; " for name in site.nodes)
        # Node daemons first: slurmctld's first ping finds them.
        self.host.run(f"mkdir -p /var/spool/slurmctld /var/spool/slurmd; {slurmds} slurmctld -c")
        self._site = site
        self.wait_idle()

    def stop(self) -> None:
        """End the daemons and forget everything.

        Also those without a pid file: a slurmstepd, a fork of slurmd or a job (slurm_script)
        writes to the spool folder while it is being removed.
        """
        script = """
        while pkill -KILL '^slurm'; do sleep 0.05; done
        rm -rf /run/slurmctld.pid /run/slurmd-*.pid /var/spool/slurmctld /var/spool/slurmd
        """
        self.host.run(["bash", "-c", script])
        self._site = None

    def wait_idle(self, seconds: float = 180) -> None:
        """Wait until every node has registered, and nothing runs there."""
        assert self._site is not None
        deadline = time.monotonic() + seconds
        while True:
            done = self.host.run(["sinfo", "-ahN", "-o", "%N %T"], check=False)
            found = dict(line.split() for line in done.stdout.splitlines() if " " in line)
            if found and all(found.get(name) == "idle" for name in self._site.nodes):
                return
            assert time.monotonic() < deadline, f"nodes are {found}: {done.stderr}"
            time.sleep(0.1)

    def tried(self, running: int | None = None, seconds: float = 180) -> int:
        """Wait until the scheduler has tried every job; returns how many run.

        With ``running``, the expected number, it waits a few more cycles for that number.
        """
        began = time.monotonic()
        while True:
            found = self.host.run(["squeue", "-ah", "-o", "%T %r"]).stdout.splitlines()
            # A job that has been tried has another reason than these two.
            new = [line for line in found if line == "PENDING None"]
            passed = [line for line in found if line == "PENDING Priority"]
            held = [line for line in found if line.startswith("PENDING")]
            count = sum(line.startswith("RUNNING") for line in found)
            rests = not new and (len(passed) < len(held) or not held)
            took = time.monotonic() - began
            if rests and (running in {None, count} or took > 5 * CYCLE_S):
                return count
            assert took < seconds, f"the scheduler does not come to rest: {found}"
            time.sleep(0.02)

    def settle(self, seconds: float = 180) -> None:
        """End every job and reservation, and wait until nothing of them is left."""
        script = """
        squeue -ah -t all -o %u | sort -u | xargs -r -n1 scancel -u
        scontrol -o show reservation | sed -n 's/^ReservationName=\\([^ ]*\\).*/\\1/p' |
          xargs -r -I{} scontrol delete ReservationName={}
        """
        self.host.run(["bash", "-c", script])
        deadline = time.monotonic() + seconds
        while left := self.host.run(["squeue", "-ah", "-o", "%i %T"]).stdout:
            assert time.monotonic() < deadline, f"jobs do not end: {left}"
            time.sleep(0.05)
        self.wait_idle()


class HostRunner:
    """A CommandRunner on a lab host, as one of its users."""

    def __init__(self, host: Host, user: str = "alice") -> None:
        self._host = host
        self._user = user

    async def run(self, command: Command) -> Result:
        """Run a command on the host."""
        process = await asyncio.create_subprocess_exec(
            *self._host.argv(command.argv, user=self._user),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        given = (command.input or "").encode()
        try:
            out, err = await asyncio.wait_for(process.communicate(given), command.timeout_s)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise TimedOut(command.argv[0], f"no answer in {command.timeout_s:g} s") from None
        code = process.returncode or 0
        return Result(code, out.decode(errors="replace"), err.decode(errors="replace"))

    def has(self, program: str) -> bool:
        """Whether a program is installed on the host."""
        return (self._host.root / "usr/bin" / program).exists()


@contextlib.contextmanager
def scheduler(lab: Lab) -> Iterator[Scheduler]:
    """Add a host with a separate Slurm to the lab."""
    files = {
        "/etc/hosts": f"127.0.0.1\tlocalhost\n{ADDRESS}\t{NAME}\n",
        "/etc/slurm/job_submit.lua": "",
        "/etc/slurm/gres.conf": "",
    }
    host = lab.add_host(NAME, "submit", files)
    try:
        lab.plug(host, INSIDE, "eth0", ADDRESS)
        host.wait_up()
        found = Scheduler(host)
        yield found
        found.stop()
    finally:
        lab.remove_host(host)
