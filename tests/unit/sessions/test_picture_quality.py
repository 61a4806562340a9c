"""The picture's quality: chosen, saved, or taken from a measured link."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from vizdash.sessions.picture_quality import (
    QUALITIES,
    Link,
    SavedQuality,
    choose_quality,
    measure_link,
    novnc_settings,
)
from vizdash.sessions.routes import Route, novnc_url
from vizdash.transport.base import Reader, Writer

MBIT_S = 125_000


@pytest.mark.parametrize(
    ("rtt_s", "mbit_s", "quality"),
    [
        (0.15, 1, "low"),
        (0.15, 12, "low"),
        (0.15, 100, "medium"),
        (0.03, 4, "low"),
        (0.03, 12, "medium"),
        (0.02, 1000, "medium"),
        (0.002, 1000, "high"),
        (0.002, 100, "medium"),
    ],
)
def test_the_quality_for_a_link(rtt_s: float, mbit_s: float, quality: str) -> None:
    assert choose_quality(Link(rtt_s, mbit_s * MBIT_S)) == quality


def test_the_settings_are_those_of_novnc() -> None:
    assert [novnc_settings(q) for q in QUALITIES] == [
        "",
        "quality=0&compression=9",
        "",
        "quality=9&compression=2",
    ]
    url = novnc_url("127.0.0.1", 1234, "pass")
    route = Route("tunnel", url, "127.0.0.1", 1234)
    route.set_quality("")
    assert route.url == url
    route.set_quality(novnc_settings("low"))
    assert route.url == f"{url}&quality=0&compression=9"
    route.set_quality(novnc_settings("high"))
    assert route.url == f"{url}&quality=9&compression=2"
    route.set_quality(novnc_settings("medium"))
    assert route.url == url


def test_a_choice_is_kept_for_the_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert SavedQuality("viz").load() == ""
    SavedQuality("viz").save("low")
    assert (SavedQuality("viz").load(), SavedQuality("other").load()) == ("low", "")
    file = tmp_path / "vizdash/picture-viz.json"
    assert file.stat().st_mode & 0o777 == 0o600
    for bad in ("", "[]", '{"quality": "best"}', '{"quality": []}', "{" * 5000):
        file.write_text(bad)
        assert SavedQuality("viz").load() == ""


async def _measured(answer: bytes, part: int, pause_s: float) -> Link | None:
    """The link to a server that sends ``answer`` in parts, with a pause before each."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for at in range(0, len(answer), part):
            await asyncio.sleep(pause_s)
            writer.write(answer[at : at + part])
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def dial() -> tuple[Reader, Writer]:
        return await asyncio.open_connection("127.0.0.1", port)

    async with server:
        return await measure_link(dial)


def test_a_link_is_measured_by_its_first_byte_and_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vizdash.sessions.picture_quality._MEASURE_S", 60.0)
    page = b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 60_000
    link = asyncio.run(_measured(page, 6_000, 0.05))
    assert link is not None
    assert link.rtt_s >= 0.05
    # Ten parts in half a second at most: never faster than that, however loaded the machine is.
    assert link.bytes_s <= 60_019 / 0.15
    assert choose_quality(link) == "low"


def test_without_the_page_nothing_is_measured() -> None:
    assert asyncio.run(_measured(b"HTTP/1.0 404 File not found\r\n\r\n", 100, 0)) is None
    assert asyncio.run(_measured(b"", 100, 0)) is None


def test_a_link_in_words() -> None:
    assert Link(0.1524, 112_000).text == "152 ms, 0.9 Mbit/s"
    assert Link(0.0004, 5_000_000).text == "0 ms, 40 Mbit/s"
    assert Link(0.0004, 500_000_000).text == "0 ms, over 1000 Mbit/s"
