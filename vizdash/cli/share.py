"""Verbs that share desktops with other users: share, join."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import Any

import click

from vizdash.actions import REGISTRY
from vizdash.cli import output
from vizdash.cli.common import DURATION, cli, common, options_of, run
from vizdash.cli.exit import on_signals
from vizdash.cli.hold_tunnels import detach, until_lost
from vizdash.errors import NotFound, UsageError, VizdashError
from vizdash.model import Session
from vizdash.service.service import Service
from vizdash.service.shares import session_of
from vizdash.sessions.browser import have_browser
from vizdash.sessions.join import Offer
from vizdash.sessions.routes import Route
from vizdash.sessions.share import HeldShare, ShareTerms
from vizdash.sessions.share_records import ShareRecord
from vizdash.util.units import format_clock, format_duration

_SHARE_HEADERS = ("SESSION", "APP", "WITH", "MAY", "ENDS", "WATCHING", "ON", "PID")
_OFFER_HEADERS = ("SESSION", "JOB", "APP", "OWNER", "YOU MAY", "ENDS")


@cli.command(
    help=REGISTRY.verb_help("share") + " Without --with: list what you share from this machine.",
    needs={"control": ("guest",), "for_s": ("guest",), "background": ("guest",)},
    excludes={"revoke": ("control", "for_s", "background")},
)
@common
@click.argument("session", required=False, default="")
@click.option("--with", "guest", default="", metavar="USER", help="User who may watch it.")
@click.option("--control", is_flag=True, help="USER may use its mouse and keyboard, too.")
@click.option("--for", "for_s", type=DURATION, help="End the share after this long, e.g. 1h.")
@click.option("--background", is_flag=True, help="Keep sharing in the background.")
@click.option("--revoke", is_flag=True, help="End the share with USER, or all of the session.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def share(
    ctx: click.Context, /, session: str, guest: str, revoke: bool, as_json: bool, **values: Any
) -> None:
    options = options_of(ctx, values)
    if not session and (guest or revoke):
        raise UsageError("share", "no session is named", "see vizdash sessions")

    async def work(service: Service) -> None:
        if revoke:
            await _revoke(service, session, guest, as_json=as_json)
        elif guest:
            found = await service.sessions.find(session)
            held = await service.shares.start(
                found, guest, control=values["control"], for_s=values["for_s"] or 0
            )
            await _hold(service, found, held, background=values["background"], as_json=as_json)
        else:
            await _list(service, session, as_json=as_json)

    run(options, work)


async def _hold(
    service: Service, session: Session, share: HeldShare, *, background: bool, as_json: bool
) -> None:
    """Print what the guest has to do, and hold the share until it ends."""
    terms, watching = share.terms, share.on_change
    try:
        output.print_message(
            f"{terms.guest} may {_may(control=terms.control)} {terms.app} {terms.session}"
            f"{_until(terms)}, with this on {share.host}: vizdash join {terms.session}"
        )
        if as_json:
            cluster = (await service.info()).cluster
            output.write_json("share", _terms_json(terms, share.host), cluster)
        if background:
            report = detach((service,))
            task = asyncio.current_task()
            assert task is not None
            on_signals(task.cancel)
            service.shares.held.take_over()
            end = f"vizdash share {terms.session} --revoke"
            report(f"process {os.getpid()} keeps sharing it; this ends it: {end}")
        else:
            output.print_message("Ctrl-C ends the share; the session keeps running")

        def changed() -> None:
            if watching is not None:
                watching()
            if not background:
                output.print_message(f"{terms.guest} watches with {_viewers(share.watching)}")

        share.on_change = changed
        cause = await until_lost(service, session, share, unattended=background)
        if cause is None or background:
            return
        if share.ended_on_request:
            output.print_message("another vizdash ended the share; the session keeps running")
        else:
            output.print_message(f"the share has ended: {cause or 'the session has ended'}")
    finally:
        share.on_change = watching
        await service.shares.end(share)


def _viewers(count: int) -> str:
    return {0: "no viewer", 1: "one viewer"}.get(count, f"{count} viewers")


def _may(*, control: bool) -> str:
    return "use" if control else "watch"


def _until(terms: ShareTerms) -> str:
    if terms.expires_at is None:
        return ""
    return f" for {format_duration(round(terms.expires_at - time.time()))}"


async def _revoke(service: Service, word: str, guest: str, *, as_json: bool) -> None:
    session_id = word
    with contextlib.suppress(NotFound):  # it has ended, and its share is about to
        session_id = (await service.sessions.find(word)).id
    ended = await service.shares.revoke(session_id, guest)
    if not ended:
        whom = f" with {guest}" if guest else ""
        why = f"it is not shared{whom} from this machine"
        raise NotFound(f"session {word}", why, "see vizdash share")
    for record in ended:
        output.print_message(f"{record.guest} no longer sees session {record.session}")
    if as_json:
        cluster = (await service.info()).cluster
        output.write_json("revoked", [_record_json(record) for record in ended], cluster)


async def _list(service: Service, word: str, *, as_json: bool) -> None:
    found = await service.shares.query()
    found = tuple(record for record in found if not word or record.is_called(word))
    if as_json:
        cluster = (await service.info()).cluster
        output.write_json("shares", [_record_json(record) for record in found], cluster)
    elif found:
        output.write(output.table(_SHARE_HEADERS, map(_record_row, found)))
    else:
        output.print_message("you share no session from this machine")


def _record_row(record: ShareRecord) -> tuple[str, ...]:
    return (
        record.session,
        record.app,
        record.guest,
        _may(control=record.control),
        _ends(record.expires_at),
        str(record.watching),
        record.login_host,
        str(record.pid),
    )


def _ends(expires_at: int | None) -> str:
    return "" if expires_at is None else format_clock(expires_at, time.time())


def _terms_json(terms: ShareTerms, host: str) -> dict[str, Any]:
    return {
        "session": terms.session,
        "job_id": terms.job_id,
        "app": terms.app,
        "guest": terms.guest,
        "control": terms.control,
        "expires_at": terms.expires_at,
        "login_host": host,
    }


def _record_json(record: ShareRecord) -> dict[str, Any]:
    return {
        "session": record.session,
        "job_id": record.job_id,
        "app": record.app,
        "guest": record.guest,
        "control": record.control,
        "expires_at": record.expires_at,
        "login_host": record.login_host,
        "watching": record.watching,
        "pid": record.pid,
        "opened_at": record.opened_at,
    }


# ---------------------------------------------------------------- the guest's side


@cli.command(
    help=REGISTRY.verb_help("join") + " Without SESSION: list them.",
    excludes={"print_only": ("handoff",)},
)
@common
@click.argument("session", required=False, default="")
@click.option("--via", default="", metavar="HOST", help="Login host on which it is shared.")
@click.option(
    "--print", "print_only", is_flag=True, help="Print the address instead of starting a browser."
)
@click.option(
    "--handoff", is_flag=True, help="Show how to open it in a browser on another computer."
)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@click.pass_context
def join(
    ctx: click.Context, /, session: str, via: str, print_only: bool, handoff: bool, **values: Any
) -> None:
    options = options_of(ctx, values)
    as_json = values.pop("as_json")
    if as_json and session:
        raise UsageError("--json", "it is for the list", "use it without a session")

    async def work(service: Service) -> None:
        if not session:
            await _list_offers(service, via, as_json=as_json)
            return
        away = handoff or not (print_only or have_browser())
        offer, route = await service.shares.join(session, via, handoff=away)
        try:
            await _show(service, offer, route, print_only=print_only)
        finally:
            await service.shares.leave(route)

    run(options, work)


async def _list_offers(service: Service, via: str, *, as_json: bool) -> None:
    offers, note = await service.shares.query_offers(via)
    if note:
        output.print_message(note)
    if as_json:
        cluster = (await service.info()).cluster
        output.write_json("offers", [offer_json(offer) for offer in offers], cluster)
    elif offers:
        output.write(output.table(_OFFER_HEADERS, map(_offer_row, offers)))
    else:
        where = f" on {via}" if via else " on this login host (on another one: --via HOST)"
        output.print_message(f"nobody shares a session with you{where}")


def _offer_row(offer: Offer) -> tuple[str, ...]:
    return (
        offer.session,
        offer.job_id,
        offer.app,
        offer.owner,
        _may(control=offer.control),
        _ends(offer.expires_at),
    )


def offer_json(offer: Offer) -> dict[str, Any]:
    return {
        "session": offer.session,
        "job_id": offer.job_id,
        "app": offer.app,
        "owner": offer.owner,
        "control": offer.control,
        "expires_at": offer.expires_at,
    }


async def _show(service: Service, offer: Offer, route: Route, *, print_only: bool) -> None:
    """Show the desktop, or how to open it on another computer, until the share ends."""
    session = session_of(offer)
    shown = False
    if not print_only and route.kind == "tunnel":
        shown = await service.desktops.show(route)
    if route.kind == "handoff":
        line = await service.desktops.hand_off(route, session)
        output.print_message(f"there is no browser on {line.host}. On your own computer, run this:")
        output.line_to_copy(line.command)
        output.print_message("leave it running, and open this address there:")
    elif not shown and not print_only:
        output.print_message("there is no browser here: open this address (it has a password)")
    if not shown:
        output.write_link(route.url)
    what = f"{offer.app} {offer.session} of {offer.owner}"
    output.print_message(f"you may {_may(control=offer.control)} {what}; Ctrl-C leaves it")
    cause = await until_lost(service, session, route)
    if cause is None or route.closed_on_request:
        return
    raise VizdashError(what, cause)
