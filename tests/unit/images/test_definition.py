"""Definition files: found, read, and given labels."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from vizdash.errors import NotFound, UsageError
from vizdash.images import definition

TEXT = """Bootstrap: {{ bootstrap }}
From: {{base}}

%arguments
    bootstrap=docker
    base = debian:13-slim
    version=1.0
%labels
    Version {{ version }}
%post
    version=no
"""


def test_the_sites_own_comes_first(tmp_path: Path) -> None:
    assert definition.find_definition("gedit", str(tmp_path)).path.name == "gedit.def"
    (tmp_path / "gedit.def").write_text(TEXT)
    found = definition.find_definition("gedit", str(tmp_path))
    assert found.path == tmp_path / "gedit.def"
    assert found.digest == hashlib.sha256(TEXT.encode()).hexdigest()
    assert found.arguments == {"bootstrap", "base", "version"}
    assert found.defaults == {"bootstrap": "docker", "base": "debian:13-slim", "version": "1.0"}
    assert found.version == "1.0"


@pytest.mark.parametrize("app", ["desktop", "gedit", "paraview"])
def test_shipped_definitions_declare_their_version_and_take_a_local_base(app: str) -> None:
    found = definition.find_definition(app, "")
    assert found.version == "1.0"
    assert {"bootstrap", "base", "version"} <= found.arguments


def test_a_missing_definition_names_the_searched_folders(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=f"not in {tmp_path}, .*defs"):
        definition.find_definition("nothing", str(tmp_path))


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("Bootstrap: docker\n%labels\n    Version 2.1\n", "2.1"),
        ("Bootstrap: docker\n%labels\n    version 3\n    App x\n", "3"),
        ("Bootstrap: docker\n%post\n    Version 2.1\n", ""),
        ("Bootstrap: docker\n%labels\n    Version ../x\n", ""),
        ("Bootstrap: docker\n%labels\n    Version {{ version }}\n", ""),
    ],
)
def test_the_version_that_a_definition_declares(tmp_path: Path, text: str, version: str) -> None:
    path = tmp_path / "x.def"
    path.write_text(text)
    assert definition.read_definition(path).version == version


def test_labels_are_a_section_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "x.def"
    path.write_text("Bootstrap: docker\n%runscript\n    exec true")
    text = definition.read_definition(path).with_labels({"Version": "7", "a.b": "c d"})
    assert text == (
        "Bootstrap: docker\n%runscript\n    exec true\n\n%labels\n    Version 7\n    a.b c d\n"
    )


@pytest.mark.parametrize("data", [b"\xff\xfe", b"Bootstrap: x\0", b"nothing", b"B" * (1 << 21)])
def test_what_is_no_definition_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.def"
    path.write_bytes(data)
    with pytest.raises(UsageError, match="definition file"):
        definition.read_definition(path)
