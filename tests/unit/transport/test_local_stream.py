"""A long command of this machine: read line by line, ended by the end of its stdin."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from vizdash.errors import Unreachable
from vizdash.transport.local import LocalStreamer


async def read(script: str) -> tuple[list[str], int]:
    stream = await LocalStreamer().open(("bash", "-s"), script)
    lines = [line async for line in stream.lines()]
    return lines, await stream.finish()


async def test_lines_of_both_outputs_in_their_order() -> None:
    script = "{ echo one; echo two >&2; printf 'a\\rb\\r\\nc\\n\\nlast'; exit 3; }\n"
    assert await read(script) == (["one", "two", "a", "b", "c", "", "last"], 3)


async def test_a_line_without_an_end_is_cut() -> None:
    lines, code = await read("{ head -c 300000 /dev/zero | tr '\\0' x; exit 0; }\n")
    assert code == 0
    assert sum(map(len, lines)) == 300000
    assert max(map(len, lines)) < 200000


async def test_the_end_of_stdin_ends_it(tmp_path: Path) -> None:
    stream = await LocalStreamer().open(
        ("bash", "-s"), f"{{ cat; echo gone >{tmp_path}/x; exit 7; }}\n"
    )
    assert await stream.finish() == 7
    assert (tmp_path / "x").read_text() == "gone\n"


async def test_what_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vizdash.transport.local._STREAM_GRACE_S", 0.3)
    monkeypatch.setattr("vizdash.transport.local._STREAM_TERM_S", 0.3)
    stream = await LocalStreamer().open(
        ("bash", "-s"), "{ trap '' TERM; echo deaf; while :; do sleep 60; echo x; done; }\n"
    )
    assert await anext(stream.lines()) == "deaf"
    began = time.monotonic()
    assert await stream.finish() == -9
    assert time.monotonic() - began < 30


async def test_unread_output_does_not_keep_it_running(tmp_path: Path) -> None:
    stream = await LocalStreamer().open(
        ("bash", "-s"), "{ cat; head -c 3000000 /dev/zero | tr '\\0' x; exit 5; }\n"
    )
    assert await stream.finish() == 5


async def test_a_program_that_is_not_there() -> None:
    with pytest.raises(Unreachable, match="no such program"):
        await LocalStreamer().open(("/no/such/program",), "")
