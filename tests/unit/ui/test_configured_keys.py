"""Keys of the configuration: they replace the defaults, and wrong ones are named."""

from __future__ import annotations

import pytest

from vizdash.actions import REGISTRY


def test_configured_keys_replace_the_defaults() -> None:
    own = REGISTRY.remapped({"stop": ("X",), "refresh": ("f5", "R"), "sort": ()})
    found = own.by_key("X")
    assert found is not None
    assert found.id == "stop"
    assert own.by_key("x") is None
    assert own.by_id("sort").keys == ()
    assert REGISTRY.by_id("stop").keys == ("x",)


@pytest.mark.parametrize(
    ("keys", "words"),
    [({"halt": ("x",)}, "no action is called 'halt'"), ({"stop": ("n",)}, "id or key taken")],
)
def test_wrong_keys_are_named(keys: dict[str, tuple[str, ...]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        REGISTRY.remapped(keys)
