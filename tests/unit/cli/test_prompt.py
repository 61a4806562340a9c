"""Questions on a real terminal."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time

#: Asks 100 times on its controlling terminal, and prints the answers to stdout.
_ASKS = """
import asyncio
from vizdash.cli.prompt import TerminalPrompter
from vizdash.model.connection_status import Field, Prompt

async def main():
    for number in range(100):
        print(*await TerminalPrompter().ask(Prompt("", (), (Field(f"secret {number}"),))))

asyncio.run(main())
"""


def test_an_answer_at_the_sight_of_the_question_is_neither_lost_nor_shown() -> None:
    """As fast as a password manager types: echo is off before the question is shown."""
    near, far = pty.openpty()
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY)\n{_ASKS}",
        ],
        stdin=far,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as child:
        try:
            os.close(far)
            seen, deadline = b"", time.monotonic() + 180
            for number in range(100):
                while f"secret {number}: ".encode() not in seen:
                    left = deadline - time.monotonic()
                    assert select.select([near], [], [], max(0, left))[0], seen[-200:]
                    seen += os.read(near, 4096)
                os.write(near, f"answer{number}\n".encode())
            answers = child.communicate(timeout=180)[0].decode().split()
        finally:
            child.kill()
            os.close(near)
    assert answers == [f"answer{number}" for number in range(100)]
    assert b"answer" not in seen
