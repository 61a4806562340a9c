"""Many connections to one Unix socket over one pipe, so that a viewer needs one job step.

Runs on a node, with Python 3.6 or newer: relay.py SOCKET. Frames on stdin and stdout are: channel
(4 bytes), kind (1), length (4, all big-endian), data. Kinds: 0 open, 1 data, 2 end of input,
3 closed, 4 hello (sent first, once), 5 credit (4 bytes: the number of bytes that were taken out, so
that as many more may be sent).

Each direction of a channel has a window: at most WINDOW bytes are in transit or wait to be taken
out. So a channel that is not read does not block the others.
"""

import os
import queue
import socket
import struct
import sys
import threading

HEAD = struct.Struct(">IBI")
COUNT = struct.Struct(">I")
OPEN, DATA, END, CLOSED, HELLO, CREDIT = range(6)
WINDOW = 1 << 20
CHUNK = 1 << 15
LOCK = threading.Lock()


def send(number, kind, data=b""):
    frame = HEAD.pack(number, kind, len(data)) + data
    with LOCK:
        while frame:
            frame = frame[os.write(1, frame) :]


class Channel:
    """One connection to the socket, and a thread for each direction."""

    def __init__(self, number, sock):
        self.number = number
        self.sock = sock
        self.credit = WINDOW
        self.more = threading.Condition()
        self.gone = False
        self.frames = queue.Queue()  # at most WINDOW bytes: the far end has no more credit
        threading.Thread(target=self.from_socket, daemon=True).start()
        threading.Thread(target=self.to_socket, daemon=True).start()

    def from_socket(self):
        try:
            while True:
                with self.more:
                    while not self.credit and not self.gone:
                        self.more.wait()
                    size = min(CHUNK, self.credit)
                if self.gone:
                    return
                data = self.sock.recv(size)
                if not data:
                    break
                with self.more:
                    self.credit -= len(data)
                send(self.number, DATA, data)
            send(self.number, END)
        except OSError:
            send(self.number, CLOSED)

    def to_socket(self):
        while True:
            kind, data = self.frames.get()
            try:
                if kind == DATA:
                    self.sock.sendall(data)
                elif kind == END:
                    self.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the other thread reports it
            if kind == CLOSED:
                self.sock.close()
                return
            if data:
                send(self.number, CREDIT, COUNT.pack(len(data)))

    def may_send(self, count):
        with self.more:
            self.credit += count
            self.more.notify()

    def close(self):
        self.gone = True
        try:
            # Wakes threads that wait in recv or sendall.
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.may_send(1)
        self.frames.put((CLOSED, b""))


def connect(path):
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    return sock


def take(count):
    parts = []
    while count:
        data = os.read(0, count)
        if not data:
            raise EOFError
        parts.append(data)
        count -= len(data)
    return b"".join(parts)


def main(path):
    channels = {}
    send(0, HELLO)
    while True:
        number, kind, length = HEAD.unpack(take(HEAD.size))
        data = take(length)
        if kind == OPEN:
            try:
                channels[number] = Channel(number, connect(path))
            except OSError:
                send(number, CLOSED)
        elif number not in channels:
            continue
        elif kind == CREDIT:
            channels[number].may_send(COUNT.unpack(data)[0])
        elif kind == CLOSED:
            channels.pop(number).close()
        else:
            channels[number].frames.put((kind, data))


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except EOFError:
        os._exit(0)  # its threads end with it
