"""README, guides and help say what the code does: they are held against it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import click
import pytest

from vizdash import __version__
from vizdash.actions import REGISTRY, Context, key_label
from vizdash.cli import cli
from vizdash.cli.common import HOMES
from vizdash.ui.screens.help import help_lines

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
with click.Context(cli) as _context:
    VERBS = {
        name: command
        for name in cli.list_commands(_context)
        if (command := cli.get_command(_context, name)) is not None
    }


def test_every_verb_is_in_the_readme_and_no_other() -> None:
    named = set(re.findall(r"^\| `vizdash ([a-z]+)", README, re.MULTILINE))
    assert named == {name for name, command in VERBS.items() if not command.hidden}


@pytest.mark.parametrize("guide", GUIDES, ids=lambda p: p.name)
def test_every_command_in_a_guide_is_one(guide: Path) -> None:
    """``vizdash VERB --option`` in code: verbs and options must be there."""
    text = guide.read_text(encoding="utf-8")
    blocks = re.findall(r"```console\n(.*?)```|`([^`\n]+)`", text, re.DOTALL)
    code = re.sub(r"  +#.*", "", "\n".join(block or word for block, word in blocks))
    for verb, rest in re.findall(r"\bvizdash ([a-z]+)\b([^|;&\n#)]*)", code):
        assert verb in VERBS, f"vizdash {verb}"
        options = {o for p in VERBS[verb].params for o in (*p.opts, *p.secondary_opts)}
        for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest.partition(" -- ")[0]):
            assert option in options, f"vizdash {verb} {option}"


@pytest.mark.parametrize("guide", GUIDES, ids=lambda p: p.name)
def test_every_link_of_a_guide_leads_somewhere(guide: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", guide.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (guide.parent / target).exists(), target


def test_every_make_target_in_a_guide_is_one() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for guide in GUIDES:
        text = guide.read_text(encoding="utf-8")
        code = re.findall(r"(?:\$ |`)make ([a-z -]+)", text)
        for words in code:
            assert set(words.split("  ")[0].split()) <= targets, words


def test_the_readme_opens_with_what_it_is_the_picture_and_two_commands() -> None:
    title, rest = README.split("\n", 1)
    assert title == "# vizdash"
    assert rest.strip().startswith("A terminal dashboard for VNC desktops")
    opening = README[: README.index("## ")]
    assert "(docs/dashboard.svg)" in opening
    assert "$ make run" in opening
    assert "$ make test" in opening


def test_the_picture_shows_the_program_with_its_rows() -> None:
    picture = (ROOT / "docs/dashboard.svg").read_text(encoding="utf-8").replace("&#160;", " ")
    for words in ("Nodes", "Sessions", "Images", "ready", "drained"):
        assert words in picture


def test_every_action_is_in_the_help_with_its_keys() -> None:
    lines = help_lines(REGISTRY, Context())
    text = "\n".join("".join(span.text for span in row) for row in lines)
    for action in REGISTRY:
        keys = " ".join(key_label(key) for key in action.keys)
        assert f"{keys.ljust(11)}{action.help}" in text, action.id
        assert action.help.endswith(".")


def test_every_verb_of_an_action_is_one_and_says_what_the_action_says() -> None:
    for action in REGISTRY:
        if action.verb:
            with click.Context(cli) as context:
                command = cli.get_command(context, action.verb)
            assert command is not None, action.verb
            assert action.help in (command.help or "")


def test_each_module_holds_the_verbs_that_it_is_loaded_for() -> None:
    assert set(VERBS) == set(cli.commands) == {verb for verbs in HOMES.values() for verb in verbs}
    for module, verbs in HOMES.items():
        for verb in verbs:
            callback = VERBS[verb].callback
            assert callback is not None and callback.__module__ == f"vizdash.cli.{module}"


def test_every_verb_has_help_and_so_has_every_option() -> None:
    for name in VERBS:
        with click.Context(cli) as context:
            command = cli.get_command(context, name)
        assert command is not None
        assert command.help, name
        for param in command.params:
            if isinstance(param, click.Option) and not param.hidden:
                assert param.help, f"{name} {param.opts}"


def test_readers_have_json_and_every_verb_the_common_options() -> None:
    for name, command in VERBS.items():
        options = {o for p in command.params for o in p.opts}
        assert {"--cluster", "--config", "--read-only"} <= options, name
        if name not in {"open", "logs", "drain", "resume", "extend", "message", "completion"}:
            assert "--json" in options, name


def test_the_changelog_has_this_version_and_a_place_for_the_next() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in text
    assert f"## [{__version__}]" in text
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == __version__
