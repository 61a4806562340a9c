"""Garbage is collected again once vizdash has started."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

_AFTER = """
import contextlib, gc, json, sys
from vizdash.cli import main
sys.argv = ["vizdash", *sys.argv[1:]]
with contextlib.suppress(SystemExit): main()
print()
print(json.dumps([gc.isenabled(), gc.get_freeze_count() > 0]))
"""


@pytest.mark.parametrize("words", [("--version",), ("apps",), ("no-such-verb",)])
def test_it_is_collected_while_a_verb_works(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _AFTER, *words], capture_output=True, text=True, check=True
    )
    enabled, kept_apart = json.loads(done.stdout.splitlines()[-1])
    assert enabled
    assert kept_apart


def test_objects_made_later_are_collected() -> None:
    code = (
        "import gc, weakref\n"
        "from vizdash.cli import garbage\n"
        "class Ring: pass\n"
        "garbage.pause(); assert not gc.isenabled(); garbage.resume()\n"
        "ring = Ring(); ring.ring = ring; gone = weakref.ref(ring); del ring\n"
        "kept = [[] for _ in range(200_000)]\n"
        "assert gone() is None\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
