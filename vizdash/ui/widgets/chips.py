"""A choice of a few options in one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from vizdash.ui.present.lines import Span, content
from vizdash.util.text import cell_width, escape_control


class Chips(Widget, can_focus=True):
    """Left and right choose; the chosen option has a filled dot and stays visible."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "choose(-1)", "Previous", show=False),
        Binding("right,l,space", "choose(1)", "Next", show=False),
    ]

    chosen: reactive[int] = reactive(0)

    class Changed(Message):
        """The user chose another option."""

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
        """Replace the options."""
        self._options = tuple(options)
        self.set_reactive(Chips.chosen, self._options.index(chosen) if chosen in options else 0)
        self.refresh()

    def pick(self, option: str) -> None:
        """Choose an option without sending Changed."""
        if option in self._options:
            self.chosen = self._options.index(option)

    def action_choose(self, by: int) -> None:
        """Choose the next or the previous option, wrapping around."""
        if self._options:
            self.chosen = (self.chosen + by) % len(self._options)
            self.post_message(self.Changed(self))

    def on_focus(self) -> None:
        """Highlight the chosen option."""
        self.refresh()

    def on_blur(self) -> None:
        """Remove the highlight."""
        self.refresh()

    def _labels(self) -> list[tuple[int, str]]:
        """The options, without as many of the first as keeps the chosen one visible."""
        labels = [
            f" {'●' if i == self.chosen else '○'} {escape_control(o)} "
            for i, o in enumerate(self._options)
        ]
        first = 0
        while first < self.chosen and sum(map(cell_width, labels[first : self.chosen + 1])) > (
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
        """Choose the option under the pointer."""
        offset = event.get_content_offset(self)
        labels = self._labels()
        if offset is None or not labels:
            return
        end = 2 if labels[0][0] else 0
        for index, label in labels:
            end += cell_width(label)
            if offset.x < end:
                self.chosen = index
                self.post_message(self.Changed(self))
                return
