"""What was the current image of an app on a node, and since when."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE = re.compile(r"(\d{1,11}) (deploy|rollback|found) ([A-Za-z0-9._+-]+)\.sif ([0-9a-f]{64}|-)")


@dataclass(frozen=True, slots=True)
class Switch:
    """One time that another image became the current one: ``at`` in epoch seconds, by ``verb``
    deploy, rollback or found (a link made by hand, or a switch that was cut off); ``digest`` is
    its SHA-256 then, empty where nobody had read it.
    """

    at: int
    verb: str
    version: str
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Journal:
    """The switches of one app on one node, the latest last, as images.sh writes them."""

    app: str
    switches: tuple[Switch, ...] = ()

    @classmethod
    def parse(cls, app: str, text: str) -> Journal:
        """From the file's text; lines that make no sense are left out."""
        found = []
        for line in text.splitlines():
            match = _LINE.fullmatch(line)
            if match and match[3].startswith(f"{app}-"):
                digest = "" if match[4] == "-" else match[4]
                version = match[3].removeprefix(f"{app}-")
                found.append(Switch(int(match[1]), match[2], version, digest))
        return cls(app, tuple(found))

    def stack(self, current: str) -> tuple[Switch, ...]:
        """What a rollback goes back through, ``current`` last, each before the one that followed
        it. A rollback drops what it leaves behind; so does a link that was set back by hand.
        """
        kept: list[Switch] = []
        now = (Switch(0, "found", current),) if current else ()
        for switch in (*self.switches, *now):
            if kept and kept[-1].version == switch.version:
                continue
            versions = [s.version for s in kept]
            if switch.verb != "deploy" and switch.version in versions:
                del kept[versions.index(switch.version) + 1 :]
            else:
                kept.append(switch)
        return tuple(kept)

    def before(self, current: str) -> tuple[str, ...]:
        """The versions that a rollback can go back to, the one that it goes to first."""
        versions = [switch.version for switch in self.stack(current)]
        if current:
            del versions[-1]
        return tuple(v for v in reversed(versions) if v != current)

    def ran(self, version: str) -> bool:
        """Whether it was ever the current one."""
        return any(switch.version == version for switch in self.switches)
