"""A signature that a deploy demands, judged by what Apptainer 1.4.5 says (recorded)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.images.recorded import FOLDER
from vizdash.errors import Refused
from vizdash.images.origin import verify_signature
from vizdash.images.shell import NodeShell
from vizdash.transport.base import Command, Result


class Apptainer:
    def __init__(self, said: str, name: str = "apptainer") -> None:
        self.said = said
        self.name = name
        self.argv: tuple[str, ...] = ()

    async def run(self, command: Command) -> Result:
        self.argv = tuple(command.argv)
        return Result(255 if self.said else 0, "", self.said)

    def has(self, program: str) -> bool:
        return program == self.name


@pytest.mark.parametrize(
    ("name", "why", "mend"),
    [
        ("unsigned", "it has no signature", "apptainer sign /s/a.sif"),
        ("unknown", "its signer's key is not in this account's keyring", "apptainer key import"),
        ("damaged", "it is not what was signed", "sign it again"),
    ],
)
async def test_what_does_not_verify_is_one_clear_line(name: str, why: str, mend: str) -> None:
    said = Path(FOLDER / f"verify-{name}.err").read_text()
    with pytest.raises(Refused) as refused:
        await verify_signature(NodeShell(Apptainer(said)), "/s/a.sif")
    assert refused.value.line.startswith(f"/s/a.sif: {why} (")
    assert mend in refused.value.line and "\n" not in refused.value.line


@pytest.mark.parametrize("name", ["apptainer", "singularity"])
async def test_no_key_server_is_asked_whom_to_trust(name: str) -> None:
    apptainer = Apptainer("", name)
    await verify_signature(NodeShell(apptainer), "/s/a.sif")
    assert apptainer.argv == (name, "verify", "--local", "/s/a.sif")
