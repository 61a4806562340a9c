"""The event loop accesses no file of the home, which may hang on NFS."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from tests.ui.pilot import begin, press, settled
from vizdash.cli.prompt import TerminalPrompter
from vizdash.config import App, Cluster, Config
from vizdash.config.model import UiSettings
from vizdash.model import Resources, SessionRequest
from vizdash.service.factory import connect
from vizdash.service.image_admin import ImageAdmin
from vizdash.sessions import last_request
from vizdash.ui.app import VizdashApp
from vizdash.ui.pending_service import ControllerOptions

_touched: list[str] = []
_watched: list[str] = []


def _audit(event: str, args: tuple[object, ...]) -> None:
    """Of the audit events (docs.python.org/3/library/audit_events), those that name a path."""
    if not _watched or threading.current_thread() is not threading.main_thread():
        return
    if event == "open" or event.startswith("os."):
        path = args[0] if args else None
        if isinstance(path, str | os.PathLike) and os.fspath(path).startswith(_watched[0]):
            _touched.append(f"{event} {os.fspath(path)}")


async def test_no_screen_reads_the_home_in_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    size = Resources(1, 256, 0, 3600)
    apps = {"desktop": App("desktop", title="", resources=size)}
    cluster = Cluster("here", engine="local", image_root=str(tmp_path / "images"))
    config = Config(cluster, {"here": cluster}, apps, ui=UiSettings(preview=False))
    last_request.save("here", SessionRequest("desktop", size))
    service = await connect(config, TerminalPrompter())
    await service.user_data.load()
    sys.addaudithook(_audit)
    app = VizdashApp(service, options=ControllerOptions(image_admin=lambda: ImageAdmin(service)))
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        _watched.append(str(tmp_path))
        try:
            for keys in (
                ("n", "tab", "ctrl+s", "m", "enter", "ctrl+d", "escape"),
                ("question_mark", "escape"),
                ("h", "escape"),
                ("c", "escape"),
                ("T", "escape"),
                ("M", "escape"),
                ("b", "escape"),
                ("d", "escape"),
                ("R",),
                ("1", "2", "3"),
            ):
                await press(pilot, *keys)
                await settled(pilot)
        finally:
            _watched.clear()
    await service.close()
    assert _touched == []
