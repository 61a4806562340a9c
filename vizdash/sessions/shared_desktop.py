"""One guest at a shared desktop, on the owner's side: RFB (RFC 6143) from viewer to desktop.

The guest logs in with the password of the share. The desktop is logged in to here, with the
view-only password unless the guest has control; so the guest learns no password of the session. Of
what the guest's viewer sends, only messages that a guest may send are passed on: without control,
none that holds input, whatever the desktop itself would do with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import secrets
import struct
from collections.abc import Awaitable, Callable

from vizdash.errors import Unreachable, VizdashError
from vizdash.sessions.rfb import answer, authenticate
from vizdash.transport.base import Reader, Writer

#: Seconds in which a guest's viewer has to log in, and that a wrong password costs.
_LOGIN_S, _WRONG_S = 60.0, 1.0
_CHUNK = 1 << 16
_VNC_AUTH = 2
#: Bytes of the longest message of a guest: a text for the clipboard.
_LONGEST = 4 << 20
#: Messages of a viewer by their first byte (RFC 6143, 7.5; the community's rfbproto.rst for those
#: from 150 on): what sets up the picture, and input.
_SET_ENCODINGS, _CUT_TEXT, _FENCE, _SET_DESKTOP_SIZE, _QEMU = 2, 6, 248, 251, 255
_PICTURE = frozenset({0, _SET_ENCODINGS, 3, 150, _FENCE})
_INPUT = frozenset({4, 5, _CUT_TEXT, _QEMU})
_SIZES = {0: 20, 3: 10, 4: 8, 5: 6, 150: 10, 250: 4}
#: Pseudo-encodings by which a viewer offers what no guest gets: longer pointer messages, gii, xvp.
_NEVER = frozenset({-316, -305, -309})
#: Those that only input needs: key codes, and the other kind of clipboard.
_FOR_INPUT = frozenset({-258, 0xC0A1E5CE - (1 << 32)})

Dial = Callable[[], Awaitable[tuple[Reader, Writer]]]


class BadGuest(VizdashError):
    """The guest's viewer does not speak RFB, or has no valid password."""

    def __init__(self, why: str) -> None:
        super().__init__("the guest's viewer", why)


class InputFilter:
    """What a guest's viewer sends, without the messages that it may not send."""

    def __init__(self, *, control: bool) -> None:
        self._passed = _PICTURE | _INPUT if control else _PICTURE
        self._hidden = _NEVER if control else _NEVER | _FOR_INPUT
        self._pending = bytearray()

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the viewer; return whole messages to pass on. Raises BadGuest for a message
        of an unknown kind, whose length nobody knows, or one that is too long.
        """
        self._pending += data
        out = bytearray()
        while self._pending:
            size = _message_size(self._pending)
            if size > _LONGEST:
                raise BadGuest(f"a message of {size} bytes")
            if not size or len(self._pending) < size:
                break
            message = bytes(self._pending[:size])
            del self._pending[:size]
            if message[0] == _SET_ENCODINGS:
                message = self._without_hidden(message)
            if message[0] in self._passed:
                out += message
        return bytes(out)

    def _without_hidden(self, message: bytes) -> bytes:
        codes = [code for (code,) in struct.iter_unpack(">i", message[4:])]
        kept = [code for code in codes if code not in self._hidden]
        return struct.pack(f">BxH{len(kept)}i", _SET_ENCODINGS, len(kept), *kept)


def _message_size(data: bytearray) -> int:
    """The size of the first message, 0 while that is unknown. Raises BadGuest."""
    kind = data[0]
    if kind in _SIZES:
        return _SIZES[kind]
    if kind == _SET_ENCODINGS:
        return 4 + 4 * int.from_bytes(data[2:4], "big") if len(data) >= 4 else 0
    if kind == _CUT_TEXT:
        # A negative length is that of the other kind of clipboard.
        return 8 + abs(int.from_bytes(data[4:8], "big", signed=True)) if len(data) >= 8 else 0
    if kind == _FENCE:
        return 9 + data[8] if len(data) >= 9 else 0
    if kind == _SET_DESKTOP_SIZE:
        return 8 + 16 * data[6] if len(data) >= 7 else 0
    if kind == _QEMU and (len(data) < 2 or data[1] == 0):
        return 12 if len(data) >= 2 else 0
    raise BadGuest(f"a message of the unknown kind {kind}")


async def serve_guest(
    guest: tuple[Reader, Writer],
    password: str,
    dial: Dial,
    desktop_password: str,
    *,
    control: bool,
    watches: Callable[[int], None],
) -> None:
    """Show the desktop that ``dial`` leads to, until either side ends. ``watches`` is called with 1
    when the guest sees it, and with -1 afterwards.

    Raises BadGuest, Unreachable or OSError.
    """
    reader, writer = guest
    try:
        async with asyncio.timeout(_LOGIN_S):
            await _log_in_guest(reader, writer, password)
            desktop_reader, desktop_writer = await _log_in(writer, dial, desktop_password)
    except TimeoutError as e:
        raise BadGuest(f"no login in {_LOGIN_S:g} s") from e
    try:
        writer.write(struct.pack(">I", 0))
        await _read_exactly(reader, 1)
        desktop_writer.write(b"\x01")  # whatever the viewer asks for, the others stay
        watches(1)
        try:
            await _relay(guest, (desktop_reader, desktop_writer), InputFilter(control=control))
        finally:
            watches(-1)
    finally:
        desktop_writer.close()


async def _log_in_guest(reader: Reader, writer: Writer, password: str) -> None:
    """Speak as a VNC server until the password has been checked."""
    writer.write(b"RFB 003.008\n")
    version = await _read_exactly(reader, 12)
    # macOS's own viewer calls itself 3.889, and speaks 3.8 (RFC 6143, 7.1.1).
    if version not in {b"RFB 003.008\n", b"RFB 003.889\n"}:
        raise BadGuest(f"it speaks {version!r}")
    writer.write(bytes([1, _VNC_AUTH]))
    if await _read_exactly(reader, 1) != bytes([_VNC_AUTH]):
        raise BadGuest("it does not log in by VncAuth")
    challenge = secrets.token_bytes(16)
    writer.write(challenge)
    if not hmac.compare_digest(await _read_exactly(reader, 16), answer(password, challenge)):
        await asyncio.sleep(_WRONG_S)
        await _refuse(writer, "wrong password")
        raise BadGuest("a wrong password")


async def _log_in(writer: Writer, dial: Dial, password: str) -> tuple[Reader, Writer]:
    """Log in to the desktop; the guest gets the reason where that fails."""
    try:
        desktop_reader, desktop_writer = await dial()
    except (OSError, VizdashError) as e:
        await _refuse(writer, "the desktop does not answer")
        raise Unreachable("the desktop", str(e)) from e
    try:
        await authenticate(lambda n: _read_exactly(desktop_reader, n), desktop_writer, password)
    except BaseException as e:
        desktop_writer.close()
        if isinstance(e, OSError | VizdashError):
            await _refuse(writer, "the desktop does not answer")
        raise
    return desktop_reader, desktop_writer


async def _refuse(writer: Writer, why: str) -> None:
    """End a login with a reason (RFC 6143, 7.1.3)."""
    with contextlib.suppress(OSError):
        writer.write(struct.pack(">II", 1, len(why)) + why.encode())
        await writer.drain()


async def _read_exactly(reader: Reader, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = await reader.read(size - len(data))
        if not part:
            raise ConnectionResetError("the connection was closed")
        data += part
    return data


async def _relay(
    guest: tuple[Reader, Writer], desktop: tuple[Reader, Writer], messages: InputFilter
) -> None:
    """Copy in both directions until one side ends."""
    (guest_reader, guest_writer), (desktop_reader, desktop_writer) = guest, desktop

    async def to_desktop() -> None:
        while data := await guest_reader.read(_CHUNK):
            desktop_writer.write(messages.feed(data))
            await desktop_writer.drain()

    async def to_guest() -> None:
        while data := await desktop_reader.read(_CHUNK):
            guest_writer.write(data)
            await guest_writer.drain()

    tasks = {asyncio.create_task(to_desktop()), asyncio.create_task(to_guest())}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
