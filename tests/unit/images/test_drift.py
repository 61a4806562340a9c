"""What each image on each node is: current, missing, older, newer, stray or damaged."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from vizdash.errors import UsageError
from vizdash.images.drift import (
    DriftCache,
    ImageState,
    MissingVersion,
    compare_images,
    find_missing,
    find_wanted_versions,
    sessions_using,
)
from vizdash.model import Image, ImageRoot, Matrix, Session, SessionState, StrayFile
from vizdash.model.version import has_order, order_key, version_key
from vizdash.util.nodesets import fold_nodes, select_nodes

TraceFunction = Callable[[FrameType, str, Any], Any]


def image(node: str, version: str, *, current: bool = False, **more: object) -> Image:
    path = f"/r/gedit/gedit-{version}.sif"
    return Image("gedit", path, version, node=node, current=current, **more)  # type: ignore[arg-type]


def states(matrix: Matrix) -> dict[tuple[str, str], str]:
    return {(f.node, f.version): str(f.state) for f in compare_images(matrix)}


NODES = tuple(ImageRoot(f"n{i}") for i in (1, 2, 3))


def test_all_alike() -> None:
    images = tuple(image(p.node, "1.0", current=True) for p in NODES)
    assert set(states(Matrix(images, NODES)).values()) == {"current"}


def test_missing_older_and_kept() -> None:
    images = (
        image("n1", "1.1", current=True),
        image("n1", "1.0"),
        image("n2", "1.0", current=True),
    )
    matrix = Matrix(images, NODES, wanted=(("gedit", "1.1"),))
    assert states(matrix) == {
        ("n1", "1.1"): "current",
        ("n1", "1.0"): "kept",
        ("n2", "1.0"): "older",
        ("n3", "1.1"): "missing",
    }
    assert [f.state.drift for f in compare_images(matrix)] == [False, False, True, True]


def test_newer_than_wanted() -> None:
    images = (image("n1", "1.10", current=True), image("n2", "1.9", current=True))
    found = states(Matrix(images, NODES[:2], wanted=(("gedit", "1.9"),)))
    assert found == {("n1", "1.10"): "newer", ("n2", "1.9"): "current"}


def test_the_same_version_with_another_digest() -> None:
    images = (
        image("n1", "1.0", current=True, digest="a" * 64),
        image("n2", "1.0", current=True, digest="a" * 64),
        image("n3", "1.0", current=True, digest="b" * 64),
    )
    found = states(Matrix(images, NODES))
    assert found[("n3", "1.0")] == "another digest"
    assert found[("n1", "1.0")] == "current"


def test_damage_comes_first() -> None:
    images = (image("n1", "1.0", current=True, digest="a" * 64, problem="damaged: so"),)
    (found,) = compare_images(Matrix(images, NODES[:1]))
    assert (found.state, found.note) == (ImageState.DAMAGED, "damaged: so")


def test_a_node_that_is_not_known_is_not_judged() -> None:
    images = (image("n1", "1.0", current=True),)
    places = (
        ImageRoot("n1"),
        ImageRoot("n2", failure="no route"),
        ImageRoot("n3", "no ssh", seen_at=5),
    )
    assert states(Matrix(images, places)) == {("n1", "1.0"): "current", ("n3", "1.0"): "missing"}


def test_the_name_without_a_version_is_one_image_with_its_version() -> None:
    alias = Image("gedit", "/r/gedit/gedit.sif", "", node="n1", current=True)
    images = (image("n1", "1.0", current=True), alias)
    assert states(Matrix(images, NODES[:1])) == {("n1", "1.0"): "current"}
    assert states(Matrix((alias,), NODES[:1])) == {("n1", ""): "current"}


def test_strays() -> None:
    part = StrayFile("/r/gedit/.gedit-1.1.sif.0123456789ab.part", 5)
    place = ImageRoot("n1", strays=(part, StrayFile("/r/x")))
    first, second = compare_images(Matrix((), (place,)))
    assert first.state is ImageState.STRAY and "interrupted" in first.note
    assert second.stray == StrayFile("/r/x")


def test_what_most_nodes_start_is_wanted_and_the_newest_of_a_tie() -> None:
    one = (image("n1", "1.9", current=True), image("n2", "1.10", current=True))
    assert find_wanted_versions(Matrix(one, NODES)) == {"gedit": "1.10"}
    two = (*one, image("n3", "1.9", current=True))
    assert find_wanted_versions(Matrix(two, NODES)) == {"gedit": "1.9"}
    # A version that no node has is expected on none.
    assert find_wanted_versions(Matrix(two, NODES, (("gedit", "0.1"),))) == {"gedit": "1.9"}


@pytest.mark.parametrize(
    "words",
    [
        ["1.0-rc1", "1.0", "1.0.1", "1.2", "1.10", "2"],
        ["5.9", "5.13.dev3", "5.13a1", "5.13b2", "5.13-rc1", "5.13", "5.13-gpu", "5.13.post1"],
        ["5.13-gpu", "5.13.1", "5.14"],
        ["R2023b", "R2024a", "R2024a-u2", "R2024a-u10", "R2024b"],
        ["v1.9", "1.10", "v1.11"],
        ["1.0.2", "1.0.2a", "1.0.2b", "1.0.3"],
        ["5.13-unstable", "5.13-milestone2", "5.13-prerelease", "5.13", "5.13+cuda12.4"],
        ["20240115", "20240115a", "20240115b", "20240116"],
    ],
)
def test_versions_in_order(words: list[str]) -> None:
    assert sorted({*words}, key=version_key) == words


@pytest.mark.parametrize("version", ["stable", "legacy", "1f0e2ab", "deadbee1", "blue", "-"])
def test_names_that_say_nothing_are_in_order_of_time_before_the_others(version: str) -> None:
    assert not has_order(version)
    assert order_key(version, 5) < order_key("0.1", 1)
    assert order_key(version, 1) < order_key("other", 2)
    assert order_key(version, 2) > order_key("other", 1)


@pytest.mark.parametrize(
    "version", ["1.0", "v2", "R2024a", "20240117", "20240117b", "5.13-gpu", "rc1"]
)
def test_names_that_say_their_order(version: str) -> None:
    assert has_order(version)


def test_sessions_of_an_image() -> None:
    def session(node: str, version: str, state: SessionState) -> Session:
        return Session("id", "1", "gedit", "a", state, node=node, image_version=version)

    live = session("n1", "1.0", SessionState.READY)
    others = (
        session("n2", "1.0", SessionState.READY),
        session("n1", "1.1", SessionState.READY),
        session("n1", "1.0", SessionState.ENDED),
    )
    assert sessions_using(image("n1", "1.0"), (live, *others)) == (live,)


def test_node_sets() -> None:
    known = ("viz-node001", "viz-node002", "viz-node003", "gpu1")
    assert select_nodes("viz-node[001-002]", known) == known[:2]
    assert select_nodes("gpu1,viz-node003", known) == ("viz-node003", "gpu1")
    assert select_nodes("", known) == known
    assert fold_nodes(known) == "gpu1,viz-node[001-003]"
    for text, why in (
        ("viz-node[001-", "node"),
        ("viz-node[003-004]", r"viz-node004: not in the partition"),
        ("viz-node001!viz-node001", "it names no node"),
    ):
        with pytest.raises(UsageError, match=why):
            select_nodes(text, known)


def crowd(nodes: int) -> Matrix:
    """Nodes with ten apps in three versions each, and the links to the current ones."""
    images = [
        Image(f"app{a}", f"/r/app{a}/app{a}{name}", version, node=f"n{n}", current=current)
        for n in range(nodes)
        for a in range(10)
        for name, version, current in (
            ("-1.0.sif", "1.0", False),
            ("-1.1.sif", "1.1", n == 3),
            ("-1.2.sif", "1.2", n != 3),
            (".sif", "", True),
        )
    ]
    return Matrix(tuple(images), tuple(ImageRoot(f"n{n}") for n in range(nodes)))


def steps(work: Callable[[], object]) -> int:
    """Instructions of Python's that it takes, whatever the machine's speed (sys.settrace)."""
    count = 0

    def step(frame: FrameType, event: str, arg: object) -> TraceFunction:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return step

    before = sys.gettrace()
    sys.settrace(step)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def test_judging_takes_work_in_proportion_to_the_images() -> None:
    few, many = crowd(25), crowd(100)
    assert len(compare_images(many)) == 4 * len(compare_images(few)) == 3000
    assert steps(lambda: compare_images(many)) < 5 * steps(lambda: compare_images(few))


def test_what_is_missing_is_found_in_proportion_to_the_images() -> None:
    def missing(nodes: int) -> int:
        made = crowd(nodes)
        wanted = tuple((f"app{a}", "1.3") for a in range(10))
        matrix = Matrix(made.images, made.roots, wanted)
        return steps(lambda: found.extend(find_missing(matrix)))

    found: list[MissingVersion] = []
    few, many = missing(10), missing(40)
    assert [len(m.nodes) for m in found] == [10] * 10 + [40] * 10
    assert many < 5 * few


def test_what_has_not_changed_is_not_judged_again() -> None:
    matrix, judgement = crowd(25), DriftCache()
    first = judgement.findings(matrix)
    assert [f.state.drift for f in first] == [True] * 10 + [False] * 740
    assert judgement.count_drift(matrix) == 10
    same = Matrix(matrix.images, matrix.roots, matrix.wanted)
    assert steps(lambda: judgement.findings(same)) < 100
    assert judgement.findings(same) is first
    assert len(judgement.findings(Matrix(matrix.images[:4], matrix.roots))) > 0
