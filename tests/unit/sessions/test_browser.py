"""The user's browser opens a private page that is removed after use."""

from __future__ import annotations

import asyncio
import shutil
import stat
import time
from pathlib import Path

import pytest

from vizdash.sessions import browser

URL = "http://127.0.0.1:1/vnc.html#autoconnect=1&password=t0pS%2Fcret"


@pytest.fixture(autouse=True)
def _only_this_browser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


def fake(tmp_path: Path, then: str = "") -> Path:
    """A browser that keeps its argv, its environment and the page."""
    program = tmp_path / "fake-browser"
    program.write_text(
        f'#!/bin/bash\nprintf \'%s\\n\' "$0" "$@" >{tmp_path}/argv\nenv >{tmp_path}/env\n'
        f'page=${{1#file://}}\ncp "$page" {tmp_path}/.page\nmv {tmp_path}/.page {tmp_path}/page\n'
        f"{then}\n"
    )
    program.chmod(0o755)
    return program


async def until_there(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        await asyncio.sleep(0.02)


async def test_the_browser_gets_a_page_and_the_password_is_in_no_argv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROWSER", str(fake(tmp_path)))
    page = browser.RedirectFile(URL)
    assert stat.S_IMODE(page.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(page.path.parent.stat().st_mode) == 0o700
    assert await page.start_browser()
    await until_there(tmp_path / "page")
    argv = (tmp_path / "argv").read_text()
    assert page.path.as_uri() in argv
    assert "t0pS" not in argv + (tmp_path / "env").read_text()
    text = (tmp_path / "page").read_text()
    assert URL.replace("&", "&amp;") in text  # a link, for a browser without scripts
    assert f'location.replace("{URL}")' in text
    assert 'name="referrer" content="no-referrer"' in text
    page.remove()
    assert not page.path.parent.exists()


async def test_a_browser_that_stays_in_the_foreground_blocks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = tmp_path / "close"
    monkeypatch.setattr(browser, "_START_S", 1)
    monkeypatch.setenv("BROWSER", str(fake(tmp_path, f"until [ -e {wait} ]; do sleep 0.05; done")))
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    other = asyncio.create_task(turn())
    page = browser.RedirectFile(URL)
    try:
        assert await page.start_browser()
        assert turns > 5, "the event loop stood still, so the desktop could not have been served"
    finally:
        wait.touch()
        other.cancel()
        page.remove()


async def test_the_page_is_removed_after_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browser, "PAGE_S", 0)
    monkeypatch.setenv("BROWSER", "true")
    page = browser.RedirectFile(URL)
    await page.start_browser()
    deadline = time.monotonic() + 60
    while page.path.parent.exists():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("program", ["false", "/nonexistent/browser"])
async def test_a_browser_that_does_not_start_is_reported_and_leaves_nothing(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browser, "_START_S", 60)
    monkeypatch.setenv("BROWSER", program)
    monkeypatch.setenv("PATH", str(Path(shutil.which("false") or "").parent))
    page = browser.RedirectFile(URL)
    assert not await page.start_browser()
    assert not page.path.parent.exists()


def test_hostile_addresses_stay_inside_the_page() -> None:
    page = browser.RedirectFile("http://x/#\"</script><script>alert(1)//'><img>")
    text = page.path.read_text()
    page.remove()
    assert text.count("<script>") == 1
    assert text.count("</script>") == 1
    assert "<img" not in text
