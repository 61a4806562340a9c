"""The picture's quality on a slow link and on an open one: noVNC with vizdash's settings for low
quality against its own, in Chromium, on a real Xvnc with a moving scene.

The bars: at 1 Mbit/s and 150 ms, from a click to its pixels in half the time (95th percentile); on
an open link, a third of the bytes.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from playwright.sync_api import Page

from bench.sides import Sides, in_turn, row
from tests.lab.browser import browser, keep_browsers
from tests.lab.root import say
from tests.waiting import wait_until
from vizdash.sessions.picture_quality import Link, choose_quality, novnc_settings
from vizdash.sessions.routes import novnc_url

RATE, DELAY_MS = "1mbit", 75
CLICKS, ROUNDS, SECONDS = 12, 3, 10
LATENCY_BAR, BYTES_BAR = 1 / 2, 1 / 3
_SERVER, _CLIENT, _PORT = "10.79.0.1", "10.79.0.2", 6080

#: The time of each of some clicks until the scene's answer, a red corner, is on the canvas.
_CLICK = """async (count) => {
  const canvas = document.querySelector("canvas"), context = canvas.getContext("2d");
  const box = canvas.getBoundingClientRect();
  const red = () => {
    const pixel = context.getImageData(32, 32, 1, 1).data;
    return pixel[0] > 170 && pixel[1] < 100 && pixel[2] < 100;
  };
  const send = (type, buttons) => canvas.dispatchEvent(new MouseEvent(type, {
    bubbles: true, cancelable: true, button: 0, buttons,
    clientX: box.left + 300, clientY: box.top + 200,
  }));
  const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
  const until = async (wanted) => { while (red() !== wanted) await sleep(4); };
  const times = [];
  for (let i = 0; i < count; i++) {
    await until(false);
    await sleep(300 + 400 * Math.random());
    const began = performance.now();
    send("mousedown", 1);
    await until(true);
    times.push((performance.now() - began) / 1000);
    send("mouseup", 0);
  }
  return times;
}"""

#: Measures the link as ``vizdash open --quality auto`` does.
_MEASURE = """
import asyncio, sys
from vizdash.sessions.picture_quality import measure_link
dial = lambda: asyncio.open_connection(sys.argv[1], int(sys.argv[2]))
link = asyncio.run(measure_link(dial))
print(link.rtt_s, link.bytes_s)
"""

#: A relay that passes on what it receives after a delay: netem is not in every kernel.
_RELAY = """
import asyncio, sys, time
host, port, delay_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])

async def read(reader, queue):
    while data := await reader.read(4096):
        await queue.put((time.monotonic() + delay_s, data))
    await queue.put((0, b""))

async def write(writer, queue):
    while True:
        due, data = await queue.get()
        if not data:
            return writer.close()
        await asyncio.sleep(max(0, due - time.monotonic()))
        writer.write(data)
        await writer.drain()

async def relay(reader, writer):
    far_reader, far_writer = await asyncio.open_connection(host, port)
    up, down = asyncio.Queue(), asyncio.Queue()
    ways = (read(reader, up), write(far_writer, up), read(far_reader, down), write(writer, down))
    await asyncio.gather(*ways, return_exceptions=True)

async def main():
    server = await asyncio.start_server(relay, "127.0.0.1", port)
    print("up", flush=True)
    await server.serve_forever()

asyncio.run(main())
"""

#: A window of 640 by 480 that moves 25 times a second; its corner is red while a button is pressed.
_SCENE = """
import ctypes, random, time
from ctypes import POINTER, byref, c_char_p, c_int, c_long, c_uint, c_ulong, c_void_p
from PIL import Image, ImageFilter

WIDTH, HEIGHT, FRAMES = 640, 480, 50
noise = random.Random(7).randbytes(80 * 60 * 3)
scene = Image.frombytes("RGB", (80, 60), noise).resize((1280, 960), Image.Resampling.BICUBIC)
grain = Image.effect_noise((1280, 960), 24).convert("RGB")
scene = Image.blend(scene, grain, 0.25)
frames, marked = [], []
for at in range(FRAMES):
    left = 2 * (at if at < FRAMES / 2 else FRAMES - at) * 6
    frame = scene.crop((left, left // 2, left + WIDTH, left // 2 + HEIGHT))
    frames.append(frame.tobytes("raw", "BGRX"))
    frame.paste((255, 0, 0), (0, 0, 64, 64))
    marked.append(frame.tobytes("raw", "BGRX"))

x = ctypes.CDLL("libX11.so.6")
for name in ("XOpenDisplay", "XDefaultGC", "XDefaultVisual", "XCreateImage"):
    getattr(x, name).restype = c_void_p
x.XDefaultRootWindow.restype = x.XCreateSimpleWindow.restype = c_ulong
display = c_void_p(x.XOpenDisplay(None))
root = c_ulong(x.XDefaultRootWindow(display))
black = c_ulong(0)
window = x.XCreateSimpleWindow(display, root, 0, 0, WIDTH, HEIGHT, 0, black, black)
window = c_ulong(window)
x.XSelectInput(display, window, c_long(0xC))  # ButtonPress, ButtonRelease
x.XMapWindow(display, window)
graphics = c_void_p(x.XDefaultGC(display, 0))
visual = c_void_p(x.XDefaultVisual(display, 0))
event = (c_long * 24)()

def image(data):
    return c_void_p(x.XCreateImage(
        display, visual, c_uint(24), 2, 0, c_char_p(data), c_uint(WIDTH), c_uint(HEIGHT), 32, 0))

plain, red = [image(data) for data in frames], [image(data) for data in marked]
at, pressed, due = 0, False, time.monotonic()
while True:
    while x.XPending(display):
        x.XNextEvent(display, byref(event))
        kind = event[0] & 0x7F
        pressed = True if kind == 4 else False if kind == 5 else pressed
    shown = (red if pressed else plain)[at % FRAMES]
    x.XPutImage(display, window, graphics, shown, 0, 0, 0, 0, c_uint(WIDTH), c_uint(HEIGHT))
    x.XFlush(display)
    at, due = at + 1, max(due + 0.04, time.monotonic())
    time.sleep(due - time.monotonic() if due > time.monotonic() else 0)
"""


class _Namespace:
    """A network of its own, until its process is stopped."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        own = str(Path("/proc/self/ns/net").readlink())
        wait_until(lambda: self._net() not in {"", own}, "a network namespace", 60)

    def _net(self) -> str:
        with contextlib.suppress(OSError):
            return str(Path(f"/proc/{self.process.pid}/ns/net").readlink())
        return ""

    def netns_argv(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs a program in this network."""
        return ["nsenter", f"--target={self.process.pid}", "--net", "--", *argv]

    def run(self, *argv: str) -> str:
        """What a program in this network prints."""
        done = subprocess.run(self.netns_argv(argv), capture_output=True, text=True, check=True)
        return done.stdout


@contextlib.contextmanager
def _network() -> Iterator[tuple[_Namespace, _Namespace]]:
    """A server's and a client's network, connected by a cable."""
    server, client = _Namespace(), _Namespace()
    try:
        cable = ["ip", "link", "add", "eth0", "netns", str(server.process.pid), "type", "veth"]
        peer = ["peer", "name", "eth0", "netns", str(client.process.pid)]
        subprocess.run([*cable, *peer], check=True)
        for side, address in ((server, _SERVER), (client, _CLIENT)):
            side.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
            side.run("ip", "link", "set", "eth0", "up")
            side.run("ip", "link", "set", "lo", "up")
        yield server, client
    finally:
        for side in (server, client):
            side.process.kill()
            side.process.wait()


@contextlib.contextmanager
def _slow(server: _Namespace, client: _Namespace) -> Iterator[None]:
    """A link of RATE towards the client (tc-tbf(8)), whose end at 127.0.0.1 there has a round trip
    of twice DELAY_MS.
    """
    shape = ("root", "tbf", "rate", RATE, "burst", "16kb", "latency", "200ms")
    server.run("tc", "qdisc", "add", "dev", "eth0", *shape)
    words = (_SERVER, str(_PORT), str(DELAY_MS / 1000))
    argv = client.netns_argv([sys.executable, "-c", _RELAY, *words])
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as relay:
        try:
            assert relay.stdout is not None
            assert relay.stdout.readline() == b"up\n"
            yield
        finally:
            relay.terminate()
            server.run("tc", "qdisc", "del", "dev", "eth0", "root")


@contextlib.contextmanager
def _desktop(server: _Namespace, place: Path) -> Iterator[None]:
    """Xvnc with the moving scene, behind websockify, as in a job."""
    display = f":{random.randrange(3000, 9000)}"
    socket = place / "rfb"
    xvnc = ["Xvnc", display, "-geometry", "1280x720", "-depth", "24", "-SecurityTypes", "None"]
    xvnc += ["-rfbport", "-1", "-rfbunixpath", str(socket), "-AlwaysShared", "-nolisten", "tcp"]
    web = ["websockify", "--web", "/usr/share/novnc", "--unix-target", str(socket)]
    scene = [sys.executable, "-c", _SCENE]
    environment = {**os.environ, "DISPLAY": display}
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((place / "log").open("wb"))

        def start(argv: list[str]) -> None:
            process = subprocess.Popen(argv, stdout=log, stderr=log, env=environment)
            stack.callback(process.wait)
            stack.callback(process.send_signal, signal.SIGTERM)

        start(xvnc)
        wait_until(socket.exists, "Xvnc", 120)
        start(server.netns_argv([*web, f"{_SERVER}:{_PORT}"]))
        start(scene)
        yield


@contextlib.contextmanager
def _page(client: _Namespace, host: str, quality: str) -> Iterator[Page]:
    """The desktop in Chromium at the address that vizdash gives a browser."""
    settings = novnc_settings(quality)
    url = novnc_url(host, _PORT, "unused") + (f"&{settings}" if settings else "")
    with browser(client) as chromium:
        page = chromium.new_page()
        page.goto(url, timeout=180_000)
        connected = "document.documentElement.classList.contains('noVNC_connected')"
        page.wait_for_function(connected, timeout=180_000)
        page.wait_for_timeout(5_000)
        yield page


def _latency(client: _Namespace, quality: str, every: list[float]) -> float:
    """The median of some clicks in seconds; all are added to ``every``."""
    with _page(client, "127.0.0.1", quality) as page:
        times: list[float] = page.evaluate(_CLICK, CLICKS)
    every += times
    return statistics.median(times)


def _bytes(server: _Namespace, client: _Namespace, quality: str) -> float:
    """Bytes a second towards the client."""

    def sent() -> int:
        text = server.run("cat", "/proc/net/dev").partition("eth0:")[2]
        return int(text.split()[8])

    with _page(client, _SERVER, quality) as page:
        began, before = time.monotonic(), sent()
        page.wait_for_timeout(SECONDS * 1000)
        return (sent() - before) / (time.monotonic() - began)


def _measured(client: _Namespace) -> Link:
    words = client.run(sys.executable, "-c", _MEASURE, "127.0.0.1", str(_PORT)).split()
    return Link(*map(float, words))


def _p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[-1]


def _held(ratio: float, bar: float) -> str:
    return f"the bar is {bar:.2f}: {'held' if ratio <= bar else 'NOT HELD'}"


def run() -> Sides | None:
    """Measure both links."""
    if os.geteuid() != 0:
        say("not measured: network namespaces need root")
        return None
    with (
        tempfile.TemporaryDirectory(prefix="vizdash-bench-") as folder,
        _network() as (server, client),
        _desktop(server, Path(folder)),
        keep_browsers(),
    ):
        low: list[float] = []
        usual: list[float] = []
        with _slow(server, client):
            link = _measured(client)
            clicks = in_turn(
                lambda: _latency(client, "low", low),
                lambda: _latency(client, "medium", usual),
                ROUNDS,
            )
        rates = in_turn(
            lambda: _bytes(server, client, "low"),
            lambda: _bytes(server, client, "medium"),
            ROUNDS,
        )
    print(f"  the slow link is measured as {link.text}: auto chooses {choose_quality(link)}")
    ratio = _p95(low) / _p95(usual)
    note = f"\n  95th percentile {_p95(low):.2f} s against {_p95(usual):.2f} s, x {ratio:.2f}; "
    row("a click, --quality low", clicks, "noVNC's own quality", note + _held(ratio, LATENCY_BAR))
    ours, theirs = (round(rate / 1000) for rate in (rates.our_median, rates.their_median))
    print(
        f"  an open link, --quality low: {ours} kB/s, noVNC's own quality: {theirs} kB/s, "
        f"x {rates.ratio:.2f}; {_held(rates.ratio, BYTES_BAR)}"
    )
    return clicks
