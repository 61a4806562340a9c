"""Korean typed on a desktop whose image has an input method (``packages`` of its definition)."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.browser import Desktop, desktop
from tests.lab.images import build_with_packages
from tests.lab.verbs import open_session, run_vizdash, start_session, wait_for_state

PACKAGES = "fcitx5 fcitx5-hangul fcitx5-frontend-gtk3 ibus-hangul ibus-gtk3"
NODE = "viz-node002"
FILE = "home/alice/hangul.sif"
IMAGE = "/opt/apptainers/apps/hangul/hangul.sif"
#: fcitx5 is the first choice, IBus has to be named. The windows of either are none of the app's.
CONFIG = f"""\
apps:
  fcitx5:
    image: {IMAGE}
    command: "openbox & gedit --standalone ~/typed.txt & exit 0"
    ends_with: windows
    resources: &size {{cores: 1, memory: 1G, time: 1h}}
  ibus:
    image: {IMAGE}
    command: "openbox & gedit --standalone ~/typed.txt & exit 0"
    ends_with: windows
    environment: {{XMODIFIERS: "@im=ibus"}}
    resources: *size
"""


@pytest.fixture
def hangul(lab: Lab) -> Iterator[Lab]:
    """An image with both input methods, and apps that run from it."""
    root, _ = Lab.build()
    image = lab.run / FILE
    image.hardlink_to(build_with_packages(root, "gedit", PACKAGES))
    lab.hosts[NODE].run(f"mkdir {IMAGE.rpartition('/')[0]}; ln -s /{FILE} {IMAGE}")
    lab.login.run("mkdir -p ~/.config/vizdash; touch typed.txt", user="alice")
    lab.login.run("cat >~/.config/vizdash/config.yaml", user="alice", input=CONFIG)
    yield lab
    lab.login.run("rm -rf .config .cache typed.txt", user="alice")
    lab.hosts[NODE].run(f"rm -r {IMAGE.rpartition('/')[0]}")
    image.unlink()


def _copied(seen: Desktop) -> str:
    """All the text of the window, by noVNC's clipboard."""
    panel = "document.getElementById('noVNC_clipboard_text')"
    seen.page.evaluate(f"{panel}.value = ''")
    seen.press("Control+a")
    seen.press("Control+c")
    deadline = time.monotonic() + 5
    while not (text := str(seen.page.evaluate(f"{panel}.value"))) and time.monotonic() < deadline:
        seen.page.wait_for_timeout(100)
    return text


def _saved(lab: Lab) -> Path:
    return lab.login.root / "home/alice/typed.txt"


@pytest.mark.parametrize(("app", "switch"), [("fcitx5", "Control+Space"), ("ibus", "Shift+Space")])
def test_hangul(hangul: Lab, app: str, switch: str) -> None:
    lab = hangul
    session = start_session(lab, app, "--node", NODE)
    log = run_vizdash(lab, "logs", session["id"]).stdout
    assert "input method: " in log and "hangul" in log, log
    with open_session(lab, session["id"]) as url, desktop(url, lab.login) as seen:
        seen.wait_share((255, 255, 255), 0.3)
        deadline = time.monotonic() + 240
        # IBus takes some seconds to have its engine; keys until then are Latin letters. It may come
        # between two switches: every second try begins with one more.
        for attempt in itertools.count():
            if attempt % 2:
                seen.press(switch)
            seen.click(600, 300)
            seen.press("Control+a")
            seen.press(switch)
            seen.type("gksrmf")
            seen.press(switch)
            if (text := _copied(seen).strip()) == "한글":
                break
            assert time.monotonic() < deadline, f"{text!r}: see {seen.save(f'hangul-{app}')}"
        seen.press("Control+s")
        while "한글" not in _saved(lab).read_text():
            assert time.monotonic() < deadline, f"not saved: see {seen.save(f'hangul-{app}')}"
            time.sleep(0.2)
        seen.press("Control+q")
    assert wait_for_state(lab, session["id"], "ended")["result"] == "finished"
