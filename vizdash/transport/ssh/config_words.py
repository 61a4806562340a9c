"""Words, keywords and patterns of ssh_config(5), as OpenSSH splits and matches them."""

from __future__ import annotations

import re
from collections.abc import Iterator


class Bad(ValueError):
    """What is wrong with a line."""


def split_keyword(line: str) -> tuple[str, str]:
    """The keyword in lower case, and what follows: a blank and at most one ``=`` lie between."""
    match = re.match(r'"?([^ \t="]*)"?[ \t]*=?[ \t]*', line)
    assert match is not None
    return match[1].lower(), line[match.end() :]


def split_words(text: str) -> list[str]:
    """Words with quotes and backslashes, up to a comment (OpenSSH's misc.c, argv_split)."""
    words: list[str] = []
    position = 0
    while position < len(text):
        if text[position] in " \t":
            position += 1
            continue
        if text[position] == "#":
            break
        word, quote = "", ""
        while position < len(text):
            char, following = text[position], text[position + 1 : position + 2]
            if char == "\\" and (following in {"'", '"', "\\"} or (following == " " and not quote)):
                word += following
                position += 1
            elif not quote and char in " \t":
                break
            elif not quote and char in "\"'":
                quote = char
            elif quote and char == quote:
                quote = ""
            else:
                word += char
            position += 1
        if quote:
            raise Bad("a quote is not closed")
        words.append(word)
    return words


def match_words(text: str) -> Iterator[str]:
    """Words of a Match line, which are quoted by ``"`` alone (misc.c, strdelim)."""
    while text and not text.startswith("#"):
        if text.startswith('"'):
            word, closed, text = text[1:].partition('"')
            if not closed:
                raise Bad("a quote is not closed")
            text = text.lstrip(" \t")
        else:
            match = re.match(r'([^ \t="]*)[ \t]*=?[ \t]*', text)
            assert match is not None
            word, text = match[1], text[match.end() :]
        yield word


def expand_host_name(text: str, host: str) -> str:
    """HostName, which knows ``%h`` and ``%%`` alone."""
    return re.sub(r"%([h%])", lambda match: host if match[1] == "h" else "%", text)


def one_word(keyword: str, words: list[str]) -> str:
    """The one value of a keyword. Raises Bad for none, an empty one, or several."""
    if not words or not words[0]:
        raise Bad(f"{keyword} has no value")
    if len(words) > 1:
        raise Bad(f"{keyword} has more than one value")
    return words[0]


def matches_host(host: str, patterns: list[str]) -> bool:
    """Host (ssh_config(5), PATTERNS): one that is negated and fits excludes the host."""
    if not all(pattern.removeprefix("!") for pattern in patterns):
        raise Bad("host has an empty pattern")
    return is_listed(host, patterns)


def is_listed(text: str, patterns: list[str]) -> bool:
    """Whether a pattern fits and none that is negated does."""
    found = False
    for pattern in patterns:
        if _fits(text, pattern.removeprefix("!")):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def _fits(text: str, pattern: str) -> bool:
    """``*`` and ``?`` alone are special."""
    parts = {"*": ".*", "?": "."}
    expression = "".join(parts.get(char, re.escape(char)) for char in pattern)
    return re.fullmatch(expression, text, re.DOTALL) is not None
