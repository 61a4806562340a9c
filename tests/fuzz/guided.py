"""``python -m tests.fuzz.guided NAME [OPTION OF LIBFUZZER...]``: one reader, by atheris."""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path


def main() -> None:
    """Fuzz one reader. Does not return: libFuzzer ends the process."""
    atheris = importlib.import_module("atheris")  # installed by `make fuzz SECONDS=...`
    with atheris.instrument_imports(include=["vizdash"]):
        from tests.fuzz import targets
    name = sys.argv.pop(1)
    place = Path(tempfile.mkdtemp(prefix="vizdash-fuzz-", dir=sys.argv[1]))

    def one(data: bytes) -> None:
        try:
            targets.run(name, data, place)
        except Exception:
            print(f"{name}: {targets.keep(name, data)}")
            raise

    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
