"""What was done to the images, told from the audit log."""

from __future__ import annotations

import time
from dataclasses import asdict

from vizdash import output
from vizdash.building import Building
from vizdash.images.audit import Event
from vizdash.service import Service

_HEADERS = ("WHEN", "WHO", "WHAT", "APP", "VERSION", "NODE", "OUTCOME", "DIGEST", "NOTE")


async def show_history(service: Service, app: str, *, as_json: bool) -> None:
    """Every build, deploy, rollback and prune, the latest last."""
    history = await Building(service).history(app)
    for problem in history.problems:
        output.talk(problem)
    if as_json:
        cluster = (await service.info()).cluster
        output.write_json("history", [asdict(event) for event in history.events], cluster)
    elif history.events:
        output.write(output.table(_HEADERS, map(_row, history.events)))
    else:
        output.talk(f"nothing is noted in {service.config.cluster.audit_log}")


def _row(event: Event) -> tuple[str, ...]:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(event.at))
    who = event.user if event.account in {"", event.user} else f"{event.user} as {event.account}"
    note = event.detail if event.trusted else f"{event.detail} (their own log says so)".strip()
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
