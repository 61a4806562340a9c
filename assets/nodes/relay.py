"""Many connections to one Unix socket over one pipe, so that a viewer needs one job step.

Runs on a node, by whatever Python 3.6 or newer is there: relay.py SOCKET. Frames on stdin and
stdout are: channel (4 bytes), kind (1), length (4, all big-endian), data. Kinds: 0 open, 1 data,
2 end of input, 3 closed, 4 hello (from here, once, before anything else).
"""

import os
import socket
import struct
import sys
import threading

HEAD = struct.Struct(">IBI")
OPEN, DATA, END, CLOSED, HELLO = range(5)
LOCK = threading.Lock()


def send(channel, kind, data=b""):
    frame = HEAD.pack(channel, kind, len(data)) + data
    with LOCK:
        while frame:
            frame = frame[os.write(1, frame) :]


def pump(channel, sock):
    """From the socket to the pipe."""
    try:
        while True:
            data = sock.recv(32768)
            if not data:
                break
            send(channel, DATA, data)
        send(channel, END)
    except OSError:
        send(channel, CLOSED)


def take(count):
    parts = []
    while count:
        data = os.read(0, count)
        if not data:
            os._exit(0)
        parts.append(data)
        count -= len(data)
    return b"".join(parts)


def dial(path, channel):
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        send(channel, CLOSED)
        return None
    threading.Thread(target=pump, args=(channel, sock), daemon=True).start()
    return sock


def main(path):
    socks = {}
    send(0, HELLO)
    while True:
        channel, kind, length = HEAD.unpack(take(HEAD.size))
        data = take(length)
        sock = socks.get(channel)
        try:
            if kind == OPEN:
                sock = dial(path, channel)
                if sock is not None:
                    socks[channel] = sock
            elif sock is not None and kind == DATA:
                sock.sendall(data)
            elif sock is not None and kind == END:
                sock.shutdown(socket.SHUT_WR)
            elif sock is not None and kind == CLOSED:
                del socks[channel]
                sock.shutdown(socket.SHUT_RDWR)
                sock.close()
        except OSError:
            continue  # the pump tells


if __name__ == "__main__":
    main(sys.argv[1])
