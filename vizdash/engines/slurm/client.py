"""The Slurm engine: asks, parses, and tells refusals in words."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

from vizdash.engines.base import EngineInfo
from vizdash.engines.slurm import clusterconfig, commands, parse, refusals
from vizdash.engines.slurm.reservations import reservations
from vizdash.errors import CommandFailed, NotFound, Refused, TimedOut, Unreachable
from vizdash.model import Job, JobRequest, Node, Partition, Reservation
from vizdash.transport import Command, CommandRunner, Result
from vizdash.units import duration_words

_PARSABLE = re.compile(r"^([0-9]+)(?:;\S+)?$", re.MULTILINE)

#: scancel's words for a job that no longer runs.
_ENDED = ("already completing or completed", "already finished")


class SlurmEngine:
    """Slurm on the machine that ``runner`` reaches, as the user named ``user`` there (empty:
    asked for there).
    """

    name = "slurm"

    def __init__(self, runner: CommandRunner, *, user: str) -> None:
        self._runner = runner
        self._user = user
        self._info: EngineInfo | None = None
        self._config: clusterconfig.ClusterConfig | None = None
        self._asking = asyncio.Lock()
        self._members: dict[str, list[str]] | None = None

    async def info(self) -> EngineInfo:
        """Name and version of the cluster, and what this user may do there.

        root, SlurmUser and the accounting's administrators may do all; its operators may act on
        everyone's jobs, but not on nodes (sacctmgr(1), "AdminLevel").
        """
        if self._info is None:
            self._user = self._user or (await self._ask(commands.whoami())).stdout.strip()
            told = await self._configured()
            level = await self._level() if told.accounting else ""
            if self._user in {"root", told.slurm_user}:
                level = "Administrator"
            self._info = EngineInfo(
                name=self.name,
                cluster=told.cluster,
                version=told.version,
                user=self._user,
                admin=level != "",
                node_admin=level == "Administrator",
                accounting=told.accounting,
                memory_s=told.memory_s,
                memory_tracked=told.memory_tracked,
            )
        return self._info

    async def _configured(self) -> clusterconfig.ClusterConfig:
        """How the cluster is set up: asked once."""
        async with self._asking:
            if self._config is None:
                self._config = await self._ask_config()
        return self._config

    async def _ask_config(self) -> clusterconfig.ClusterConfig:
        """Ask slurmctld. Having shown the configuration, scontrol(1) pings the controllers, and
        ends with 1 and no word when that has no answer, as where calls are limited (rl_enable).
        """
        result = await self._run(commands.show_config())
        told = clusterconfig.config(result.stdout)
        if not (told.cluster and result.code == 1 and not result.stderr.strip()):
            refusals.check("scontrol", result)
        return told

    async def _level(self) -> str:
        """The accounting's admin level; a cluster that will not tell gives none."""
        result = await self._run(commands.show_user(self._user))
        return parse.admin_level(result.stdout, self._user) if result.code == 0 else ""

    async def nodes(self) -> tuple[Node, ...]:
        """All nodes, as slurm.conf orders them; none where they are kept private (slurm.conf(5),
        "PrivateData").
        """
        command = commands.show_nodes()
        result = await self._run(command)
        if refusals.is_private(result):
            self._members = {}
            return ()
        answer = refusals.check(_program(command), result).stdout
        found = parse.nodes(answer, await self._configured())
        members: dict[str, list[str]] = {}
        for node in found:
            for partition in node.partitions:
                members.setdefault(partition, []).append(node.name)
        self._members = members
        return found

    async def partitions(self) -> tuple[Partition, ...]:
        """All partitions; their nodes as of the last call of ``nodes``."""
        if self._members is None:
            await self.nodes()
        answer = (await self._ask(commands.show_partitions())).stdout
        members = self._members or {}
        about = await self._configured()
        return parse.partitions(answer, lambda name: tuple(members.get(name, ())), about)

    async def reservations(self) -> tuple[Reservation, ...]:
        """Those of nodes that this user may see (slurm.conf(5), "PrivateData")."""
        return reservations((await self._ask(commands.show_reservations())).stdout)

    async def jobs(self, *, user: str | None = None, partition: str = "") -> tuple[Job, ...]:
        """Jobs in every state that slurmctld still knows (MinJobAge: 5 minutes by default)."""
        nonce = commands.new_nonce()
        result = await self._ask(commands.squeue(nonce, user=user))
        return parse.jobs(result.stdout, nonce, partition=partition)

    async def submit(self, request: JobRequest) -> str:
        """Hand in a job. Raises Refused with Slurm's reason in words."""
        what = f"{request.app or request.name} was not started"
        request = await self._askable(request)
        try:
            result = await self._run(commands.sbatch(request))
        except TimedOut as e:
            raise TimedOut("sbatch", e.why, refusals.MAYBE_STARTED) from e
        if result.code != 0:
            raise refusals.refusal(what, result)
        ids = _PARSABLE.findall(result.stdout)
        if not ids:
            raise CommandFailed("sbatch", 0, f"no job id in its answer: {result.stdout.strip()!r}")
        return str(ids[-1])

    async def expected_start(self, request: JobRequest) -> int | None:
        """What the scheduler thinks now. Raises Refused with Slurm's reason in words."""
        request = await self._askable(request)
        result = await self._run(commands.would_start(commands.sbatch(request)))
        if result.code != 0:
            raise refusals.refusal(f"{request.app or request.name} can't be started", result)
        return parse.would_start(result.stderr)

    async def run_job(
        self, request: JobRequest, argv: tuple[str, ...], *, wait_s: int, timeout_s: float
    ) -> Result:
        """Run ``argv`` as a short job and wait for it: see ``commands.srun``. What srun prints is
        in the result, whatever its exit code. Raises Unreachable and TimedOut.
        """
        request = await self._askable(request)
        return await self._run(commands.srun(request, argv, wait_s=wait_s, timeout_s=timeout_s))

    async def _askable(self, request: JobRequest) -> JobRequest:
        """Where memory is not tracked, none is asked for: nodes there have 1 MiB."""
        tracked = (await self._configured()).memory_tracked
        return request if tracked else replace(request, memory="none")

    async def cancel(self, job_id: str) -> None:
        """End a job by scancel. Raises Refused for someone else's, NotFound for none.

        scancel keeps silent about a job that is not there, be it over or never handed in.
        """
        result = await self._run(commands.scancel(job_id))
        words = result.stderr.lower()
        if "permission denied" in words and result.code not in {126, 127}:
            raise Refused(f"job {job_id} was not stopped", "it is not yours")
        if "invalid job id" in words or (result.code == 0 and not words.strip()):
            await self._check_existed(job_id)
        elif result.code != 0 and not any(part in words for part in _ENDED):
            raise refusals.failure("scancel", result)

    async def history(self, *, since_s: int, user: str | None = None) -> tuple[Job, ...]:
        """What ended, from the accounting. Raises Refused where there is none."""
        info = await self.info()
        if not info.accounting:
            kept = f"it knows what ended for {duration_words(info.memory_s)}"
            raise Refused("history", f"cluster {info.cluster} keeps no accounting", kept)
        nonce = commands.new_nonce()
        result = await self._ask(commands.sacct(nonce, since_s=since_s, user=user))
        return tuple(job for job in parse.history(result.stdout, nonce) if job.state.ended)

    async def drain(self, node: str, reason: str) -> None:
        """Drain by scontrol; jobs that run go on."""
        what = f"node {node} was not drained"
        await self._change(what, commands.drain_node(node, reason))

    async def resume(self, node: str) -> None:
        """Resume by scontrol."""
        what = f"node {node} was not resumed"
        await self._change(what, commands.resume_node(node))

    async def set_time_limit(self, job_id: str, time_s: int) -> None:
        """Change the limit by scontrol; only operators may make it longer."""
        what = f"the time limit of job {job_id} was not changed"
        await self._change(what, commands.set_time_limit(job_id, time_s))

    async def annotate(self, job_id: str, comment: str) -> None:
        """Write the comment by scontrol: one's own jobs', an operator everybody's."""
        what = f"the comment of job {job_id} was not written"
        await self._change(what, commands.set_comment(job_id, comment))

    async def tell(self, job_id: str, text: str, comment: str) -> None:
        """Put the text into the comment and wake the job, which shows it and takes it out."""
        await self.annotate(job_id, comment)
        await self._change(f"job {job_id} was not told", commands.warn(job_id))

    async def _change(self, what: str, command: Command) -> None:
        result = await self._run(command)
        if result.code != 0:
            raise refusals.change_refusal(what, result, _program(command))

    async def _check_existed(self, job_id: str) -> None:
        """Raise NotFound if Slurm does not know the job and has not given out its number yet.

        scancel has done what it could, so a controller that does not answer now is no error.
        """
        base = re.split(r"[_+]", job_id)[0]
        try:
            known = await self._run(commands.squeue(commands.new_nonce(), job_id=base))
            if known.code == 0 or "invalid job id" not in known.stderr.lower():
                return
            told = await self._ask_config()
        except (Unreachable, TimedOut, CommandFailed):
            return
        if told.next_job_id and int(base) >= told.next_job_id:
            raise NotFound(f"job {job_id}", "there is no such job")

    async def _ask(self, command: Command) -> Result:
        """Run a query; raise when it failed."""
        return refusals.check(_program(command), await self._run(command))

    async def _run(self, command: Command) -> Result:
        """Run a command; errors name Slurm's program, not env(1)."""
        try:
            return await self._runner.run(replace(command, retries=refusals.RETRIES))
        except TimedOut as e:
            raise refusals.timed_out(_program(command), e) from e
        except Unreachable as e:
            if e.what == "env":
                raise Unreachable(_program(command), e.why, e.mend) from e
            raise


def _program(command: Command) -> str:
    """The program that env(1) is to run."""
    known = {"squeue", "scontrol", "sbatch", "scancel", "sacct", "srun"}
    return next((word for word in command.argv if word in known), command.argv[0])
