"""The common options of every verb and of the dashboard; the variable that asks for completions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vizdash.config import Config, Explained, load

#: Environment variable that a completion script sets.
COMPLETION_VARIABLE = "_VIZDASH_COMPLETE"


@dataclass(frozen=True, slots=True)
class Options:
    """The common options of every verb."""

    cluster: str = ""
    host: str = ""
    config: str = ""
    read_only: bool = False

    def load(self) -> tuple[Config, Callable[[], tuple[Explained, ...]]]:
        """The configuration, with these options over the files."""
        return load(
            path=self.config, cluster=self.cluster, host=self.host, read_only=self.read_only
        )
