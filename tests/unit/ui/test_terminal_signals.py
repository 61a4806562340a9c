"""No text breaks out of a terminal sequence."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from vizdash.ui.terminal.signals import notification, window_title


@given(st.text(max_size=200))
def test_no_text_breaks_out_of_a_sequence(text: str) -> None:
    sent = notification("vizdash", text) + window_title(text)
    inside = sent.replace("\x1b]", "").replace("\x1b\\", "")
    assert not [c for c in inside if unicodedata.category(c) == "Cc"]
    assert sent.count("\x1b") == 6
