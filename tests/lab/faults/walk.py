"""A walk over the steps of a verb: vizdash is killed at each of them in turn."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.lab import Host

_PYTHON = "/opt/vizdash/bin/python"
_SCRIPT = "/opt/killed_vizdash.py"
#: More steps than any verb has.
_MOST = 400


def killed_at_each_step(
    host: Host,
    *words: str,
    user: str = "alice",
    until: str = "",
    before: Callable[[], object] = str,
) -> Iterator[str]:
    """Run vizdash again and again, killed at its first step, its second one, and so on until it
    ends by itself, or has printed a line that begins with ``until``. Yields where it was killed.
    ``before`` is called before each run.
    """
    shutil.copy(Path(__file__).with_name("killed_vizdash.py"), host.root / _SCRIPT.lstrip("/"))
    steps = f"/tmp/steps-{user}"
    own = host.root / steps.lstrip("/")
    for number in range(1, _MOST):
        argv = [_PYTHON, "-B", _SCRIPT, str(number), steps, *words]
        before()
        killed = _run_killed(host, argv, user, until)
        taken = own.read_text().splitlines()
        own.unlink()
        if not killed:
            return
        yield f"step {number}: {taken[-1] if taken else ''}"
    raise AssertionError(f"{words} has more than {_MOST} steps")


def _run_killed(host: Host, argv: list[str], user: str, until: str) -> bool:
    """Whether it was killed."""
    with host.popen(argv, user=user) as process:
        assert process.stdout is not None and process.stderr is not None
        lines: list[str] = []
        stderr = process.stderr
        reader = threading.Thread(target=lambda: lines.extend(stderr), daemon=True)
        reader.start()
        try:
            for line in process.stdout:
                if until and line.startswith(until):
                    return False
            process.wait(timeout=120)
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=60)
            process.kill()
            reader.join(timeout=60)
        # setpriv and nsenter report a signal as a shell does, or die of it, too.
        killed = process.returncode in {-signal.SIGKILL, 128 + signal.SIGKILL}
        assert killed or process.returncode == 0, "".join(lines)
        return killed
