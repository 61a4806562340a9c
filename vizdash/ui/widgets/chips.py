"""One choice of a few, in one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from vizdash.ui.format import escape_control, width
from vizdash.ui.theme import Span, content


class Chips(Widget, can_focus=True):
    """Left and right choose; the chosen one has a full dot and stays in sight."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "choose(-1)", "Previous", show=False),
        Binding("right,l,space", "choose(1)", "Next", show=False),
    ]

    chosen: reactive[int] = reactive(0)

    class Changed(Message):
        """Another one was chosen by the person."""

        def __init__(self, chips: Chips) -> None:
            self.chips = chips
            super().__init__()

        @property
        def control(self) -> Chips:
            """The chips."""
            return self.chips

    def __init__(self, options: Sequence[str], *, chosen: str = "", id: str) -> None:
        super().__init__(id=id)
        self._options = tuple(options)
        self.set_reactive(Chips.chosen, self._options.index(chosen) if chosen in options else 0)

    @property
    def value(self) -> str:
        """The chosen option; empty when there are none."""
        return self._options[self.chosen] if self._options else ""

    def offer(self, options: Sequence[str], chosen: str) -> None:
        """Other options."""
        self._options = tuple(options)
        self.set_reactive(Chips.chosen, self._options.index(chosen) if chosen in options else 0)
        self.refresh()

    def pick(self, option: str) -> None:
        """Choose without telling."""
        if option in self._options:
            self.chosen = self._options.index(option)

    def action_choose(self, by: int) -> None:
        """The next or the previous one, round and round."""
        if self._options:
            self.chosen = (self.chosen + by) % len(self._options)
            self.post_message(self.Changed(self))

    def on_focus(self) -> None:
        """The chosen one is marked."""
        self.refresh()

    def on_blur(self) -> None:
        """No longer."""
        self.refresh()

    def _labels(self) -> list[tuple[int, str]]:
        """Options from the first that must be left out for the chosen one to be in sight."""
        labels = [
            f" {'●' if i == self.chosen else '○'} {escape_control(o)} "
            for i, o in enumerate(self._options)
        ]
        first = 0
        while first < self.chosen and sum(map(width, labels[first : self.chosen + 1])) > (
            self.size.width - 4
        ):
            first += 1
        return list(enumerate(labels))[first:]

    def render(self) -> Content:
        """``● medium  ○ large``."""
        labels = self._labels()
        spans = [Span("‹ ", "muted")] if labels and labels[0][0] else []
        shown = [self._draw(index, label) for index, label in labels]
        return content(spans) + Content("").join(shown)

    def _draw(self, index: int, label: str) -> Content:
        if index != self.chosen:
            return Content.styled(label, "$tone-muted")
        style = "$background on $line-focus bold" if self.has_focus else "$tone-strong bold"
        return Content.styled(label, style)

    def on_click(self, event: events.Click) -> None:
        """Choose the one under the pointer."""
        offset = event.get_content_offset(self)
        labels = self._labels()
        if offset is None or not labels:
            return
        end = 2 if labels[0][0] else 0
        for index, label in labels:
            end += width(label)
            if offset.x < end:
                self.chosen = index
                self.post_message(self.Changed(self))
                return
