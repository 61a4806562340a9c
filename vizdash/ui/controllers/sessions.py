"""Starting, viewing, extending, messaging and stopping sessions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vizdash.actions import Context, stoppable, timed
from vizdash.errors import VizdashError
from vizdash.model import Session, SessionRequest, SessionState
from vizdash.service.operations import extension_request
from vizdash.service.service import Service
from vizdash.sessions.last_request import repeat_request
from vizdash.ui.action_screen import ScreenState
from vizdash.ui.controllers.interface import Handlers, Ui, ask_for_text, for_session
from vizdash.ui.dashboard_state import Notice
from vizdash.ui.present.free_capacity import default_request
from vizdash.ui.present.lines import Line, Span, line
from vizdash.ui.present.sessions import limit_name
from vizdash.ui.screens.confirm import ConfirmScreen, Question, stop_question, stop_several_question
from vizdash.ui.widgets.row_details import DetailSource

if TYPE_CHECKING:
    from vizdash.ui.screens.time_limit import TimeLimitChoice


class SessionsController:
    """Handles the actions on a session, but for opening its desktop.

    ``looks`` gives a session's details, ``show_build_log`` shows the last build of an app, ``ring``
    calls a user who is elsewhere.
    """

    def __init__(
        self,
        ui: Ui,
        service: Service,
        looks: DetailSource,
        show_build_log: Callable[[str], None],
        ring: Callable[[str], None],
    ) -> None:
        self._ui = ui
        self._service = service
        self._looks = looks
        self._show_build_log = show_build_log
        self._ring = ring

    @property
    def handlers(self) -> Handlers:
        """The actions that it handles."""
        return {
            "start": self._show_form,
            "repeat": for_session(self._repeat),
            "upgrade": for_session(self._renew),
            "details": for_session(self._show_details),
            "logs": self._show_log,
            "message": for_session(self._ask_for_message),
            "time_limit": lambda context: self._ask_for_time(timed(context)),
            "extend": lambda context: self._ask_for_time(context.session),
            "stop": lambda context: self._ask_to_stop(stoppable(context)),
        }

    # ------------------------------------------------------------------ start

    def use_last_size(self, request: SessionRequest | None = None) -> None:
        """Judge the nodes' free capacity for the size that was started last."""
        self._ui.dashboard.usual = request or default_request(self._service)
        self._ui.dashboard.memory_request = self._service.config.cluster.memory_request

    def _show_form(self, context: Context, first: SessionRequest | None = None) -> None:
        from vizdash.ui.screens.start import StartScreen

        node = context.node.name if context.node else ""
        nodes = context.snapshot.nodes if context.snapshot else ()
        form = StartScreen(
            self._service, self.start, nodes=nodes, node=node, first=first, clock=self._ui.time
        )
        self._ui.show_screen(form)

    def _repeat(self, session: Session) -> None:
        self._show_form(Context(snapshot=self._ui.state.snapshot), repeat_request(session))

    def _renew(self, session: Session) -> None:
        """Start a session of the same size on the image that new sessions run from."""
        self._run(self._start_renewed(repeat_request(session)), name="upgrade")

    async def _start_renewed(self, request: SessionRequest) -> None:
        try:
            await self.start(request)
        except VizdashError as e:
            self._ui.report_error(e.line)

    async def start(self, request: SessionRequest) -> Session:
        """Start a session, show it at once, and query the cluster again. Raises VizdashError."""
        session = await self._service.start(request)
        self._ui.state.add_started(session, self._ui.time())
        self.use_last_size(request)
        self._ui.redraw()
        self._ui.dashboard.point_at(session)
        self._ui.refresh_snapshot()
        self._ui.inform(f"{session.app} is submitted as job {session.job_id}")
        if warning := await self._service.query_logout_warning():
            self._ui.warn(f"{session.app}: {warning}")
        return session

    # ------------------------------------------------------------------ view

    def _show_details(self, session: Session) -> None:
        from vizdash.ui.screens.session_details import SessionDetailsScreen

        dashboard = self._ui.dashboard

        def get_state() -> ScreenState:
            context = replace(dashboard.context(), session=self._ui.state.find(session.job_id))
            return ScreenState(context, self._ui.now(), dashboard.registry)

        dashboard.pause_preview()
        self._ui.show_screen(
            SessionDetailsScreen(session, self._looks, get_state), dashboard.resume_preview
        )

    def _show_log(self, context: Context) -> None:
        from vizdash.ui.screens.session_log import SessionLogScreen

        if context.session is None:
            self._show_build_log(context.app)
        else:
            find = self._ui.state.find
            self._ui.show_screen(SessionLogScreen(self._service, context.session, find=find))

    def announce(self, notice: Notice) -> None:
        """Report that a session became ready, ended, or reaches its time limit."""
        session = notice.session
        if notice.kind == "ready":
            text = f"{session.app} is ready on {session.node}"
            self._ui.inform(f"{text} — press o to open it")
        elif notice.kind == "limit" and session.idle_left_s is not None:
            text = f"{session.app} on {session.node} is idle and ends soon"
            self._ui.warn(f"{text} — use it to keep it (press o to open it)")
        elif notice.kind == "limit":
            text = f"{session.app} on {session.node} reaches {limit_name(session)} soon"
            self._ui.warn(f"{text} — press w on its row for options")
        elif session.result == "failed":
            step = f" at step {session.step}" if session.step else ""
            why = f": {session.error}" if session.error else ""
            text = f"{session.app} failed{step}{why}"
            self._ui.report_error(f"{text} (press l for its log)")
        elif session.result in {"timed out", "cancelled", "idle"}:
            why = "reached its time limit" if session.result == "timed out" else "was cancelled"
            if session.error:
                why = f"has ended: {session.error}"
            note = f": {session.note}" if session.note else ""
            text = f"{session.app} on {session.node or 'no node'} {why}{note}"
            self._ui.warn(text)
        else:
            return
        self._ring(text)

    # ------------------------------------------------------------------ time limit and messages

    def _ask_for_time(self, session: Session | None) -> None:
        from vizdash.ui.screens.time_limit import TimeLimitScreen, extension_s

        if session is None:
            return

        def chosen(choice: TimeLimitChoice | None) -> None:
            if choice not in {"repeat", "extend"}:  # those can still fail or be cancelled
                self._ui.state.dismiss_warning(session)
            if choice == "repeat":
                self._repeat(session)
            elif choice == "extend":
                self._extend(session)
            elif choice == "request":
                self._ui.copy_to_clipboard(extension_request(session, extension_s(session)))
                self._ui.inform(
                    "the request is copied, if your terminal allows it: send it to your operators"
                )
            self._ui.redraw()

        own = session.mine and session.lease_left_s is not None
        may = own or self._ui.dashboard.admin or self._service.engine.name == "local"
        screen = TimeLimitScreen(session, self._ui.state.find, self._ui.now, may_extend=may)
        self._ui.show_screen(screen, chosen)

    def _extend(self, session: Session) -> None:
        """Extend it, unless it ended while the choices were shown."""
        from vizdash.ui.screens.time_limit import extension_s

        now = self._ui.state.find(session.job_id)
        if now is None or not now.live:
            self._ui.warn(f"{session.app} was not extended: it has ended")
            return
        more = extension_s(now)

        async def extend() -> None:
            work = self._service.operations.extend(now, more)
            await self._change(work, f"{now.app} on {now.node} has more time")

        self._run(extend(), name="extend")

    def _ask_for_message(self, session: Session) -> None:
        from vizdash.ui.screens.text_prompt import TextPromptScreen

        whose = "your" if session.mine else f"{session.user}'s"

        def current() -> Session | None:
            recipient = self._ui.state.find(session.job_id)
            return recipient if recipient is not None and recipient.live else None

        def text() -> tuple[Line, ...]:
            name = Span(session.app, "strong")
            if current() is None:
                return (line(name, f" on {session.node}: ", Span("it has ended", "warn")),)
            return (line(f"It is shown on {whose} ", name, f" on {session.node}."),)

        screen = TextPromptScreen("Message to a desktop", text, hint="the message", does="shows it")

        async def send(message: str) -> None:
            if (now := current()) is None:
                self._ui.warn(f"the message was not shown: {session.app} has ended")
                return
            done = f"the message is shown on {now.app} of {now.user}"
            await self._change(self._service.operations.message(now, message), done)

        ask_for_text(self._ui, screen, send)

    async def _change(self, work: Awaitable[object], done: str) -> None:
        try:
            await work
        except VizdashError as e:
            self._ui.report_error(e.line)
        else:
            self._ui.inform(done)
            self._ui.refresh_snapshot()

    # ------------------------------------------------------------------ stop

    def _ask_to_stop(self, sessions: tuple[Session, ...]) -> None:
        """Confirm, then stop; a note for their owners may go with it."""

        def current() -> tuple[Session, ...]:
            return self._current(sessions)

        def question() -> Question:
            now, running = self._ui.now(), current()
            return (
                stop_question(running[0], now)
                if len(running) == 1
                else stop_several_question(running, now)
            )

        screen = ConfirmScreen(question(), question)

        def answered(yes: bool | None) -> None:
            live = tuple(s for s in current() if s.live)
            if yes and not live:
                self._ui.inform("nothing to stop: it has already ended")
            elif yes and screen.noted:
                self._ask_for_note(live)
            elif yes:
                self._stop_all(live, "")

        self._ui.show_screen(screen, answered)

    def _current(self, sessions: tuple[Session, ...]) -> tuple[Session, ...]:
        """The sessions as the last snapshot has them; one that is not in it has ended."""
        find = self._ui.state.find
        return tuple(
            find(s.job_id) or replace(s, state=SessionState.ENDED, result="") for s in sessions
        )

    def _ask_for_note(self, sessions: tuple[Session, ...]) -> None:
        from vizdash.ui.screens.text_prompt import TextPromptScreen

        owners = ", ".join(sorted({s.user for s in sessions if not s.mine}))

        def live() -> tuple[Session, ...]:
            return tuple(s for s in self._current(sessions) if s.live)

        def text() -> tuple[Line, ...]:
            if not live():
                return (line(Span("Nothing to stop: it has already ended.", "warn")), ())
            return (
                line("The reason, for ", Span(owners, "strong", bold=True), " to read:"),
                line(Span("It is shown with the ended session in their list.", "muted")),
            )

        async def stop_with(note: str) -> None:
            if not live():
                self._ui.inform("nothing to stop: it has already ended")
            self._stop_all(live(), note)

        ask_for_text(
            self._ui,
            TextPromptScreen("Stop with a note", text, hint="the note", does="stops"),
            stop_with,
        )

    def _stop_all(self, sessions: tuple[Session, ...], note: str) -> None:
        self._ui.dashboard.sessions.unmark()
        for session in sessions:
            self._run(self._stop(session, note), name="stop")

    async def _stop(self, session: Session, note: str) -> None:
        # A job that has not begun, or is of the older kind, has no place for a note.
        takes_note = session.state is not SessionState.PENDING and not session.legacy
        try:
            await self._service.stop(session, note if takes_note and not session.mine else "")
        except VizdashError as e:
            self._ui.report_error(e.line)
            return
        self._ui.state.add_stopped(session, self._ui.time())
        self._ui.redraw()
        self._ui.refresh_snapshot()
        self._ui.inform(f"{session.app} (job {session.job_id}) is being stopped")

    def _run(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        self._ui.run_in_background(work, name=name, group="writes")
