"""A message shown on the desktop appears exactly as it was written."""

from __future__ import annotations

import os
import subprocess
from itertools import takewhile
from pathlib import Path

from vizdash.util.assets import assets

#: A zenity(1) that tells its arguments, and no other program that could show a message.
SCRIPT = """
. "$1"
runtime=$2
PATH=/nonexistent
exec 3>&1
zenity() { printf '%s\\n' "$@" end >&3; }
run() { "$@"; }
inner_find() { as=run found=$1 && [ "$1" = zenity ]; }
inner_warner
"""


def test_zenity_takes_no_words_for_markup(tmp_path: Path) -> None:
    text = "Stop a<b & save your work"
    pipe = tmp_path / "warn"
    os.mkfifo(pipe)
    argv = ["bash", "-uc", SCRIPT, "bash", str(assets() / "jobs/inner.sh"), str(tmp_path)]
    with pipe.open("r+b", 0) as end, subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        end.write(f"{text}\n".encode())
        output = process.stdout
        words = list(takewhile(lambda line: line != "end\n", (line.decode() for line in output)))
        process.kill()
    assert f"--text={text}\n" in words
    assert "--no-markup\n" in words
