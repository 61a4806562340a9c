"""Sharing a desktop with another user, and showing one that another user shares."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial

from vizdash.errors import UsageError, VizdashError
from vizdash.model import Session, Snapshot
from vizdash.service.service import Service
from vizdash.service.shares import session_of
from vizdash.sessions.browser import have_browser
from vizdash.sessions.join import Offer
from vizdash.sessions.routes import Route
from vizdash.sessions.share_records import ShareRecord
from vizdash.ui.controllers.interface import Handlers, Ui, ask_for_text, for_session
from vizdash.ui.present.lines import Line, Span, line
from vizdash.util.units import parse_duration

#: What the owner writes.
_USAGE = "USER [control] [TIME], e.g. bob, or bob control 1h"


class SharesController:
    """Handles sharing and joining. Shares end with this vizdash."""

    def __init__(self, ui: Ui, service: Service) -> None:
        self._ui = ui
        self._service = service

    @property
    def handlers(self) -> Handlers:
        """The actions that it handles."""
        return {
            "share": for_session(self._ask),
            "join": lambda context: self._run(self._find_offers(), "offers"),
        }

    def prune(self, snapshot: Snapshot) -> None:
        """End the shares of sessions that have ended."""
        if self._service.shares.held.held:
            self._service.shares.prune({s.job_id for s in snapshot.sessions if s.live})

    def _run(self, work: Awaitable[None], name: str) -> None:
        self._ui.run_in_background(work, name=name, group="writes")

    # ------------------------------------------------------------------ the owner's side

    def _ask(self, session: Session) -> None:
        self._run(self._ask_whom(session), "shares")

    async def _ask_whom(self, session: Session) -> None:
        from vizdash.ui.screens.text_prompt import TextPromptScreen

        try:
            known = await self._service.shares.query()
        except VizdashError as e:
            self._ui.report_error(e.line)
            return
        shared = tuple(record for record in known if record.session == session.id)
        screen = TextPromptScreen(
            "Share a desktop",
            lambda: _question(session, shared),
            hint=_USAGE,
            does="shares it, or with no name ends its shares" if shared else "shares it",
            needed=not shared,
        )
        ask_for_text(self._ui, screen, partial(self._share_or_revoke, session))

    async def _share_or_revoke(self, session: Session, text: str) -> None:
        try:
            if not text:
                ended = await self._service.shares.revoke(session.id)
                names = ", ".join(record.guest for record in ended)
                self._ui.inform(f"{session.app} is no longer shared with {names}")
                return
            guest, control, for_s = parse_share(text)
            share = await self._service.shares.start(session, guest, control=control, for_s=for_s)
        except VizdashError as e:
            self._ui.report_error(e.line)
            return
        what = f"{session.app} {session.id}"
        changed = share.on_change
        last = 0

        def on_change() -> None:
            nonlocal last
            if changed is not None:
                changed()
            if bool(last) != bool(share.watching):
                verb = "watches" if share.watching else "no longer watches"
                self._ui.inform(f"{guest} {verb} {what}")
            last = share.watching

        share.on_change = on_change
        self._service.shares.keep(
            share, lambda cause: self._ui.inform(f"{what} is not shared with {guest} now: {cause}")
        )
        may = "use" if control else "watch"
        how = f"vizdash join {session.id}, on {share.host}"
        self._ui.inform(f"{guest} may {may} {what} while vizdash runs here: {how}")

    # ------------------------------------------------------------------ the guest's side

    async def _find_offers(self) -> None:
        from vizdash.ui.screens.offers import OffersScreen

        try:
            offers, note = await self._service.shares.query_offers()
        except VizdashError as e:
            self._ui.report_error(e.line)
            return
        if note:
            self._ui.warn(note)

        def chosen(offer: Offer | None) -> None:
            if offer is not None:
                self._ui.run_in_background(self._join(offer), name="join", group="routes")

        self._ui.show_screen(OffersScreen(offers, self._ui.time()), chosen)

    async def _join(self, offer: Offer) -> None:
        what = f"{offer.app} {offer.session} of {offer.owner}"
        try:
            found, route = await self._service.shares.join(
                offer.session, handoff=not have_browser()
            )
        except VizdashError as e:
            self._ui.report_error(e.line)
            return
        try:
            await self._show(found, route, what)
            cause = await route.wait_lost()
        finally:
            await self._service.shares.leave(route)
        if cause:
            self._ui.warn(f"{what}: {cause}")

    async def _show(self, offer: Offer, route: Route, what: str) -> None:
        from vizdash.ui.screens.handoff import HandoffScreen

        session = session_of(offer)
        if route.kind == "handoff":
            hand_off = partial(self._service.desktops.hand_off, route, session)
            screen = HandoffScreen(route, session, await hand_off(), hand_off)
            self._ui.show_screen(screen)
        elif await self._service.desktops.show(route):
            self._ui.inform(f"{what} is open in your browser; keep vizdash running")
        else:
            self._ui.show_screen(HandoffScreen(route, session))


def parse_share(text: str) -> tuple[str, bool, int]:
    """What the owner wrote: the guest, whether with control, and for how many seconds (0: no
    limit). Raises UsageError.
    """
    guest, *words = text.split() or [""]
    control = "control" in words
    rest = [word for word in words if word != "control"]
    wrong = UsageError(
        "the desktop was not shared", f"{text!r} was not understood", f"write {_USAGE}"
    )
    if not guest or len(rest) > 1:
        raise wrong
    try:
        return guest, control, parse_duration(rest[0]) if rest else 0
    except ValueError:
        raise wrong from None


def _question(session: Session, shared: tuple[ShareRecord, ...]) -> tuple[Line, ...]:
    name = Span(session.app, "strong")
    known = tuple(
        line(
            f"Shared with {record.guest}, who may {'use' if record.control else 'watch'} it: "
            f"{'watches now' if record.watching else 'does not watch'}."
        )
        for record in shared
    )
    return (line("Who may watch ", name, f" on {session.node}?"), *known)
