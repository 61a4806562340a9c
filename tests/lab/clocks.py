"""A node whose clock is wrong.

All hosts have the machine's kernel, and time namespaces (time_namespaces(7)) change only the clocks
that count from boot. So libfaketime is preloaded into what tells a node's time to others: munged,
slurmd with its job steps, and the date command of logins. What already runs, and what a login runs
otherwise, keeps the true time.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

from tests.lab import Host, recipe
from tests.lab.packages import unpacked

_LIBRARY = "/opt/libfaketime.so.1"
_DATE = "/usr/local/bin/date"
_MUNGED = "setpriv --reuid munge --regid munge --init-groups"
#: Ends slurmd under both of its names: it starts itself again when it is reconfigured.
END_SLURMD = "while pkill -x 'slurmd(-wlm)?'; do sleep 0.1; done"


def _restart(prefix: str) -> str:
    return (
        f"{END_SLURMD}; pkill -x munged; while pgrep -x munged; do sleep 0.1; done; "
        f"{_MUNGED} {prefix} /usr/sbin/munged && {prefix} slurmd"
    )


@contextlib.contextmanager
def clock_off(node: Host, seconds: int) -> Iterator[None]:
    """Set a node's clock ``seconds`` ahead (behind, if negative), and right again afterwards."""
    tree = unpacked("faketime", recipe.SUITE, ["libfaketime"])
    (library,) = tree.glob("usr/lib/*/faketime/libfaketime.so.1")
    shutil.copy(library, node.root / _LIBRARY.lstrip("/"))
    wrong = f"env LD_PRELOAD={_LIBRARY} FAKETIME={seconds:+d}s"
    date = node.root / _DATE.lstrip("/")
    date.write_text(f'#!/bin/sh\nexec {wrong} /usr/bin/date "$@"\n')
    date.chmod(0o755)
    try:
        node.run(_restart(wrong))
        yield
    finally:
        date.unlink()
        # A program that is killed leaves libfaketime's shared memory behind.
        node.run(f"{_restart('env')} && rm -f /dev/shm/*faketime*")
