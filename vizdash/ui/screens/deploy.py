"""The deploy form: shows what a deploy would do before it starts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import Input, Label, Static
from textual.worker import Worker

from vizdash.errors import VizdashError
from vizdash.service.image_admin import DeployPlan
from vizdash.ui.dialog_screen import DialogScreen
from vizdash.ui.present.lines import Span, Tone, content, line, lines
from vizdash.ui.screens.confirm import ConfirmScreen, Question
from vizdash.ui.widgets.chips import Chips
from vizdash.ui.widgets.clickable_keys import Dialog
from vizdash.util.nodesets import list_nodes
from vizdash.util.text import escape_control, plural
from vizdash.util.units import format_size

_FIELDS = (
    ("version", "Version", "the newest build"),
    ("nodes", "Nodes", "all, or e.g. viz-node[001-016]"),
    ("canary", "Canary", "a node to deploy to first, or none"),
)
_SMOKE = ("no", "yes")


@dataclass(frozen=True, slots=True)
class DeployRequest:
    """A planned deploy, and how to carry it out."""

    plan: DeployPlan
    canary: str = ""
    smoke: bool = False


def _question(request: DeployRequest, *, every: bool) -> Question:
    """Whether to deploy, with the image and the number of nodes."""
    nodes, source = request.plan.nodes, request.plan.source
    on = "the shared image root" if not any(nodes) else plural(len(nodes), "node")
    if every and len(nodes) > 1:
        on = f"all {on}"
    what = line(Span(f"{source.app} {source.version}", "strong", bold=True), f" to {on}")
    where = [line(Span(list_nodes(nodes), "text"))] if any(nodes) else []
    keep = line(Span("New sessions use it; running sessions keep their image.", "muted"))
    return Question(f"Deploy to {on}?", (what, *where, (), keep), "Deploy", "Cancel")


class DeployScreen(DialogScreen[DeployRequest | None]):
    """Enter plans the deploy and shows the plan; Enter again starts it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel", show=False),
        Binding("enter", "go", "Go", show=False),
        Binding("down", "app.focus_next", "Next", show=False),
        Binding("up", "app.focus_previous", "Previous", show=False),
    ]

    def __init__(
        self,
        plan: Callable[[str, str, str], Awaitable[DeployPlan]],
        apps: Sequence[str],
        *,
        app: str = "",
    ) -> None:
        super().__init__()
        self._make_plan = plan
        self._apps = tuple(apps)
        self._first = app
        self._plan: DeployPlan | None = None
        self._planning: Worker[None] | None = None

    def compose(self) -> ComposeResult:
        """App, version, nodes, canary, smoke test, verdict."""
        with Dialog() as dialog:
            dialog.border_title = "Deploy an image"
            yield self._field("App", Chips(self._apps, chosen=self._first, id="deploy-app"))
            for name, title, hint in _FIELDS:
                yield self._field(title, Input(placeholder=hint, id=f"deploy-{name}"))
            yield self._field("Smoke test", Chips(_SMOKE, id="deploy-smoke"))
            yield Static(id="deploy-verdict", markup=False)

    def _field(self, name: str, widget: Widget) -> Widget:
        return Horizontal(Label(name, classes="name"), widget, classes="field")

    def on_mount(self) -> None:
        """Show what the keys do."""
        self._changed()

    @on(Input.Changed)
    @on(Chips.Changed)
    def _changed(self) -> None:
        """Another request: drop the plan, and cancel a running planning."""
        if self._planning is not None:
            self._planning.cancel()
        self._plan = self._planning = None
        about = "A test session runs on each node before its current link is switched."
        trying = self.query_one("#deploy-smoke", Chips).value == "yes"
        self._say("enter checks the image and the nodes", "muted", about if trying else "")
        self._subtitle("enter checks · tab next · ← → choose · esc cancels")

    @on(Input.Submitted)
    async def action_go(self) -> None:
        """Plan, or start what was planned."""
        if self._plan is not None:
            smoke = self.query_one("#deploy-smoke", Chips).value == "yes"
            self._begin(DeployRequest(self._plan, self._text("canary"), smoke))
        elif self._planning is None:
            self._say("checking the nodes and reading the image …", "busy")
            self._planning = self.run_worker(self._plan_deploy(), name="plan", group="reads")

    def _begin(self, request: DeployRequest) -> None:
        """Start at once on one node that was named; else ask first, since Enter is easily pressed
        twice.
        """
        if len(request.plan.nodes) == 1 and self._text("nodes"):
            self.dismiss(request)
            return

        def give() -> None:
            self.dismiss(request)

        def answered(yes: bool | None) -> None:
            if yes:
                self.call_later(give)  # the question still covers this screen

        self.app.push_screen(
            ConfirmScreen(_question(request, every=not self._text("nodes"))), answered
        )

    async def _plan_deploy(self) -> None:
        app, canary = self.query_one("#deploy-app", Chips).value, self._text("canary")
        try:
            plan = await self._make_plan(app, self._text("version"), self._text("nodes"))
        except VizdashError as e:
            wrong = e.line
        else:
            wrong = f"{canary} is not among the nodes" if canary not in ("", *plan.nodes) else ""
        finally:
            self._planning = None
        if wrong:
            self._say(wrong, "bad")
            return
        self._plan = plan
        source = plan.source
        shown = list_nodes(plan.nodes) if any(plan.nodes) else "the shared image root"
        what = line(
            Span(f"{source.app} {source.version}", "strong", bold=True),
            Span(f"  {format_size(source.size_bytes)}  {source.digest[:12]}", "muted"),
        )
        where = line(Span(f"to {plural(len(plan.nodes), 'node')}: {shown}", "text"))
        keep = line(Span("Running sessions keep their image.", "muted"))
        warning = [line(Span(escape_control(plan.warning), "warn"))] if plan.warning else []
        self.query_one("#deploy-verdict", Static).update(lines([what, where, *warning, keep]))
        self._subtitle("enter deploys · esc cancels")

    def _text(self, name: str) -> str:
        return self.query_one(f"#deploy-{name}", Input).value.strip()

    def _say(self, text: str, tone: Tone, more: str = "") -> None:
        spans = (Span(escape_control(text), tone), Span(f"\n{more}" if more else "", "muted"))
        self.query_one("#deploy-verdict", Static).update(content(spans))

    def _subtitle(self, text: str) -> None:
        self.query_one(".dialog").border_subtitle = text
