"""``vizdash deploy --missing``: nodes that were down get what they missed.

Fit for cron(8): it prints nothing when there is nothing to do.
"""

from __future__ import annotations

from typing import Any

from vizdash import nodesets, output
from vizdash.cli.live import Live
from vizdash.cli.outcome import outcome_table, outcomes
from vizdash.errors import VizdashError
from vizdash.images.missing import Missing
from vizdash.images.progress import Progress
from vizdash.imaging import Imaging
from vizdash.service import Service


async def catch_up(
    service: Service, app: str, nodeset: str, *, smoke_test: bool, as_json: bool
) -> None:
    """Bring every node up to date that answers. Nodes that Slurm has down are left for the next
    time.

    Raises VizdashError when a node that is up did not answer, or did not get there.
    """
    imaging = Imaging(service)
    found, silent = await imaging.missing(app, nodeset)
    failures = [f"{place.node or 'this machine'}: {place.failure}" for place in silent]
    done: list[dict[str, Any]] = []
    for one in found:
        try:
            progress = await _deploy(service, one, smoke_test=smoke_test)
        except VizdashError as e:
            failures.append(f"{one.app} {one.version}: {e.line}")
            continue
        about = {"app": one.app, "version": one.version}
        done += [{**about, **row} for row in outcomes(progress)]
        if not as_json:
            output.write(outcome_table(progress))
        if progress.failed:
            nodes = nodesets.fold(row.node for row in progress.failed)
            failures.append(f"{one.app} {one.version} on {nodes}: {progress.failed[0].note}")
    if as_json:
        output.write_json("deploy", {"nodes": done}, (await service.info()).cluster)
    for line in failures[:-1]:
        output.talk(line)
    if failures:
        raise VizdashError("deploy --missing", failures[-1], "the next run tries again")


async def _deploy(service: Service, one: Missing, *, smoke_test: bool) -> Progress:
    with Live() as live:
        nodeset = nodesets.fold(one.nodes)
        live.say(f"{one.app} {one.version} is missing on {nodeset or 'the shared image root'}")
        imaging = Imaging(service, live.say)
        plan = await imaging.plan(one.app, version=one.version, nodeset=nodeset)
        return await imaging.deploy(plan, smoke_test=smoke_test, tell=live.tell)
