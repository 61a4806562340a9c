"""A client of the X11 protocol (chapters 8 and 9), for programs that watch the desktop: `x` is
connected to the display, `root` is its root window. Included by the scripts that use it: a node or
an image may lack xwininfo and xprop, but has Python for websockify. Python 3.6.

Arguments: the runtime folder, which has the cookie, and the number of the display.
"""

import socket
import struct
import sys

runtime, display = sys.argv[1:3]


def connect():
    path = "/tmp/.X11-unix/X" + display  # noqa: S108
    for address in (path, "\0" + path):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(60)
        try:
            connection.connect(address)
            return connection
        except OSError as e:
            connection.close()
            error = e
    sys.exit(f"display :{display}: {error}")


def receive(size):
    data = b""
    while len(data) < size:
        part = x.recv(size - len(data))
        if not part:
            sys.exit("the X server closed the connection")
        data += part
    return data


def padded(data):
    return data + b"\0" * (-len(data) % 4)


def ask(code, data, payload):
    """The reply to a request; None for an error (a window that has gone)."""
    x.sendall(struct.pack("<BBH", code, data, 1 + len(payload) // 4) + payload)
    while True:
        head = receive(32)
        if head[0] == 0:
            return None
        more = struct.unpack_from("<I", head, 4)[0] * 4 if head[0] in (1, 35) else 0
        body = receive(more)
        if head[0] == 1:  # others are events
            return head + body


x = connect()
with open(runtime + "/xauth", "rb") as file:
    cookie = file.read()[28:44]
name = b"MIT-MAGIC-COOKIE-1"
x.sendall(struct.pack("<cxHHHHxx", b"l", 11, 0, len(name), len(cookie)) + padded(name) + cookie)
head = receive(8)
setup = receive(struct.unpack_from("<H", head, 6)[0] * 4)
if head[0] != 1:
    sys.exit(f"the X server refused the connection: {setup!r}")
vendor = struct.unpack_from("<H", setup, 16)[0]
root = struct.unpack_from("<I", setup, 32 + vendor + -vendor % 4 + 8 * setup[21])[0]
