"""A build's course, with a stream that says what Apptainer was recorded to say."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from tests.unit.images.recorded import image, said
from vizdash.config import Build, Cluster
from vizdash.errors import Refused, UsageError, VizdashError
from vizdash.images import build, runs, sif
from vizdash.images.build import BuildFailed, BuildRequest, Plan, Progress
from vizdash.images.store import Built, Store


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


class Stream:
    """Says ``lines``; with None among them it hangs there."""

    def __init__(self, lines: Sequence[str | None], code: int) -> None:
        self.said = lines
        self.code = code
        self.finished = 0

    async def lines(self) -> AsyncIterator[str]:
        for line in self.said:
            if line is None:
                await asyncio.Event().wait()
            else:
                yield line

    async def finish(self) -> int:
        self.finished += 1
        return self.code


class Streamer:
    """Opens one stream, made from the script that it is given."""

    def __init__(self, make: Callable[[dict[str, str]], Stream]) -> None:
        self.make = make
        self.stream: Stream | None = None
        self.argv: Sequence[str] = ()
        self.values: dict[str, str] = {}

    async def open(self, argv: Sequence[str], script: str) -> Stream:
        self.argv = argv
        head = script.partition("#!/bin/bash")[0]
        for name in ("mark", "result", "arguments", "folder"):
            line = next(x for x in head.splitlines() if x.startswith(f"{name}="))
            self.values[name] = line.partition("=")[2].strip("'")
        self.stream = self.make(self.values)
        return self.stream


def plan(tmp_path: Path, *, where: str = "here", **request: object) -> Plan:
    (tmp_path / "base.sif").touch()
    arguments = {"bootstrap": "localimage", "base": str(tmp_path / "base.sif"), "other": "unused"}
    cluster = Cluster("here", build=Build(where=where, definitions="", arguments=arguments))
    wanted = BuildRequest("gedit", **{"version": "1.1", **request})  # type: ignore[arg-type]
    return build.prepare(wanted, cluster, Store(tmp_path / "store"), slurm=True)


def good(values: dict[str, str]) -> Stream:
    source = image(Path(values["result"]).parent, "tiny")
    shutil.move(source, values["result"])
    digest = sif.digest(Path(values["result"]))
    size = Path(values["result"]).stat().st_size
    mark = values["mark"]
    lines = ["", f"{mark} at viz-node001 /tmp/x", *said("tiny").splitlines()]
    return Stream([*lines, "", f"{mark} built {digest} {size} {values['result']}", None], 0)


async def run(plan: Plan, streamer: Streamer) -> tuple[Built, list[Progress]]:
    seen: list[Progress] = []
    return await build.run(plan, streamer, seen.append), seen


async def test_a_good_build_becomes_an_image(tmp_path: Path) -> None:
    streamer = Streamer(good)
    built, seen = await run(plan(tmp_path), streamer)
    assert Path(built.path) == tmp_path / "store/gedit/gedit-1.1.sif"
    assert (built.version, built.arch, built.built_on) == ("1.1", "amd64", "viz-node001")
    assert built.digest == sif.digest(Path(built.path))
    phases = list(dict.fromkeys(p.phase for p in seen))
    assert phases == ["start", "bootstrap", "post", "metadata", "squashfs", "check"]
    assert "hello from post" in [p.line for p in seen]
    assert not any("vizdash-" in (p.line or "") for p in seen)
    assert streamer.stream is not None and streamer.stream.finished == 1
    assert streamer.argv == ("bash", "--norc", "-s")
    assert "--build-arg version=1.1" in streamer.values["arguments"]
    assert "unused" not in streamer.values["arguments"]
    record = runs.find("gedit")
    assert (record.outcome, record.version) == ("ok", "1.1")
    assert Path(record.log).read_text() == said("tiny")
    assert set(record.phases) >= {"post", "squashfs"}
    assert runs.last_good("gedit") == record


async def test_a_failed_build_leaves_its_log_and_no_image(tmp_path: Path) -> None:
    def fail(values: dict[str, str]) -> Stream:
        Path(values["result"]).write_bytes(b"half an image")
        return Stream([*said("failing").splitlines(), "", f"{values['mark']} ended 255"], 255)

    with pytest.raises(BuildFailed) as error:
        await run(plan(tmp_path), Streamer(fail))
    assert "gedit 1.1 was not built: %post failed at: cat /no/such/file" in error.value.line
    assert list((tmp_path / "store/gedit").iterdir()) == []
    record = runs.find("gedit")
    assert record.outcome == "failed" and "cat /no/such/file" in record.why
    assert Path(error.value.log).read_text() == said("failing")


async def test_an_image_is_compared_with_what_was_built(tmp_path: Path) -> None:
    def spoilt(values: dict[str, str]) -> Stream:
        stream = good(values)
        with Path(values["result"]).open("r+b") as file:
            file.seek(-9, 2)
            file.write(b"123456789")
        return stream

    with pytest.raises(BuildFailed, match="not what the build wrote"):
        await run(plan(tmp_path), Streamer(spoilt))
    assert list((tmp_path / "store/gedit").iterdir()) == []


async def test_an_image_of_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="its label says version"):
        await run(plan(tmp_path, version="2.0"), Streamer(good))


async def test_cancelling_ends_the_stream_before_it_returns(tmp_path: Path) -> None:
    streamer = Streamer(lambda values: Stream(["INFO:    Running post scriptlet", None], 143))
    task = asyncio.create_task(run(plan(tmp_path), streamer))
    while streamer.stream is None:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert streamer.stream.finished == 1
    assert runs.find("gedit").outcome == "cancelled"
    assert list((tmp_path / "store/gedit").iterdir()) == []


def test_what_can_be_told_is_told_before(tmp_path: Path) -> None:
    first = plan(tmp_path)
    store = first.store.image("gedit", "1.1")
    store.parent.mkdir(parents=True)
    store.touch()
    with pytest.raises(Refused, match=r"--version 1\.2, or --replace"):
        plan(tmp_path)
    assert plan(tmp_path, replace=True).replace
    with pytest.raises(UsageError, match="no name of a build argument"):
        plan(tmp_path, version="3", arguments={"a b": "c"})
    with pytest.raises(UsageError, match="no such file"):
        plan(tmp_path, version="3", arguments={"base": "/no/such.sif"})
    assert plan(tmp_path, version="", arguments={"version": "4"}).version == "4"


@pytest.mark.parametrize("where", ["-oProxyCommand=x", "a b", "x;y", ""])
def test_hosts_are_names(tmp_path: Path, where: str) -> None:
    if where:
        with pytest.raises(UsageError, match="no host's name"):
            plan(tmp_path, where=where)
    else:
        assert plan(tmp_path, where="job").place.argv[0] == "srun"
        assert plan(tmp_path, where="me@builder").place.argv[-2:] == (
            "me@builder",
            "bash --norc -s",
        )


def test_a_job_needs_slurm(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no Slurm here"):
        build.prepare(
            BuildRequest("gedit", where="job"), Cluster("x"), Store(tmp_path), slurm=False
        )


def test_an_interrupted_build_is_told_once(tmp_path: Path) -> None:
    with runs.begin("gedit", "1.0", "here") as log:
        assert runs.find("gedit").outcome == "running"
        assert runs.settle("gedit") == ()
        path = log.run.log
    assert runs.find("gedit").outcome == "interrupted"
    assert [run.log for run in runs.settle("gedit")] == [path]
    assert runs.settle("gedit") == ()
    with pytest.raises(VizdashError, match="you have run none"):
        runs.find("gedit", "9.9")


def test_only_the_last_logs_are_kept(tmp_path: Path) -> None:
    folder = runs.folder("gedit")
    folder.mkdir(parents=True)
    for number in range(30):
        path = folder / f"20200101-0000{number:02}-aaaa.log"
        path.touch()
        path.with_suffix(".json").write_text(f'{{"id": "{path.stem}", "app": "gedit"}}')
    with runs.begin("gedit", "1.0", "here"):
        pass
    assert len(runs.runs("gedit")) == 20
    assert len(list(folder.iterdir())) == 40
