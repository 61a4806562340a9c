"""The preview draws what it is given, and fetches nothing while it is not visible."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.screen import Screen

from vizdash.errors import Unreachable
from vizdash.sessions.preview import Picture
from vizdash.ui.widgets import thumbnail
from vizdash.ui.widgets.thumbnail import Thumbnail

RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


def picture(*rows: tuple[tuple[int, int, int], ...]) -> Picture:
    rgb = bytes(value for row in rows for point in row for value in point)
    return Picture(len(rows[0]), len(rows), rgb, (1280, 720))


class Source:
    """Gives a picture for each that is put into it; remembers what it was asked."""

    def __init__(self) -> None:
        self.waiting: asyncio.Queue[Picture | Exception] = asyncio.Queue()
        self.sizes: list[tuple[int, int]] = []
        self.asked = 0
        self.closed = False

    async def __call__(self, size: Callable[[], tuple[int, int]]) -> AsyncGenerator[Picture, None]:
        try:
            while True:
                self.asked += 1
                self.sizes.append(size())
                found = await self.waiting.get()
                if isinstance(found, Exception):
                    raise found
                yield found
        finally:
            self.closed = True


class Frame(App[None]):
    CSS = "Thumbnail { width: 12; height: 4; }"

    def compose(self) -> ComposeResult:
        yield Thumbnail()


async def until(pilot: Pilot[None], test: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not test():
            await pilot.pause(0.01)


def colours(shown: Thumbnail, y: int) -> list[tuple[str, str | None, str | None]]:
    found = []
    for segment in shown.render_line(y):
        style = segment.style
        assert style is not None
        fore = style.color.name if style.color and segment.text.strip() else None
        back = style.bgcolor.name if style.bgcolor and segment.text.strip() else None
        found.append((segment.text, fore, back))
    return found


async def test_two_points_make_a_cell_in_the_middle() -> None:
    async with Frame().run_test(size=(40, 10)) as pilot:
        shown, source = pilot.app.query_one(Thumbnail), Source()
        shown.show_source(source)
        await until(pilot, lambda: source.asked == 1)
        assert source.sizes == [(12, 8)]
        await source.waiting.put(picture((RED, RED, BLUE), (GREEN, GREEN, RED)))
        await until(pilot, lambda: shown.picture is not None)
        # 3 points across in 12 cells, 1 row of cells in 4.
        drawn = colours(shown, 1)
        assert [text for text, _, _ in drawn] == ["    ", "▀▀", "▀", "     "]
        assert drawn[1][1:] == ("#c80000", "#00c800")
        assert drawn[2][1:] == ("#0000c8", "#c80000")
        assert colours(shown, 0)[0][0].strip() == ""


async def test_only_rows_that_differ_are_drawn_again() -> None:
    async with Frame().run_test(size=(40, 10)) as pilot:
        shown, source = pilot.app.query_one(Thumbnail), Source()
        shown.show_source(source)
        await source.waiting.put(picture(*[(RED,)] * 8))
        await until(pilot, lambda: shown.picture is not None)
        await pilot.pause()
        regions: list[int] = []
        refresh = shown.refresh

        def counted(*where, **how):  # type: ignore[no-untyped-def]
            regions.extend(region.y for region in where)
            return refresh(*where, **how)

        shown.refresh = counted  # type: ignore[method-assign]
        after = picture(*[(RED,)] * 4, (BLUE,), *[(RED,)] * 3)
        await source.waiting.put(after)
        await until(pilot, lambda: shown.picture == after)
        assert regions == [2]


async def test_nothing_is_requested_under_another_screen(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(thumbnail, "_PAUSE_S", 0.01)
    async with Frame().run_test(size=(40, 10)) as pilot:
        shown, source = pilot.app.query_one(Thumbnail), Source()
        shown.show_source(source)
        await until(pilot, lambda: source.asked == 1)
        await pilot.app.push_screen(Screen())
        await source.waiting.put(picture((RED,)))
        await until(pilot, lambda: shown.picture is not None)
        await pilot.pause(0.1)
        assert source.asked == 1
        pilot.app.pop_screen()
        await until(pilot, lambda: source.asked == 2)


async def test_another_desktop_ends_the_preview_of_the_first() -> None:
    async with Frame().run_test(size=(40, 10)) as pilot:
        shown, first, second = pilot.app.query_one(Thumbnail), Source(), Source()
        shown.show_source(first)
        await until(pilot, lambda: first.asked == 1)
        shown.show_source(second)
        await until(pilot, lambda: first.closed and second.asked == 1)
        shown.show_source(None)
        await until(pilot, lambda: second.closed)
        assert shown.picture is None


async def test_why_there_is_no_preview_is_shown_on_one_line() -> None:
    async with Frame().run_test(size=(40, 10)) as pilot:
        shown, source = pilot.app.query_one(Thumbnail), Source()
        shown.styles.width = 40
        shown.show_source(source)
        await source.waiting.put(Unreachable("the picture", "gone\x1b[2J"))
        await until(pilot, lambda: source.closed)
        await pilot.pause()
        text = "".join(segment.text for segment in shown.render_line(2))
        assert "the picture: gone" in text
        assert "\x1b" not in text
