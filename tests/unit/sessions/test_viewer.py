"""Native viewers: which is found, what its argv and files are, and what remains of them."""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from unittest import mock

import pytest

from vizdash.errors import Refused
from vizdash.model import Session, SessionState
from vizdash.service.desktop_routes import DesktopRoutes
from vizdash.sessions import viewer
from vizdash.sessions.viewer import Viewer, find_viewer, has_screen, obfuscate, start_viewer

PASSWORD = "s3cr-t_W"
#: Writes its arguments and the file that they name beside itself.
RECORDS = """#!/bin/sh
here=${0%/*}
printf '%s\\n' "$@" >$here/argv
for word; do case $word in /*|-PasswordFile=*) cp "${word#-PasswordFile=}" $here/file ;; esac; done
stat -c %a "$(sed -n 's/^-PasswordFile=//p; /^\\/.*viewer/p' $here/argv | head -n 1)" >$here/mode
: >$here/done
exec sleep ${SLEEP:-0}
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PATH but for a few tools."""
    place = tmp_path / "bin"
    place.mkdir()
    for name in ("sh", "cp", "sed", "stat", "head", "sleep", "echo", "cat"):
        real = subprocess.run(
            ["sh", "-c", f"command -v {name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        if real.startswith("/"):
            (place / name).symlink_to(real)
    monkeypatch.setenv("PATH", str(place))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(viewer, "_PROGRAMS", tuple(p for p in viewer._PROGRAMS if p[0][0] != "/"))
    return place


def put(place: Path, name: str, text: str) -> Path:
    (place / name).write_text(text)
    (place / name).chmod(0o755)
    return place / name


def test_the_best_on_path_is_taken(programs: Path) -> None:
    with pytest.raises(Refused, match="none is on PATH"):
        find_viewer()
    put(programs, "remmina", RECORDS)
    assert find_viewer().kind == "Remmina"
    real = put(programs, "vncviewer", "#!/bin/sh\necho 'VNC(R) Viewer 7 - RealVNC'\n")
    assert find_viewer().kind == "Remmina"  # an unknown one is left alone
    real.write_text("#!/bin/sh\necho 'TurboVNC Viewer v3.1' >&2; exit 1\n")
    assert find_viewer() == Viewer("TurboVNC", str(real))
    real.write_text("#!/bin/sh\necho 'TigerVNC viewer v1.15.0' >&2; exit 1\n")
    assert find_viewer() == Viewer("TigerVNC", str(real))
    best = put(programs, "xtigervncviewer", RECORDS)
    assert find_viewer() == Viewer("TigerVNC", str(best))


@pytest.mark.parametrize(
    ("environ", "there"),
    [({}, False), ({"DISPLAY": ":0"}, True), ({"WAYLAND_DISPLAY": "w"}, True)],
)
def test_a_screen_is_needed(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, *, there: bool
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert has_screen(environ) is there


def test_the_password_file_is_that_of_vncpasswd() -> None:
    done = subprocess.run(
        ["vncpasswd", "-f"], input=PASSWORD.encode(), capture_output=True, check=True
    )
    assert obfuscate(PASSWORD) == done.stdout[:8]


async def _run(found: Viewer, *, socket: str = "", port: int = 0) -> str:
    running = await start_viewer(
        found, PASSWORD, title="desktop 3f9a01bc", socket=socket, port=port
    )
    try:
        async with asyncio.timeout(60):
            while not Path(found.program).with_name("done").exists():
                await asyncio.sleep(0.01)
            return await running.wait() if found.stays else ""
    finally:
        await running.close()


@pytest.mark.parametrize(
    ("kind", "socket", "words"),
    [
        ("TigerVNC", "/run/s", ["-PasswordFile=FILE", "-Shared", "-AlertOnFatalError=0",
                                "-ReconnectOnError=0", "/run/s"]),
        ("TurboVNC", "", ["-passwd", "FILE", "127.0.0.1::4321"]),
    ],
)  # fmt: skip
def test_the_password_is_in_a_private_file_that_is_removed(
    programs: Path, tmp_path: Path, kind: str, socket: str, words: list[str]
) -> None:
    program = put(programs, "recorder", RECORDS.replace("/*|", "/*viewer|"))
    assert asyncio.run(_run(Viewer(kind, str(program)), socket=socket, port=4321)) == ""
    argv = (programs / "argv").read_text().splitlines()
    file = next(word for word in argv if "vizdash-" in word).removeprefix("-PasswordFile=")
    assert argv == [word.replace("FILE", file) for word in words]
    assert (programs / "file").read_bytes() == obfuscate(PASSWORD)
    assert (programs / "mode").read_text().strip() == "600"
    assert not list(tmp_path.glob("vizdash-*"))


def test_remmina_gets_a_profile_with_the_password_as_it_keeps_it(
    programs: Path, tmp_path: Path
) -> None:
    key = bytes(range(32))
    (tmp_path / "config/remmina").mkdir(parents=True)
    pref = f"[remmina_pref]\nsecret={base64.b64encode(key).decode()}\n"
    (tmp_path / "config/remmina/remmina.pref").write_text(pref)
    program = put(programs, "recorder", RECORDS)
    asyncio.run(_run(Viewer("Remmina", str(program)), port=4321))
    argv = (programs / "argv").read_text().splitlines()
    assert argv[0] == "-c" and argv[1].endswith(".remmina") and len(argv) == 2
    parser = ConfigParser(interpolation=None)
    parser.read(programs / "file")
    profile = parser["remmina"]
    assert (profile["protocol"], profile["server"]) == ("VNC", "127.0.0.1:4321")
    done = subprocess.run(
        ["/usr/bin/openssl", "enc", "-d", "-des-ede3-cbc", "-K", key[:24].hex(), "-iv",
         key[24:].hex(), "-nopad", "-provider", "default", "-provider", "legacy"],
        input=base64.b64decode(profile["password"]), capture_output=True, check=True,
        env={**os.environ, "PATH": os.defpath},
    )  # fmt: skip
    assert done.stdout.rstrip(b"\0") == PASSWORD.encode()
    assert not list(tmp_path.glob("vizdash-*"))


def test_remmina_without_a_key_asks_the_user(programs: Path) -> None:
    program = put(programs, "recorder", RECORDS)

    async def started() -> bool:
        found = Viewer("Remmina", str(program))
        running = await start_viewer(found, PASSWORD, title="t", port=1)
        await running.close()
        return running.asks

    assert asyncio.run(started())


def test_a_viewer_that_fails_says_why(programs: Path) -> None:
    text = "#!/bin/sh\n: >${0%/*}/done\necho 'cannot open display :99' >&2\nexit 1\n"
    program = put(programs, "recorder", text)
    output = asyncio.run(_run(Viewer("TigerVNC", str(program)), socket="/run/s"))
    assert output == "cannot open display :99"


def test_a_service_has_nothing_that_a_viewer_shows() -> None:
    found = Session("3f9a01bc", "7", "lab", "alice", SessionState.READY, service="web")
    with pytest.raises(Refused, match="a service without a desktop"):
        asyncio.run(DesktopRoutes.open_viewer(mock.Mock(), found))
