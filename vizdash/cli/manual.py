"""The man pages, generated from the help of the verbs: ``python -m vizdash.cli.manual FOLDER``.

The format is that of man(7); see also man-pages(7).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from vizdash import __version__
from vizdash.actions import REGISTRY, key_label
from vizdash.cli.common import cli
from vizdash.cli.help import EXAMPLES, SHARED
from vizdash.util.files import write_whole

_EXITS = (
    ("0", "done"),
    ("1", "failed: refused, no answer, timed out, or the session failed"),
    ("2", "wrong use, wrong configuration, or an unknown name"),
    ("130", "interrupted by Ctrl-C"),
    ("141", "the reader of the output has closed it"),
)
_FILES = (
    ("/etc/vizdash/config.yaml", "the site's configuration"),
    ("~/.config/vizdash/config.yaml", "the user's own configuration"),
    ("~/.local/state/vizdash/log/commands.log", "calls and commands with their outcomes"),
    ("~/.local/state/vizdash/log/errors.log", "internal errors"),
)
_VARIABLES = (
    ("VIZDASH_CONFIG", "used instead of the user's own configuration file"),
    ("VIZDASH_CLUSTER", "like --cluster"),
    ("VIZDASH_HOST", "like --host"),
    ("VIZDASH_READ_ONLY", "like --read-only"),
    ("VIZDASH_DEBUG", "prints the command log to stderr"),
)


def pages() -> dict[str, str]:
    """The text of every page, by file name."""
    # A command keeps the help option of the first context that asks for it, which must have -h.
    context = click.Context(cli, info_name="vizdash", **cli.context_settings)
    verbs = [name for name in cli.list_commands(context) if cli.get_command(context, name)]
    texts = {"vizdash.1": "\n".join(_program(context, verbs)) + "\n"}
    for verb in verbs:
        texts[f"vizdash-{verb}.1"] = "\n".join(_verb(context, verb, verbs)) + "\n"
    return texts


def _program(context: click.Context, verbs: list[str]) -> Iterator[str]:
    yield _title("vizdash")
    yield from _section("NAME", r"vizdash \- start and open VNC desktops on a Slurm cluster")
    yield from _section("SYNOPSIS", ".B vizdash", r"[\fIOPTIONS\fR] [\fIVERB\fR ...]")
    yield from _section("DESCRIPTION", _text(cli.help or ""))
    yield from _section("OPTIONS", *_options(cli, context, shared=True))
    yield ".SH VERBS"
    for verb in verbs:
        command = cli.get_command(context, verb)
        assert command is not None
        yield from _tagged(rf"\fBvizdash\-{_text(verb)}\fR(1)", command.get_short_help_str(1000))
    yield ".SH KEYS OF THE DASHBOARD"
    for action in REGISTRY:
        if action.keys:
            keys = " ".join(map(key_label, action.keys))
            yield from _tagged(rf"\fB{_text(keys)}\fR", f"{action.title}: {action.help}")
    yield from _list("ENVIRONMENT", _VARIABLES)
    yield from _list("FILES", _FILES)
    yield from _list("EXIT STATUS", _EXITS)
    yield from _examples("")


def _verb(context: click.Context, verb: str, verbs: list[str]) -> Iterator[str]:
    command = cli.get_command(context, verb)
    assert command is not None
    own = click.Context(command, info_name=verb, parent=context)
    name = _text(f"vizdash-{verb}")
    yield _title(f"vizdash-{verb}")
    yield from _section("NAME", rf"{name} \- {_text(command.get_short_help_str(1000))}")
    usage = " ".join(command.collect_usage_pieces(own))
    yield from _section("SYNOPSIS", rf"\fBvizdash {_text(verb)}\fR {_text(usage)}")
    yield from _section("DESCRIPTION", _text(" ".join((command.help or "").split())))
    yield from _section("OPTIONS", *_options(command, own))
    yield from _section("COMMON OPTIONS", *_options(command, own, shared=True))
    yield from _list("EXIT STATUS", _EXITS)
    yield from _examples(verb)
    yield from _section("SEE ALSO", r"\fBvizdash\fR(1)")


def _title(name: str) -> str:
    return f'.TH "{_text(name).upper()}" 1 "" "vizdash {__version__}" "User Commands"'


def _section(title: str, *lines: str) -> Iterator[str]:
    if lines:
        yield f".SH {title}"
        yield from lines


def _list(title: str, rows: tuple[tuple[str, str], ...]) -> Iterator[str]:
    yield f".SH {title}"
    for name, words in rows:
        yield from _tagged(rf"\fB{_text(name)}\fR", words)


def _tagged(tag: str, words: str) -> Iterator[str]:
    yield ".TP"
    yield tag
    yield _text(words)


def _options(
    command: click.Command, context: click.Context, *, shared: bool = False
) -> Iterator[str]:
    for param in command.get_params(context):
        record = param.get_help_record(context) if isinstance(param, click.Option) else None
        if record is not None and (param.name in SHARED) is shared:
            yield from _tagged(rf"\fB{_text(record[0])}\fR", record[1])


def _examples(verb: str) -> Iterator[str]:
    yield ".SH EXAMPLES"
    for command, words in EXAMPLES[verb]:
        yield ".TP"
        yield rf"\fB{_text(command)}\fR"
        yield _text(words)


def _text(words: str) -> str:
    """Text escaped for groff(7): no escape sequences, no request at the start of a line."""
    text = words.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")
    return "\n".join(rf"\&{line}" if line[:1] in {".", "'"} else line for line in text.split("\n"))


def main() -> None:
    """Write every page into a folder, which is created."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m vizdash.cli.manual FOLDER")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        write_whole(folder / name, text, 0o644)


if __name__ == "__main__":
    main()
