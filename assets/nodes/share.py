"""The door of a shared desktop on a login host. Runs there with Python 3.6 or newer.

serve RELAY GUEST: as the owner. It makes a folder that everyone can enter and only the owner can
list, with the Unix sockets "s" and "ask", and relays each connection of the user GUEST to vizdash
over stdin and stdout, in frames as those of relay.py (RELAY is the text of that program). Channels
are opened from here: the data of "open" name the socket. "hello" names host and folder. The kernel
tells whose a connection is (unix(7), SO_PEERCRED); those of others are closed at once. The folder
is removed when stdin ends.

list: as a guest. It asks the shares of other users on this host, and prints a line of JSON for each
that this user may join.

ask FOLDER: the same for one share, with the password that its guest needs.
"""

import fcntl
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import struct
import sys
import tempfile
import threading
import time
import types

#: Where other users can find a folder. A mount of one user's own is left out (pam_namespace(8)).
PLACES = ("/tmp", "/dev/shm")  # noqa: S108 (mkdtemp makes a folder there)
PREFIX = "vizdash-share-"
#: Seconds for an answer, after which a folder without a lock was left by a killed program, and
#: connections of the guest at once.
ANSWER_S = 10
STALE_S = 30
MOST = 64
#: Bytes of an answer, and answers at once.
LIMIT = 4096
SHARES = 200


def peer(connection):
    """The uid at the other end of a connection."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return struct.unpack("3i", data)[1]


# ---------------------------------------------------------------- the owner's side


def seen_by_all(place):
    """Whether ``place`` is the same folder for every user (proc(5), mountinfo: root and mount
    point): a bind mount of a folder may be this user's own.
    """
    root = "/"
    with open("/proc/self/mountinfo") as file:
        for line in file:
            words = line.split(" ")
            if words[4] == place:
                root = words[3]
    return root == "/"


def make_folder():
    why = "other users see neither /tmp nor /dev/shm of yours"
    for place in PLACES:
        try:
            if os.path.realpath(place) != place or not seen_by_all(place):
                continue
            sweep(place)
            return tempfile.mkdtemp(prefix=PREFIX, dir=place)
        except OSError as error:
            why = f"{place}: {error.strerror}"
    sys.exit("no folder for the share can be made: " + why)


def lock(folder):
    """Lock a folder as long as this program runs; None where another one has locked it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def sweep(place):
    """Remove the folders of this user's programs that were killed."""
    for name in os.listdir(place):
        folder = os.path.join(place, name)
        try:
            about = os.lstat(folder)
            if not name.startswith(PREFIX) or about.st_uid != os.getuid():
                continue
            if time.time() - about.st_mtime < STALE_S:
                continue
            handle = lock(folder)
        except OSError:
            continue
        if handle is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(handle)


def listen(folder, name):
    listener = socket.socket(socket.AF_UNIX)
    path = os.path.join(folder, name)
    listener.bind(path)
    os.chmod(path, 0o666)  # noqa: S103 (whose a connection is, the kernel tells)
    listener.listen(64)
    return listener


class Door:
    """The open channels: one for each connection of the guest."""

    def __init__(self, relay, guest):
        self.relay = relay
        self.guest = guest
        self.channels = {}
        self.last = 0
        self.lock = threading.Lock()

    def accept(self, listener, name):
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                time.sleep(0.1)  # too many open files: some will be closed
                continue
            try:
                if peer(connection) != self.guest or not self.open(connection, name):
                    connection.close()
            except OSError:
                connection.close()

    def open(self, connection, name):
        with self.lock:
            if len(self.channels) >= MOST:
                return False
            self.last += 1
            number = self.last
            self.relay.send(number, self.relay.OPEN, name.encode())
            self.channels[number] = self.relay.Channel(number, connection)
        return True

    def handle(self, number, kind, data):
        with self.lock:
            channel = self.channels.get(number)
            if kind == self.relay.CLOSED:
                self.channels.pop(number, None)
        if channel is None:
            return
        if kind == self.relay.CREDIT:
            channel.may_send(self.relay.COUNT.unpack(data)[0])
        elif kind == self.relay.CLOSED:
            channel.close()
        else:
            channel.frames.put((kind, data))


def serve(text, user):
    try:
        guest = pwd.getpwnam(user).pw_uid
    except KeyError:
        sys.exit(f"there is no user {user} on {os.uname()[1]}")
    if guest in (0, os.getuid()):
        sys.exit(f"{user} can see it without a share")
    relay = types.ModuleType("relay")
    exec(text, relay.__dict__)  # noqa: S102 (vizdash's own text)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        # What passes through has the password of the share: none of it in a core dump (core(5)).
        with open("/proc/self/coredump_filter", "w") as file:
            file.write("0")
    except OSError:
        pass
    os.umask(0o077)
    folder = make_folder()
    try:
        lock(folder)
        door = Door(relay, guest)
        listeners = [(listen(folder, name), name) for name in ("s", "ask")]
        os.chmod(folder, 0o711)  # noqa: S103 (the guest has to enter it)
        relay.send(0, relay.HELLO, f"{os.uname()[1]} {folder}".encode())
        for one in listeners:
            threading.Thread(target=door.accept, args=one, daemon=True).start()
        while True:
            number, kind, length = relay.HEAD.unpack(relay.take(relay.HEAD.size))
            door.handle(number, kind, relay.take(length))
    except (EOFError, BrokenPipeError):
        pass
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    # Its threads hold connections: they end with it.
    os._exit(0)


# ---------------------------------------------------------------- the guest's side


def query(folder, word):
    """What a share tells its guest, None for a folder that is none. The folder's owner and the
    program behind the socket must be the same user: nobody speaks for another.
    """
    about = os.lstat(folder)
    if not stat.S_ISDIR(about.st_mode) or about.st_mode & 0o022 or about.st_uid == os.getuid():
        return None
    data = b""
    deadline = time.time() + ANSWER_S
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_S)
        connection.connect(os.path.join(folder, "ask"))
        if peer(connection) != about.st_uid:
            return None
        connection.sendall(word.encode() + b"\n")
        while len(data) < LIMIT and time.time() < deadline:
            part = connection.recv(LIMIT)
            if not part:
                break
            data += part
    found = json.loads(data.decode("utf-8", "replace"))
    if not isinstance(found, dict):
        return None
    found["owner"] = pwd.getpwuid(about.st_uid).pw_name
    found["folder"] = folder
    return found


def show(folder, word):
    try:
        found = query(folder, word)
    except (OSError, ValueError, KeyError, RecursionError):
        return  # not for this user, or gone
    if found is not None:
        sys.stdout.write(json.dumps(found) + "\n")


def show_all():
    folders = []
    for place in PLACES:
        try:
            names = sorted(name for name in os.listdir(place) if name.startswith(PREFIX))
        except OSError:
            continue
        folders += [os.path.join(place, name) for name in names]
    asking = [
        threading.Thread(target=show, args=(folder, "list"), daemon=True)
        for folder in folders[:SHARES]
    ]
    for one in asking:
        one.start()
    deadline = time.time() + 2 * ANSWER_S
    for one in asking:
        one.join(max(0, deadline - time.time()))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    # By `python3 -c`, the program's text is the first argument where the caller passes it.
    if sys.argv[1] == "serve":
        serve(*sys.argv[2:])
    elif sys.argv[1] == "list":
        show_all()
    else:
        show(sys.argv[2], "join")
