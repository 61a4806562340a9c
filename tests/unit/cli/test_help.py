"""The help of every verb: examples that can be copied, options in the order of use."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import click
import pytest

from tests.unit.cli.console_script import Vizdash
from vizdash.cli.common import VERB_MODULES, cli
from vizdash.cli.help import EXAMPLES, SHARED

VERBS = sorted(verb for verbs in VERB_MODULES.values() for verb in verbs)


def examples() -> Iterator[str]:
    for lines in EXAMPLES.values():
        yield from (line for line, _ in lines)


def test_every_verb_has_examples() -> None:
    assert sorted(EXAMPLES) == ["", *VERBS]


@pytest.mark.parametrize("line", list(examples()))
def test_every_example_is_right(line: str) -> None:
    program, *words = shlex.split(line)
    assert program == "vizdash"
    context = cli.make_context("vizdash", list(words), resilient_parsing=False)
    if context._protected_args:
        verb = context._protected_args[0]
        command = cli.get_command(context, verb)
        assert command is not None
        command.make_context(verb, [*context._protected_args[1:], *context.args], parent=context)


@pytest.mark.parametrize("verb", VERBS)
def test_examples_come_last_and_whole(vizdash: Vizdash, verb: str) -> None:
    output = vizdash(verb, "-h")
    assert (output.code, output.err) == (0, "")
    assert output.out == vizdash(verb, "--help").out
    after = output.out.partition("\nExamples:\n")[2]
    for line, words in EXAMPLES[verb]:
        assert f"\n  {line}\n      {words}\n" in f"\n{after}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_what_every_verb_takes_stands_after_its_own(vizdash: Vizdash, verb: str) -> None:
    own, title, shared = vizdash(verb, "--help").out.partition("\nCommon options:\n")
    assert title
    shared = shared.partition("\nExamples:\n")[0]
    places = [shared.index(option) for option in ("--cluster", "--host", "--config", "--read-only")]
    assert places == sorted(places)
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    mine = [p.opts[0] for p in command.params if isinstance(p, click.Option) and not p.hidden
            and p.name not in SHARED]  # fmt: skip
    places = [own.index(f"  {option}") for option in mine]
    assert places == sorted(places)


def test_options_of_the_output_come_last(vizdash: Vizdash) -> None:
    """What a verb works on comes before the form in which it prints."""
    for verb in VERBS:
        command = cli.get_command(click.Context(cli), verb)
        assert command is not None
        own = [p.name for p in command.params if isinstance(p, click.Option)
               and not p.hidden and p.name not in SHARED]  # fmt: skip
        assert "as_json" not in own[:-1], verb
    assert "default:" in vizdash("logs", "--help").out


def test_the_programs_own_help_names_every_verb_in_full(vizdash: Vizdash) -> None:
    output = vizdash("--help").out
    assert "..." not in output.partition("Commands:")[2].partition("Examples:")[0]
    for verb in VERBS:
        assert f"\n  {verb} " in output
