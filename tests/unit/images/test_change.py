"""What a prune may take away."""

from __future__ import annotations

from vizdash.images.change import Old, one_copy


def old(node: str, version: str) -> Old:
    return Old(node, "gedit", f"gedit-{version}.sif", version, 1 << 20)


def test_what_one_node_has_in_use_stays_for_all_that_share_the_copy() -> None:
    going = [old("a", "1.0"), old("a", "1.1"), old("b", "1.1")]
    staying = [(old("b", "1.0"), "a process runs from it")]
    gone, kept = one_copy(going, staying)
    assert gone == (old("", "1.1"),)
    assert kept == ((old("", "1.0"), "a process runs from it"),)


def test_nothing_goes_where_nothing_is_old() -> None:
    assert one_copy([], []) == ((), ())
