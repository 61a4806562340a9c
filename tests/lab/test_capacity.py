"""What vizdash says fits, compared with Slurm: random clusters, loads, reservations, requests.

The oracles are ``sbatch --test-only`` with the very command that vizdash would run, and what
really starts when as many are submitted as vizdash says fit, and one more. ``make capacity`` tries
more of them (see CONTRIBUTING).
"""

from __future__ import annotations

import asyncio
import os
import random
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import seed as fixed
from hypothesis import strategies as st

from tests.lab import Lab
from tests.lab.scheduler import HostRunner, Scheduler, Site, scheduler
from tests.waiting import wait_until
from vizdash.config import App, Cluster, Config
from vizdash.engines.slurm import SlurmEngine, commands
from vizdash.errors import Refused
from vizdash.model import JobRequest, Resources, SessionRequest
from vizdash.service.service import Service
from vizdash.sessions import submit
from vizdash.sessions.capacity import CapacityVerdict
from vizdash.sessions.start_plan import resolve_plan
from vizdash.transport.forwarders import SshForwarder

#: Clusters, and cases on each.
CLUSTERS = int(os.environ.get("VIZDASH_CAPACITY_CLUSTERS", "16"))
CASES = int(os.environ.get("VIZDASH_CAPACITY_CASES", "9"))
#: Cases with jobs that wait.
QUEUES = int(os.environ.get("VIZDASH_CAPACITY_CASES", "6"))
#: Seconds from now within which a start counts as now.
NOW_S = 2
#: As many are submitted at most.
MOST = 12

APP = App("plain", runtime="host", host_command="true")
SLEEP = "#!/bin/bash\nexec sleep 600\n"

_TRES = "SelectType=select/cons_tres"
#: (lines of slurm.conf, what stands behind the partition's nodes, how memory is asked for).
KINDS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    ((_TRES, "SelectTypeParameters=CR_Core_Memory"), "", "mem"),
    ((_TRES, "SelectTypeParameters=CR_Core"), "", "mem"),
    ((_TRES, "SelectTypeParameters=CR_CPU_Memory"), "", "mem-per-cpu"),
    ((_TRES, "SelectTypeParameters=CR_Core_Memory"), "OverSubscribe=EXCLUSIVE", "mem"),
    ((_TRES, "SelectTypeParameters=CR_Core_Memory"), "MaxMemPerCPU=700", "mem"),
    ((_TRES, "SelectTypeParameters=CR_Core_Memory"), "Hidden=YES", "mem-per-cpu"),
    ((_TRES, "SelectTypeParameters=CR_Socket_Memory"), "", "mem"),
    ((_TRES, "SelectTypeParameters=CR_Core_Memory", "MaxMemPerCPU=900"), "", "mem-per-cpu"),
    ((_TRES, "SelectTypeParameters=CR_Core_Memory", "DefMemPerCPU=300"), "", "none"),
    ((_TRES, "SelectTypeParameters=CR_Core_Memory"), "MaxMemPerNode=3000 MaxCPUsPerNode=4", "mem"),
    ((_TRES, "SelectTypeParameters=CR_CPU"), "", "mem"),
    ((_TRES, "SelectTypeParameters=CR_Core_Memory"), "", "none"),
    (("SelectType=select/linear", "SelectTypeParameters=CR_Memory"), "", "mem"),
    ((_TRES, "SelectTypeParameters=CR_Core_Memory"), "OverSubscribe=FORCE:2", "mem"),
    ((_TRES, "SelectTypeParameters=CR_Core_Memory"), "DefMemPerNode=900", "none"),
    ((_TRES, "SelectTypeParameters=CR_Core_Memory"), "MaxCPUsPerSocket=2", "mem"),
)


@dataclass(frozen=True)
class Ask:
    """A request."""

    cores: int
    memory_mib: int
    gpus: int
    minutes: int
    node: str


@dataclass(frozen=True)
class Waiting:
    """A job of bob's that has to wait: all cores of a node, until those that run there are done."""

    node: str
    partition: str
    minutes: int


@dataclass(frozen=True)
class Reserved:
    """A reservation for bob, or maintenance."""

    nodes: Sequence[str]
    begins_min: int
    maintenance: bool
    cores: int


@pytest.fixture(scope="module")
def slurm(running_lab: Lab) -> Iterator[Scheduler]:
    with scheduler(running_lab) as found:
        yield found


def cluster(seed: int) -> tuple[Site, str]:
    """A random cluster, and how memory is asked for there."""
    dice = random.Random(seed)
    lines, rest, memory = KINDS[seed % len(KINDS)]
    tracked = "emory" in lines[1]
    nodes = {}
    for n in range(1, 4):
        sockets, cores, threads = dice.choice((1, 1, 2)), dice.randint(1, 4), dice.choice((1, 2))
        shape = f"Sockets={sockets} CoresPerSocket={cores} ThreadsPerCore={threads}"
        if dice.random() < 0.2:
            shape += f" CPUs={sockets * cores}"
        if tracked:
            shape += f" RealMemory={dice.randint(8, 80) * 100}"
        if n == 3:
            shape += " Gres=gpu:2"
        nodes[f"n{n}"] = shape
    partitions = {"viz": f"Nodes=ALL MaxTime=8:00:00 State=UP {rest}"}
    partitions["load"] = "Nodes=ALL Default=YES State=UP"
    return Site(lines, nodes, partitions), memory


NAMES = st.sampled_from(("n1", "n2", "n3"))
ASKS = st.builds(
    Ask,
    cores=st.integers(1, 9),
    memory_mib=st.integers(1, 30).map(lambda n: 100 * n),
    gpus=st.sampled_from((0, 0, 0, 1, 2, 3)),
    minutes=st.sampled_from((10, 60, 240)),
    node=st.sampled_from(("", "", "n1", "n2", "n3")),
)
LOADS = st.lists(st.tuples(NAMES, st.integers(1, 4), st.integers(1, 9)), max_size=4)
RESERVATIONS = st.lists(
    st.builds(
        Reserved,
        nodes=st.sampled_from((("n1",), ("n2", "n3"), ("n1", "n2", "n3"))),
        begins_min=st.sampled_from((0, 30, 120)),
        maintenance=st.booleans(),
        cores=st.sampled_from((0, 0, 1)),
    ),
    max_size=1,
)


PLAIN = Ask(cores=1, memory_mib=100, gpus=0, minutes=10, node="")
NODES = st.sampled_from(("", "n1", "n2", "n3"))
MINUTES = st.sampled_from((10, 240))
QUEUE = st.lists(
    st.builds(
        Waiting,
        node=NAMES,
        partition=st.sampled_from(("viz", "load")),
        minutes=st.sampled_from((30, 300)),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda job: job.node,
)


@pytest.mark.parametrize("seed", range(CLUSTERS))
def test_slurm_agrees(slurm: Scheduler, seed: int) -> None:
    site, memory = cluster(seed)
    slurm.use(site)
    decided = []

    # A failing case is reported whole: shrinking it takes minutes.
    @fixed(seed)
    @settings(
        max_examples=CASES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(ask=ASKS, load=LOADS, kept=RESERVATIONS)
    def cases(ask: Ask, load: list[tuple[str, int, int]], kept: list[Reserved]) -> None:
        decided.append(check(slurm, memory, ask, load, kept))

    cases()
    # To say that only the scheduler knows is right always, and no use.
    if "FORCE" not in site.partitions["viz"]:
        assert sum(decided) >= 0.8 * len(decided)


def check(
    slurm: Scheduler,
    memory: str,
    ask: Ask,
    load: list[tuple[str, int, int]],
    kept: list[Reserved],
) -> bool:
    """One case; returns whether vizdash knew."""
    slurm.settle()
    busy(slurm, load)
    for n, reservation in enumerate(kept):
        reserve(slurm, f"r{n}", reservation)
    site = Cluster("viz", partition="viz", memory_request=memory)
    runner = HostRunner(slurm.host)
    engine = SlurmEngine(runner, user="alice")
    config = Config(site, {"viz": site}, {"plain": APP})
    service = Service(config, engine, runner, SshForwarder())
    size = Resources(ask.cores, ask.memory_mib, ask.gpus, ask.minutes * 60)
    request = SessionRequest("plain", size, node=ask.node)
    verdict, starts = asyncio.run(compared(service, request))
    note(f"vizdash: {verdict}")
    note(f"--test-only: {starts}")
    note(nodes_of(slurm))
    if verdict.undetermined:
        return False
    # Slurm's test does not raise the cores for this limit, as it does for a real job.
    tested = "MaxMemPerCPU" not in slurm.site.conf or memory != "mem"
    if tested:
        agree(verdict, starts)
    if verdict.refusal:
        # Where a node is reserved Slurm looks no further, and takes what never runs.
        started(slurm, request, site, 0) if kept else refused(slurm, request, site)
    elif verdict.fits_now:
        started(slurm, request, site, sum(count for _, count in verdict.fits_now))
    elif verdict.reserved or not tested:
        started(slurm, request, site, 0)
    return True


def test_what_waits_already_comes_first(slurm: Scheduler) -> None:
    """Here the oracle is what starts: Slurm's test knows nothing of plans for waiting jobs."""
    nodes = {f"n{n}": f"CPUs={2 * n} RealMemory=4000" for n in (1, 2, 3)}
    partitions = {"viz": "Nodes=ALL MaxTime=8:00:00 State=UP", "load": "Nodes=ALL State=UP"}
    slurm.use(Site(nodes=nodes, partitions=partitions))
    seen = []

    @fixed(1)
    @settings(
        max_examples=QUEUES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(ask=st.builds(replace, st.just(PLAIN), node=NODES, minutes=MINUTES), queue=QUEUE)
    def cases(ask: Ask, queue: list[Waiting]) -> None:
        seen.append(check_queue(slurm, ask, queue))

    cases()
    assert {"now", "planned"} <= set(seen)


#: One node, where the end of each job takes as long as /tmp/held is there.
_ENDING = Site(
    (*Site().lines, "Epilog=/etc/slurm/epilog", "RebootProgram=/bin/true"),
    {"n1": "CPUs=4 RealMemory=4000"},
    {"viz": "Nodes=ALL Default=YES MaxTime=8:00:00 State=UP"},
)


def judged(slurm: Scheduler, node: str = "") -> CapacityVerdict:
    """What vizdash says of a request of one core."""
    return asked(slurm, replace(PLAIN, node=node), Cluster("viz", partition="viz"))[1]


def asked(slurm: Scheduler, ask: Ask, site: Cluster) -> tuple[SessionRequest, CapacityVerdict]:
    """A request, and what vizdash says of it."""
    runner = HostRunner(slurm.host)
    engine = SlurmEngine(runner, user="alice")
    service = Service(Config(site, {"viz": site}, {"plain": APP}), engine, runner, SshForwarder())
    size = Resources(ask.cores, ask.memory_mib, 0, ask.minutes * 60)
    request = SessionRequest("plain", size, node=ask.node)
    return request, asyncio.run(service.plan(request)).verdict


def run_here(slurm: Scheduler, what: str, user: str = "bob") -> None:
    slurm.host.run(f"sbatch -Q -o /dev/null -t 300 --mem=100 --wrap '{what}'", user=user)


@pytest.fixture
def ending(slurm: Scheduler) -> Iterator[Scheduler]:
    """That node with a job that runs."""
    epilog = "printf '%s\\n' '#!/bin/sh' 'while [ -e /tmp/held ]; do sleep 0.1; done'"
    slurm.host.run(f"{epilog} >/etc/slurm/epilog; chmod 755 /etc/slurm/epilog")
    slurm.use(_ENDING)
    slurm.settle()
    run_here(slurm, "exec sleep 600")
    assert slurm.tried(1) == 1
    yield slurm
    slurm.host.run("rm -f /tmp/held")
    slurm.settle()


def test_a_node_where_a_job_is_still_ending_takes_none(ending: Scheduler) -> None:
    slurm = ending
    slurm.host.run("touch /tmp/held")
    run_here(slurm, "true")
    state = "scontrol show node n1 | grep -q COMPLETING"
    wait_until(lambda: slurm.host.run(state, check=False).returncode == 0, "end of a job")
    verdict = judged(slurm)
    assert verdict.text == "nothing free now: it waits for n1 (a job is still ending on n1)"
    assert judged(slurm, "n1").undetermined
    run_here(slurm, "exec sleep 600", "alice")
    assert slurm.tried(2) == 1
    slurm.host.run("rm /tmp/held")
    wait_until(lambda: slurm.tried(2) == 2, "start of the job")
    wait_until(
        lambda: judged(slurm).fits_now == (("n1", 2),),
        "free cores",
        seen=lambda: f"{judged(slurm)}\n{nodes_of(slurm)}",
    )


def test_a_node_that_is_to_reboot_once_it_is_idle_takes_jobs(ending: Scheduler) -> None:
    slurm = ending
    slurm.host.run(["scontrol", "reboot", "n1"])
    try:
        assert "REBOOT_REQUESTED" in nodes_of(slurm)
        verdict = judged(slurm)
        assert sum(count for _, count in verdict.fits_now) == 3, nodes_of(slurm)
        run_here(slurm, "exec sleep 600", "alice")
        assert slurm.tried(2) == 2
    finally:
        slurm.host.run(["scontrol", "cancel_reboot", "n1"])


@pytest.mark.parametrize(
    "ask",
    [
        *(replace(PLAIN, node=node) for node in ("", "n2", "n3")),
        *(replace(PLAIN, cores=cores) for cores in (3, 5)),
        *(replace(PLAIN, minutes=60), replace(PLAIN, memory_mib=2000)),
    ],
)
def test_limits_of_several_partitions(slurm: Scheduler, ask: Ask) -> None:
    """With EnforcePartLimits=ALL each counts; a partition that is drained is left out."""
    low = "Nodes=n[1-2] State=UP MaxTime=10 MaxCPUsPerNode=2 MaxMemPerNode=1000"
    parts = {"viz": "Nodes=ALL Default=YES State=UP", "low": low, "off": "Nodes=n1 State=DRAIN"}
    slurm.use(Site(nodes={f"n{n}": "CPUs=8 RealMemory=4000" for n in (1, 2, 3)}, partitions=parts))
    slurm.settle()
    site = Cluster("viz", partition="viz,low,off")
    request, verdict = asked(slurm, ask, site)
    done = slurm.host.run(sbatch_line(request, site), user="alice", check=False)
    assert bool(verdict.refusal) == (done.returncode != 0), (verdict, done.stderr)


def test_a_node_that_another_user_has_alone_takes_no_session(slurm: Scheduler) -> None:
    slurm.use(Site(nodes=_ENDING.nodes, partitions=_ENDING.partitions))
    slurm.settle()
    alone = "sbatch -Q -o /dev/null -t 300 --mem=100 --exclusive=user --wrap 'exec sleep 600'"
    slurm.host.run(alone, user="bob")
    try:
        assert slurm.tried(1) == 1
        assert judged(slurm).text == "nothing free now: it waits for n1 (n1 is bob's alone for now)"
        run_here(slurm, "exec sleep 600", "alice")
        assert slurm.tried(1) == 1
    finally:
        slurm.settle()
    wait_until(lambda: judged(slurm).fits_now == (("n1", 4),), "a free node")


def check_queue(slurm: Scheduler, ask: Ask, queue: list[Waiting]) -> str:
    """One case; returns what vizdash said."""
    slurm.settle()
    for job in queue:
        # One core until then, and behind it a job that requests all of them.
        most = f"-t 300 -w {job.node} -c {2 * int(job.node[1:])}"
        for what in (f"-t {job.minutes} -w {job.node}", most):
            line = f"sbatch -Q -o /dev/null -p {job.partition} --mem=100 {what} --wrap 'sleep 600'"
            slurm.host.run(line, user="bob")
            slurm.tried()
    planned(slurm)
    site = Cluster("viz", partition="viz")
    request, verdict = asked(slurm, ask, site)
    note(f"vizdash: {verdict}")
    note(nodes_of(slurm))
    assert not verdict.undetermined, "everything is planned, and nothing is hidden"
    count = sum(count for _, count in verdict.fits_now)
    run = submitted(slurm, request, site, count + 1, count)
    assert run == count, f"{count} should start, not {run}"
    return "now" if verdict.fits_now else "planned" if verdict.planned else "full"


def submitted(
    slurm: Scheduler, request: SessionRequest, site: Cluster, count: int, expected: int
) -> int:
    """Submit it ``count`` times: how many of those run when ``expected`` do, and each of the others
    has its plan.
    """
    script = f"for i in $(seq {count}); do {sbatch_line(request, site)}; done"
    slurm.host.run(script, user="alice")
    deadline = time.monotonic() + 120
    while True:
        planned(slurm)
        found = slurm.host.run(["squeue", "-ah", "-u", "alice", "-t", "R", "-o", "%i"]).stdout
        run = len(found.splitlines())
        if run >= expected or time.monotonic() > deadline:
            return run
        time.sleep(0.2)


def sbatch_line(request: SessionRequest, site: Cluster, memory: str = "") -> str:
    """A shell command that submits it."""
    job = replace(job_of(site, request), output="/dev/null")
    job = replace(job, memory=memory or job.memory)
    line = shlex.join(commands.sbatch(job).argv)
    return f"printf %s {shlex.quote(SLEEP)} | {line}"


def planned(slurm: Scheduler) -> None:
    """Wait until the scheduler has a plan for every job that waits."""
    deadline = time.monotonic() + 180
    while "N/A" in (found := slurm.host.run(["squeue", "-ah", "-o", "%S %T %r"]).stdout):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def agree(verdict: CapacityVerdict, starts: float | None) -> None:
    """vizdash's verdict is that of ``sbatch --test-only``."""
    if verdict.refusal:
        assert starts is None, "vizdash refuses what Slurm takes"
    elif verdict.fits_now:
        assert starts is not None and starts <= NOW_S, "vizdash promises what Slurm does not give"
    else:
        # Slurm's test calls what is reserved for others impossible, though it would wait for it.
        assert starts is not None or verdict.reserved, "Slurm refuses what vizdash has wait"
        assert starts is None or starts > NOW_S, "Slurm starts it now"


async def compared(
    service: Service, request: SessionRequest
) -> tuple[CapacityVerdict, float | None]:
    """vizdash's verdict, and Slurm's: seconds from now, None for a refusal."""
    verdict = (await service.plan(request)).verdict
    job = job_of(service.config.cluster, request)
    try:
        at = await service.engine.expected_start(job)
    except Refused as e:
        note(f"Slurm: {e.line}")
        return verdict, None
    assert at is not None
    return verdict, max(0.0, at - time.time())


def job_of(site: Cluster, request: SessionRequest) -> JobRequest:
    """The job that vizdash would submit."""
    plan = resolve_plan(request, APP, site, runtime="host")
    return submit.build_job_request(plan, site, engine="slurm", folder="/tmp")


def busy(slurm: Scheduler, load: list[tuple[str, int, int]]) -> None:
    """Run bob's jobs: on a node, of cores, of hundreds of MiB."""
    tracked = "emory" in slurm.site.lines[1]
    lines = []
    for node, cores, memory in load:
        wanted = f"-c {cores} -w {node}" + (f" --mem={memory * 100}M" if tracked else "")
        lines.append(f"sbatch -Q -o /dev/null -t 300 {wanted} --wrap 'exec sleep 600' || true")
    if lines:
        slurm.host.run("\n".join(lines), user="bob")
        slurm.tried()
        slurm.host.run(["scancel", "-u", "bob", "-t", "PENDING"])


def reserve(slurm: Scheduler, name: str, kept: Reserved) -> None:
    """Make a reservation, unless Slurm finds no nodes for it."""
    nodes = kept.nodes
    flags = "MAINT,IGNORE_JOBS" if kept.maintenance else "IGNORE_JOBS"
    what = f"Nodes={','.join(nodes)} Flags={flags}"
    if kept.cores:
        what = f"Nodes={nodes[0]} NodeCnt=1 CoreCnt={kept.cores} PartitionName=viz"
    begins = f"now+{kept.begins_min}minutes" if kept.begins_min else "now"
    user = "root" if kept.maintenance else "bob"
    line = f"ReservationName={name} StartTime={begins} Duration=600 Users={user} {what}"
    slurm.host.run(["scontrol", "create", "reservation", *line.split()], check=False)


def started(slurm: Scheduler, request: SessionRequest, site: Cluster, count: int) -> None:
    """Submit one more than ``count``: as many start, and the last one waits."""
    if count >= MOST:
        return
    memory = "" if "emory" in slurm.site.lines[1] else "none"
    before = slurm.tried()
    line = sbatch_line(request, site, memory)
    script = f"for i in $(seq {count + 1}); do {line} || true; done"
    slurm.host.run(script, user="alice")
    run = slurm.tried(before + count)
    assert run - before == count, f"{count} should start, not {run - before}"


def refused(slurm: Scheduler, request: SessionRequest, site: Cluster) -> None:
    """Submit it: Slurm does not take it."""
    script = sbatch_line(request, site)
    assert slurm.host.run(script, user="alice", check=False).returncode != 0


def nodes_of(slurm: Scheduler) -> str:
    """What slurmctld says, for the report of a case that fails."""
    script = "scontrol -a -o show node; scontrol -a -o show reservation; squeue -a"
    return slurm.host.run(script).stdout
