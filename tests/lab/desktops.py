"""What a user does with a desktop in a browser, on the login host or on the laptop."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from tests.lab import Host, Lab
from tests.lab.browser import Desktop, browser, desktop
from tests.lab.outside import LAPTOP_USER, OutsideNetwork
from tests.vizdash_command import printed_address

#: The desktop images' background, #31516f.
BLUE = (0x31, 0x51, 0x6F)
#: The cluster, as the laptop's user names it.
HOST = ("--host", "alice@login")


def wait_for_page(host: Host, url: str, seconds: float = 180) -> None:
    """Wait until noVNC's page is served at an address of ``host``."""
    page = url.partition("#")[0]
    deadline = time.monotonic() + seconds
    while host.run(["curl", "-sf", "-o", "/dev/null", page], check=False).returncode != 0:
        assert time.monotonic() < deadline, f"nothing answers at {page}"
        time.sleep(0.2)


def type_in_terminal(
    lab: Lab, seen: Desktop, text: str, user: str = "alice", place: str = ""
) -> None:
    """Type into the desktop's terminal until the text arrives in a file in ``place`` (home).

    The background appears before the terminal, so text that was typed too early is typed again.
    """
    file = f"{place or f'/home/{user}'}/typed"
    lab.login.run(["rm", "-f", file], user=user)
    deadline = time.monotonic() + 180
    while not _arrives(lab, seen, text, user, file):
        assert time.monotonic() < deadline, f"nothing was typed: {seen.save('typed')}"


def _arrives(lab: Lab, seen: Desktop, text: str, user: str, file: str) -> bool:
    """Type it once; True if it arrived within 6 s."""
    seen.click(300, 200)
    seen.page.wait_for_timeout(300)
    seen.press("Control+u")  # what is left of an earlier line
    seen.type(f"echo {text} > {file}\n")
    deadline = time.monotonic() + 6
    while text not in lab.login.run(["cat", file], user=user, check=False).stdout:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


@contextlib.contextmanager
def open_from_laptop(
    outside: OutsideNetwork, session_id: str, *host: str, seconds: float = 180
) -> Iterator[str]:
    """Run ``vizdash open --print`` on the laptop; yields the address while the command runs."""
    words = ["vizdash", *(host or HOST), "open", session_id, "--print"]
    with printed_address(outside.laptop.popen(words, user=LAPTOP_USER)) as url:
        yield url


@contextlib.contextmanager
def view_from_laptop(outside: OutsideNetwork, session_id: str, *host: str) -> Iterator[Desktop]:
    """Show the session's desktop in the laptop's browser."""
    with open_from_laptop(outside, session_id, *host) as url, desktop(url, outside.laptop) as seen:
        seen.wait_share(BLUE)
        yield seen


def asks_for_password(url: str, host: Host) -> bool:
    """Whether a browser without the password is asked for it and shows no desktop."""
    without = url.rpartition("&password=")[0]
    assert without
    with browser(host) as chromium:
        page = chromium.new_page()
        page.goto(without)
        page.wait_for_selector("#noVNC_credentials_dlg.noVNC_open")
        connected = page.evaluate("document.documentElement.classList.contains('noVNC_connected')")
        return not connected and Desktop(page).share(BLUE) < 0.01
