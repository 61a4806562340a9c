"""``python -m tests.fuzz [--cases N] [--seed S] [--guided SECONDS] [NAME...]``: bad input to every
reader, as much of it as one likes. What breaks one is kept in the corpus, so that the tests try it
from then on. With ``--guided``, atheris (libFuzzer) looks for inputs that reach new code.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import traceback
from argparse import ArgumentParser, Namespace
from pathlib import Path

from tests.fuzz.targets import TARGETS, keep, run
from tests.fuzz.test_fuzz import examples


def main() -> int:
    parser = ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000, help="inputs for each reader")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--guided", type=int, default=0, help="seconds for each reader")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    names = options.names or list(TARGETS)
    if options.guided:
        return max(_guide(name, options.guided) for name in names)
    bad = [name for name in names if not _try(name, options)]
    print(f"{len(names)} readers, {options.cases:,} inputs each: {', '.join(bad) or 'all is well'}")
    return 1 if bad else 0


def _try(name: str, options: Namespace) -> bool:
    with tempfile.TemporaryDirectory(prefix="vizdash-fuzz-") as top:
        for number, data in enumerate(examples(name, options.cases, options.seed)):
            place = Path(top) / str(number % 50) / str(number)
            place.mkdir(parents=True)
            try:
                run(name, data, place)
            except Exception:  # noqa: BLE001 (whatever it is, it is the finding)
                print(f"{name}: {keep(name, data)}")
                traceback.print_exc(limit=-4)
                return False
    return True


def _guide(name: str, seconds: int) -> int:
    """Fuzz each reader in a separate process: libFuzzer ends the process that it runs in."""
    with tempfile.TemporaryDirectory(prefix="vizdash-corpus-") as folder:
        for number, data in enumerate(examples(name, 200)):
            (Path(folder) / str(number)).write_bytes(data)
        argv = [sys.executable, "-m", "tests.fuzz.guided", name, folder]
        argv += [f"-max_total_time={seconds}", "-max_len=65536"]
        argv += ["-rss_limit_mb=4096", f"-artifact_prefix={folder}/"]
        done = subprocess.run(argv, check=False)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
