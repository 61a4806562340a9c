"""README, docs/ and help agree with the code: verbs, options, keys, links, make targets."""

from __future__ import annotations

import re
import tomllib
from importlib import import_module
from pathlib import Path

import click
import pytest

from tests.fuzz import test_fuzz
from tests.fuzz.targets import TARGETS
from tests.lab.faults import page as faults_page
from tests.lab.faults.table import render
from vizdash import __version__
from vizdash.actions import REGISTRY, Context, key_label
from vizdash.cli.common import VERB_MODULES, cli
from vizdash.config import load
from vizdash.ui.screens.help import help_lines

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
GUIDES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
GUIDES += sorted((ROOT / "docs").glob("*.md"))
with click.Context(cli) as _context:
    VERBS = {
        name: command
        for name in cli.list_commands(_context)
        if (command := cli.get_command(_context, name)) is not None
    }


def test_every_verb_is_in_the_command_reference_and_no_other() -> None:
    named = set(re.findall(r"^\| `vizdash ([a-z-]+)", COMMANDS, re.MULTILINE))
    assert named == {name for name, command in VERBS.items() if not command.hidden}


@pytest.mark.parametrize("guide", GUIDES, ids=lambda p: p.name)
def test_every_command_in_a_guide_is_one(guide: Path) -> None:
    """``vizdash VERB --option`` in code: verbs and options must be there."""
    text = guide.read_text(encoding="utf-8")
    blocks = re.findall(r"```console\n(.*?)```|`([^`\n]+)`", text, re.DOTALL)
    code = re.sub(r"  +#.*", "", "\n".join(block or word for block, word in blocks))
    for verb, rest in re.findall(r"\bvizdash ([a-z][a-z-]*)\b([^|;&\n#)]*)", code):
        assert verb in VERBS, f"vizdash {verb}"
        options = {o for p in VERBS[verb].params for o in (*p.opts, *p.secondary_opts)}
        for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest.partition(" -- ")[0]):
            assert option in options, f"vizdash {verb} {option}"


@pytest.mark.parametrize("guide", GUIDES, ids=lambda p: p.name)
def test_every_link_of_a_guide_leads_somewhere(guide: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", guide.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (guide.parent / target).exists(), target


def test_the_table_of_layers_is_the_contract_of_import_linter() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.partition("\n| layer |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", table, re.MULTILINE)
    names = [re.findall(r"`(\w+)`", row) for row in rows]
    assert names == [re.findall(r"vizdash\.(\w+)", layer) for layer in layers]


def test_the_table_of_faults_has_the_rows_that_are_tested() -> None:
    """The times are those of one run, whichever they are."""
    text = faults_page.PAGE.read_text(encoding="utf-8")
    assert faults_page.table(text) == render(faults_page.times(text))
    measured = faults_page.times(text)
    unmeasured = [one.name for one in measured if one.notice_s is one.recover_s is None]
    assert unmeasured == ["eight hours of refreshes"]


def test_the_numbers_of_fuzzed_readers_and_inputs() -> None:
    text = " ".join((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split())
    inputs = f"{test_fuzz.CASES} changed inputs and {test_fuzz.EXAMPLES} examples of Hypothesis"
    assert f"tries {inputs} for each of the {len(TARGETS)} readers" in text


@pytest.mark.parametrize("guide", GUIDES, ids=lambda p: p.name)
def test_every_file_that_a_guide_names_exists(guide: Path) -> None:
    names = re.findall(
        r"(?<![\w./~-])((?:vizdash|tests|assets|bench)/[\w./-]*[\w/])", guide.read_text()
    )
    assert [name for name in names if not (ROOT / name).exists()] == []


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


def test_the_readme_is_short_and_links_to_every_page() -> None:
    assert README.count("\n") < 100
    for page in (ROOT / "docs").glob("*.md"):
        assert f"](docs/{page.name})" in README


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
            assert REGISTRY.verb_help(action.verb) in (command.help or "")


def test_each_module_holds_the_verbs_that_it_is_loaded_for() -> None:
    assert (
        set(VERBS)
        == set(cli.commands)
        == {verb for verbs in VERB_MODULES.values() for verb in verbs}
    )
    for module, verbs in VERB_MODULES.items():
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
        shown = {"open", "logs", "drain", "resume", "extend", "message", "completion"}
        if name not in shown | {"ssh", "put", "get", "proxy"}:
            assert "--json" in options, name


def test_the_changelog_begins_with_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)
    assert versions[0] in {__version__, "Unreleased"}
    assert __version__ in versions
    # Nothing was changed or fixed in the first release.
    first = text[text.index(f"## [{versions[-1]}]") :]
    assert re.findall(r"^### (.+)", first, re.MULTILINE) == ["Added"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == __version__


def yaml_examples() -> list[tuple[str, str]]:
    return [
        (guide.name, block)
        for guide in GUIDES
        for block in re.findall(r"```yaml\n(.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL)
    ]


@pytest.mark.parametrize(("name", "text"), yaml_examples(), ids=lambda word: word[:20])
def test_every_configuration_in_a_guide_is_valid(
    name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("vizdash.config.load"), "SITE_FILE", tmp_path / "none")
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    load(path=str(path), environ={})
