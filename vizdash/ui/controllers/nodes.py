"""Draining and resuming nodes."""

from __future__ import annotations

from collections.abc import Awaitable

from vizdash.actions import Context, is_out_of_service
from vizdash.errors import VizdashError
from vizdash.model import Node
from vizdash.service.service import Service
from vizdash.ui.controllers.interface import Handlers, Ui, ask_for_text, confirm
from vizdash.ui.present.lines import Line, Span, line
from vizdash.ui.screens.confirm import Question

_NOT_LISTED = "it is no longer in the partition"
_NOTHING_TO_RESUME = line(Span("It is in service again: there is nothing to resume.", "warn"))


class NodesController:
    """Handles the actions on a node, for Slurm's administrators."""

    def __init__(self, ui: Ui, service: Service) -> None:
        self._ui = ui
        self._service = service

    @property
    def handlers(self) -> Handlers:
        """The actions that it handles."""
        return {"drain": self._ask_to_drain, "resume": self._ask_to_resume}

    def _find(self, name: str) -> Node | None:
        """The node in the last snapshot; None where it is not in it."""
        snapshot = self._ui.state.snapshot
        return next((n for n in snapshot.nodes if n.name == name), None) if snapshot else None

    def _ask_to_drain(self, context: Context) -> None:
        from vizdash.ui.screens.text_prompt import TextPromptScreen

        if context.node is None:
            return
        name = context.node.name

        async def drain(reason: str) -> None:
            if self._find(name) is None:
                self._ui.warn(f"{name} was not drained: {_NOT_LISTED}")
                return
            await self._change(self._service.operations.drain(name, reason), f"{name} is drained")

        screen = TextPromptScreen(
            "Drain this node?",
            lambda: draining(name, self._find(name)),
            hint="the reason",
            does="drains",
        )
        ask_for_text(self._ui, screen, drain)

    def _ask_to_resume(self, context: Context) -> None:
        if context.node is None:
            return
        name = context.node.name

        async def resume() -> None:
            current = self._find(name)
            if current is None or not is_out_of_service(current):
                why = "it is in service" if current else _NOT_LISTED
                self._ui.warn(f"{name} was not resumed: {why}")
                return
            work = self._service.operations.resume(name)
            await self._change(work, f"{name} accepts jobs again")

        confirm(self._ui, lambda: resuming(name, self._find(name)), resume)

    async def _change(self, work: Awaitable[object], done: str) -> None:
        try:
            await work
        except VizdashError as e:
            self._ui.report_error(e.line)
        else:
            self._ui.inform(done)
            self._ui.refresh_snapshot()


def draining(name: str, node: Node | None) -> tuple[Line, ...]:
    """Name the node, and what is so already."""
    strong = Span(name, "strong", bold=True)
    if node is None:
        return (line(strong, ": ", Span(_NOT_LISTED, "warn")),)
    text = line(strong, ": running jobs finish, no new ones start.")
    if "DRAIN" not in node.flags:
        return (text,)
    why = f": {node.reason}" if node.reason else ""
    return (text, line(Span(f"It is already {node.state_text}{why}", "warn")))


def resuming(name: str, node: Node | None) -> Question:
    """Name the node, its state and its reason."""
    strong = Span(name, "strong", bold=True)
    if node is None:
        text: tuple[Line, ...] = (line(strong, "   ", Span(_NOT_LISTED, "warn")), (), ())
    elif not is_out_of_service(node):
        text = (line(strong, f"   {node.state_text}"), (), _NOTHING_TO_RESUME)
    else:
        reason = node.reason or "no reason given"
        may = line(Span("Jobs may start on it again.", "warn"))
        text = (line(strong, f"   {node.state_text}: {reason}"), (), may)
    return Question("Resume this node?", text, "Resume it", "Leave it")
