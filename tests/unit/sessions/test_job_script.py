"""Values reach a job script unchanged, whatever they hold: a real bash prints them."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vizdash.errors import Refused
from vizdash.sessions.job_script import render_script

HOSTILE = (
    "a'b",
    'a"b',
    "$(touch /tmp/pwned) `id` ${HOME} $HOME",
    "a,b c;d|e&f>g<h",
    "\\ \\n \\\\",
    "!history ~root *",
    "-n",
    "",
    " ",
    "two\nlines\n",
    "tab\there",
    "päth/한국어",
    "#comment",
    "a=b",
    "EOF",
)


def run(script: str) -> list[str]:
    """What the script prints, NUL-separated."""
    done = subprocess.run(
        ["bash", "-u"], input=script.encode(), capture_output=True, check=True, timeout=60
    )
    assert done.stderr == b""
    return done.stdout.decode().split("\0")[:-1]


def output(values: list[str]) -> list[str]:
    script = '#!/bin/bash\n#SBATCH -n 1\n\nprintf \'%s\\0\' "$ONE" "${MANY[@]}"\n'
    return run(render_script(script, {"ONE": values[0], "MANY": values}))


def test_hostile_values_survive_a_real_bash() -> None:
    for value in HOSTILE:
        assert output([value, "next"]) == [value, value, "next"]
    assert output(list(HOSTILE)) == [HOSTILE[0], *HOSTILE]


TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=200)


@settings(max_examples=60)
@given(st.lists(TEXT, min_size=1, max_size=5))
def test_any_text_survives_a_real_bash(values: list[str]) -> None:
    assert output(values) == [values[0], *values]


def test_numbers_and_no_values() -> None:
    script = 'printf \'%s\\0\' "$N" "${#NONE[@]}"\n'
    assert run(render_script(script, {"N": 7, "NONE": ()})) == ["7", "0"]


@pytest.mark.parametrize("value", ["a\x00b", "a\x1bb", "a\rb", "a\x7fb", "a\x0cb"])
def test_control_characters_are_refused_by_name(value: str) -> None:
    for given_ in (value, ["fine", value]):
        with pytest.raises(Refused, match="WHERE holds a control character"):
            render_script("true\n", {"WHERE": given_})


def test_bytes_that_are_no_text_are_refused_by_name() -> None:
    with pytest.raises(Refused, match="WHERE is not UTF-8"):
        render_script("true\n", {"WHERE": "a\udcffb"})


def test_the_values_stand_below_sbatchs_lines_and_above_the_first_command() -> None:
    script = "#!/bin/bash\n# about\n\n#SBATCH -n 1\nset -u\n# end\n"
    lines = render_script(script, {"A": "b"}).splitlines()
    assert lines.index("#SBATCH -n 1") < lines.index("A=b") < lines.index("set -u")


def test_a_script_is_not_changed_by_characters_that_only_python_takes_for_line_ends() -> None:
    script = "#!/bin/bash\n# page\x0cprintf 'escaped\\0'\n# a\u2028b\x85c\nprintf 'fine\\0'\n"
    assert run(render_script(script, {"A": "b"})) == ["fine"]


def test_parts_are_put_in_by_name() -> None:
    script = "source common.sh # the common part\nprintf '%s\\0' \"$(hello)\"\n"
    parts = {"common.sh": "hello() { printf '%s' \"hello \\1 $A\"; }\n"}
    assert run(render_script(script, {"A": "x"}, parts.__getitem__)) == ["hello \\1 x"]


def test_a_part_may_be_made_of_parts() -> None:
    parts = {"outer.sh": "source inner.sh # this one too\nA=1\n", "inner.sh": "printf 'in\\0'\n"}
    assert run(render_script("source outer.sh\n", {"B": "x"}, parts.__getitem__)) == ["in"]


def test_a_program_in_another_language_is_put_into_a_here_document() -> None:
    script = "python3 -c \"$(cat <<'PY'\nsource told.py\nPY\n)\"\n"
    parts = {"told.py": "print('one', end='\\0')\n"}
    assert run(render_script(script, {}, parts.__getitem__)) == ["one"]
