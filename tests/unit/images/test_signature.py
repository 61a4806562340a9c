"""A signature that a deploy demands, judged by the recorded output of Apptainer 1.4.5."""

from __future__ import annotations

import pytest

from tests.unit.images.recorded_images import VERIFICATIONS
from vizdash.errors import Refused
from vizdash.images.deploy_source import verify_signature
from vizdash.images.node_script import NodeShell
from vizdash.transport.base import Command, Result


class Apptainer:
    def __init__(self, stderr: str, name: str = "apptainer") -> None:
        self.stderr = stderr
        self.name = name
        self.argv: tuple[str, ...] = ()

    async def run(self, command: Command) -> Result:
        self.argv = tuple(command.argv)
        return Result(255 if self.stderr else 0, "", self.stderr)

    def has(self, program: str) -> bool:
        return program == self.name


@pytest.mark.parametrize(
    ("name", "why", "fix"),
    [
        ("unsigned", "it has no signature", "apptainer sign /s/a.sif"),
        ("unknown", "its signer's key is not in this account's keyring", "apptainer key import"),
        ("damaged", "it was changed after it was signed", "sign it again"),
    ],
)
async def test_what_does_not_verify_is_one_clear_line(name: str, why: str, fix: str) -> None:
    stderr = VERIFICATIONS[f"verify-{name}"].stderr.decode()
    with pytest.raises(Refused) as refused:
        await verify_signature(NodeShell(Apptainer(stderr)), "/s/a.sif")
    assert refused.value.line.startswith(f"/s/a.sif: {why} (")
    assert fix in refused.value.line and "\n" not in refused.value.line


@pytest.mark.parametrize("name", ["apptainer", "singularity"])
async def test_no_key_server_decides_whom_to_trust(name: str) -> None:
    apptainer = Apptainer("", name)
    await verify_signature(NodeShell(apptainer), "/s/a.sif")
    assert apptainer.argv == (name, "verify", "--local", "/s/a.sif")
