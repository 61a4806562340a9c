"""Tunnels that outlive the dashboard, in a process that has let go of its terminal."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

SCRIPT = """
import asyncio, sys
from pathlib import Path
from types import SimpleNamespace
from vizdash.cli import holder
from vizdash.transport.listener import Listener

folder = Path(sys.argv[1])
holder._LOOK_S = 0.1


class Service:
    async def sessions(self):
        # A thread of the pool must work after the fork.
        live = await asyncio.to_thread((folder / "live").exists)
        return [SimpleNamespace(job_id="7", live=live)]


async def serve(reader, writer):
    writer.write((await reader.readline()).upper())
    writer.close()


async def main():
    await asyncio.to_thread(str)
    server = await asyncio.start_unix_server(serve, str(folder / "web"))
    listener = Listener(str(folder / "web"))
    await listener.start()
    print(listener.port, flush=True)
    holder.detach()
    await holder.hold(Service(), {"7": listener})
    (folder / "over").touch()
    server.close()

asyncio.run(main())
"""


async def _ask(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"still there?\n")
    answer = await reader.read()
    writer.close()
    return answer


def test_a_tunnel_is_kept_until_its_session_is_over(tmp_path: Path) -> None:
    (tmp_path / "live").touch()
    argv = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    # The terminal is given back at once: run() waits for the end of stdout.
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    port = int(done.stdout)
    assert asyncio.run(_ask(port)) == b"STILL THERE?\n"
    assert not (tmp_path / "over").exists()
    (tmp_path / "live").unlink()
    deadline = time.monotonic() + 30
    while not (tmp_path / "over").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
