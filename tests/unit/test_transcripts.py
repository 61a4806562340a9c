"""Transcripts keep every byte of a recorded command, and can be read by people."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transcripts import RecordedCommand, load, save

RECORDED = Path(__file__).resolve().parents[1] / "recorded"
FILES = sorted(RECORDED.glob("*/*.txt"))

# No argument of a program has a NUL byte.
_ARGUMENT = st.binary().map(
    lambda data: data.replace(b"\0", b"").decode("utf-8", "surrogateescape")
)
_OUTPUT = st.binary() | st.text().map(str.encode) | st.from_regex(rb"(?s)[\n\\ |$=#x\r\t\xff]*\Z")
_COMMAND = st.builds(
    RecordedCommand,
    st.just("squeue-user"),
    st.lists(_ARGUMENT, max_size=3).map(tuple),
    st.none() | st.integers(0, 255),
    _OUTPUT,
    _OUTPUT,
)


@given(command=_COMMAND)
def test_a_saved_command_loads_as_it_was(
    command: RecordedCommand, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "saved.txt"
    other = RecordedCommand("other", ("true",), 0, b"x", b"y\n")
    save(path, [command, other], "two commands")
    assert load(path) == {"squeue-user": command, "other": other}


def test_a_transcript_is_plain_text(tmp_path: Path) -> None:
    stdout = b"a|b \\ \xff\x1b[0m \xc3\xa9 \n\n\tno newline"
    save(tmp_path / "a.txt", [RecordedCommand("x", ("echo", "a b"), 3, stdout)], "an example")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8").splitlines() == [
        "# an example",
        "",
        "== x",
        "$ echo 'a b'",
        "exit 3",
        "stdout:",
        r"| a|b \\ \xff\x1b[0m é\x20",
        "|",
        r"| \tno newline" + "\\",
    ]


@pytest.mark.parametrize(
    "bad", ["== x\n| no stream", "== x\n== x", "exit 0", "== x\nexit soon", "== x\nstdout:\n| \\q"]
)
def test_what_is_no_transcript_is_refused_with_its_line(bad: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(bad)
    with pytest.raises(ValueError, match=rf"a\.txt:{bad.count(chr(10)) + 1}: "):
        load(tmp_path / "a.txt")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(RECORDED)))
def test_the_recorded_files_are_as_they_are_written(path: Path, tmp_path: Path) -> None:
    comment = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    save(tmp_path / "again.txt", load(path).values(), comment)
    assert (tmp_path / "again.txt").read_bytes() == path.read_bytes()
