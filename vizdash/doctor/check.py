"""A chain of checks: each names what it looks at and what has to work before it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from vizdash.doctor.case import Case
from vizdash.errorlog import report
from vizdash.errors import VizdashError

OK, BROKEN, NOT_TRIED = "ok", "broken", "not tried"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check came to. ``found`` is what is there (path, version), what is broken, or why it
    was not tried; ``mend`` is the fix. ``status`` is ``ok``, ``broken`` or ``not tried``.
    """

    what: str
    ok: bool
    found: str
    mend: str = ""
    status: str = OK


@dataclass(frozen=True, slots=True)
class Check:
    """One link. ``run`` returns what was found, and raises VizdashError with cause and fix for a
    link that is broken (``fix``, where the error has none). ``needs`` are the checks without which
    it says nothing.
    """

    what: str
    run: Callable[[Case], Awaitable[str]]
    needs: tuple[str, ...] = ()
    fix: str = ""


async def run_chain(checks: Sequence[Check], case: Case) -> tuple[Finding, ...]:
    """Try one after the other. Nothing that a check raises ends the chain."""
    findings: list[Finding] = []
    failed: set[str] = set()
    for check in checks:
        if blocked := [need for need in check.needs if need in failed]:
            finding = Finding(check.what, False, f"it needs: {blocked[0]}", "", NOT_TRIED)
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
        return Finding(check.what, False, cause, e.mend or check.fix, BROKEN)
    except Exception as e:  # noqa: BLE001 (it is reported, and the other links are still of use)
        return Finding(check.what, False, report(e, check.what), "report this error", BROKEN)
