"""Verbs about images on nodes."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import click

from vizdash import nodesets, output
from vizdash.cli.common import cli, common, options_of, run
from vizdash.errors import NotFound, VizdashError
from vizdash.images.verify import Verdict
from vizdash.imaging import Imaging, View
from vizdash.model.drift import Finding, judge, sessions_of
from vizdash.service import Service
from vizdash.units import duration_words

_HEADERS = ("APP", "VERSION", "STATE", "NODES", "SIZE MIB", "AGE", "DIGEST", "IN USE BY", "NOTE")
_PLACES = ("NODE", "FREE MIB", "OF MIB", "SEEN", "NOTE")


@cli.command()
@common
@click.argument("app", default="")
@click.option("--node", "nodeset", default="", help="Nodes, e.g. viz-node[001-016].")
@click.option("--verify", "and_verify", is_flag=True, help="Read every image whole.")
@click.option("--json", "as_json", is_flag=True, help="JSON for scripts.")
@click.pass_context
def images(
    ctx: click.Context,
    /,
    app: str,
    nodeset: str,
    and_verify: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Which node has which image: version, digest, drift, who runs from it, free space."""

    async def work(service: Service) -> None:
        imaging = Imaging(service)
        view = await imaging.view(nodeset)
        verdicts: tuple[Verdict, ...] = ()
        if and_verify:
            chosen = [f.image for f in _of(view, app) if f.image]
            verdicts = await imaging.verify(view.matrix, chosen, output.talk)
            view = await imaging.view(nodeset)
        findings = _of(view, app)
        if app and not findings:
            raise NotFound(f"images of {app!r}", "no node has one", f"vizdash deploy {app}")
        if as_json:
            _write_json(view, findings, verdicts)
        else:
            _write_tables(view, findings)
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
    if verdicts:
        output.talk(f"all {len(verdicts)} images are what was recorded for them")


def _write_tables(view: View, findings: tuple[Finding, ...]) -> None:
    """Images that are the same on several nodes are one row."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for finding in findings:
        rows.setdefault(_key(view, finding), []).append(finding.node)
    table = [
        (*key[:3], nodesets.fold(nodes) or "this machine", *key[3:]) for key, nodes in rows.items()
    ]
    if table:
        output.write(output.table(_HEADERS, table) + "\n")
    output.write(output.table(_PLACES, _place_rows(view)))


def _key(view: View, finding: Finding) -> tuple[str, ...]:
    image, stray = finding.image, finding.stray
    thing = image or stray
    size = f"{thing.size_bytes / 2**20:.1f}" if thing else ""
    age = duration_words(max(0, int(time.time()) - thing.modified_at)) if thing else ""
    note = f"{stray.path}: {finding.note}" if stray else finding.note
    version = "" if stray else finding.version or "unversioned"
    digest = image.digest[:12] if image else ""
    return finding.app, version, str(finding.state), size, age, digest, _users(view, finding), note


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
        del values["strays"]
        places.append(values)
    output.write_json("images", rows, view.cluster, places=places)
