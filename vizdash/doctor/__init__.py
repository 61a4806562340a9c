"""Looks at every link between a person and a desktop, and names the first that is broken."""

from __future__ import annotations

import contextlib

from vizdash.doctor import cluster, here, node
from vizdash.doctor.case import Case
from vizdash.doctor.check import BROKEN, NOT_TRIED, OK, Check, Finding, run_chain
from vizdash.doctor.deep import session as real_session
from vizdash.errors import ConfigError, VizdashError
from vizdash.model import SessionRequest
from vizdash.service import Service, request_for
from vizdash.sessions import choice

__all__ = ["BROKEN", "NOT_TRIED", "OK", "Finding", "bad_config", "examine", "first_broken"]


async def examine(
    service: Service, *, app: str = "", node: str = "", deep: bool = False, config_path: str = ""
) -> tuple[Finding, ...]:
    """Everything that a session of ``app`` on ``node`` needs, in the order in which it is needed
    (empty: the app that was started last, and a node where it fits). ``deep`` starts one.

    Raises Unknown for an app or node of a name that nothing has.
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
    """The first broken link."""
    return next((f for f in findings if f.status == BROKEN), None)


def bad_config(error: ConfigError) -> tuple[Finding, ...]:
    """What is found where the configuration can't be used."""
    broken = Finding("config", False, VizdashError(error.what, error.why).line, error.mend, BROKEN)
    rest = Finding("engine", False, "it needs: config", "", NOT_TRIED)
    return (broken, rest)


def _request(service: Service, app: str, node: str) -> SessionRequest:
    """What would be started: the last choice, else the catalogue's first app."""
    last = choice.load(service.config.cluster.name)
    if not app:
        known = service.config.apps
        app = last.app if last and last.app in known else next(iter(known), "")
    return request_for(service.app(app), {"node": node or None})


def _checks(case: Case, *, deep: bool) -> tuple[Check, ...]:
    return (
        _local(case, deep=deep) if case.service.engine.name == "local" else _slurm(case, deep=deep)
    )


def _slurm(case: Case, *, deep: bool) -> tuple[Check, ...]:
    first: tuple[Check, ...] = (Check("config", here.config),)
    engine_needs: tuple[str, ...] = ("scontrol",)
    programs = here.programs(local=False)
    if case.remote:
        programs = here.programs(local=False, needs=("engine",))
        first += (Check("login", cluster.login),)
        engine_needs = ("login",)
    engine = Check(
        "engine", cluster.engine, engine_needs, "is the cluster up, and this machine a part of it?"
    )
    first += (engine, *programs) if case.remote else (*programs, engine)
    first += (
        Check("partition", cluster.partition, ("engine",)),
        Check("node", cluster.node, ("partition",)),
    )
    if case.service.config.cluster.tunnel != "srun":
        first += (Check("ssh to nodes", cluster.node_ssh, ("node", "ssh")),)
    first += (
        Check("image", cluster.image, ("node",)),
        Check("session folder", here.session_folder, ("login",)),
        Check("submission", cluster.submission, ("node", "image", "sbatch")),
        *node.checks(case, ("node", "session folder", "submission")),
    )
    return first + _last(case, ("submission", "session folder on node"), deep=deep)


def _local(case: Case, *, deep: bool) -> tuple[Check, ...]:
    checks = (
        Check("config", here.config),
        Check("engine", cluster.engine),
        *here.programs(local=True),
        Check("noVNC", here.novnc),
        Check("apptainer", here.runtime),
        Check("session folder", here.session_folder),
        *node.checks(case, ("engine", "session folder")),
    )
    return checks + _last(case, ("session folder on node",), deep=deep)


def _last(case: Case, needs: tuple[str, ...], *, deep: bool) -> tuple[Check, ...]:
    last: tuple[Check, ...] = ()
    if deep:
        last += (Check("session", real_session, needs),)
    if case.service.engine.name != "local" and not case.remote:
        last += (Check("audit log", here.audit_log, ("engine",)),)
    return (*last, Check("browser", here.browser))
