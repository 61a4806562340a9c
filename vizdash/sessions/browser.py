"""Opening the user's own browser without the password in any argv."""

from __future__ import annotations

import contextlib
import html
import json
import os
import sys
import tempfile
import webbrowser
from collections.abc import Mapping
from pathlib import Path

_PAGE = """<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer">
<title>vizdash</title><p><a id="a" href="{href}">Open the desktop</a>
<script>location.replace({script})</script>
"""


def have_browser(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a graphical browser of the user's could be started from here."""
    if environ.get("BROWSER"):
        return True
    if sys.platform != "darwin" and not (environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")):
        return False
    with contextlib.suppress(webbrowser.Error):
        return webbrowser.get() is not None
    return False


class RedirectFile:
    """A 0600 page that sends the browser on: the browser's argv names the file alone."""

    def __init__(self, url: str) -> None:
        script = json.dumps(url).replace("</", "<\\/")
        page = _PAGE.format(href=html.escape(url, quote=True), script=script)
        self._folder = Path(tempfile.mkdtemp(prefix="vizdash-"))
        self.path = self._folder / "open.html"
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(page)

    def remove(self) -> None:
        """Remove the page (the browser has read it by then)."""
        self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._folder.rmdir()


def start_browser(page: RedirectFile) -> bool:
    """Start the user's browser on the page; False when none would start."""
    try:
        return webbrowser.open(page.path.as_uri())
    except webbrowser.Error:
        return False
