"""A real browser in a lab host's network: what it shows, as pixels."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from PIL import Image, ImageChops
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

from tests.processes import lasting


class Network(Protocol):
    """What a browser needs of a host."""

    def netns_argv(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs a program of this machine in the host's network."""


#: Chromium without its windows: the same engine, at a third of the work for each picture.
_PROGRAM = "/usr/bin/chromium-headless-shell"
#: Milliseconds that a page has for each step on a busy machine.
_PATIENCE_MS = 180_000
#: This machine's network is closed: without these, Chromium asks for hosts that it can't reach.
_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
#: The folder of a run's pictures, for the developer.
PICTURES = Path(os.environ.get("VIZDASH_PICTURES", tempfile.gettempdir())) / "vizdash-pictures"


#: Gives the profile, which Playwright has made, to the browser's user.
_OWN_PROFILE = """\
for word; do
  case $word in --user-data-dir=*) HOME=${{word#*=}}; export HOME; chown {user_id} "$HOME" ;; esac
done
"""


class Browsers:
    """Headless Chromium, one process for each network; all of them end together."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._playwright: Playwright | None = None
        self._started: dict[str, Browser] = {}

    def __enter__(self) -> Browsers:
        return self

    def __exit__(self, *error: object) -> None:
        self._started.clear()
        self._stack.close()

    def of(self, host: Network | None, user_id: int | None = None) -> Browser:
        """The browser in the network of ``host`` (None: this machine's), as this user (None: the
        tests').
        """
        argv = [_PROGRAM]
        if user_id is not None:
            argv = ["setpriv", f"--reuid={user_id}", "--clear-groups", _PROGRAM]
        argv = argv if host is None else host.netns_argv(argv)
        line = shlex.join(argv)
        if line not in self._started:
            self._started[line] = self._start(line, user_id)
        return self._started[line]

    def _start(self, line: str, user_id: int | None) -> Browser:
        folder = tempfile.TemporaryDirectory(prefix="vizdash-chromium-")
        program = Path(self._stack.enter_context(folder)) / "chromium"
        own = "" if user_id is None else _OWN_PROFILE.format(user_id=user_id)
        program.write_text(f'#!/bin/sh\n{own}exec {line} "$@"\n')
        program.chmod(0o755)
        with lasting():
            if self._playwright is None:
                self._playwright = self._stack.enter_context(sync_playwright())
            chromium = self._playwright.chromium.launch(
                executable_path=str(program), args=_ARGS, timeout=_PATIENCE_MS
            )
        self._stack.callback(chromium.close)
        return chromium


#: Those of the module whose tests run, where they are kept from test to test (``keep_browsers``).
_kept: list[Browsers] = []


@contextlib.contextmanager
def keep_browsers() -> Iterator[None]:
    """Keep browsers running for several tests: starting one takes longer than most tests."""
    with Browsers() as browsers:
        _kept.append(browsers)
        try:
            yield
        finally:
            _kept.remove(browsers)


@contextlib.contextmanager
def browser(host: Network | None = None, user_id: int | None = None) -> Iterator[BrowserContext]:
    """A new profile of Chromium in the network of ``host`` (None: this machine's), as this user
    (None: the tests'): a service lets only its owner's browser in.
    """
    with contextlib.ExitStack() as stack:
        browsers = _kept[-1] if _kept else stack.enter_context(Browsers())
        started = browsers.of(host, user_id)
        context = started.new_context(viewport={"width": 1280, "height": 720})
        context.set_default_timeout(_PATIENCE_MS)
        stack.callback(context.close)
        yield context


def _difference(one: Image.Image, other: Image.Image) -> float:
    """The share of the pixels that differ."""
    found = ImageChops.difference(one, other).convert("L")
    return 1 - found.histogram()[0] / (found.width * found.height)


class Desktop:
    """A desktop in noVNC, seen and used through its page."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def picture(self) -> Image.Image:
        """What the browser shows now, as an image."""
        return Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")

    def pixel(self, x: int, y: int) -> tuple[int, int, int]:
        """The colour of one pixel of the page."""
        colour = self.picture().getpixel((x, y))
        assert isinstance(colour, tuple)
        return (int(colour[0]), int(colour[1]), int(colour[2]))

    def share(self, colour: tuple[int, int, int], tolerance: int = 12) -> float:
        """How much of the page has about this colour, 0 to 1."""
        small = self.picture().resize((160, 100), Image.Resampling.NEAREST).tobytes()
        pixels = zip(small[0::3], small[1::3], small[2::3], strict=True)
        close = sum(
            all(abs(a - b) <= tolerance for a, b in zip(pixel, colour, strict=True))
            for pixel in pixels
        )
        return close / (len(small) / 3)

    def wait_share(
        self, colour: tuple[int, int, int], least: float = 0.1, seconds: float = 180
    ) -> None:
        """Wait until at least this much of the page has this colour."""
        deadline = time.monotonic() + seconds
        while (share := self.share(colour)) < least:
            if time.monotonic() > deadline:
                path = self.save("unexpected")
                raise AssertionError(f"only {share:.0%} of the page is {colour}: see {path}")
            self.page.wait_for_timeout(200)

    @contextlib.contextmanager
    def changes(
        self, box: tuple[int, int, int, int], least: float = 0.02, seconds: float = 180
    ) -> Iterator[None]:
        """Do something, then wait until this share of a part of the page has changed for good.

        ``box`` is left, top, right, bottom. A blinking cursor changes too little to count.
        """
        before = self._settled(box, least, seconds)
        yield
        deadline = time.monotonic() + seconds
        while (share := _difference(before, self.picture().crop(box))) < least:
            if time.monotonic() > deadline:
                raise AssertionError(f"{share:.1%} of {box} changed: see {self.save('unchanged')}")
            self.page.wait_for_timeout(200)
        self._settled(box, least, seconds)

    def _settled(self, box: tuple[int, int, int, int], least: float, seconds: float) -> Image.Image:
        """A part of the page, once it has stopped changing: what was done before is shown late."""
        deadline = time.monotonic() + seconds
        shown = self.picture().crop(box)
        while True:
            self.page.wait_for_timeout(500)
            before, shown = shown, self.picture().crop(box)
            if _difference(before, shown) < least:
                return shown
            if time.monotonic() > deadline:
                raise AssertionError(f"{box} keeps changing: see {self.save('restless')}")

    def type(self, text: str) -> None:
        """Type a text key by key."""
        self.page.keyboard.type(text, delay=25)

    def press(self, key: str) -> None:
        """Press one key."""
        self.page.keyboard.press(key)

    def click(self, x: int, y: int) -> None:
        """Click with the left button."""
        self.page.mouse.click(x, y)

    def save(self, name: str) -> Path:
        """Save a picture for the developer; returns its path."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        path = PICTURES / f"{name}.png"
        self.picture().save(path)
        return path


@contextlib.contextmanager
def desktop(url: str, host: Network | None = None) -> Iterator[Desktop]:
    """Open a noVNC address and wait until it is connected."""
    with browser(host) as chromium:
        page = chromium.new_page()
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(url)
        page.wait_for_function("document.documentElement.classList.contains('noVNC_connected')")
        page.wait_for_selector("canvas")
        yield Desktop(page)
        # The password is in the fragment, which no request carries.
        password = page.url.rpartition("password=")[2]
        assert len(password) >= 8
        assert not any(password in one.partition("#")[0] for one in requests)
