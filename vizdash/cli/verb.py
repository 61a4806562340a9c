"""How each verb shows its help, and which of its options go together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from click.core import ParameterSource

from vizdash.cli.complete import NAMES, Name
from vizdash.cli.examples import EXAMPLES

#: Options that every verb takes; they stand last in its help.
SHARED = ("cluster", "host", "config_path", "read_only", "help")


#: In a context's ``meta``: how many arguments came after ``--``.
AFTER = "vizdash.after"


class Verb(click.Command):
    """A click command with examples in its help.

    ``needs``: options (by parameter name) that do something only beside one of others;
    ``excludes``: options beside which others would do nothing. Either is refused, not ignored.
    """

    def __init__(
        self,
        *args: Any,
        needs: Mapping[str, tuple[str, ...]] | None = None,
        excludes: Mapping[str, tuple[str, ...]] | None = None,
        **attributes: Any,
    ) -> None:
        super().__init__(*args, **attributes)
        for param in self.params:
            if param.name in NAMES and param.type is click.STRING:
                param.type = Name(param.name)
        self._needs = needs or {}
        self._excludes = excludes or {}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, then refuse options that would do nothing. Raises click.UsageError."""
        # Arguments after it are another program's, even where a verb takes any number.
        ctx.meta[AFTER] = len(args) - args.index("--") - 1 if "--" in args else 0
        rest = super().parse_args(ctx, args)
        if ctx.resilient_parsing:
            return rest
        for name, partners in self._needs.items():
            if _given(ctx, name) and not any(_given(ctx, partner) for partner in partners):
                beside = " or ".join(self._option(partner) for partner in partners)
                raise click.UsageError(f"{self._option(name)} goes with {beside} only", ctx)
        for name, others in self._excludes.items():
            for other in others:
                if _given(ctx, name) and _given(ctx, other):
                    words = f"{self._option(other)} does nothing beside {self._option(name)}"
                    raise click.UsageError(words, ctx)
        return rest

    def _option(self, name: str) -> str:
        options = (param.opts for param in self.params if param.name == name)
        return max(next(options), key=len)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verb's own options in their order, then those of every verb."""
        params = self.get_params(ctx)
        for title, rows in (
            ("Options", _rows(ctx, [p for p in params if p.name not in SHARED])),
            ("Options of every verb", _rows(ctx, [p for p in params if p.name in SHARED])),
        ):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples that can be copied."""
        write_examples(self.name or "", formatter)


def _given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE


def _rows(ctx: click.Context, params: list[click.Parameter]) -> list[tuple[str, str]]:
    found = [p.get_help_record(ctx) for p in params if isinstance(p, click.Option)]
    return [row for row in found if row is not None]


def write_examples(verb: str, formatter: click.HelpFormatter) -> None:
    """Each on a line of its own, however long: what wraps can't be copied."""
    with formatter.section("Examples"):
        for command, words in EXAMPLES[verb]:
            formatter.write(f"{'':{formatter.current_indent}}{command}\n")
            formatter.write(f"{'':{formatter.current_indent + 4}}{words}\n")
