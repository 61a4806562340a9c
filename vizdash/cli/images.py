"""The verbs ``images``, ``deploy``, ``rollback`` and ``prune``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import click

from vizdash.cli import output
from vizdash.cli.change_report import ProgressDisplay, outcome_table, outcomes
from vizdash.cli.common import cli, common, options_of, run
from vizdash.cli.deploy_missing import deploy_missing
from vizdash.cli.image_history import show_history
from vizdash.errors import NotFound, Refused, VizdashError
from vizdash.images.drift import ImageFinding, compare_images, sessions_using, sort_drift_first
from vizdash.images.progress import ChangeProgress
from vizdash.images.rollback import RollbackPlan
from vizdash.images.verify import VerifyResult
from vizdash.service.image_admin import ImageAdmin, ImageOverview, PrunePlan
from vizdash.service.service import Service
from vizdash.util import nodesets
from vizdash.util.units import format_duration, format_size, format_size_gib

_HEADERS = ("APP", "VERSION", "STATE", "NODES", "SIZE GIB", "AGE", "DIGEST", "IN USE BY", "NOTE")
_PLACES = ("NODE", "FREE GIB", "OF GIB", "SEEN", "NOTE")


@cli.command(excludes={"history": ("nodeset", "and_verify")})
@common
@click.argument("app", default="")
@click.option("--node", "nodeset", default="", help="Nodes, e.g. viz-node[001-016].")
@click.option("--verify", "and_verify", is_flag=True, help="Verify the digest of every image.")
@click.option("--history", is_flag=True, help="Show who did what, and when.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def images(
    ctx: click.Context,
    /,
    *,
    app: str,
    nodeset: str,
    and_verify: bool,
    history: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """List the images on each node: version, digest, drift, sessions, free space."""

    async def work(service: Service) -> None:
        if history:
            await show_history(service, app, as_json=as_json)
            return
        admin = ImageAdmin(service)
        overview = await admin.overview(nodeset)
        results: tuple[VerifyResult, ...] = ()
        if and_verify:
            chosen = [f.image for f in _findings_of(overview, app) if f.image]
            results = await admin.verify(overview.matrix, chosen, output.print_message)
            overview = await admin.overview(nodeset)
        findings = _findings_of(overview, app)
        if as_json:
            _write_json(overview, findings, results)
        if app and not findings:
            service.apps.find(app)
            if not as_json:
                raise NotFound(f"images of {app!r}", "no node has one", f"vizdash deploy {app}")
        elif not as_json:
            _write_tables(overview, sort_drift_first(findings))
        _report_results(results)

    run(options_of(ctx, values), work)


def _findings_of(overview: ImageOverview, app: str) -> tuple[ImageFinding, ...]:
    """Return the findings of one app, or all of them."""
    folder = f"/{app}/"
    return tuple(
        f
        for f in compare_images(overview.matrix)
        if not app or f.app == app or (f.stray and folder in f.stray.path)
    )


def _report_results(results: tuple[VerifyResult, ...]) -> None:
    """Report the result of a verification. Raises VizdashError when an image is not intact."""
    bad = [v for v in results if not v.good]
    for result in bad:
        why = result.failure or f"its digest is {result.found[:12]}, not {result.recorded[:12]}"
        output.print_message(f"{result.image.node}: {result.image.path}: {why}")
    if bad:
        apps = sorted({v.image.app for v in bad})
        fix = "; ".join(f"vizdash deploy {app} fixes damage" for app in apps)
        raise VizdashError("verify", f"{len(bad)} of {len(results)} images are not intact", fix)
    new = sum(not v.recorded for v in results)
    if len(results) > new:
        output.print_message(f"all {len(results) - new} images match their recorded digests")
    if new:
        output.print_message(f"{new} images were read; they had no recorded digest")


def _write_tables(overview: ImageOverview, findings: tuple[ImageFinding, ...]) -> None:
    """Print the tables; images that are the same on several nodes share a row."""
    rows: dict[tuple[str, ...], list[ImageFinding]] = {}
    for finding in findings:
        rows.setdefault(_key(overview, finding), []).append(finding)
    table = [
        (
            *key[:3],
            nodesets.fold_nodes(f.node for f in same) or "this machine",
            key[3],
            _age(same),
            *key[4:],
        )
        for key, same in rows.items()
    ]
    if table:
        output.write(output.table(_HEADERS, table) + "\n")
    output.write(output.table(_PLACES, _place_rows(overview)))


def _key(overview: ImageOverview, finding: ImageFinding) -> tuple[str, ...]:
    image, stray = finding.image, finding.stray
    thing = image or stray
    size = format_size_gib(thing.size_bytes) if thing else ""
    note = f"{stray.path}: {finding.note}" if stray else finding.note
    version = "" if stray else finding.version or "unversioned"
    digest = image.digest[:12] if image else ""
    return finding.app, version, str(finding.state), size, digest, _used_by(overview, finding), note


def _age(same: Sequence[ImageFinding]) -> str:
    """Return how long ago the oldest of them was modified."""
    times = [thing.modified_at for f in same if (thing := f.image or f.stray)]
    return format_duration(max(0, int(time.time()) - min(times))) if times else ""


def _used_by(overview: ImageOverview, finding: ImageFinding) -> str:
    if finding.image is None:
        return ""
    users = [f"{s.id} ({s.user})" for s in sessions_using(finding.image, overview.sessions)]
    return ", ".join(users) or ("a process" if finding.image.open else "")


def _place_rows(overview: ImageOverview) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for root in overview.matrix.roots:
        free, total = (
            (format_size_gib(root.free_bytes), format_size_gib(root.total_bytes))
            if root.known
            else ("", "")
        )
        seen = "now" if not root.failure else "never"
        if root.failure and root.seen_at:
            seen = f"{format_duration(int(time.time()) - root.seen_at)} ago"
        note = root.failure or ("" if root.exists else "no image root yet")
        rows.append((root.node or "this machine", free, total, seen, note))
    return rows


def _write_json(
    overview: ImageOverview, findings: tuple[ImageFinding, ...], results: tuple[VerifyResult, ...]
) -> None:
    read = {(v.image.node, v.image.path): v for v in results}
    rows = []
    for finding in findings:
        image, thing = finding.image, finding.image or finding.stray
        result = read.get((finding.node, image.path)) if image else None
        rows.append(
            {
                "app": finding.app,
                "version": finding.version,
                "node": finding.node,
                "state": str(finding.state),
                "drift": finding.state.drift,
                "note": finding.note,
                "path": thing.path if thing else "",
                "size_bytes": thing.size_bytes if thing else 0,
                "modified_at": thing.modified_at if thing else 0,
                "current": bool(image and image.current),
                "digest": image.digest if image else "",
                "open": bool(image and image.open),
                "sessions": [s.id for s in sessions_using(image, overview.sessions)]
                if image
                else [],
                "verified": None if result is None else result.good,
            }
        )
    places = []
    for root in overview.matrix.roots:
        values = asdict(root)
        del values["strays"], values["journals"]
        places.append(values)
    output.write_json("images", rows, overview.cluster, places=places)


# ---------------------------------------------------------------- changing


@cli.command(needs={"smoke_gpus": ("smoke_test",)})
@common
@click.argument("app", default="")
@click.option(
    "--version", "version", default="", help="Version in the store (default: the newest)."
)
@click.option("--from", "file", default="", help="Image file on this machine to deploy instead.")
@click.option("--node", "nodeset", default="", help="Nodes, e.g. viz-node[001-016].")
@click.option("--canary", default="", help="Deploy to this node first; stop if it fails there.")
@click.option(
    "--smoke", "smoke_test", is_flag=True, help="Test a session on each node before switching it."
)
@click.option(
    "--gpus",
    "smoke_gpus",
    type=click.IntRange(0),
    default=0,
    help="With --smoke: GPUs of the test session.",
)
@click.option("--force", is_flag=True, help="Accept an older version, or differing labels.")
@click.option("--missing", is_flag=True, help="Deploy only what nodes missed while down.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def deploy(ctx: click.Context, /, app: str, **values: Any) -> None:
    """Copy an image to the nodes, verify it there and make it current.

    Each node receives only the blocks that differ from its current image into a temporary file,
    verifies the checksum, renames the file, and switches the current link last.

    With --missing, deploy what nodes missed while they were down: of APP, or of every app, the
    version that was last deployed or rolled back to on all nodes. Prints nothing if no node lacks
    it.
    """
    options = options_of(ctx, values)
    if values.pop("missing"):
        run(options, partial(deploy_missing, **_missing_options(app, values)))
        return
    if not app:
        raise click.UsageError("Missing argument 'APP'.")
    canary, smoke_test = values.pop("canary"), values.pop("smoke_test")
    smoke_gpus = values.pop("smoke_gpus")
    as_json = values.pop("as_json")

    async def work(service: Service) -> None:
        with ProgressDisplay() as display:
            display.print_line("checking the nodes and the image's digest")
            async with ImageAdmin(service, display.print_line).connected() as admin:
                plan = await admin.plan_deploy(app, **values)
                source = plan.source
                display.print_line(
                    f"{app} {source.version} ({format_size(source.size_bytes)}, "
                    f"{source.digest[:12]}) from {source.path} to {_count(plan.nodes)}"
                )
                if plan.warning:
                    display.print_line(plan.warning)
                progress = await admin.deploy(
                    plan,
                    canary=canary,
                    smoke_test=smoke_test,
                    smoke_gpus=smoke_gpus,
                    confirmed=values["force"] or (bool(plan.warning) and _confirm("Deploy it?")),
                    on_change=display.show_node,
                )
        about = {"app": app, "version": source.version, "digest": source.digest}
        await _report(service, progress, as_json, "deploy", about)

    run(options, work)


def _missing_options(app: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return the options that --missing uses. Raises click.UsageError for others."""
    for name, option in (
        ("version", "--version"),
        ("file", "--from"),
        ("canary", "--canary"),
        ("force", "--force"),
    ):
        if values[name]:
            raise click.UsageError(f"--missing takes no {option}: the inventory says which version")
    return {
        "app": app,
        **{k: values[k] for k in ("nodeset", "smoke_test", "smoke_gpus", "as_json")},
    }


@cli.command()
@common
@click.argument("app")
@click.option("--to", "version", default="", help="Switch to this version where it ran before.")
@click.option("--node", "nodeset", default="", help="Nodes, e.g. viz-node[001-016].")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def rollback(
    ctx: click.Context, /, app: str, version: str, nodeset: str, as_json: bool, **values: Any
) -> None:
    """Switch back to the previous version; running sessions keep theirs."""

    async def work(service: Service) -> None:
        with ProgressDisplay() as display:
            async with ImageAdmin(service, display.print_line).connected() as admin:
                overview = await admin.overview(nodeset)
                plan = await admin.plan_rollback(app, overview.matrix, version)
                for target, nodes in plan.groups:
                    display.print_line(f"{app} returns to {target} on {_count(nodes)}")
                for words in _describe_staying(plan):
                    display.print_line(words)
                display.print_line("running sessions keep their image")
                progress = await admin.rollback(plan, display.show_node, all_nodes=not nodeset)
        about = {"app": app, "version": plan.version}
        left = nodesets.fold_nodes(row.node for row in progress.failed if row.node)
        again = f"rollback {app} --to {version}" if version else f"rollback {app} --node {left}"
        await _report(service, progress, as_json, "rollback", about, again=again if left else "")

    run(options_of(ctx, values), work)


@cli.command()
@common
@click.argument("app")
@click.option(
    "--keep", type=click.IntRange(1), required=True, help="Number of newest versions to keep."
)
@click.option("--node", "nodeset", default="", help="Nodes, e.g. viz-node[001-016].")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def prune(ctx: click.Context, /, app: str, keep: int, nodeset: str, **values: Any) -> None:
    """Remove all but the newest images of an app; images in use stay."""
    options = options_of(ctx, values)
    yes, as_json = values.pop("yes"), values.pop("as_json")

    async def work(service: Service) -> None:
        with ProgressDisplay() as display:
            async with ImageAdmin(service, display.print_line).connected() as admin:
                plan = await admin.plan_prune(app, keep, nodeset)
                _print_prune_plan(plan, display)
                if plan.removable and plan.unchecked_hosts:
                    display.print_line(f"not checked for running sessions: {plan.unchecked_hosts}")
                if plan.removable and not yes and not _confirm("Remove them?"):
                    raise Refused("nothing was removed", "", "" if sys.stdin.isatty() else "--yes")
                progress = await admin.prune(plan, display.show_node)
        await _report(service, progress, as_json, "prune", {"app": app})

    run(options, work)


def _print_prune_plan(plan: PrunePlan, display: ProgressDisplay) -> None:
    rows: dict[str, list[str]] = {}
    for old in plan.removable:
        rows.setdefault(f"{old.app} {old.version} will be removed from", []).append(old.node)
    for old, why in plan.kept:
        rows.setdefault(f"{old.app} {old.version} stays ({why}) on", []).append(old.node)
    for words, nodes in rows.items():
        display.print_line(f"{words} {nodesets.fold_nodes(nodes) or 'the shared image root'}")
    if not plan.removable:
        display.print_line(f"nothing of {plan.app} can be removed")


def _describe_staying(plan: RollbackPlan) -> Iterator[str]:
    """Describe the nodes that start another version than the undone one, and keep it."""
    rows: dict[str, list[str]] = {}
    for node, version in plan.staying.items():
        rows.setdefault(version, []).append(node)
    for version, nodes in rows.items():
        yield f"{_count(tuple(nodes))}: {version or 'nothing'} stays current, {plan.undone} is not"


def _confirm(question: str) -> bool:
    return sys.stdin.isatty() and click.confirm(question, err=True)


def _count(nodes: Sequence[str]) -> str:
    if nodes == ("",):
        return "the shared image root"
    return nodesets.fold_nodes(nodes) if len(nodes) < 4 else f"{len(nodes)} nodes"


async def _report(
    service: Service,
    progress: ChangeProgress,
    as_json: bool,
    verb: str,
    about: dict[str, str],
    *,
    again: str = "",
) -> None:
    """Print the outcome of each node.

    Raises VizdashError when a node failed, naming the command to finish it (``again``; empty: the
    same one).
    """
    if as_json:
        rows = outcomes(progress)
        output.write_json(verb, {**about, "nodes": rows}, (await service.info()).cluster)
    elif progress.nodes:
        output.write(outcome_table(progress))
    if progress.failed:
        failed = nodesets.fold_nodes(row.node for row in progress.failed) or "the shared image root"
        what = f"{verb} of {about['app']}"
        why = f"{len(progress.failed)} of {len(progress.nodes)} nodes failed: {failed}"
        fix = f"vizdash {again}" if again else "the same command again"
        raise VizdashError(what, why, f"{fix} finishes them")
