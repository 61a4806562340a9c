"""Real images' first bytes in sparse files of the real size, and recorded output of Apptainer."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from tests import transcripts

FOLDER = Path(__file__).resolve().parents[2] / "recorded" / "apptainer"
BUILDS = transcripts.load(FOLDER / "builds.txt")
VERIFICATIONS = transcripts.load(FOLDER / "verify.txt")
SIZES: dict[str, int] = json.loads((FOLDER / "sizes.json").read_text())


def head(name: str) -> bytes:
    return gzip.decompress((FOLDER / f"{name}.head.gz").read_bytes())


def image(folder: Path, name: str) -> Path:
    """A sparse file with the metadata of the recorded image ``name``."""
    path = folder / f"{name}.sif"
    with path.open("wb") as file:
        file.write(head(name))
        file.truncate(SIZES[name])
    return path


def build_output(name: str) -> str:
    """What ``apptainer build`` printed: stdout, then stderr."""
    return (BUILDS[name].stdout + BUILDS[name].stderr).decode()
