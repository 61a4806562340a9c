"""A desktop for a HiDPI screen: programs draw at twice their size, and the browser fits it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.lab import Lab
from tests.lab.browser import desktop
from tests.lab.verbs import list_sessions, open_session, run_vizdash, start_session

#: gedit's image has GTK.
_APPS = """\
apps:
  drawn:
    image: /opt/apptainers/apps/gedit/gedit.sif
    command: exec python3 ~/drawn.py
    geometry: 640x400
    resources: {cores: 1, memory: 1G, time: 1h}
"""
#: A red square of 100 by 100 of GTK's own units, and the size of a text.
_DRAWN = """
import json, os
from ctypes import CDLL, CFUNCTYPE, byref, c_double, c_int, c_void_p

gtk, gdk, glib, cairo = (
    CDLL("lib%s" % name)
    for name in ("gtk-3.so.0", "gdk-3.so.0", "gobject-2.0.so.0", "cairo.so.2")
)

def made(make, *values):
    make.restype = c_void_p
    return c_void_p(make(*values))

@CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p)
def draw(area, context, nothing):
    cairo.cairo_set_source_rgb(c_void_p(context), c_double(1), c_double(0), c_double(0))
    cairo.cairo_paint(c_void_p(context))
    return 0

assert gtk.gtk_init_check(None, None)
square = made(gtk.gtk_drawing_area_new)
gtk.gtk_widget_set_size_request(square, 100, 100)
gtk.gtk_widget_set_halign(square, 3)
glib.g_signal_connect_data(square, b"draw", draw, None, None, 0)
text = made(gtk.gtk_label_new, b"vizdash")
box = made(gtk.gtk_box_new, 1, 0)
gtk.gtk_box_pack_start(box, square, 0, 0, 0)
gtk.gtk_box_pack_start(box, text, 0, 0, 0)
window = made(gtk.gtk_window_new, 1)
gtk.gtk_container_add(window, box)
gtk.gtk_widget_show_all(window)
least, natural = c_int(), c_int()
gtk.gtk_widget_get_preferred_height(text, byref(least), byref(natural))
scale = gtk.gtk_widget_get_scale_factor(window)
screen = made(gdk.gdk_screen_get_default)
inches = gdk.gdk_screen_get_width_mm(screen) / 25.4
dpi = round(gdk.gdk_screen_get_width(screen) * scale / inches)
name = os.path.expanduser("~/drawn-%s.json" % os.environ["VIZDASH_SESSION_ID"])
with open(name, "w") as file:
    json.dump({"scale": scale, "text": natural.value, "dpi": dpi}, file)
gtk.gtk_main()
"""
#: Pixels of the desktop itself, not of the page.
_LOOK = """() => {
  const canvas = document.querySelector("canvas");
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let red = 0;
  for (let i = 0; i < data.length; i += 4)
    if (data[i] > 240 && data[i + 1] < 16 && data[i + 2] < 16) red += 1;
  return {size: [canvas.width, canvas.height], red};
}"""


@pytest.fixture
def drawn(lab: Lab) -> Iterator[Lab]:
    lab.login.run("mkdir -p .config/vizdash; cat >drawn.py", user="alice", input=_DRAWN)
    lab.login.run("cat >.config/vizdash/config.yaml", user="alice", input=_APPS)
    yield lab
    lab.login.run("rm -rf .config .cache drawn.py drawn-*.json", user="alice")


def _measure_desktop(page: Page, red: int) -> dict[str, Any]:
    """What the desktop shows once the square is there whole: so many pixels."""
    page.wait_for_function(f"() => ({_LOOK})().red >= {red}")
    page.wait_for_timeout(500)
    found: dict[str, Any] = page.evaluate(_LOOK)
    return found


def test_gtk_draws_at_twice_its_size(drawn: Lab) -> None:
    lab, seen = drawn, {}
    for words, scale in ((), 1), (("--scale", "2"), 2):
        session = start_session(lab, "drawn", *words)
        assert session["scale"] == scale
        (row,) = (s for s in list_sessions(lab) if s["id"] == session["id"])
        assert row["scale"] == scale
        with open_session(lab, session["id"]) as url, desktop(url, lab.login) as view:
            assert f"resize={'remote' if scale == 1 else 'scale'}" in url
            seen[scale] = _measure_desktop(view.page, 10_000 * scale**2)
            if scale == 2:
                # The window has fewer pixels than the desktop, which keeps its size.
                box = view.page.locator("canvas").bounding_box()
                assert box is not None
                assert (box["width"], box["height"]) == (1152, 720)
        said = lab.login.run(["cat", f"drawn-{session['id']}.json"], user="alice").stdout
        seen[scale] |= json.loads(said)
        run_vizdash(lab, "stop", session["id"])
    assert seen[2]["size"] == [1280, 800]
    assert (seen[1]["scale"], seen[2]["scale"]) == (1, 2)
    assert (seen[1]["dpi"], seen[2]["dpi"]) == (96, 192)
    # Twice as wide and high; text too, once: not by the X server's resolution as well.
    assert (seen[1]["red"], seen[2]["red"]) == (10_000, 40_000)
    assert abs(seen[1]["text"] - seen[2]["text"]) <= 1
