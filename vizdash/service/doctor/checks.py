"""A chain of checks: what each one checks, which others it needs, and the state they share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from vizdash.config import App
from vizdash.errors import UnknownName, VizdashError
from vizdash.model import Node, Partition, SessionRequest
from vizdash.service.service import Service
from vizdash.util.error_log import report


@dataclass(slots=True)
class Case:
    """The state that the checks share.

    ``request`` is the session to check for, ``node`` the node given or selected, ``config_path``
    the configuration file given, ``jobs`` whether a short job may be run. ``facts`` are the values
    that doctor.sh printed on the node, by name; ``folder`` is the session folder made for it;
    ``unknown`` is the error for an unknown node.
    """

    service: Service
    request: SessionRequest
    node: str = ""
    config_path: str = ""
    jobs: bool = True
    nodes: tuple[Node, ...] = ()
    partition: Partition | None = None
    facts: dict[str, str] = field(default_factory=dict)
    session_id: str = ""
    folder: str = ""
    unknown: UnknownName | None = None

    @property
    def app(self) -> App:
        """The app of the request."""
        return self.service.apps.find(self.request.app)

    @property
    def remote(self) -> str:
        """The login host, if it is reached by SSH; empty on the cluster itself."""
        return self.service.remote.status.host if self.service.remote is not None else ""


OK, BROKEN, NOT_TRIED = "ok", "broken", "not tried"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. ``found`` is what it found (a path, a version), what is broken, or
    why it was not tried. ``status`` is ``ok``, ``broken`` or ``not tried``.
    """

    what: str
    ok: bool
    found: str
    fix: str = ""
    status: str = OK


@dataclass(frozen=True, slots=True)
class Check:
    """One check. ``run`` returns what it found, and raises VizdashError with cause and fix
    (``fix``, if the error has none). It is tried only if the checks in ``needs`` passed.
    """

    what: str
    run: Callable[[Case], Awaitable[str]]
    needs: tuple[str, ...] = ()
    fix: str = ""


async def run_chain(checks: Sequence[Check], case: Case) -> tuple[Finding, ...]:
    """Run the checks in order. No error of a check ends the chain."""
    findings: list[Finding] = []
    failed: set[str] = set()
    for check in checks:
        if blocked := [need for need in check.needs if need in failed]:
            finding = Finding(check.what, False, f"needs: {blocked[0]}", "", NOT_TRIED)
        else:
            finding = await _try(check, case)
        if not finding.ok:
            failed.add(check.what)
        findings.append(finding)
    return tuple(findings)


async def _try(check: Check, case: Case) -> Finding:
    try:
        return Finding(check.what, True, await check.run(case))
    except VizdashError as e:
        cause = VizdashError(e.what, e.why).line
        return Finding(check.what, False, cause, e.fix or check.fix, BROKEN)
    except Exception as e:  # noqa: BLE001 (reported as a finding)
        return Finding(check.what, False, report(e, check.what), "report this error", BROKEN)
