"""Amounts: what users and Slurm write is read with its meaning."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vizdash.util.units import (
    format_comparison,
    format_duration,
    format_memory,
    format_rate,
    format_size,
    format_slurm_time,
    parse_duration,
    parse_memory,
)


@pytest.mark.parametrize(
    ("text", "mib"),
    [("2G", 2048), ("512M", 512), ("512", 512), ("1.5GiB", 1536), ("1 tb", 1048576), ("2048k", 2)],
)
def test_memory(text: str, mib: int) -> None:
    assert parse_memory(text) == mib


@given(st.integers(1, 10**7), st.sampled_from(["", "M", "m", "MB", "MiB"]))
def test_memory_in_mib_comes_back(mib: int, unit: str) -> None:
    assert parse_memory(f"{mib}{unit}") == mib


@given(st.integers(1, 10**6))
def test_bigger_units_are_multiples(n: int) -> None:
    assert parse_memory(f"{n}G") == 1024 * n
    assert parse_memory(f"{n}T") == 1024 * 1024 * n


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2h", 7200),
        ("1h30m", 5400),
        ("90m", 5400),
        ("90", 5400),  # minutes, as sbatch takes it
        ("90:00", 5400),
        ("1:30:00", 5400),
        ("1-12", 129600),
        ("1-12:30", 131400),
        ("1-12:30:15", 131415),
        ("1d", 86400),
        ("45s", 45),
        (" 2h ", 7200),
    ],
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@given(st.integers(0, 400), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_every_writing_of_a_time_means_the_same(d: int, h: int, m: int, s: int) -> None:
    seconds = ((d * 24 + h) * 60 + m) * 60 + s
    if not seconds:
        return
    assert parse_duration(f"{d}-{h:02}:{m:02}:{s:02}") == seconds
    assert parse_duration(f"{d}d{h}h{m}m{s}s") == seconds
    assert parse_duration(f"{d * 24 + h}:{m:02}:{s:02}") == seconds


@given(st.integers(1, 10**8))
def test_sbatch_is_given_whole_minutes_and_never_less_than_asked(seconds: int) -> None:
    given_s = parse_duration(format_slurm_time(seconds))
    assert seconds <= given_s < seconds + 60
    assert given_s % 60 == 0


@given(st.integers(60, 10**8))
def test_words_say_all_but_the_seconds(seconds: int) -> None:
    assert parse_duration(format_duration(seconds).replace("min", "m").replace(" ", "")) == (
        seconds // 60 * 60
    )


@given(st.text())
def test_any_text_is_read_or_refused_in_a_sentence(text: str) -> None:
    for parse in (parse_memory, parse_duration):
        try:
            amount, words = parse(text), ""
        except ValueError as e:
            amount, words = 0, str(e)
        assert amount >= 1 or "write e.g." in words


@pytest.mark.parametrize(
    "text", ["", "0", "0:00", "-1", "1e3", "9" * 500 + "G", "٣٣", "1-", "h", "1:2:3:4", "nan"]
)
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write e"):
        parse_duration(text.removesuffix("G"))
    with pytest.raises(ValueError, match="write e"):
        parse_memory(text)


@pytest.mark.parametrize(
    ("mib", "text"),
    [
        (0, "0.0 GiB"),
        (1, "<0.1 GiB"),
        (512, "0.5 GiB"),
        (4096, "4.0 GiB"),
        (102_380, "100 GiB"),
        (1_545_216, "1509 GiB"),
    ],
)
def test_memory_is_shown_in_gib_with_one_decimal(mib: int, text: str) -> None:
    assert format_memory(mib) == text


def test_sizes_and_rates() -> None:
    assert format_size(0) == ""
    assert format_size(90 << 20) == "0.1 GiB"
    assert format_rate(1.5 * 2**20) == "1.5 MiB/s"
    assert format_rate(80 << 20) == "80 MiB/s"


def test_different_amounts_never_look_alike() -> None:
    assert format_comparison(4096, 3584) == ("4.0 GiB", "3.5 GiB")
    assert format_comparison(4096, 4095) == ("4096 MiB", "4095 MiB")
