"""Base of the dialogs: screens over the dashboard that show their keys on `?`."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.screen import ModalScreen, ScreenResultType


class DialogScreen(ModalScreen[ScreenResultType]):
    """A dialog. Textual applies none of the app's keys to it; those of a text field come first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark", "app.screen_help", "Help", show=False),
    ]
