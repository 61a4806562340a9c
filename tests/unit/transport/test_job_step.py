"""Many streams over one pipe, with the script that runs on nodes at its other end."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from tests.unit.transport.unix_servers import FloodServer, UppercaseServer, read_exactly
from vizdash.errors import Unreachable
from vizdash.transport.forwarders import AutoForwarder
from vizdash.transport.job_step import WINDOW, JobStepForwarder, Relay, RelayStream
from vizdash.transport.local import LocalRunner


def beside(job_id: str, node: str, argv: Sequence[str]) -> tuple[str, ...]:
    """Stands for srun: the command runs here."""
    return tuple(argv)


async def test_many_streams_and_every_byte(tmp_path: Path) -> None:
    body = bytes(range(256)) * 4096
    async with UppercaseServer(tmp_path / "web") as web:
        forward = await JobStepForwarder(LocalRunner(), beside).open("node", web.path, job_id="1")

        async def one(n: int) -> None:
            reader, writer = await forward.dial()
            sending = asyncio.create_task(send(writer))
            assert await read_exactly(reader, len(body)) == body.upper()
            await sending
            writer.write_eof()
            assert await reader.read(1) == b""
            writer.close()

        async def send(writer: object) -> None:
            for at in range(0, len(body), 50_000):
                writer.write(body[at : at + 50_000])  # type: ignore[attr-defined]
                await writer.drain()  # type: ignore[attr-defined]

        await asyncio.gather(*(one(n) for n in range(8)))
        async with asyncio.timeout(20):
            while web.open:
                await asyncio.sleep(0.02)
        await forward.close()


async def test_a_step_runs_none_of_the_users_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """srun passes on what the user has set, also a Python that the node can't run."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").write_text("#!/bin/sh\nexit 9\n")
    (tmp_path / "bin/python3").chmod(0o755)
    (tmp_path / "socket.py").write_text("raise RuntimeError('mine')\n")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONHOME", "/nosuch")
    async with UppercaseServer(tmp_path / "web") as web:
        forward = await JobStepForwarder(LocalRunner(), beside).open("node", web.path, job_id="1")
        reader, writer = await forward.dial()
        writer.write(b"abc")
        assert await read_exactly(reader, 3) == b"ABC"
        writer.close()
        await forward.close()


async def test_a_stream_to_nowhere_ends(tmp_path: Path) -> None:
    forward = await JobStepForwarder(LocalRunner(), beside).open(
        "n", str(tmp_path / "no"), job_id="1"
    )
    reader, writer = await forward.dial()
    assert await reader.read(1) == b""
    writer.close()
    await forward.close()


async def test_a_closed_stream_does_not_hold_up_the_others(tmp_path: Path) -> None:
    async with UppercaseServer(tmp_path / "web") as web:
        forward = await JobStepForwarder(LocalRunner(), beside).open("node", web.path, job_id="1")
        _, lazy = await forward.dial()
        lazy.write(b"x" * 4_000_000)  # its echo is never read
        lazy.close()
        reader, writer = await forward.dial()
        writer.write(b"still here")
        assert await read_exactly(reader, 10) == b"STILL HERE"
        writer.close()
        await forward.close()


async def test_a_viewer_that_does_not_read_holds_up_itself_alone(tmp_path: Path) -> None:
    async with FloodServer(tmp_path / "web") as web:
        forward = await JobStepForwarder(LocalRunner(), beside).open("node", web.path, job_id="1")
        _, asleep = await forward.dial()
        asleep.write(b"flood\n")
        async with asyncio.timeout(60):
            while web.sent < WINDOW:
                await asyncio.sleep(0.02)
            for _ in range(20):
                reader, writer = await forward.dial()
                writer.write(b"hello\n")
                assert await read_exactly(reader, 6) == b"hello\n"
                writer.close()
        # Its window and the sockets' buffers are full, and nothing more is accepted.
        assert web.sent < 8 * WINDOW
        asleep.close()
        await forward.close()


async def test_a_server_that_does_not_read_holds_up_its_own_stream_alone(tmp_path: Path) -> None:
    async with FloodServer(tmp_path / "web") as web:
        forward = await JobStepForwarder(LocalRunner(), beside).open("node", web.path, job_id="1")
        _, blocked = await forward.dial()
        blocked.write(b"deaf\n" + bytes(8 * WINDOW))
        waiting = asyncio.create_task(blocked.drain())
        async with asyncio.timeout(60):
            for _ in range(20):
                reader, writer = await forward.dial()
                writer.write(b"hello\n")
                assert await read_exactly(reader, 6) == b"hello\n"
                writer.close()
        assert not waiting.done()
        blocked.close()
        await asyncio.wait_for(waiting, 20)
        await forward.close()


async def test_what_comes_slowly_out_of_a_stream_is_all_there(tmp_path: Path) -> None:
    """More than a window, in reads of many sizes, after the far end has closed."""
    body = bytes(range(251)) * 12_000

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(body)
        await writer.drain()
        writer.close()

    socket = str(tmp_path / "web")
    async with await asyncio.start_unix_server(serve, socket):
        forward = await JobStepForwarder(LocalRunner(), beside).open("node", socket, job_id="1")
        reader, writer = await forward.dial()
        parts: list[bytes] = []
        while part := await reader.read(1 + len(parts) * 977 % 70_000):
            parts.append(part)
        assert b"".join(parts) == body
        writer.close()
        await forward.close()


class Pipeless:
    """A relay that leads nowhere."""

    def drop(self, number: int) -> None:
        """There's nothing to forget."""

    def send(self, number: int, kind: int, data: bytes = b"") -> None:
        """Does nothing."""


async def test_a_far_end_that_ignores_the_window_is_disconnected() -> None:
    channel = RelayStream(1, cast("Relay", Pipeless()))
    for _ in range(3):
        channel.feed(bytes(WINDOW // 2))
    assert await channel.read() == b""


async def test_a_pipe_that_ends_leaves_what_had_come() -> None:
    channel = RelayStream(1, cast("Relay", Pipeless()))
    channel.feed(b"the last words")
    channel.cut()
    assert await channel.read() == b"the last words"
    assert await channel.read() == b""


async def test_a_pipe_that_ends_is_made_again(tmp_path: Path) -> None:
    async with UppercaseServer(tmp_path / "web") as web:
        forward = await JobStepForwarder(LocalRunner(), beside).open("node", web.path, job_id="1")
        reader, _ = await forward.dial()
        assert forward._relay is not None
        await forward._relay._pipe.close()
        assert await reader.read(1) == b""
        reader, writer = await forward.dial()
        writer.write(b"again")
        assert await read_exactly(reader, 5) == b"AGAIN"
        writer.close()
        await forward.close()


async def test_the_job_steps_error_is_reported(tmp_path: Path) -> None:
    def refuses(job_id: str, node: str, argv: Sequence[str]) -> tuple[str, ...]:
        return ("sh", "-c", "echo 'srun: error: Unable to confirm allocation' >&2; exit 1")

    forward = await JobStepForwarder(LocalRunner(), refuses).open("node", "/s", job_id="1")
    for _ in range(3):
        with pytest.raises(Unreachable, match="Unable to confirm allocation"):
            await forward.dial()
    assert "Unable to confirm" in await forward.wait_lost()
    await forward.close()


async def test_the_forwarder_that_works_is_found_and_remembered(tmp_path: Path) -> None:
    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
        writer.close()

    def refuse_route(job_id: str, node: str, argv: Sequence[str]) -> tuple[str, ...]:
        tried.append(node)
        return ("sh", "-c", "echo no way here >&2; exit 1")

    tried: list[str] = []
    remembered: list[str] = []
    socket = str(tmp_path / "web")
    ways = {
        "ssh": JobStepForwarder(LocalRunner(), refuse_route),
        "srun": JobStepForwarder(LocalRunner(), beside),
    }
    async with await asyncio.start_unix_server(hello, socket):
        auto = AutoForwarder(ways, remember=remembered.append)
        for _ in range(2):
            await (await auto.open("node", socket, job_id="1")).close()
        assert (tried, remembered) == (["node"], ["srun"])
        only = AutoForwarder(ways, only="ssh", first="srun")
        with pytest.raises(Unreachable, match="no way here"):
            await only.open("node", socket, job_id="1")
    with pytest.raises(Unreachable, match=r"no route to node: srun: .*; ssh: no way here"):
        await AutoForwarder(ways, first="srun").open("node", str(tmp_path / "gone"), job_id="1")


async def test_a_cheaper_forwarder_is_tried_again_after_a_while(tmp_path: Path) -> None:
    """An hour of name trouble must not keep the dearer route; no viewer waits for a trial."""

    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
        writer.close()

    tried: list[str] = []
    works = False

    def cheap(job_id: str, node: str, argv: Sequence[str]) -> tuple[str, ...]:
        tried.append(node)
        return tuple(argv) if works else ("sh", "-c", "echo no such host >&2; exit 255")

    remembered: list[str] = []
    socket = str(tmp_path / "web")
    ways = {
        "ssh": JobStepForwarder(LocalRunner(), cheap),
        "srun": JobStepForwarder(LocalRunner(), beside),
    }
    async with await asyncio.start_unix_server(hello, socket):

        async def opened(first: str, since: float) -> AutoForwarder:
            auto = AutoForwarder(ways, first=first, since=since, remember=remembered.append)
            await (await auto.open("node", socket, job_id="1")).close()
            async with asyncio.timeout(60):
                while auto._retries:
                    await asyncio.sleep(0.02)
            return auto

        await opened("srun", time.time())
        assert (tried, remembered) == ([], [])
        # Still broken: the one that works is kept, and the next trial is a while refuse_route.
        auto = await opened("srun", time.time() - 3600)
        assert (tried, remembered) == (["node"], ["srun"])
        await (await auto.open("node", socket, job_id="1")).close()
        assert (tried, auto._retries) == (["node"], set())
        works = True
        await opened("srun", time.time() - 3600)
        assert remembered[-1] == "ssh"


def test_the_script_is_for_old_pythons_too() -> None:
    """EL8 has 3.6: no walrus, no positional-only, no f-string with =."""
    import ast

    from vizdash.util.assets import node_script

    text = node_script("relay.py").read_text()
    ast.parse(text, feature_version=(3, 6))
    assert sys.version_info >= (3, 11)
