"""``vizdash deploy --missing``: deploys what nodes missed while they were down.

Suitable for cron(8): it prints nothing when no node lacks anything.
"""

from __future__ import annotations

from typing import Any

from vizdash.cli import output
from vizdash.cli.change_report import ProgressDisplay, outcome_table, outcomes
from vizdash.errors import VizdashError
from vizdash.images.drift import MissingVersion
from vizdash.images.progress import ChangeProgress
from vizdash.service.image_admin import ImageAdmin
from vizdash.service.service import Service
from vizdash.util import nodesets


async def deploy_missing(
    service: Service,
    app: str,
    nodeset: str,
    *,
    smoke_test: bool,
    as_json: bool,
    smoke_gpus: int = 0,
) -> None:
    """Deploy what is missing to every node that answers; nodes that are down are left for the next
    run.

    Raises VizdashError when a node that is up did not answer or failed.
    """
    admin = ImageAdmin(service)
    missing, silent = await admin.find_missing(app, nodeset)
    failures = [f"{root.node or 'this machine'}: {root.failure}" for root in silent]
    done: list[dict[str, Any]] = []
    for lacking in missing:
        try:
            progress = await _deploy(service, lacking, smoke_test=smoke_test, gpus=smoke_gpus)
        except VizdashError as e:
            failures.append(f"{lacking.app} {lacking.version}: {e.line}")
            continue
        about = {"app": lacking.app, "version": lacking.version}
        done += [{**about, **row} for row in outcomes(progress)]
        if not as_json:
            output.write(outcome_table(progress))
        if progress.failed:
            nodes = nodesets.fold_nodes(row.node for row in progress.failed)
            failures.append(
                f"{lacking.app} {lacking.version} on {nodes}: {progress.failed[0].note}"
            )
    if as_json:
        output.write_json("deploy", {"nodes": done}, (await service.info()).cluster)
    for line in failures[:-1]:
        output.print_message(line)
    if failures:
        raise VizdashError("deploy --missing", failures[-1], "the next run tries again")


async def _deploy(
    service: Service, lacking: MissingVersion, *, smoke_test: bool, gpus: int
) -> ChangeProgress:
    with ProgressDisplay() as display:
        nodeset = nodesets.fold_nodes(lacking.nodes)
        display.print_line(
            f"{lacking.app} {lacking.version} is missing on {nodeset or 'the shared image root'}"
        )
        admin = ImageAdmin(service, display.print_line)
        plan = await admin.plan_deploy(lacking.app, version=lacking.version, nodeset=nodeset)
        return await admin.deploy(
            plan, smoke_test=smoke_test, smoke_gpus=gpus, on_change=display.show_node
        )
