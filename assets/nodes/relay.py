"""Many connections to one Unix socket over one pipe, so that a viewer needs one job step.

Runs on a node, by whatever Python 3.6 or newer is there: relay.py SOCKET. Frames on stdin and
stdout are: channel (4 bytes), kind (1), length (4, all big-endian), data. Kinds: 0 open, 1 data,
2 end of input, 3 closed, 4 hello (from here, once, before anything else), 5 credit (4 bytes: so
many bytes of data were taken out, and as many more may be sent).

Each direction of a channel has a window: no more than WINDOW bytes of data are on their way or
wait to be taken out. So a channel that nobody reads holds up itself alone.
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

    def __init__(self, number, path):
        self.number = number
        self.sock = socket.socket(socket.AF_UNIX)
        try:
            self.sock.connect(path)
        except OSError:
            self.sock.close()
            raise
        self.credit = WINDOW
        self.more = threading.Condition()
        self.gone = False
        self.frames = queue.Queue()  # holds WINDOW bytes at most: the far end has no more credit
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
            # Whoever waits in recv or sendall wakes up.
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.may_send(1)
        self.frames.put((CLOSED, b""))


def take(count):
    parts = []
    while count:
        data = os.read(0, count)
        if not data:
            os._exit(0)
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
                channels[number] = Channel(number, path)
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
    main(sys.argv[1])
