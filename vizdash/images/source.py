"""Bytes of an image, of which only a few are read, wherever the file is."""

from __future__ import annotations

from typing import Protocol


class Source(Protocol):
    """Bytes of a file, wherever it is. ``name`` is for messages."""

    @property
    def name(self) -> str:
        """The file's path."""
        ...

    @property
    def size(self) -> int:
        """The whole file's size in bytes."""
        ...

    def at(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``; fewer where the file ends."""
        ...


class MissingBytes(Exception):
    """Raised by Chunks for bytes that were not fetched: ``offset`` and ``length``."""

    def __init__(self, offset: int, length: int) -> None:
        super().__init__(f"{length} bytes at {offset}")
        self.offset = offset
        self.length = length


class Chunks:
    """A Source over parts of a far file, its head to begin with.

    ``parse`` raises MissingBytes for what is not here; fetch it, ``add`` it, parse again. Two
    rounds do for any image.
    """

    def __init__(self, name: str, size: int, head: bytes) -> None:
        self.name = name
        self.size = size
        self._parts = {0: head}

    def add(self, offset: int, data: bytes) -> None:
        """Keep bytes that were fetched."""
        self._parts[offset] = data

    def at(self, offset: int, length: int) -> bytes:
        """See Source.at. Raises MissingBytes."""
        length = max(0, min(length, self.size - offset))
        for start, data in self._parts.items():
            if start <= offset and offset + length <= start + len(data):
                return data[offset - start : offset - start + length]
        raise MissingBytes(offset, length)
