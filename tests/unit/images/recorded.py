"""Real images' beginnings, put into files of the images' real sizes (see record-images)."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "recorded" / "apptainer"
SIZES: dict[str, int] = json.loads((FOLDER / "sizes.json").read_text())


def head(name: str) -> bytes:
    return gzip.decompress((FOLDER / f"{name}.head.gz").read_bytes())


def image(folder: Path, name: str) -> Path:
    """A sparse file that reads like the image NAME where metadata are."""
    path = folder / f"{name}.sif"
    with path.open("wb") as file:
        file.write(head(name))
        file.truncate(SIZES[name])
    return path


def said(name: str) -> str:
    """What ``apptainer build`` wrote, stderr after stdout."""
    return (FOLDER / f"{name}.out").read_text() + (FOLDER / f"{name}.err").read_text()
