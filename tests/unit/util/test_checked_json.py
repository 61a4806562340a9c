"""Files that other versions wrote, or that are damaged, are refused and never half read."""

from __future__ import annotations

import pytest

from vizdash.model import Resources, SessionRequest
from vizdash.util.checked_json import convert, parse


def test_what_has_the_right_types_is_read() -> None:
    values = {"app": "gedit", "resources": {"cores": 4}, "extra": ["--nice"]}
    request = convert(values, SessionRequest)
    assert request == SessionRequest("gedit", Resources(cores=4), extra=("--nice",))


@pytest.mark.parametrize(
    "values",
    [
        None,
        [],
        {},
        {"app": 1},
        {"app": "gedit", "resources": {"cores": True}},
        {"app": "gedit", "resources": {"cores": 2.0}},
        {"app": "gedit", "resources": {"cores": "2"}},
        {"app": "gedit", "newer": ""},
        {"app": "gedit", "resources": {"newer": 1}},
        {"app": "gedit", "extra": [1]},
    ],
)
def test_anything_else_is_refused(values: object) -> None:
    with pytest.raises(ValueError, match=r"Expected|unknown key|missing required"):
        convert(values, SessionRequest)


def test_keys_of_another_version_are_ignored_where_they_may_be() -> None:
    values = {"app": "gedit", "newer": "", "resources": {"cores": 4, "newer": 1}}
    request = convert(values, SessionRequest, extra_keys=True)
    assert request == SessionRequest("gedit", Resources(cores=4))


@pytest.mark.parametrize(
    "text", [None, "", "{", '{"cores": "2"}', '{"cores": 9' + "9" * 5000 + "}", "[" * 100_000]
)
def test_a_text_that_is_no_such_json_is_none(text: str | None) -> None:
    assert parse(text, Resources) is None
    assert parse(b'{"cores": 4}', Resources) == Resources(cores=4)
