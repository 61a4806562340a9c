"""Tokens of ssh_config(5): ``%h`` and its like, ``~`` and ``${NAME}``."""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import socket
from dataclasses import dataclass
from pathlib import Path

from vizdash.errors import Refused


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the tokens stand for, for one host: its name as given, HostName, port, user, alias
    and jumps; ``home`` is this person's folder.
    """

    name: str
    host: str
    port: str
    user: str
    alias: str
    jumps: str
    home: str

    def command(self, text: str) -> str:
        """A command with its tokens expanded; the rest is for the shell."""
        return self._percent(text)

    def path(self, text: str) -> Path:
        """A path with ``~``, tokens and environment expanded. Raises Refused."""
        if text == "~" or text.startswith("~/"):
            text = self.home + text[1:]
        elif text.startswith("~"):
            try:
                text = str(Path(text).expanduser())
            except RuntimeError as e:
                user = text[1:].partition("/")[0]
                raise Refused(f"settings of {self.name}", f"there is no user {user}: {text}") from e

        def variable(match: re.Match[str]) -> str:
            value = os.environ.get(match[1])
            if value is None:
                raise Refused(f"settings of {self.name}", f"${{{match[1]}}} in {text} is not set")
            return value

        return Path(re.sub(r"\$\{([^}]*)\}", variable, self._percent(text)))

    def _percent(self, text: str) -> str:
        """``%x`` by ssh_config(5), TOKENS. Raises Refused for one that it does not have."""
        if "%" not in text:
            return text
        values = self._values()

        def token(match: re.Match[str]) -> str:
            if match[1] not in values:
                raise Refused(f"settings of {self.name}", f"{match[0]} in {text} means nothing")
            return values[match[1]]

        return re.sub(r"%(.|$)", token, text)

    def _values(self) -> dict[str, str]:
        here = socket.gethostname()
        hashed = os.fsencode(f"{here}{self.host}{self.port}{self.user}{self.jumps}")
        return {
            "%": "%",
            "C": hashlib.sha1(hashed, usedforsecurity=False).hexdigest(),
            "d": self.home,
            "h": self.host,
            "i": str(os.getuid()),
            "j": self.jumps,
            "k": self.alias or self.name,
            "L": here.partition(".")[0],
            "l": here,
            "n": self.name,
            "p": self.port,
            "r": self.user,
            "u": _myself(),
        }


def _myself() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
