"""The plots of the load: resampling and columns."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vizdash.ui.widgets.plot import column_rows, resample


def test_points_fall_into_their_spans() -> None:
    points = [(0.0, 1.0), (1.0, 3.0), (9.0, 8.0), (50.0, 9.0)]
    assert resample(points, 0, 10, 5) == [2.0, None, None, None, 8.0]


def test_columns_grow_from_below_and_little_is_not_nothing() -> None:
    assert column_rows([0.0, 0.01, 4.0, 8.0, None], 8.0, 2) == ["   █ ", " ▁██·"]


@given(st.lists(st.none() | st.floats(0, 1e6), max_size=30), st.floats(0, 1e6), st.integers(1, 9))
def test_plots_keep_their_size(values: list[float | None], most: float, rows: int) -> None:
    drawn = column_rows(values, most, rows)
    assert len(drawn) == rows
    assert all(len(line) == len(values) for line in drawn)
