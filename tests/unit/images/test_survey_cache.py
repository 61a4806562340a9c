"""Surveys kept for a while, for each partition separately."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from vizdash.config import Cluster
from vizdash.images.survey import ImageSurvey
from vizdash.model import ImageRoot, Matrix, Node
from vizdash.transport.local import LocalRunner

VIZ = (Node("viz-node001", "IDLE"), Node("viz-node002", "IDLE"))
GPU = (Node("gpu-node001", "IDLE"),)


class SlowSurveys:
    """Stands for the nodes: answers when it may, remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.may = asyncio.Event()
        self.may.set()
        #: The seconds that a node needs, by name.
        self.needs: dict[str, float] = {}

    async def survey(self, nodes: Sequence[Node], *, timeout_s: float) -> Matrix:
        self.asked.append(tuple(n.name for n in nodes))
        await self.may.wait()
        late = {n.name for n in nodes if self.needs.get(n.name, 0) > (timeout_s or 6)}
        return Matrix(
            roots=tuple(ImageRoot(n.name, failure="late" * (n.name in late)) for n in nodes)
        )


@pytest.fixture
def surveys() -> SlowSurveys:
    return SlowSurveys()


@pytest.fixture
def survey(surveys: SlowSurveys, monkeypatch: pytest.MonkeyPatch) -> ImageSurvey:
    made = ImageSurvey(LocalRunner(), Cluster("viz"), here=False)
    monkeypatch.setattr(made, "survey", surveys.survey)
    return made


def of(matrix: Matrix) -> list[str]:
    return [place.node for place in matrix.roots]


async def test_nodes_of_another_partition_are_checked_separately(
    survey: ImageSurvey, surveys: SlowSurveys
) -> None:
    for _ in range(2):
        assert of(await survey.cached_matrix(VIZ)) == ["viz-node001", "viz-node002"]
        assert of(await survey.cached_matrix(GPU)) == of(survey.latest) == ["gpu-node001"]
    # Each look stays good, however often the other partition is asked for.
    assert surveys.asked == [("viz-node001", "viz-node002"), ("gpu-node001",)]
    survey.invalidate()
    await survey.cached_matrix(VIZ)
    await survey.cached_matrix(GPU)
    assert len(surveys.asked) == 4


async def test_who_does_not_wait_gets_nothing_of_other_nodes(
    survey: ImageSurvey, surveys: SlowSurveys
) -> None:
    await survey.cached_matrix(GPU)
    surveys.may.clear()
    assert of(await survey.cached_matrix(VIZ, 0)) == []
    waiting = asyncio.create_task(survey.cached_matrix(VIZ))
    surveys.may.set()
    assert of(await waiting) == ["viz-node001", "viz-node002"]
    assert surveys.asked == [("gpu-node001",), ("viz-node001", "viz-node002")]


async def test_a_start_gives_a_slow_node_the_time_that_the_dashboard_does_not(
    survey: ImageSurvey, surveys: SlowSurveys
) -> None:
    def failures(matrix: Matrix) -> list[str]:
        return [place.failure for place in matrix.roots]

    surveys.needs = {"viz-node002": 8}
    assert failures(await survey.cached_matrix(VIZ, 5)) == ["", "late"]
    assert failures(await survey.cached_matrix(VIZ, node_s=12)) == ["", ""]
    # It is known now, for a while, to everyone.
    assert failures(await survey.cached_matrix(VIZ, 5)) == ["", ""]
    assert failures(await survey.cached_matrix(VIZ, node_s=12)) == ["", ""]
    assert len(surveys.asked) == 2
    survey.invalidate()
    surveys.needs = {"viz-node002": 99}
    for _ in range(2):  # one that does not answer in that time either is asked once
        assert failures(await survey.cached_matrix(VIZ, node_s=12)) == ["", "late"]
    assert len(surveys.asked) == 3
    # A survey that began before, with less time, is not the answer.
    survey.invalidate()
    surveys.needs = {"viz-node002": 8}
    surveys.may.clear()
    assert failures(await survey.cached_matrix(VIZ, 0)) == ["", "late"]
    waiting = asyncio.create_task(survey.cached_matrix(VIZ, node_s=12))
    await asyncio.sleep(0)
    surveys.may.set()
    assert failures(await waiting) == ["", ""]


async def test_every_running_survey_ends_with_it(survey: ImageSurvey, surveys: SlowSurveys) -> None:
    surveys.may.clear()
    await survey.cached_matrix(VIZ, 0)
    await survey.cached_matrix(GPU, 0)
    await asyncio.wait_for(survey.close(), 20)
    assert len(asyncio.all_tasks()) == 1


async def test_a_survey_begun_before_a_change_is_not_kept(
    survey: ImageSurvey, surveys: SlowSurveys
) -> None:
    surveys.may.clear()
    asked = asyncio.create_task(survey.cached_matrix(VIZ))
    while not surveys.asked:
        await asyncio.sleep(0)
    survey.invalidate()
    later = asyncio.create_task(survey.cached_matrix(VIZ))
    await asyncio.sleep(0)
    surveys.may.set()
    for task in (asked, later):
        assert of(await asyncio.wait_for(task, 20)) == ["viz-node001", "viz-node002"]
    assert len(surveys.asked) == 2, "what was found before the change is looked for once more"
    await survey.cached_matrix(VIZ)
    assert len(surveys.asked) == 2, "what was found after the change is good for a while"
