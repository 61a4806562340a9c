"""Routes: real sockets, and an address whose password stays in the fragment."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vizdash.errors import NotFound, Unreachable
from vizdash.sessions.folder import Connection
from vizdash.sessions.routes import novnc_url, open_route, service_url
from vizdash.transport.forwarders import LocalForwarder

SECRET = "a&b=c#d %é"


def connection(**values: object) -> Connection:
    start: dict[str, object] = {
        "job_id": "7",
        "node": "n1",
        "node_ip": "10.0.0.1",
        "port": 0,
        "web_socket": "",
        "password": SECRET,
    }
    return Connection(**(start | values))  # type: ignore[arg-type]


@given(st.text(max_size=20))
def test_the_password_stays_in_the_fragment_whatever_it_holds(password: str) -> None:
    parts = urlsplit(novnc_url("127.0.0.1", 1, password))
    assert (parts.netloc, parts.path, parts.query) == ("127.0.0.1:1", "/vnc.html", "")
    settings = parse_qs(parts.fragment, keep_blank_values=True)
    assert settings["password"] == [password]
    assert settings["autoconnect"] == ["1"]


@given(st.text(max_size=20))
def test_a_services_token_stays_in_the_fragment_too(token: str) -> None:
    parts = urlsplit(service_url("127.0.0.1", 1, token))
    assert (parts.netloc, parts.path, parts.query) == ("127.0.0.1:1", "/.vizdash/open", "")
    assert parse_qs(parts.fragment, keep_blank_values=True) == {"token": [token]}


def test_an_ipv6_node() -> None:
    assert novnc_url("fe80::1", 6080, "x").startswith("http://[fe80::1]:6080/")


async def test_direct() -> None:
    route = await open_route(connection(port=6085), LocalForwarder())
    assert (route.kind, route.host, route.port) == ("direct", "10.0.0.1", 6085)
    assert "a%26b" in route.url
    assert "password" not in repr(route)
    await route.close()


async def test_a_connection_file_without_a_route() -> None:
    with pytest.raises(NotFound, match="neither a socket nor a port"):
        await open_route(connection(), LocalForwarder())


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def test_a_tunnel_carries_bytes_both_ways_and_ends_with_its_socket(tmp_path: Path) -> None:
    path = tmp_path / "web"
    server = await asyncio.start_unix_server(echo, path)
    route = await open_route(connection(web_socket=str(path)), LocalForwarder())
    try:
        assert (route.kind, route.host) == ("tunnel", "127.0.0.1")
        data = bytes(range(256)) * 4000
        pairs = [await asyncio.open_connection("127.0.0.1", route.port) for _ in range(3)]
        for _, writer in pairs:
            writer.write(data)
            writer.write_eof()
        assert await asyncio.gather(*(reader.read(-1) for reader, _ in pairs)) == [data] * 3
        for _, writer in pairs:
            writer.close()
        server.close()
        path.unlink()
        assert "gone" in await asyncio.wait_for(route.wait_lost(), 60)
    finally:
        await route.close()
        server.close()
    with pytest.raises(OSError):  # noqa: PT011 - the listener is gone
        await asyncio.open_connection("127.0.0.1", route.port)


async def test_a_missing_socket_is_reported_before_a_browser_opens(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="its socket is gone"):
        await open_route(connection(web_socket=str(tmp_path / "nosuch")), LocalForwarder())
