"""Which version a rollback restores, and which one counts as older: from journals alone."""

from __future__ import annotations

from vizdash.images.drift import newer_versions
from vizdash.images.rollback import plan_rollback
from vizdash.model import Image, ImageRoot, Journal, Matrix


def node(name: str, *versions: str, failure: str = "") -> tuple[ImageRoot, tuple[Image, ...]]:
    """A node that was switched to these versions, a minute apart."""
    lines = [f"{60 * at} deploy gedit-{v}.sif -" for at, v in enumerate(versions, 1)]
    journal = Journal.parse("gedit", "\n".join(lines))
    images = tuple(
        Image("gedit", f"/r/gedit/gedit-{v}.sif", v, node=name, current=v == versions[-1])
        for v in dict.fromkeys(versions)
    )
    return ImageRoot(name, failure=failure, journals=(journal,)), images


def matrix(*nodes: tuple[ImageRoot, tuple[Image, ...]]) -> Matrix:
    return Matrix(tuple(i for _, images in nodes for i in images), tuple(p for p, _ in nodes))


def test_a_node_that_does_not_answer_is_refused_and_named() -> None:
    made = plan_rollback(
        matrix(node("n1", "1.0", "1.1"), node("n2", "1.0", failure="gone")), "gedit"
    )
    assert (dict(made.versions), dict(made.refused)) == ({"n1": "1.0"}, {"n2": "gone"})


def test_a_named_version_is_for_all() -> None:
    made = plan_rollback(matrix(node("n1", "1.0", "1.1"), node("n2", "1.0")), "gedit", "1.0")
    assert dict(made.versions) == {"n1": "1.0", "n2": "1.0"}


def test_what_is_undone_is_what_was_deployed_last_not_what_has_the_highest_name() -> None:
    made = plan_rollback(matrix(node("n1", "blue", "2.0"), node("n2", "x", "y", "green")), "gedit")
    assert (made.undone, dict(made.versions)) == ("green", {"n2": "y"})


def test_lines_that_make_no_sense_are_no_history() -> None:
    text = "9 deploy gedit-1.0.sif -\n\x1b[2J\n9 deploy other-2.sif -\nx\n9 found gedit-1.1.sif -"
    assert [s.version for s in Journal.parse("gedit", text).switches] == ["1.0", "1.1"]


def test_backwards_is_by_name_or_else_by_the_journal() -> None:
    seen = matrix(node("n1", "1.0", "1.2"), node("n2", "blue", "green"), node("n3", "1.0"))
    assert newer_versions(seen, "gedit", "1.1") == {"n1": "1.2"}
    assert newer_versions(seen, "gedit", "blue") == {"n2": "green"}
    assert newer_versions(seen, "gedit", "1.3") == {}
    assert newer_versions(seen, "gedit", "red") == {}
