"""Order of image versions: by name, or by time where names have no order."""

from __future__ import annotations

import re

_PARTS = re.compile(r"([0-9]+)|([a-z]+)(?=([0-9])?)")
_DEVELOPMENT = {"dev", "devel", "snapshot", "nightly", "unstable"}
_BEFORE_RELEASE = {"alpha", "beta", "rc", "pre", "preview", "prerelease", "milestone", "testing"}
_ORDERED = re.compile(r"[A-Za-z]{0,3}[._-]?[0-9]")
#: An abbreviated commit: hexadecimal digits of both kinds, but no date with a letter (20240115b).
_HASH = re.compile(
    r"(?=.*[a-f])(?=.*[0-9])(?!(?:19|20)[0-9]{2}[01][0-9](?:[0-3][0-9])?[a-f]\Z)[0-9a-f]{7,64}"
)


def version_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts ``5.9`` before ``5.10``, ``5.10-rc1`` before ``5.10``, and ``5.10`` before
    ``5.10-gpu``, ``5.10.post1`` and ``5.10.1``; ``R2024a`` before ``R2024a-u3`` and ``R2024b``.
    """
    key: list[tuple[int, int, str]] = []
    for match in _PARTS.finditer(version.lower()):
        number, word, counted = match.groups()
        if number:
            key.append((3, int(number), ""))
        elif word in _DEVELOPMENT:
            key.append((-1, 0, word))
        elif word in _BEFORE_RELEASE or (word in {"a", "b", "c"} and counted):
            key.append((0, 0, word))
        elif key or word != "v":
            key.append((2, 0, word))
    return (*key, (1, 0, ""))


def has_order(version: str) -> bool:
    """Whether versions can be compared by name: it begins with a number, after at most a short
    word, and is no commit hash.
    """
    return bool(_ORDERED.match(version)) and not _HASH.fullmatch(version)


def order_key(version: str, at: float) -> tuple[bool, tuple[tuple[int, int, str], ...], float, str]:
    """A key that sorts versions by name; versions without an order come first, by the time ``at``
    when they arrived or were current.
    """
    ordered = has_order(version)
    return ordered, version_key(version) if ordered else (), at, version
