"""Prints the history of images from the audit log."""

from __future__ import annotations

import time
from dataclasses import asdict

from vizdash.cli import output
from vizdash.images.audit_log import AuditEvent
from vizdash.service.builds import ImageBuilder
from vizdash.service.service import Service

_HEADERS = ("WHEN", "WHO", "WHAT", "APP", "VERSION", "NODE", "OUTCOME", "DIGEST", "NOTE")


async def show_history(service: Service, app: str, *, as_json: bool) -> None:
    """Print every build, deploy, rollback and prune, the latest last."""
    history = await ImageBuilder(service).read_history(app)
    for problem in history.problems:
        output.print_message(problem)
    if app and not history.events:  # one with events may have left the catalogue since
        service.apps.find(app)
    if as_json:
        cluster = (await service.info()).cluster
        output.write_json("history", [asdict(event) for event in history.events], cluster)
    elif history.events:
        output.write(output.table(_HEADERS, map(_row, history.events)))
    else:
        output.print_message(f"no events in {service.config.cluster.audit_log}")


def _row(event: AuditEvent) -> tuple[str, ...]:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(event.at))
    who = event.user if event.account in {"", event.user} else f"{event.user} as {event.account}"
    note = event.detail if event.trusted else f"{event.detail} (from the user's own log)".strip()
    return (
        when,
        who,
        event.action,
        event.app,
        event.version,
        event.node,
        event.outcome,
        event.digest[:12],
        note,
    )
