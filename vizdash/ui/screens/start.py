"""The form that starts a session: two keys for the last choice, and it knows what fits."""

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
from textual.screen import ModalScreen
from textual.suggester import SuggestFromList
from textual.widget import Widget
from textual.widgets import Input, Label, Static

from vizdash.errors import VizdashError
from vizdash.model import Node, Session, SessionRequest
from vizdash.service import Service
from vizdash.sessions.fit import Fit
from vizdash.ui.form import MORE, OWN, SAVED, SIZES, Form, FormError
from vizdash.ui.format import escape_control
from vizdash.ui.theme import Span, Tone, content
from vizdash.ui.widgets.chips import Chips
from vizdash.ui.widgets.clicked import Dialog
from vizdash.ui.widgets.formparts import Also, More, Naming

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
}
_HINTS = {"node": "any", "geometry": "1280x720"}
_ROWS = (("cores", "memory"), ("gpus", "time"), ("node", "geometry"))
#: Where memory is not asked for: it isn't tracked, or the site says how much there is.
_ROWS_WITHOUT_MEMORY = (("cores", "gpus"), ("time", "node"), ("geometry",))


def _keys(*, saved: bool = False, also: bool = False) -> str:
    """The keys in the lower border. With all of them there is no room for the arrows."""
    keys = ["enter starts"] + ["← → choose"] * (not (saved and also)) + ["^s saves"]
    return " · ".join([*keys, *["^d forgets"] * saved, *["^l clears"] * also, "esc cancels"])


class StartScreen(ModalScreen[None]):
    """Enter starts from any field, Escape leaves. ``start`` starts a session; it goes on when
    the form is left meanwhile. ``clock`` gives epoch seconds.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Cancel", show=False),
        Binding("ctrl+s", "save", "Save", show=False, priority=True),
        Binding("ctrl+d", "forget", "Forget", show=False, priority=True),
        Binding("ctrl+l", "clear", "Clear", show=False, priority=True),
        Binding("enter", "start", "Start", show=False),
        # Before the next key is handed on: keys that come together went into the field before.
        Binding("tab", "app.focus_next", "Next", show=False, priority=True),
        Binding("shift+tab", "app.focus_previous", "Previous", show=False, priority=True),
        Binding("down", "app.focus_next", "Next", show=False),
        Binding("up", "app.focus_previous", "Previous", show=False),
    ]
    #: Seconds without a key before the cluster is asked what fits.
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
        self._apps = {app.name: app for app in service.apps()}
        self._first = first
        self._clock = clock
        self._form = self._first_form(node)
        self._busy = False

    def _first_form(self, node: str) -> Form | None:
        if not self._apps:
            return None
        last = self._first
        if last is None and (last := self._service.last_request()) is not None:
            last = replace(last, node="")  # it was chosen for that session, not for every one
        if last is not None and last.app in self._apps:
            form = self._with_saved(Form.of_request(self._apps[last.app], last))
        else:
            form = self._with_saved(Form.of_app(next(iter(self._apps.values()))))
        return replace(form, texts={**form.texts, "node": node}) if node else form

    def _with_saved(self, form: Form) -> Form:
        return replace(form, saved=self._service.presets.known(form.app.name))

    # ------------------------------------------------------------------ what is seen

    def compose(self) -> ComposeResult:
        """Choices, sizes, the rest, the verdict."""
        form = self._form
        with Dialog() as dialog:
            dialog.border_title = "New session"
            dialog.border_subtitle = _keys()
            if form is None:
                yield Static("The catalogue has no apps: add one under apps: in the config.")
                return
            yield self._field("App", Chips(list(self._apps), chosen=form.app.name, id="app"))
            yield self._field("Size", Chips(form.sizes(), chosen=form.preset(), id="size"))
            yield Static(classes="space")
            for names in self._rows:
                yield self._inputs(names)
            yield Static(classes="space")
            yield Also(id="also", classes="field")
            yield More(id="more-title", markup=False)
            with Vertical(id="more"):
                for at in range(0, len(MORE), 2):
                    yield self._inputs(MORE[at : at + 2])
            yield Static(id="verdict", markup=False)
            yield Naming()

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
        """Say at once what fits."""
        if self._form is not None:
            self._show_more(any(self._form.texts.get(name) for name in MORE))
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
        self._form = self._with_saved(Form.of_app(self._apps[event.chips.value]))
        self._offer_sizes()
        self._fill((*SIZES, "geometry"))

    def _offer_sizes(self) -> None:
        if self._form is not None:
            self.query_one("#size", Chips).offer(self._form.sizes(), self._form.preset())

    @on(Chips.Changed, "#size")
    def _size_changed(self, event: Chips.Changed) -> None:
        if self._form is not None and event.chips.value != OWN:
            self._form = self._form.chosen(event.chips.value)
            self._fill(self._form.texts)

    def _fill(self, names: Iterable[str]) -> None:
        assert self._form is not None
        with self.prevent(Input.Changed):
            for name in names:
                for box in self.query(f"#{name}").results(Input):  # memory may have none
                    box.value = self._form.texts[name]
        self._read()

    @on(Input.Changed)
    def _typed(self) -> None:
        self._read()
        if self._form is not None:
            self.query_one("#size", Chips).pick(self._form.preset())

    def _read(self) -> None:
        if self._form is not None:
            boxes = [one for one in self.query(Input) if not isinstance(one, Naming)]
            texts = {one.id or "": one.value for one in boxes}
            self._form = replace(self._form, texts={**self._form.texts, **texts})
            self._judge_soon()

    def action_clear(self) -> None:
        """On any node, of the current image, without arguments for sbatch."""
        if self._form is not None and self._form.also:
            texts = {**self._form.texts, "node": ""}
            self._form = replace(self._form, image="", extra=(), texts=texts)
            self._fill(("node",))
            self._offer_sizes()
            self._judge_soon()

    # ------------------------------------------------------------------ saved sizes

    def action_save(self) -> None:
        """Ask for a name to save these choices under."""
        if self._request() is not None:
            self.query_one(Naming).begin(self._form.saved_name() if self._form else "")

    @on(Naming.Named)
    def _named(self, event: Naming.Named) -> None:
        request = self._request()
        if event.name and request is not None and self._form is not None:
            save = partial(self._service.presets.save, event.name, request)
            told = f"saved as {SAVED}{event.name}"
            work = self._keep(save, "good", "✓", told)
            self.run_worker(work, group="presets")
        self.query_one("#size", Chips).focus()

    async def _keep(self, change: Callable[[], None], tone: Tone, sign: str, told: str) -> None:
        """In a thread: another vizdash may hold the file's lock, and a home may hang."""
        try:
            await self._service.at_home(change)
        except VizdashError as e:
            tone, sign, told = "bad", "✗", e.line
        else:
            await self._read_saved()
        self._say(told, tone, sign)

    async def _read_saved(self) -> None:
        """Offer what is saved now, perhaps by another vizdash."""
        with contextlib.suppress(VizdashError):
            await self._service.at_home(self._service.presets.load)
        if self._form is not None:
            before = self._form
            self._form = self._with_saved(before)
            if self._form != before:
                self._offer_sizes()

    def action_forget(self) -> None:
        """Take the chosen saved size away."""
        if self._form is None or not (name := self._form.saved_name()):
            self._say("only sizes that you saved can be forgotten", "warn", "!")
            return
        app = self._form.app.name
        remove = partial(self._service.presets.remove, app, name)
        told = f"{SAVED}{name} is forgotten"
        self.run_worker(self._keep(remove, "muted", "–", told), group="presets")

    # ------------------------------------------------------------------ what fits

    def _request(self) -> SessionRequest | None:
        """What the form means; None, having said why, when a field makes no sense."""
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
            also, saved = self._form.also, bool(self._form.saved_name())
            self.query_one(Also).show(also)
            self.query_one(".dialog").border_subtitle = _keys(saved=saved, also=bool(also))
        # What an earlier value is judged to be must not replace a wrong one's error.
        self.workers.cancel_group(self, "fit")
        if not self._busy and (request := self._request()) is not None:
            # A callable: a coroutine that is replaced before it began would warn of it.
            judge: Callable[[], Awaitable[None]] = partial(self._judge, request)
            self.run_worker(judge, exclusive=True, group="fit")

    async def _judge(self, request: SessionRequest) -> None:
        await asyncio.sleep(self.PAUSE_S)
        try:
            fit = await self._service.fit(request)
        except VizdashError as e:
            self._say(f"what fits is not known: {e.line}", "warn", "?")
            return
        if fit.refusal:
            self._say(fit.words, "bad", "✗")
            return
        if not fit.now and not fit.untold and self._service.engine.name == "local":
            text = "nothing free now, and this machine has no queue: ask for less, or stop one"
            self._say(text, "bad", "✗")
            return
        self._say(fit.words, "good" if fit.now else "warn", "✓" if fit.now else "○")
        if fit.waits:
            await self._foresee(request, fit)

    async def _foresee(self, request: SessionRequest, fit: Fit) -> None:
        """Ask the scheduler: it costs it some thought, so only for what must wait."""
        await asyncio.sleep(self.PAUSE_S)
        try:
            at = await self._service.expected_start(request)
        except VizdashError as e:
            self._say(f"{fit.words}; when is not known: {e.why}", "warn", "○")
        else:
            self._say(fit.with_start(at, self._clock()), "warn", "○")

    # ------------------------------------------------------------------ starting

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.action_start()

    def action_start(self) -> None:
        """Once; again only after a refusal."""
        if self._busy or (request := self._request()) is None:
            return
        self._busy = True
        self.workers.cancel_group(self, "fit")
        self._say(f"starting {request.app} …", "busy", "◐")
        self.app.run_worker(self._work(request), name="start", group="writes")

    async def _work(self, request: SessionRequest) -> None:
        """Runs in the app, not in the form, so that Escape can't cut it in half."""
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
