"""The form that brings an image to nodes: what it would do is shown before it is begun."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Input, Label, Static
from textual.worker import Worker

from vizdash.errors import VizdashError
from vizdash.imaging import Plan
from vizdash.ui.format import escape_control, names, plural, size
from vizdash.ui.screens.confirm import Confirm, Question
from vizdash.ui.theme import Span, Tone, content, line, lines
from vizdash.ui.widgets.chips import Chips
from vizdash.ui.widgets.clicked import Dialog

_FIELDS = (
    ("version", "Version", "the newest that was built"),
    ("nodes", "Nodes", "all, or e.g. viz-node[001-016]"),
    ("canary", "First", "a node that goes first, or none"),
)
_SMOKE = ("no", "yes")


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be deployed, and how."""

    plan: Plan
    canary: str = ""
    smoke: bool = False


def _question(wish: Wish, *, every: bool) -> Question:
    """Name the image and how many nodes get it."""
    nodes, cargo = wish.plan.nodes, wish.plan.cargo
    on = "the shared image root" if not any(nodes) else plural(len(nodes), "node")
    if every and len(nodes) > 1:
        on = f"all {on}"
    what = line(Span(f"{cargo.app} {cargo.version}", "strong", bold=True), f" to {on}")
    where = [line(Span(names(nodes), "text"))] if any(nodes) else []
    keep = line(Span("New sessions run from it; running ones keep theirs.", "muted"))
    return Question(f"Deploy to {on}?", (what, *where, (), keep), "Deploy", "Don't")


class DeployScreen(ModalScreen[Wish | None]):
    """Enter looks for the image and says what would be done; Enter again does it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel", show=False),
        Binding("enter", "go", "Go", show=False),
        Binding("down", "app.focus_next", "Next", show=False),
        Binding("up", "app.focus_previous", "Previous", show=False),
    ]

    def __init__(
        self,
        plan: Callable[[str, str, str], Awaitable[Plan]],
        apps: Sequence[str],
        *,
        app: str = "",
    ) -> None:
        super().__init__()
        self._make_plan = plan
        self._apps = tuple(apps)
        self._first = app
        self._plan: Plan | None = None
        self._looking: Worker[None] | None = None

    def compose(self) -> ComposeResult:
        """App, version, nodes, care, verdict."""
        with Dialog() as dialog:
            dialog.border_title = "Deploy an image"
            yield self._field("App", Chips(self._apps, chosen=self._first, id="deploy-app"))
            for name, title, hint in _FIELDS:
                yield self._field(title, Input(placeholder=hint, id=f"deploy-{name}"))
            yield self._field("Try it", Chips(_SMOKE, id="deploy-smoke"))
            yield Static(id="deploy-verdict", markup=False)

    def _field(self, name: str, widget: Widget) -> Widget:
        return Horizontal(Label(name, classes="name"), widget, classes="field")

    def on_mount(self) -> None:
        """Say what the keys do."""
        self._changed()

    @on(Input.Changed)
    @on(Chips.Changed)
    def _changed(self) -> None:
        """Another wish: it is looked for again, and what is being looked for is void."""
        if self._looking is not None:
            self._looking.cancel()
        self._plan = self._looking = None
        about = "A real session is brought up on each node before it is switched."
        trying = self.query_one("#deploy-smoke", Chips).value == "yes"
        self._say("enter looks for the image", "muted", about if trying else "")
        self._subtitle("enter looks · tab next · ← → choose · esc cancels")

    @on(Input.Submitted)
    async def action_go(self) -> None:
        """Look, or begin what was shown."""
        if self._plan is not None:
            smoke = self.query_one("#deploy-smoke", Chips).value == "yes"
            self._begin(Wish(self._plan, self._text("canary"), smoke))
        elif self._looking is None:
            self._say("looking at the nodes, and reading the image whole …", "busy")
            self._looking = self.run_worker(self._look(), name="plan", group="reads")

    def _begin(self, wish: Wish) -> None:
        """At once on one node that was named; else asked first: Enter twice is soon pressed."""
        if len(wish.plan.nodes) == 1 and self._text("nodes"):
            self.dismiss(wish)
            return

        def give() -> None:
            self.dismiss(wish)

        def answered(yes: bool | None) -> None:
            if yes:
                self.call_later(give)  # the question still lies over this

        self.app.push_screen(Confirm(_question(wish, every=not self._text("nodes"))), answered)

    async def _look(self) -> None:
        app, canary = self.query_one("#deploy-app", Chips).value, self._text("canary")
        try:
            plan = await self._make_plan(app, self._text("version"), self._text("nodes"))
        except VizdashError as e:
            wrong = e.line
        else:
            wrong = f"{canary} is not among the nodes" if canary not in ("", *plan.nodes) else ""
        finally:
            self._looking = None
        if wrong:
            self._say(wrong, "bad")
            return
        self._plan = plan
        cargo = plan.cargo
        shown = names(plan.nodes) if any(plan.nodes) else "the shared image root"
        what = line(
            Span(f"{cargo.app} {cargo.version}", "strong", bold=True),
            Span(f"  {size(cargo.size_bytes)}  {cargo.digest[:12]}", "muted"),
        )
        where = line(Span(f"to {plural(len(plan.nodes), 'node')}: {shown}", "text"))
        keep = line(Span("Running sessions keep the image that they run from.", "muted"))
        warning = [line(Span(escape_control(plan.warning), "warn"))] if plan.warning else []
        self.query_one("#deploy-verdict", Static).update(lines([what, where, *warning, keep]))
        self._subtitle("enter begins · esc cancels")

    def _text(self, name: str) -> str:
        return self.query_one(f"#deploy-{name}", Input).value.strip()

    def _say(self, text: str, tone: Tone, more: str = "") -> None:
        spans = (Span(escape_control(text), tone), Span(f"\n{more}" if more else "", "muted"))
        self.query_one("#deploy-verdict", Static).update(content(spans))

    def _subtitle(self, text: str) -> None:
        self.query_one(".dialog").border_subtitle = text
