"""What a verb costs before it does anything: Python's own start is the other side."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.sides import in_turn, row, worked

_VERBS = (("--version",), ("apps",), ("nodes",), ("sessions", "--json"))


def run(rounds: int = 15) -> None:
    """Each verb on the local engine, in an empty home."""
    vizdash = str(Path(sys.prefix) / "bin" / "vizdash")
    with tempfile.TemporaryDirectory(prefix="vizdash-bench-") as home:
        config = Path(home) / "config.yaml"
        config.write_text("clusters:\n  here: {engine: local}\n")
        env = {**os.environ, "HOME": home, "VIZDASH_CONFIG": str(config)}

        def seconds(*argv: str) -> float:
            return worked(lambda: subprocess.run(argv, check=True, capture_output=True, env=env))

        seconds(vizdash, "nodes")  # compiled once, as after an installation
        for verb in _VERBS:
            sides = in_turn(
                lambda verb=verb: seconds(vizdash, *verb),  # type: ignore[misc]
                lambda: seconds(sys.executable, "-c", "pass"),
                rounds,
            )
            row(f"vizdash {' '.join(verb)}", sides, "python -c pass")
