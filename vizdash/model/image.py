"""Apptainer images found for the apps of the catalogue."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Image:
    """One SIF file: where it is, its version (empty when unknown) and size in bytes.

    ``node`` is the node it was seen on; ``current`` says that ``<app>.sif`` leads to it.
    """

    app: str
    path: str
    version: str = ""
    size_bytes: int = 0
    modified_at: int = 0
    node: str = ""
    current: bool = False
