"""Verbs about images on nodes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import click

from vizdash import nodesets, output
from vizdash.cli.common import cli, common, options_of, run
from vizdash.cli.history import show_history
from vizdash.cli.live import Live, mib
from vizdash.cli.missing import catch_up
from vizdash.cli.outcome import outcome_table, outcomes
from vizdash.errors import NotFound, Refused, VizdashError
from vizdash.images.progress import Progress
from vizdash.images.rollback import Rollback
from vizdash.images.verify import Verdict
from vizdash.imaging import Imaging, Pruning, View
from vizdash.model.drift import Finding, drift_first, judge, sessions_of
from vizdash.service import Service
from vizdash.units import duration_words

_HEADERS = ("APP", "VERSION", "STATE", "NODES", "SIZE MIB", "AGE", "DIGEST", "IN USE BY", "NOTE")
_PLACES = ("NODE", "FREE MIB", "OF MIB", "SEEN", "NOTE")


@cli.command(excludes={"history": ("nodeset", "and_verify")})
@common
@click.argument("app", default="")
@click.option("--node", "nodeset", default="", help="Nodes, e.g. viz-node[001-016].")
@click.option("--verify", "and_verify", is_flag=True, help="Read every image whole.")
@click.option("--history", is_flag=True, help="Who did what to them, and when.")
@click.option("--json", "as_json", is_flag=True, help="JSON for scripts.")
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
    """Which node has which image: version, digest, drift, who runs from it, free space."""

    async def work(service: Service) -> None:
        if history:
            await show_history(service, app, as_json=as_json)
            return
        imaging = Imaging(service)
        view = await imaging.view(nodeset)
        verdicts: tuple[Verdict, ...] = ()
        if and_verify:
            chosen = [f.image for f in _of(view, app) if f.image]
            verdicts = await imaging.verify(view.matrix, chosen, output.talk)
            view = await imaging.view(nodeset)
        findings = _of(view, app)
        if as_json:
            _write_json(view, findings, verdicts)
        if app and not findings:
            service.app(app)
            if not as_json:
                raise NotFound(f"images of {app!r}", "no node has one", f"vizdash deploy {app}")
        elif not as_json:
            _write_tables(view, drift_first(findings))
        _tell_bad(verdicts)

    run(options_of(ctx, values), work)


def _of(view: View, app: str) -> tuple[Finding, ...]:
    """The findings of one app, or all of them."""
    folder = f"/{app}/"
    return tuple(
        f
        for f in judge(view.matrix)
        if not app or f.app == app or (f.stray and folder in f.stray.path)
    )


def _tell_bad(verdicts: tuple[Verdict, ...]) -> None:
    """Raises VizdashError naming every image that is not what it should be."""
    bad = [v for v in verdicts if not v.good]
    for verdict in bad:
        why = verdict.failure or f"its digest is {verdict.found[:12]}, not {verdict.recorded[:12]}"
        output.talk(f"{verdict.image.node}: {verdict.image.path}: {why}")
    if bad:
        apps = sorted({v.image.app for v in bad})
        mend = "; ".join(f"vizdash deploy {app} mends damage" for app in apps)
        raise VizdashError("verify", f"{len(bad)} of {len(verdicts)} images are not right", mend)
    new = sum(not v.recorded for v in verdicts)
    if len(verdicts) > new:
        output.talk(f"all {len(verdicts) - new} images are what was recorded for them")
    if new:
        output.talk(f"{new} images were read; no digest had been recorded for them")


def _write_tables(view: View, findings: tuple[Finding, ...]) -> None:
    """Images that are the same on several nodes are one row."""
    rows: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        rows.setdefault(_key(view, finding), []).append(finding)
    table = [
        (
            *key[:3],
            nodesets.fold(f.node for f in same) or "this machine",
            key[3],
            _age(same),
            *key[4:],
        )
        for key, same in rows.items()
    ]
    if table:
        output.write(output.table(_HEADERS, table) + "\n")
    output.write(output.table(_PLACES, _place_rows(view)))


def _key(view: View, finding: Finding) -> tuple[str, ...]:
    image, stray = finding.image, finding.stray
    thing = image or stray
    size = f"{thing.size_bytes / 2**20:.1f}" if thing else ""
    note = f"{stray.path}: {finding.note}" if stray else finding.note
    version = "" if stray else finding.version or "unversioned"
    digest = image.digest[:12] if image else ""
    return finding.app, version, str(finding.state), size, digest, _users(view, finding), note


def _age(same: Sequence[Finding]) -> str:
    """How long ago the oldest of them came."""
    times = [thing.modified_at for f in same if (thing := f.image or f.stray)]
    return duration_words(max(0, int(time.time()) - min(times))) if times else ""


def _users(view: View, finding: Finding) -> str:
    if finding.image is None:
        return ""
    users = [f"{s.id} ({s.user})" for s in sessions_of(finding.image, view.sessions)]
    return ", ".join(users) or ("a process" if finding.image.open else "")


def _place_rows(view: View) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for place in view.matrix.places:
        free, total = (
            (f"{place.free_bytes >> 20}", f"{place.total_bytes >> 20}") if place.known else ("", "")
        )
        seen = "now" if not place.failure else "never"
        if place.failure and place.seen_at:
            seen = f"{duration_words(int(time.time()) - place.seen_at)} ago"
        note = place.failure or ("" if place.exists else "it has no image root yet")
        rows.append((place.node or "this machine", free, total, seen, note))
    return rows


def _write_json(view: View, findings: tuple[Finding, ...], verdicts: tuple[Verdict, ...]) -> None:
    read = {(v.image.node, v.image.path): v for v in verdicts}
    rows = []
    for finding in findings:
        image, thing = finding.image, finding.image or finding.stray
        verdict = read.get((finding.node, image.path)) if image else None
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
                "sessions": [s.id for s in sessions_of(image, view.sessions)] if image else [],
                "verified": None if verdict is None else verdict.good,
            }
        )
    places = []
    for place in view.matrix.places:
        values = asdict(place)
        del values["strays"], values["journals"]
        places.append(values)
    output.write_json("images", rows, view.cluster, places=places)


# ---------------------------------------------------------------- changing


@cli.command()
@common
@click.argument("app", default="")
@click.option("--version", "version", default="", help="This one of the store's; else the newest.")
@click.option("--from", "file", default="", help="An image file on this machine.")
@click.option("--node", "nodeset", default="", help="Nodes, e.g. viz-node[001-016].")
@click.option("--canary", default="", help="This node first; the others only if it goes well.")
@click.option("--smoke", "smoke_test", is_flag=True, help="Try a session before switching.")
@click.option("--force", is_flag=True, help="An older version, or one labelled as another, too.")
@click.option("--missing", is_flag=True, help="Only what nodes missed while they were down.")
@click.option("--json", "as_json", is_flag=True, help="JSON for scripts.")
@click.pass_context
def deploy(ctx: click.Context, /, app: str, **values: Any) -> None:
    """Bring an image to the nodes, check it there, and make it the current one.

    With --missing, nodes get the versions that deploys and rollbacks brought everywhere while they
    were down; of APP, or of every app. It prints nothing when no node lacks anything.
    """
    options = options_of(ctx, values)
    if values.pop("missing"):
        run(options, partial(catch_up, **_of_missing(app, values)))
        return
    if not app:
        raise click.UsageError("Missing argument 'APP'.")
    canary, smoke_test = values.pop("canary"), values.pop("smoke_test")
    as_json = values.pop("as_json")

    async def work(service: Service) -> None:
        with Live() as live:
            imaging = Imaging(service, live.say)
            live.say("looking at the nodes, and reading the image whole")
            plan = await imaging.plan(app, **values)
            cargo = plan.cargo
            live.say(
                f"{app} {cargo.version} ({mib(cargo.size_bytes)} MiB, {cargo.digest[:12]}) from "
                f"{cargo.path} to {_count(plan.nodes)}"
            )
            if plan.warning:
                live.say(plan.warning)
            progress = await imaging.deploy(
                plan,
                canary=canary,
                smoke_test=smoke_test,
                agreed=values["force"] or (bool(plan.warning) and _sure("Deploy it?")),
                tell=live.tell,
            )
        about = {"app": app, "version": cargo.version, "digest": cargo.digest}
        await _report(service, progress, as_json, "deploy", about)

    run(options, work)


def _of_missing(app: str, values: dict[str, Any]) -> dict[str, Any]:
    """What --missing takes of the other options. Raises click.UsageError for the rest."""
    for name, option in (
        ("version", "--version"),
        ("file", "--from"),
        ("canary", "--canary"),
        ("force", "--force"),
    ):
        if values[name]:
            raise click.UsageError(f"--missing takes no {option}: the inventory says which version")
    return {"app": app, **{k: values[k] for k in ("nodeset", "smoke_test", "as_json")}}


@cli.command()
@common
@click.argument("app")
@click.option("--to", "version", default="", help="To this version, where it ran before.")
@click.option("--node", "nodeset", default="", help="Nodes, e.g. viz-node[001-016].")
@click.option("--json", "as_json", is_flag=True, help="JSON for scripts.")
@click.pass_context
def rollback(
    ctx: click.Context, /, app: str, version: str, nodeset: str, as_json: bool, **values: Any
) -> None:
    """Switch each node back to what it ran before; running sessions keep theirs."""

    async def work(service: Service) -> None:
        with Live() as live:
            imaging = Imaging(service, live.say)
            view = await imaging.view(nodeset)
            plan = await imaging.rollback_plan(app, view.matrix, version)
            for target, nodes in plan.groups:
                live.say(f"{app} goes back to {target} on {_count(nodes)}")
            for words in _staying(plan):
                live.say(words)
            live.say("running sessions keep what they have")
            progress = await imaging.rollback(plan, live.tell, all_nodes=not nodeset)
        about = {"app": app, "version": plan.version}
        left = nodesets.fold(row.node for row in progress.failed if row.node)
        again = f"rollback {app} --to {version}" if version else f"rollback {app} --node {left}"
        await _report(service, progress, as_json, "rollback", about, again=again if left else "")

    run(options_of(ctx, values), work)


@cli.command()
@common
@click.argument("app")
@click.option("--keep", type=click.IntRange(1), required=True, help="How many of the newest stay.")
@click.option("--node", "nodeset", default="", help="Nodes, e.g. viz-node[001-016].")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="JSON for scripts.")
@click.pass_context
def prune(ctx: click.Context, /, app: str, keep: int, nodeset: str, **values: Any) -> None:
    """Remove all but the newest images of an app; what a session runs from stays."""
    options = options_of(ctx, values)
    yes, as_json = values.pop("yes"), values.pop("as_json")

    async def work(service: Service) -> None:
        with Live() as live:
            imaging = Imaging(service, live.say)
            pruning = await imaging.prunable(app, keep, nodeset)
            _tell_pruning(pruning, live)
            if pruning.going and pruning.unasked:
                live.say(f"not asked what runs there: {pruning.unasked}")
            if pruning.going and not yes and not _sure("Remove them?"):
                raise Refused("nothing was removed", "", "" if sys.stdin.isatty() else "--yes")
            progress = await imaging.prune(pruning, live.tell)
        await _report(service, progress, as_json, "prune", {"app": app})

    run(options, work)


def _tell_pruning(pruning: Pruning, live: Live) -> None:
    rows: dict[str, list[str]] = {}
    for old in pruning.going:
        rows.setdefault(f"{old.app} {old.version} is removed from", []).append(old.node)
    for old, why in pruning.staying:
        rows.setdefault(f"{old.app} {old.version} stays ({why}) on", []).append(old.node)
    for words, nodes in rows.items():
        live.say(f"{words} {nodesets.fold(nodes) or 'the shared image root'}")
    if not pruning.going:
        live.say(f"there is nothing of {pruning.app} to remove")


def _staying(plan: Rollback) -> Iterator[str]:
    """The nodes that start something else than what is undone, and keep it."""
    rows: dict[str, list[str]] = {}
    for node, version in plan.staying.items():
        rows.setdefault(version, []).append(node)
    for version, nodes in rows.items():
        yield f"{_count(tuple(nodes))}: {version or 'nothing'} stays current, {plan.undone} is not"


def _sure(question: str) -> bool:
    return sys.stdin.isatty() and click.confirm(question, err=True)


def _count(nodes: Sequence[str]) -> str:
    if nodes == ("",):
        return "the shared image root"
    return nodesets.fold(nodes) if len(nodes) < 4 else f"{len(nodes)} nodes"


async def _report(
    service: Service,
    progress: Progress,
    as_json: bool,
    verb: str,
    about: dict[str, str],
    *,
    again: str = "",
) -> None:
    """Say how each node ended. Raises VizdashError when any did not get there, naming the
    command that finishes it (empty: the same one).
    """
    if as_json:
        found = outcomes(progress)
        output.write_json(verb, {**about, "nodes": found}, (await service.info()).cluster)
    elif progress.nodes:
        output.write(outcome_table(progress))
    if progress.failed:
        failed = nodesets.fold(row.node for row in progress.failed) or "the shared image root"
        what = f"{verb} of {about['app']}"
        why = f"{len(progress.failed)} of {len(progress.nodes)} nodes failed: {failed}"
        mend = f"vizdash {again}" if again else "the same command again"
        raise VizdashError(what, why, f"{mend} finishes them")
