"""The Slurm engine: runs Slurm's commands and parses their answers."""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import replace

from typing_extensions import override

from vizdash.engines.base import Engine, EngineInfo
from vizdash.engines.job_selection import JobSelection, SelectedJobs
from vizdash.engines.slurm import associations, cluster_config, commands, parse, refusals
from vizdash.engines.slurm.job_lines import JobLines
from vizdash.engines.slurm.parse import reservations
from vizdash.errors import CommandFailed, NotFound, Refused, TimedOut, Unreachable
from vizdash.model import Job, JobRequest, Node, Partition, Reservation
from vizdash.transport import Command, CommandRunner, Result
from vizdash.util.units import format_duration

_PARSABLE = re.compile(r"^([0-9]+)(?:;\S+)?$", re.MULTILINE)

#: scancel's words for a job that no longer runs.
_ENDED = ("already completing or completed", "already finished")


class SlurmEngine(Engine):
    """Slurm on the machine that ``runner`` reaches, as the user named ``user`` there (empty: as
    ``whoami`` prints it there).
    """

    name = "slurm"

    def __init__(self, runner: CommandRunner, *, user: str) -> None:
        self._runner = runner
        self._user = user
        self._info: EngineInfo | None = None
        self._config: cluster_config.ClusterConfig | None = None
        self._asking = asyncio.Lock()
        self._asking_nodes = asyncio.Lock()
        self._members: dict[str, list[str]] | None = None
        self._lines = JobLines()
        #: The nodes of the last answer by their records.
        self._nodes: dict[str, Node] = {}

    @override
    async def info(self) -> EngineInfo:
        """Name and version of the cluster, and what this user may do there.

        root, SlurmUser and the accounting's administrators may do everything; its operators may
        act on every user's jobs, but not on nodes (sacctmgr(1), "AdminLevel").
        """
        if self._info is None:
            self._user = self._user or (await self._ask(commands.whoami())).stdout.strip()
            config = await self._configured()
            level = await self._level() if config.accounting else ""
            if self._user in {"root", config.slurm_user}:
                level = "Administrator"
            self._info = EngineInfo(
                name=self.name,
                cluster=config.cluster,
                version=config.version,
                user=self._user,
                admin=level != "",
                node_admin=level == "Administrator",
                accounting=config.accounting,
                job_retention_s=config.job_retention_s,
                memory_tracked=config.memory_tracked,
                private=() if level else config.private,
            )
        return self._info

    async def _configured(self) -> cluster_config.ClusterConfig:
        """The cluster's configuration: queried once."""
        async with self._asking:
            if self._config is None:
                self._config = await self._ask_config()
        return self._config

    async def _ask_config(self) -> cluster_config.ClusterConfig:
        """Query slurmctld. After the configuration, scontrol(1) pings the controllers, and exits
        with 1 and no message where that has no answer, as where calls are limited (rl_enable).
        """
        result = await self._run(commands.show_config())
        config = cluster_config.config(result.stdout)
        if not (config.cluster and result.code == 1 and not result.stderr.strip()):
            refusals.check("scontrol", result)
        return config

    async def _level(self) -> str:
        """The accounting's admin level; empty where the cluster does not show it."""
        result = await self._run(commands.show_user(self._user))
        return parse.admin_level(result.stdout, self._user) if result.code == 0 else ""

    @override
    async def nodes(self) -> tuple[Node, ...]:
        """All nodes, as slurm.conf orders them; none where they are kept private (slurm.conf(5),
        "PrivateData").
        """
        async with self._asking_nodes:
            return await self._query_nodes()

    async def _query_nodes(self) -> tuple[Node, ...]:
        command = commands.show_nodes()
        result = await self._run(command)
        if refusals.is_private(result):
            self._members = {}
            return ()
        answer = refusals.check(_program(command), result).stdout
        nodes = parse.nodes(answer, await self._configured(), self._nodes)
        members: dict[str, list[str]] = {}
        for node in nodes:
            for partition in node.partitions:
                members.setdefault(partition, []).append(node.name)
        self._members = members
        return nodes

    @override
    async def partitions(self) -> tuple[Partition, ...]:
        """All partitions, with their nodes as of the last call of ``nodes``; none where they are
        kept private (slurm.conf(5), "PrivateData").
        """
        command = commands.show_partitions()
        result = await self._run(command)
        if refusals.is_private(result):
            return ()
        answer = refusals.check(_program(command), result).stdout
        async with self._asking_nodes:  # whoever asks for both gets one query of the nodes
            if self._members is None:
                await self._query_nodes()
        members = self._members or {}
        about = await self._configured()
        return parse.partitions(answer, lambda name: tuple(members.get(name, ())), about)

    @override
    async def reservations(self) -> tuple[Reservation, ...]:
        """Those that this user may see (slurm.conf(5), "PrivateData")."""
        return reservations((await self._ask(commands.show_reservations())).stdout)

    @override
    async def jobs(self, *, user: str | None = None, partition: str = "") -> tuple[Job, ...]:
        """Jobs in every state that slurmctld still knows (MinJobAge: 5 minutes by default)."""
        nonce = commands.new_nonce()
        result = await self._ask(commands.squeue(nonce, user=user))
        return parse.jobs(result.stdout, nonce, partition=partition)

    @override
    async def select_jobs(self, selection: JobSelection) -> SelectedJobs:
        """Of everyone's jobs, those that matter."""
        nonce = commands.new_nonce()
        result = await self._ask(commands.squeue_everyone(nonce))
        return await self._lines.select(result.stdout, nonce, selection)

    @override
    async def submit(self, request: JobRequest) -> str:
        """Submit a job by sbatch. Raises Refused with Slurm's reason in words."""
        what = f"{request.app or request.name} was not started"
        request = await self._without_untracked_memory(request)
        try:
            result = await self._run(commands.sbatch(request))
        except TimedOut as e:
            raise TimedOut("sbatch", e.why, refusals.MAYBE_STARTED) from e
        if result.code != 0:
            raise refusals.refusal(what, result)
        ids = _PARSABLE.findall(result.stdout)
        if not ids:
            why = f"no job id in its answer: {result.stdout.strip()!r}"
            raise TimedOut("sbatch", why, refusals.MAYBE_STARTED)
        return str(ids[-1])

    @override
    async def expected_start(self, request: JobRequest) -> int | None:
        """What sbatch --test-only prints. Raises Refused with Slurm's reason in words."""
        request = await self._without_untracked_memory(request)
        result = await self._run(commands.sbatch_test_only(commands.sbatch(request)))
        if result.code != 0:
            raise refusals.refusal(f"{request.app or request.name} can't be started", result)
        return parse.parse_test_only(result.stderr)

    async def run_job(
        self, request: JobRequest, argv: tuple[str, ...], *, wait_s: int, timeout_s: float
    ) -> Result:
        """Run ``argv`` as a short job and wait for it: see ``commands.srun``. The result holds what
        srun prints, whatever its exit code. Raises Unreachable and TimedOut.
        """
        request = await self._without_untracked_memory(request)
        return await self._run(commands.srun(request, argv, wait_s=wait_s, timeout_s=timeout_s))

    async def _without_untracked_memory(self, request: JobRequest) -> JobRequest:
        """Where memory is not tracked, request none: nodes there have 1 MiB."""
        tracked = (await self._configured()).memory_tracked
        return request if tracked else replace(request, memory="none")

    @override
    async def cancel(self, job_id: str) -> None:
        """Cancel a job by scancel. Raises Refused for another user's, NotFound for none.

        scancel prints nothing about a job that does not exist, whether ended or never submitted.
        """
        result = await self._run(commands.scancel(job_id))
        words = result.stderr.lower()
        if "permission denied" in words and result.code not in {126, 127}:
            raise Refused(f"job {job_id} was not stopped", "it is not yours")
        if "invalid job id" in words or (result.code == 0 and not words.strip()):
            await self._check_existed(job_id)
        elif result.code != 0 and not any(part in words for part in _ENDED):
            raise refusals.failure("scancel", result)

    @override
    async def history(self, *, since_s: int, user: str | None = None) -> tuple[Job, ...]:
        """Ended jobs, from the accounting. Raises Refused where there is none."""
        info = await self.info()
        if not info.accounting:
            kept = f"ended jobs are known for {format_duration(info.job_retention_s)}"
            raise Refused("history", f"cluster {info.cluster} keeps no accounting", kept)
        nonce = commands.new_nonce()
        result = await self._ask(commands.sacct(nonce, since_s=since_s, user=user))
        return tuple(job for job in parse.history(result.stdout, nonce) if job.state.ended)

    @override
    async def drain(self, node: str, reason: str) -> None:
        """Drain a node by scontrol."""
        what = f"node {node} was not drained"
        await self._change(what, commands.drain_node(node, reason))

    @override
    async def resume(self, node: str) -> None:
        """Resume a node by scontrol."""
        what = f"node {node} was not resumed"
        await self._change(what, commands.resume_node(node))

    @override
    async def max_time_s(self, account: str, qos: str, partition_qos: str = "") -> int | None:
        """The limits of association and QOS, where the accounting has any and shows them."""
        info = await self.info()
        if not info.accounting:
            return None
        shown = (await self._run(commands.show_limits(info.user))).stdout
        names = frozenset({qos}) if qos else await self._default_qos(shown, account)
        return associations.wall_limit(shown, info.user, account, names, partition_qos)

    @override
    async def qos_lifts_time_limit(self, account: str, qos: str) -> bool:
        """By the flags of the QOS; not where slurmdbd does not answer."""
        info = await self.info()
        if not info.accounting:
            return False
        shown = (await self._run(commands.show_limits(info.user))).stdout
        names = frozenset({qos}) if qos else await self._default_qos(shown, account)
        with contextlib.suppress(TimedOut, Unreachable):
            result = await self._run(commands.show_qos_flags())
            return result.code == 0 and associations.lifts_time_limit(result.stdout, names)
        return False

    async def _default_qos(self, shown: str, account: str) -> frozenset[str]:
        """The default QOS of ``account``; Slurm's own where slurmdbd does not answer."""
        info = await self.info()
        account = account or associations.default_account(shown, info.user)
        answer = ""
        with contextlib.suppress(TimedOut, Unreachable):
            result = await self._run(commands.show_default_qos(info.user, info.cluster))
            answer = result.stdout if result.code == 0 else ""
        return associations.default_qos(answer, account)

    @override
    async def set_time_limit(self, job_id: str, time_s: int) -> None:
        """Change the limit by scontrol; only operators may increase it."""
        what = f"the time limit of job {job_id} was not changed"
        await self._change(what, commands.set_time_limit(job_id, time_s))

    @override
    async def set_comment(self, job_id: str, comment: str) -> None:
        """Write the comment by scontrol: of the user's own jobs, as an operator of any."""
        what = f"the comment of job {job_id} was not written"
        await self._change(what, commands.set_comment(job_id, comment))

    @override
    async def send_message(self, job_id: str, text: str, comment: str) -> None:
        """Write the text into the comment and signal the job, which shows and removes it."""
        await self.set_comment(job_id, comment)
        await self._change(f"job {job_id} got no message", commands.warn(job_id))

    async def _change(self, what: str, command: Command) -> None:
        result = await self._run(command)
        if result.code != 0:
            raise refusals.change_refusal(what, result, _program(command))

    async def _check_existed(self, job_id: str) -> None:
        """Raise NotFound if Slurm does not know the job and has not assigned its number yet.

        scancel has succeeded, so a controller that does not answer now is no error.
        """
        base = re.split(r"[_+]", job_id)[0]
        try:
            known = await self._run(commands.squeue(commands.new_nonce(), job_id=base))
            if known.code == 0 or "invalid job id" not in known.stderr.lower():
                return
            config = await self._ask_config()
        except (Unreachable, TimedOut, CommandFailed):
            return
        if config.next_job_id and int(base) >= config.next_job_id:
            raise NotFound(f"job {job_id}", "there is no such job")

    async def _ask(self, command: Command) -> Result:
        """Run a query. Raises as ``refusals.check`` where it failed."""
        return refusals.check(_program(command), await self._run(command))

    async def _run(self, command: Command) -> Result:
        """Run a command; errors name Slurm's program, not env(1)."""
        try:
            return await self._runner.run(replace(command, retries=refusals.RETRIES))
        except TimedOut as e:
            raise refusals.timed_out(_program(command), e) from e
        except Unreachable as e:
            if e.what == "env":
                raise Unreachable(_program(command), e.why, e.fix) from e
            raise


def _program(command: Command) -> str:
    """The program that env(1) is to run."""
    known = {"squeue", "scontrol", "sbatch", "scancel", "sacct", "sacctmgr", "srun"}
    return next((word for word in command.argv if word in known), command.argv[0])
