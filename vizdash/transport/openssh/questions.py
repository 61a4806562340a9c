"""What ssh(1) asks, told apart: by itself, about a host's key, or by the host's own words.

Since OpenSSH 8.5 a host's words (keyboard-interactive) begin with ``(user@host)``, and no other
question does: what a server writes can then not pass for a question of this computer's ssh, such
as that for a passphrase or a PIN. An older ssh passes a host's words on as they are: there, every
question is shown as the host's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from vizdash.model.link import Field, Prompt
from vizdash.transport.openssh.askpass import Question
from vizdash.transport.openssh.master import Version

#: Since this version a host's words are marked.
_MARKS = (8, 5)
_HOST = re.compile(r"\(([^()]*)@([^()@]*)\) (.*)", re.DOTALL)
_PASSWORD = re.compile(r"(?:(.*)@(\S+)'s password|.*@(\S+)'s (?:old|new) password): ?", re.DOTALL)
_PASSPHRASE = re.compile(r"Enter passphrase for (?:key )?'?(.+?)'?: ?")
_PIN = re.compile(r"Enter PIN for (?:'(.+)'|(.+)): ?")
_KEY = re.compile(
    r"The authenticity of host '(.+?)' can't be established\.(.*)"
    r"Are you sure you want to continue connecting \(yes/no(?:/\[fingerprint\])?\)\? ?",
    re.DOTALL,
)
_PRINT = re.compile(r"^(\S+) key fingerprint is (?:(?:SHA256|MD5):)?\S+", re.MULTILINE)


class Asks(Enum):
    """Who wants what."""

    #: A host, for a secret of the login.
    HOST = auto()
    #: The ssh of this computer: for a key file's passphrase, a token's PIN; whether a host is to be
    #: trusted; yes or no; nothing, for it only shows something.
    PASSPHRASE = auto()
    PIN = auto()
    HOST_KEY = auto()
    YES_OR_NO = auto()
    NOTHING = auto()


@dataclass(frozen=True, slots=True)
class Read:
    """A question of ssh's, read. ``host`` is who asks ("" for this computer's ssh), ``about`` the
    key file, token or host key in question, ``label`` what stands beside the answer.
    """

    asks: Asks
    label: str
    host: str = ""
    about: str = ""


def read_question(question: Question, version: Version) -> Read:
    """What a question is."""
    text = question.text
    if question.kind == "none":
        return Read(Asks.NOTHING, text.strip())
    if match := _HOST.fullmatch(text):
        return Read(Asks.HOST, _label(match[3]), match[2])
    if match := _KEY.fullmatch(text):
        found = _PRINT.search(match[2])
        shown = (
            found[0].replace(" key fingerprint is ", " ").rstrip(".") if found else match[2].strip()
        )
        return Read(Asks.HOST_KEY, match[1], about=shown)
    if match := _PASSWORD.fullmatch(text):
        return Read(Asks.HOST, "password" if match[2] else _label(text), match[2] or match[3])
    if question.kind == "confirm":
        return Read(Asks.YES_OR_NO, text.strip())
    if version < _MARKS:
        return Read(Asks.HOST, _label(text), "?")
    if match := _PASSPHRASE.fullmatch(text):
        return Read(Asks.PASSPHRASE, f"passphrase of {match[1]}", about=match[1])
    if match := _PIN.fullmatch(text):
        token = match[1] or match[2]
        return Read(Asks.PIN, f"PIN of {token}", about=token)
    return Read(Asks.PIN, _label(text))


def as_prompt(read: Read, name: str, said: tuple[str, ...], *, again: bool) -> Prompt:
    """What a person is asked. ``name`` is the host that we log in to, ``said`` what it has said
    meanwhile; ``again`` is whether the same was asked just before.
    """
    if read.asks is Asks.HOST_KEY:
        return _host_key(read)
    if read.asks in {Asks.YES_OR_NO, Asks.NOTHING}:
        return Prompt(f"Log in to {name}", (*said, _here(name), read.label), yes="yes")
    refused = ("That was refused: try again.",) * again
    if read.asks is Asks.HOST:
        where = read.host if read.host != "?" else name
        lines = (*refused, *said, f"{where} asks:")
        return Prompt(f"Log in to {where}", lines, (Field(read.label),))
    if read.asks is Asks.PIN and again:
        refused = (*refused, "A token locks itself after a few wrong PINs.")
    lines = (*refused, *said, _here(name))
    return Prompt(f"Log in to {name}", lines, (Field(read.label),))


def _here(name: str) -> str:
    return f"ssh on this computer asks, to log in to {name}; the answer stays here:"


def _host_key(read: Read) -> Prompt:
    """As the question of vizdash's own SSH."""
    host = read.label.partition(" (")[0]
    lines = (
        f"{read.label} shows this host key:",
        read.about,
        "Compare it with the one that its administrators publish.",
        "ssh will add it to known_hosts.",
    )
    by_hand = f"run `ssh {host}` once and compare the fingerprint"
    alone = (f"its key is not known: {read.about}", by_hand)
    return Prompt(f"{host} is not known yet", lines, yes="trust it", alone=alone)


def _label(text: str) -> str:
    return " ".join(text.split()).rstrip(":") or "answer"
