"""Bad input to every reader: one clear error, or what could be read of it; nothing else."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import HOSTILE, TARGETS, WORDS, run

#: Inputs for each reader in `make test`; `make fuzz` tries as many as one likes.
CASES = 150
#: Inputs of Hypothesis for each reader, which shrinks what breaks one.
EXAMPLES = 40


def mutated(source: random.Random, seeds: tuple[bytes, ...]) -> bytes:
    """One of ``seeds`` with up to eight changes, such as damage, another version or malice make."""
    data = bytearray(source.choice(seeds))
    for _ in range(source.randint(1, 8)):
        at = source.randint(0, len(data))
        to = min(len(data), at + int(min(source.expovariate(0.2), 1000.0)))
        match source.randrange(6):
            case 0:
                del data[at:to]
            case 1:
                data[at:to] = source.choice(WORDS)
            case 2:
                data[at:at] = source.choice(WORDS)
            case 3:
                data[at:at] = data[at:to]
            case 4 if at < len(data):
                data[at] ^= 1 << source.randrange(8)
            case 5:
                del data[at:]
    return bytes(data)


def examples(name: str, count: int, seed: int = 0) -> list[bytes]:
    """Whole hostile inputs, those that once broke this reader, and ``count`` mutated ones."""
    source = random.Random(f"{name} {seed}")
    seeds = TARGETS[name].seeds(name)
    return [*HOSTILE, *seeds, *(mutated(source, seeds) for _ in range(count))]


@pytest.mark.parametrize("name", TARGETS)
def test_bad_input_is_one_clear_error(name: str, tmp_path: Path) -> None:
    for number, data in enumerate(examples(name, CASES)):
        place = tmp_path / str(number)
        place.mkdir()
        try:
            run(name, data, place)
        except Exception as e:
            shown = data if len(data) < 600 else data[:300] + b" ... " + data[-300:]
            raise AssertionError(f"{name}, input {number}: {e!r}: {shown!r}") from e


@pytest.mark.parametrize("name", TARGETS)
def test_hypothesis_finds_none(name: str) -> None:
    """Arbitrary bytes, and good input with changes that Hypothesis chooses and shrinks."""
    changed = st.builds(
        mutated, st.randoms(use_true_random=False), st.just(TARGETS[name].seeds(name))
    )

    @settings(max_examples=EXAMPLES)
    @given(st.one_of(st.binary(max_size=300), changed))
    def try_one(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            run(name, data, Path(folder))

    try_one()
