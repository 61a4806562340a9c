"""What a person does with a desktop, wherever their browser is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from tests.lab import Host, Lab
from tests.lab.browser import Desktop, browser, desktop
from tests.lab.campus import PERSON, Campus

#: The desktop images' background, #31516f.
BLUE = (0x31, 0x51, 0x6F)
#: As a person names the cluster.
HOST = ("--host", "alice@login")


def wait_page(host: Host, url: str, seconds: float = 180) -> None:
    """Wait until noVNC's page is served at an address of ``host``."""
    page = url.partition("#")[0]
    deadline = time.monotonic() + seconds
    while host.run(["curl", "-sf", "-o", "/dev/null", page], check=False).returncode != 0:
        assert time.monotonic() < deadline, f"nothing answers at {page}"
        time.sleep(0.2)


def typed(lab: Lab, seen: Desktop, text: str, user: str = "alice", place: str = "") -> None:
    """Type into the desktop's terminal; the text must arrive in ``place`` (the user's home).

    The background is there before the terminal: what was typed too soon is typed again.
    """
    file = f"{place or f'/home/{user}'}/typed"
    lab.login.run(["rm", "-f", file], user=user)
    deadline = time.monotonic() + 180
    while not _arrives(lab, seen, text, user, file):
        assert time.monotonic() < deadline, f"nothing was typed: {seen.save('typed')}"


def _arrives(lab: Lab, seen: Desktop, text: str, user: str, file: str) -> bool:
    """Type it once; whether it came within some seconds."""
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
def opened_from(
    outside: Campus, session_id: str, *host: str, seconds: float = 180
) -> Iterator[str]:
    """The address that ``vizdash open --print`` gives on the laptop, while it holds."""
    words = ["vizdash", *(host or HOST), "open", session_id, "--print"]
    process = outside.laptop.popen(words, user=PERSON)
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        if not url:
            process.kill()
            raise AssertionError(process.communicate()[1])
        yield url
    finally:
        process.terminate()
        process.communicate(timeout=60)


@contextlib.contextmanager
def looked_at(outside: Campus, session_id: str, *host: str) -> Iterator[Desktop]:
    """The session's desktop in the laptop's browser."""
    with opened_from(outside, session_id, *host) as url, desktop(url, outside.laptop) as seen:
        seen.wait_share(BLUE)
        yield seen


def asks_for_password(url: str, host: Host) -> bool:
    """Whether a browser that does not know the password is asked for it, and sees no desktop."""
    without = url.rpartition("&password=")[0]
    assert without
    with browser(host) as chromium:
        page = chromium.new_page()
        page.goto(without)
        page.wait_for_selector("#noVNC_credentials_dlg.noVNC_open", timeout=30_000)
        connected = page.evaluate("document.documentElement.classList.contains('noVNC_connected')")
        return not connected and Desktop(page).share(BLUE) < 0.01
