"""The preview of a desktop in the real program, from start to stop by keys."""

from __future__ import annotations

from tests.lab import Lab
from tests.lab.desktops import BLUE
from tests.lab.terminal import Colour, terminal
from tests.lab.test_laptop_dashboard import quit_by_keys, start_by_keys, stop_by_keys
from tests.lab.verbs import list_sessions, wait_nothing_left


def paint(lab: Lab, session_id: str, node: str, colour: Colour) -> None:
    """Set the desktop's root window to a colour, as a program in the session would."""
    # By the display's abstract socket, with the session's own cookie.
    folder = f"~/.local/state/vizdash/sessions/{session_id}"
    own = f". {folder}/connection; export DISPLAY XAUTHORITY=$RUNTIME_DIR/xauth"
    lab.hosts[node].run(f"{own}; xsetroot -solid '#%02x%02x%02x'" % colour, user="alice")


def test_the_thumbnail_shows_the_root_windows_colour(lab: Lab) -> None:
    true_colour = {"COLORTERM": "truecolor"}
    with terminal(lab.login, ["vizdash"], size=(160, 48), env=true_colour) as screen:
        id_ = start_by_keys(lab, screen)["id"]
        node = next(s["node"] for s in list_sessions(lab) if s["id"] == id_)
        # Beside the row: nothing but the cursor rests on it.
        screen.wait_colour(BLUE)
        paint(lab, id_, node, red := (0xC0, 0x20, 0x40))
        screen.wait_colour(red)
        # And large, by a key, with what the session left in its folder.
        screen.keys("v")
        screen.wait("→ ready +")
        screen.wait("ready on")
        screen.wait_colour(red)
        paint(lab, id_, node, green := (0x10, 0x90, 0x50))
        screen.wait_colour(green)
        # A look is no viewer.
        assert [s["viewers"] for s in list_sessions(lab) if s["id"] == id_] == [0]
        screen.keys("Escape")
        screen.wait("2 Sessions")
        stop_by_keys(lab, screen, {"id": id_})
        quit_by_keys(screen)
    wait_nothing_left(lab.hosts[node])
