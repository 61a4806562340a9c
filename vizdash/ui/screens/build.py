"""Building an image: the form, then the phases and the log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input, Label, Log, Static

from vizdash.errors import VizdashError
from vizdash.images.build import BuildRequest
from vizdash.images.build_output import PHASES
from vizdash.ui.background_builds import BackgroundBuild
from vizdash.ui.dialog_screen import DialogScreen
from vizdash.ui.present.lines import Line, Span, Tone, content, keys_line, line
from vizdash.ui.screens.confirm import ConfirmScreen, Question
from vizdash.ui.widgets.chips import Chips
from vizdash.ui.widgets.clickable_keys import Dialog, KeyLine
from vizdash.ui.widgets.diff_text import DiffText
from vizdash.util.text import escape_control
from vizdash.util.units import format_countdown, format_size

#: Seconds between updates.
_EVERY_S = 0.2
#: Shorter phases show no duration.
_SHORT_S = 1.0


class BuildForm(DialogScreen[None]):
    """Enter builds from any field, Escape closes. ``begin`` starts the build, ``show`` shows it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Cancel", show=False),
        Binding("enter", "build", "Build", show=False),
        Binding("ctrl+l", "log", "Last log", show=False),
        Binding("down", "app.focus_next", "Next", show=False),
        Binding("up", "app.focus_previous", "Previous", show=False),
    ]

    def __init__(
        self,
        apps: Sequence[str],
        places: Sequence[str],
        begin: Callable[[BuildRequest], Awaitable[BackgroundBuild]],
        show: Callable[[BackgroundBuild], None],
        log: Callable[[str], None],
        *,
        app: str = "",
    ) -> None:
        super().__init__()
        self._apps = tuple(apps)
        self._places = tuple(places)
        self._begin = begin
        self._show = show
        self._log = log
        self._app = app if app in self._apps else self._apps[0]
        self._busy = False

    def compose(self) -> ComposeResult:
        """The fields and the verdict."""
        with Dialog() as dialog:
            dialog.border_title = "Build an image"
            dialog.border_subtitle = "enter builds · ← → choose · ctrl+l last log · esc cancels"
            yield self._field("App", Chips(list(self._apps), chosen=self._app, id="app"))
            yield self._field(
                "Where", Chips(list(self._places), chosen=self._places[0], id="where")
            )
            yield self._field(
                "Version", Input(placeholder="from the definition file", id="version")
            )
            yield self._field(
                "Arguments", Input(placeholder="NAME=VALUE NAME=VALUE", id="arguments")
            )
            yield Static(id="verdict", markup=False)

    def _field(self, name: str, widget: Widget) -> Widget:
        return Horizontal(Label(name, classes="name"), widget, classes="field")

    def _say(self, text: str, tone: Tone) -> None:
        span = Span(escape_control(text), tone)
        self.query_one("#verdict", Static).update(content((span,)))

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.action_build()

    def action_log(self) -> None:
        """Show the log of the last build of the chosen app."""
        self._log(self.query_one("#app", Chips).value)

    def action_build(self) -> None:
        """Check the fields, start the build and show it."""
        if self._busy:
            return
        pairs = [word.partition("=") for word in self.query_one("#arguments", Input).value.split()]
        if wrong := [name for name, equals, _ in pairs if not equals]:
            self._say(f"{wrong[0]!r} is not an argument: write NAME=VALUE", "bad")
            return
        request = BuildRequest(
            app=self.query_one("#app", Chips).value,
            version=self.query_one("#version", Input).value.strip(),
            arguments={name: value for name, _, value in pairs},
            where=self.query_one("#where", Chips).value,
        )
        self._busy = True
        self.run_worker(self._work(request), name="build", group="build")

    async def _work(self, request: BuildRequest) -> None:
        try:
            build = await self._begin(request)
        except VizdashError as e:
            self._busy = False
            self._say(e.line, "bad")
            return
        self._show(build)


def phase_line(build: BackgroundBuild) -> Line:
    """The phases with their durations; the running one is compared with the last build."""
    last = build.plan.last.phases if build.plan.last else {}
    spans: list[Span] = []
    known = [
        p for p in PHASES if p in build.phases or p == build.phase or last.get(p, 0) >= _SHORT_S
    ]
    for phase in known:
        took = build.phases.get(phase)
        if phase == build.phase and build.running:
            than = f" of {format_countdown(last[phase])}" if last.get(phase, 0) >= _SHORT_S else ""
            done, total = build.copied
            than = f" {100 * done // total}%" if phase == "copy" and total else than
            spans.append(
                Span(f"● {phase} {format_countdown(build.phase_s)}{than}", "busy", bold=True)
            )
        elif phase == build.phase and not build.built:
            spans.append(Span(f"✗ {phase}", "bad", bold=True))
        elif took is not None:
            time = f" {format_countdown(took)}" if took >= _SHORT_S else ""
            spans.append(Span(f"✓ {phase}{time}", "good"))
        else:
            spans.append(Span(f"· {phase}", "faint"))
        spans.append(Span("  "))
    return line(*spans)


def state_line(build: BackgroundBuild) -> Line:
    """The state of the whole build in one line."""
    took = format_countdown(build.elapsed_s)
    if build.running:
        last = (
            f" · the last build took {format_countdown(build.plan.last.duration_s)}"
            if build.plan.last
            else ""
        )
        return line(Span(f"building for {took}", "busy"), Span(last, "muted"))
    if build.built is not None:
        size = format_size(build.built.size_bytes)
        text = f"✓ built in {took}: {size}, {build.built.digest[:12]}"
        return line(Span(text, "good", bold=True), Span(f"  {build.built.path}", "muted"))
    if build.cancelled:
        return line(Span(f"cancelled after {took}: all its processes have ended", "warn"))
    why = build.error.line if build.error else ""
    return line(Span(f"✗ {why}", "bad"))


class BuildScreen(Screen[None]):
    """Shows a build. Escape leaves it running; ``cancel`` cancels it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,b", "dismiss", "Back", show=False),
        Binding("x,ctrl+c", "cancel", "Cancel", show=False),
        Binding("f", "follow", "Follow", show=False),
        Binding("end,G", "bottom", "End", show=False, priority=True),
        Binding("home,g", "top", "Start", show=False, priority=True),
    ]
    AUTO_FOCUS = "Log"

    def __init__(self, build: BackgroundBuild, cancel: Callable[[BackgroundBuild], None]) -> None:
        super().__init__()
        self.build = build
        self._cancel = cancel
        self._shown = 0
        self._ending = False

    def compose(self) -> ComposeResult:
        """Title, state, phases, log, keys."""
        yield Static(id="log-title", markup=False)
        yield Static(id="build-state", markup=False)
        yield Static(id="build-phases", markup=False)
        yield Log(max_lines=20_000)
        yield KeyLine(id="log-keys", markup=False)

    def on_mount(self) -> None:
        """Show the state now, and repeatedly."""
        self._show_progress()
        self.set_interval(_EVERY_S, self._show_progress)

    def _show_progress(self) -> None:
        build = self.build
        new = min(build.line_count - self._shown, len(build.lines))
        if new:
            lines = list(build.lines)[-new:]
            log = self.query_one(Log)
            log.write_lines(escape_control(one.expandtabs()) for one in lines)
            self._shown = build.line_count
        plan = build.plan
        where = "" if plan.host.name == "here" else f" on {plan.host.name}"
        where = " in a job" if plan.host.name == "job" else where
        title = (
            Span("Build  ", "accent", bold=True),
            Span(f"{plan.app} {plan.version}", "strong", bold=True),
            Span(f"{where}   from {plan.definition.path}", "muted"),
        )
        self.query_one("#log-title", Static).update(content(title))
        ending = build.running and self._ending
        state = line(Span("cancelling …", "warn")) if ending else state_line(build)
        self.query_one("#build-state", Static).update(content(state))
        self.query_one("#build-phases", Static).update(content(phase_line(build)))
        keys = [("esc", "Leave it running" if build.running else "Back")]
        keys += [("x", "Cancel build")] if build.running and not self._ending else []
        if self.build.running:
            keys += [("f", "Stop following" if self.query_one(Log).auto_scroll else "Follow")]
        self.query_one("#log-keys", DiffText).put(keys_line(keys), layout=False)

    def action_cancel(self) -> None:
        """Ask for confirmation, then cancel the build."""
        if not self.build.running or self._ending:
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self._ending = True
                self._cancel(self.build)

        plan = self.build.plan
        what = line(Span(f"{plan.app} {plan.version}", "strong", bold=True))
        lost = line(
            Span(f"The work of {format_countdown(self.build.elapsed_s)} minutes is lost.", "warn")
        )
        question = Question("Cancel this build?", (what, (), lost), "Cancel it", "Keep building")
        self.app.push_screen(ConfirmScreen(question), answered)

    def action_follow(self) -> None:
        """Start or stop scrolling to each new line."""
        log = self.query_one(Log)
        log.auto_scroll = not log.auto_scroll
        if log.auto_scroll:
            log.scroll_end(animate=False)

    def action_bottom(self) -> None:
        """Scroll to the last line."""
        self.query_one(Log).scroll_end(animate=False)

    def action_top(self) -> None:
        """Scroll to the first line."""
        self.query_one(Log).scroll_home(animate=False)


class BuildLogScreen(Screen[None]):
    """The log of a build that has ended, or that another vizdash runs."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,l", "dismiss", "Back", show=False),
        Binding("end,G", "bottom", "End", show=False, priority=True),
        Binding("home,g", "top", "Start", show=False, priority=True),
    ]
    AUTO_FOCUS = "Log"

    def __init__(self, title: str, outcome: str, text: str) -> None:
        super().__init__()
        self._title = title
        self._outcome = outcome
        self._text = text

    def compose(self) -> ComposeResult:
        """Title, outcome, log, keys."""
        spans = (
            Span("Build log  ", "accent", bold=True),
            Span(self._title, "strong", bold=True),
        )
        yield Static(content(spans), id="log-title", markup=False)
        tone: Tone = "good" if self._outcome == "ok" else "warn"
        yield Static(content((Span(self._outcome, tone),)), id="build-state", markup=False)
        yield Log()
        keys = (Span("esc", "accent", bold=True), Span(" Back", "muted"))
        yield KeyLine(content(keys), id="log-keys", markup=False)

    def on_mount(self) -> None:
        """Show all lines."""
        lines = self._text.rstrip("\n").split("\n")
        self.query_one(Log).write_lines(escape_control(one.expandtabs()) for one in lines)

    def action_bottom(self) -> None:
        """Scroll to the last line."""
        self.query_one(Log).scroll_end(animate=False)

    def action_top(self) -> None:
        """Scroll to the first line."""
        self.query_one(Log).scroll_home(animate=False)
