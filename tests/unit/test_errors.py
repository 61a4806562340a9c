"""An error is one line: what, why, and the fix."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vizdash import errors
from vizdash.errors import CommandFailed, VizdashError, last_line


def test_the_parts_of_a_line() -> None:
    assert VizdashError("a").line == "a"
    assert VizdashError("a", "b").line == str(VizdashError("a", "b")) == "a: b"
    assert VizdashError("a", "", "c").line == "a (c)"
    assert VizdashError("a", "b", "c").line == "a: b (c)"


@given(st.text(), st.text(), st.text())
def test_it_is_one_line_whatever_a_program_printed(what: str, why: str, fix: str) -> None:
    assert len(VizdashError(what, why, fix).line.splitlines()) <= 1


def test_only_wrong_use_wrong_config_and_unknown_names_are_2() -> None:
    kinds = [
        k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, VizdashError)
    ]
    assert {k.__name__ for k in kinds if k.exit_code == 2} == {
        "WrongInput",
        "UsageError",
        "ConfigError",
        "UnknownName",
    }
    assert {k.exit_code for k in kinds} == {1, 2}


@pytest.mark.parametrize(
    ("text", "line"), [("", ""), ("a\n\n", "a"), ("a\nb \n \n", "b"), ("\n", "")]
)
def test_the_last_line_that_says_something(text: str, line: str) -> None:
    assert last_line(text) == line


def test_a_program_that_printed_nothing_is_reported_by_its_code() -> None:
    assert CommandFailed("sbatch", 3, " \n").line == "sbatch: exit code 3"
    assert (
        CommandFailed("sbatch", 3, "warning\nno such account\n").line == "sbatch: no such account"
    )
