"""The doctor: checks every step between a user and a desktop, and names the first that fails."""

from __future__ import annotations

import contextlib

from vizdash.errors import ConfigError, VizdashError
from vizdash.model import SessionRequest
from vizdash.service.doctor import cluster_checks, local_checks, node_checks
from vizdash.service.doctor.checks import (
    BROKEN,
    NOT_TRIED,
    OK,
    Case,
    Check,
    Finding,
    run_chain,
)
from vizdash.service.service import Service
from vizdash.sessions import last_request
from vizdash.sessions.last_request import build_request

__all__ = ["BROKEN", "NOT_TRIED", "OK", "Finding", "bad_config", "examine", "first_broken"]


async def examine(
    service: Service, *, app: str = "", node: str = "", deep: bool = False, config_path: str = ""
) -> tuple[Finding, ...]:
    """Check everything that a session of ``app`` on ``node`` needs, in the order of use. Empty: the
    app that was started last, and a node where it fits. ``deep`` starts a real session.

    Raises UnknownName for an unknown app or node.
    """
    jobs = not service.config.read_only
    case = Case(
        service, _request(service, app, node), node=node, config_path=config_path, jobs=jobs
    )
    checks = _checks(case, deep=deep)
    try:
        findings = await run_chain(checks, case)
    finally:
        if case.folder:
            with contextlib.suppress(VizdashError, OSError):
                await service.store.remove(case.session_id)
    if case.unknown is not None:
        raise case.unknown
    return findings


def first_broken(findings: tuple[Finding, ...]) -> Finding | None:
    """The first failed check."""
    return next((f for f in findings if f.status == BROKEN), None)


def bad_config(error: ConfigError) -> tuple[Finding, ...]:
    """The findings for a configuration that cannot be used."""
    broken = Finding("config", False, VizdashError(error.what, error.why).line, error.fix, BROKEN)
    rest = Finding("engine", False, "needs: config", "", NOT_TRIED)
    return (broken, rest)


def _request(service: Service, app: str, node: str) -> SessionRequest:
    """The request to check: the last one, else the first app of the configuration."""
    last = last_request.load(service.config.cluster.name)
    if not app:
        known = service.config.apps
        app = last.app if last and last.app in known else next(iter(known), "")
    return build_request(service.apps.find(app), {"node": node or None})


def _checks(case: Case, *, deep: bool) -> tuple[Check, ...]:
    return (
        _local(case, deep=deep) if case.service.engine.name == "local" else _slurm(case, deep=deep)
    )


def _slurm(case: Case, *, deep: bool) -> tuple[Check, ...]:
    first: tuple[Check, ...] = (Check("config", local_checks.check_config),)
    engine_needs: tuple[str, ...] = ("scontrol",)
    programs = local_checks.program_checks(local=False)
    if case.remote:
        programs = local_checks.program_checks(local=False, needs=("engine",))
        first += (Check("login", cluster_checks.check_login),)
        engine_needs = ("login",)
    engine = Check(
        "engine",
        cluster_checks.check_engine,
        engine_needs,
        "is Slurm running, and does this machine belong to the cluster?",
    )
    first += (engine, *programs) if case.remote else (*programs, engine)
    first += (
        Check("partition", cluster_checks.check_partition, ("engine",)),
        Check("node", cluster_checks.check_node, ("partition",)),
    )
    if case.service.config.cluster.tunnel != "srun":
        first += (Check("ssh to nodes", cluster_checks.check_node_ssh, ("node", "ssh")),)
    first += (
        Check("image", cluster_checks.check_image, ("node",)),
        Check("session folder", local_checks.check_session_folder, ("login",)),
        Check("submission", cluster_checks.check_submission, ("node", "image", "sbatch")),
        *node_checks.node_checks(case, ("node", "session folder", "submission")),
    )
    return first + _last(case, ("submission", "session folder on node"), deep=deep)


def _local(case: Case, *, deep: bool) -> tuple[Check, ...]:
    named = (Check("node", cluster_checks.check_node, ("engine",)),) if case.node else ()
    checks = (
        Check("config", local_checks.check_config),
        Check("engine", cluster_checks.check_engine),
        *named,
        *local_checks.program_checks(local=True),
        Check("noVNC", local_checks.check_novnc),
        Check("apptainer", local_checks.check_runtime),
        Check("session folder", local_checks.check_session_folder),
        *node_checks.node_checks(case, ("engine", "session folder")),
    )
    return checks + _last(case, ("session folder on node",), deep=deep)


def _last(case: Case, needs: tuple[str, ...], *, deep: bool) -> tuple[Check, ...]:
    last: tuple[Check, ...] = ()
    if deep:
        last += (Check("session", cluster_checks.check_session, needs),)
    if case.service.engine.name != "local" and not case.remote:
        last += (Check("audit log", local_checks.check_audit_log, ("engine",)),)
    return (*last, Check("browser", local_checks.check_browser))
