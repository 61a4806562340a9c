"""The start form: two keys repeat the last request, and it shows what fits."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.suggester import SuggestFromList
from textual.widget import Widget
from textual.widgets import Input, Label, Static

from vizdash.errors import VizdashError
from vizdash.model import Node, Session, SessionRequest
from vizdash.service.service import Service
from vizdash.sessions.start_plan import StartPlan, idle_policy
from vizdash.ui.dialog_screen import DialogScreen
from vizdash.ui.present.lines import Span, Tone, content
from vizdash.ui.present.start_form import (
    CUSTOM_SIZE,
    RARE_FIELDS,
    SAVED_MARK,
    SIZE_FIELDS,
    FormError,
    StartForm,
)
from vizdash.ui.widgets.chips import Chips
from vizdash.ui.widgets.clickable_keys import Dialog
from vizdash.ui.widgets.start_form_fields import MoreToggle, OtherSettings, SizeNameInput
from vizdash.util.text import escape_control

_NAMES = {
    "cores": "Cores",
    "memory": "Memory",
    "gpus": "GPUs",
    "time": "Time limit",
    "node": "Node",
    "geometry": "Desktop",
    "account": "Account",
    "qos": "QOS",
    "partition": "Partition",
    "reservation": "Reservation",
    "constraint": "Constraint",
    "scale": "Scale",
}
_HINTS = {"node": "any", "geometry": "1280x720"}
_ROWS = (("cores", "memory"), ("gpus", "time"), ("node", "geometry"))
#: What happens when it is idle: whether it is kept is the index.
_IDLE = ("end", "keep running")
#: The fields where memory is not requested: it is not tracked, or the site sets it.
_ROWS_WITHOUT_MEMORY = (("cores", "gpus"), ("time", "node"), ("geometry",))


def _keys(*, saved: bool = False, other: bool = False) -> str:
    """The keys in the lower border, without the arrows where all others are shown."""
    keys = ["enter starts"] + ["← → choose"] * (not (saved and other)) + ["^s saves"]
    return " · ".join([*keys, *["^d deletes"] * saved, *["^l clears"] * other, "esc cancels"])


class StartScreen(DialogScreen[None]):
    """Enter starts from any field, Escape closes. ``start`` starts a session, which continues when
    the form is closed meanwhile. ``clock`` gives epoch seconds.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Cancel", show=False),
        Binding("ctrl+s", "save", "Save", show=False, priority=True),
        Binding("ctrl+d", "forget", "Delete", show=False, priority=True),
        Binding("ctrl+l", "clear", "Clear", show=False, priority=True),
        Binding("enter", "start", "Start", show=False),
        # With priority: of keys that arrive together, later ones would go into the previous field.
        Binding("tab", "app.focus_next", "Next", show=False, priority=True),
        Binding("shift+tab", "app.focus_previous", "Previous", show=False, priority=True),
        Binding("down", "app.focus_next", "Next", show=False),
        Binding("up", "app.focus_previous", "Previous", show=False),
    ]
    #: Seconds without a key before the cluster is queried for what fits.
    PAUSE_S: ClassVar[float] = 0.25

    def __init__(
        self,
        service: Service,
        start: Callable[[SessionRequest], Awaitable[Session]],
        *,
        nodes: Sequence[Node] = (),
        node: str = "",
        first: SessionRequest | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._service = service
        self._start = start
        self._node_names = [n.name for n in nodes]
        tracked = not nodes or any(n.memory_tracked for n in nodes)
        asks = tracked and service.config.cluster.memory_request != "none"
        self._rows: Sequence[Sequence[str]] = _ROWS if asks else _ROWS_WITHOUT_MEMORY
        self._apps = {app.name: app for app in service.apps.all}
        policies = [idle_policy(app, service.config.cluster) for app in service.apps.all]
        self._keepable = any(policy is not None and policy.keep for policy in policies)
        self._first = first
        self._clock = clock
        self._form = self._first_form(node)
        self._busy = False

    def _first_form(self, node: str) -> StartForm | None:
        if not self._apps:
            return None
        last = self._first
        if last is None and (last := self._service.user_data.last_request()) is not None:
            last = replace(last, node="")  # it was chosen for that session only
        if last is not None and last.app in self._apps:
            form = self._with_saved(StartForm.of_request(self._apps[last.app], last))
        else:
            form = self._with_saved(StartForm.of_app(next(iter(self._apps.values()))))
        return replace(form, texts={**form.texts, "node": node}) if node else form

    def _with_saved(self, form: StartForm) -> StartForm:
        return replace(form, saved=self._service.user_data.presets.known(form.app.name))

    # ------------------------------------------------------------------ what is seen

    def compose(self) -> ComposeResult:
        """App, size, fields, verdict."""
        form = self._form
        with Dialog() as dialog:
            dialog.border_title = "New session"
            dialog.border_subtitle = _keys()
            if form is None:
                yield Static("No apps are configured: add one under apps: in the configuration.")
                return
            yield self._field("App", Chips(list(self._apps), chosen=form.app.name, id="app"))
            yield self._field("Size", Chips(form.sizes(), chosen=form.preset(), id="size"))
            yield Static(classes="space")
            for names in self._rows:
                yield self._inputs(names)
            if self._keepable:
                chosen = _IDLE[form.keep]
                yield self._field("When idle", Chips(list(_IDLE), chosen=chosen, id="idle"))
            yield Static(classes="space")
            yield OtherSettings(id="also", classes="field")
            yield MoreToggle(id="more-title", markup=False)
            with Vertical(id="more"):
                for at in range(0, len(RARE_FIELDS), 2):
                    yield self._inputs(RARE_FIELDS[at : at + 2])
            yield Static(id="verdict", markup=False)
            yield SizeNameInput()

    def _field(self, name: str, *widgets: Widget) -> Widget:
        return Horizontal(Label(name, classes="name"), *widgets, classes="field")

    def _inputs(self, names: Iterable[str]) -> Widget:
        row: list[Widget] = []
        for name in names:
            suggester = SuggestFromList(self._node_names) if name == "node" else None
            value = self._form.texts.get(name, "") if self._form else ""
            row.append(Label(_NAMES[name], classes="name"))
            row.append(
                Input(
                    value,
                    placeholder=_HINTS.get(name, "default"),
                    suggester=suggester,
                    select_on_focus=True,
                    id=name,
                )
            )
        return Horizontal(*row, classes="field")

    def on_mount(self) -> None:
        """Show what fits."""
        if self._form is not None:
            self._show_more(any(self._form.texts.get(name) for name in RARE_FIELDS))
            self._judge_soon()
            self.run_worker(self._read_saved(), group="presets")

    def _show_more(self, shown: bool) -> None:
        self.query_one("#more").set_class(shown, "-shown")
        sign = "▾" if shown else "▸"
        spans = (Span(f"{sign} ", "accent"), Span("More: account, QOS, partition …", "muted"))
        self.query_one("#more-title", Static).update(content(spans))

    def action_more(self) -> None:
        """Show or hide the rarer fields."""
        self._show_more(not self.query_one("#more").has_class("-shown"))

    def _say(self, text: str, tone: Tone, glyph: str) -> None:
        spans = (Span(f"{glyph} ", tone, bold=True), Span(escape_control(text), tone))
        self.query_one("#verdict", Static).update(content(spans))

    # ------------------------------------------------------------------ what is typed

    @on(Chips.Changed, "#app")
    def _app_changed(self, event: Chips.Changed) -> None:
        self._form = self._with_saved(StartForm.of_app(self._apps[event.chips.value]))
        self._offer_sizes()
        self._fill((*SIZE_FIELDS, "geometry"))

    def _offer_sizes(self) -> None:
        if self._form is not None:
            self.query_one("#size", Chips).offer(self._form.sizes(), self._form.preset())

    @on(Chips.Changed, "#size")
    def _size_changed(self, event: Chips.Changed) -> None:
        if self._form is not None and event.chips.value != CUSTOM_SIZE:
            self._form = self._form.chosen(event.chips.value)
            for chips in self.query("#idle").results(Chips):
                chips.pick(_IDLE[self._form.keep])
            self._fill(self._form.texts)

    def _fill(self, names: Iterable[str]) -> None:
        assert self._form is not None
        with self.prevent(Input.Changed):
            for name in names:
                for box in self.query(f"#{name}").results(Input):  # memory may have no field
                    box.value = self._form.texts[name]
        self._read()

    @on(Chips.Changed, "#idle")
    def _idle_changed(self, event: Chips.Changed) -> None:
        if self._form is not None:
            self._form = replace(self._form, keep=event.chips.value == _IDLE[True])
            self.query_one("#size", Chips).pick(self._form.preset())
            self._judge_soon()

    @on(Input.Changed)
    def _typed(self) -> None:
        self._read()
        if self._form is not None:
            self.query_one("#size", Chips).pick(self._form.preset())

    def _read(self) -> None:
        if self._form is not None:
            boxes = [one for one in self.query(Input) if not isinstance(one, SizeNameInput)]
            texts = {one.id or "": one.value for one in boxes}
            self._form = replace(self._form, texts={**self._form.texts, **texts})
            self._judge_soon()

    def action_clear(self) -> None:
        """Clear the settings without a field: node, image version, sbatch arguments."""
        if self._form is not None and self._form.other_settings:
            texts = {**self._form.texts, "node": ""}
            self._form = replace(self._form, image="", extra=(), texts=texts)
            self._fill(("node",))
            self._offer_sizes()
            self._judge_soon()

    # ------------------------------------------------------------------ saved sizes

    def action_save(self) -> None:
        """Ask for a name to save this size under."""
        if self._request() is not None:
            self.query_one(SizeNameInput).begin(self._form.saved_name() if self._form else "")

    @on(SizeNameInput.Named)
    def _named(self, event: SizeNameInput.Named) -> None:
        request = self._request()
        if event.name and request is not None and self._form is not None:
            save = partial(self._service.user_data.presets.save, event.name, request)
            text = f"saved as {SAVED_MARK}{event.name}"
            work = self._keep(save, "good", "✓", text)
            self.run_worker(work, group="presets")
        self.query_one("#size", Chips).focus()

    async def _keep(self, change: Callable[[], None], tone: Tone, sign: str, text: str) -> None:
        """Write in a thread: another vizdash may hold the lock, and a home directory may hang."""
        try:
            await self._service.user_data.in_thread(change)
        except VizdashError as e:
            tone, sign, text = "bad", "✗", e.line
        else:
            await self._read_saved()
        self._say(text, tone, sign)

    async def _read_saved(self) -> None:
        """Offer the sizes that are saved now, perhaps by another vizdash."""
        with contextlib.suppress(VizdashError):
            await self._service.user_data.in_thread(self._service.user_data.presets.load)
        if self._form is not None:
            before = self._form
            self._form = self._with_saved(before)
            if self._form != before:
                self._offer_sizes()

    def action_forget(self) -> None:
        """Delete the chosen saved size."""
        if self._form is None or not (name := self._form.saved_name()):
            self._say("only saved sizes can be deleted", "warn", "!")
            return
        app = self._form.app.name
        remove = partial(self._service.user_data.presets.remove, app, name)
        text = f"{SAVED_MARK}{name} deleted"
        self.run_worker(self._keep(remove, "muted", "–", text), group="presets")

    # ------------------------------------------------------------------ what fits

    def _request(self) -> SessionRequest | None:
        """The request; None, with the error shown, when a field is invalid."""
        if self._form is None:
            return None
        self.query(Input).remove_class("-wrong")
        try:
            return self._form.request()
        except FormError as e:
            self.query_one(f"#{e.name}", Input).add_class("-wrong")
            self._say(e.text, "bad", "✗")
            return None

    def _judge_soon(self) -> None:
        if self._form is not None:
            other, saved = self._form.other_settings, bool(self._form.saved_name())
            self.query_one(OtherSettings).show(other)
            self.query_one(".dialog").border_subtitle = _keys(saved=saved, other=bool(other))
        # The verdict on an earlier value must not replace the error of an invalid one.
        self.workers.cancel_group(self, "fit")
        if not self._busy and (request := self._request()) is not None:
            # A callable: a coroutine that is replaced before it starts would cause a warning.
            judge: Callable[[], Awaitable[None]] = partial(self._judge, request)
            self.run_worker(judge, exclusive=True, group="fit")

    async def _judge(self, request: SessionRequest) -> None:
        await asyncio.sleep(self.PAUSE_S)
        try:
            plan = await self._service.plan(request)
        except VizdashError as e:
            self._say(f"what fits is unknown: {e.line}", "warn", "?")
            return
        fit = plan.verdict
        if fit.refusal:
            self._say(fit.text, "bad", "✗")
            return
        if not fit.fits_now and not fit.undetermined and self._service.engine.name == "local":
            text = (
                "nothing fits now, and this machine has no queue: request less, or stop a session"
            )
            self._say(text, "bad", "✗")
            return
        text = "; ".join(part for part in (fit.text, plan.notes) if part)
        self._say(text, "good" if fit.fits_now else "warn", "✓" if fit.fits_now else "○")
        if fit.waits:
            await self._show_expected_start(plan)

    async def _show_expected_start(self, plan: StartPlan) -> None:
        """Query the expected start. It is costly for the scheduler, so only where the request must
        wait.
        """
        await asyncio.sleep(self.PAUSE_S)
        try:
            at = await self._service.expected_start(plan)
        except VizdashError as e:
            self._say(f"{plan.verdict.text}; expected start unknown: {e.why}", "warn", "○")
        else:
            text = plan.verdict.text_with_start(at, self._clock())
            text = "; ".join(part for part in (text, plan.notes) if part)
            self._say(text, "warn", "○")

    # ------------------------------------------------------------------ starting

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.action_start()

    def action_start(self) -> None:
        """Start once; again only after a refusal."""
        if self._busy or (request := self._request()) is None:
            return
        self._busy = True
        self.workers.cancel_group(self, "fit")
        self._say(f"starting {request.app} …", "busy", "◐")
        self.app.run_worker(self._work(request), name="start", group="writes")

    async def _work(self, request: SessionRequest) -> None:
        """Runs in the app, not in the form, so that Escape can't interrupt it."""
        try:
            await self._start(request)
        except VizdashError as e:
            if self.is_current:
                self._say(e.line, "bad", "✗")
            else:
                text = escape_control(e.line)
                self.app.notify(text, severity="error", timeout=12, markup=False)
            return
        except Exception:
            self._say(f"{request.app} was not started", "bad", "✗")
            raise
        finally:
            self._busy = False
        if self.is_current:
            self.dismiss()
