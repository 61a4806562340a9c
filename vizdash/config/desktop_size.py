"""Keys about how large an app's desktop is, and how large everything on it is drawn."""

from __future__ import annotations

from typing import Any

from vizdash.config import readers
from vizdash.config.key_declaration import key
from vizdash.config.readers import GEOMETRY, Item

#: The largest scale: GTK's and Qt's widgets are drawn at whole multiples of their size.
MAX_SCALE = 3


def _scale(item: Item) -> int:
    if (scale := readers.positive(item)) > MAX_SCALE:
        raise item.error(f"at most {MAX_SCALE} is expected")
    return scale


def geometry_key() -> Any:
    """Declare ``geometry``."""
    return key(
        "1280x720",
        readers.geometry,
        "Desktop size in pixels (before scaling), until the browser window sets another.",
    )


def scale_key() -> Any:
    """Declare ``scale``."""
    return key(
        1,
        _scale,
        "2 or 3 for HiDPI screens: the desktop has so many times as many pixels in each direction, "
        "programs draw everything so much larger, and the browser fits it into its window. Users "
        "set their own in their file, or with start --scale.",
    )


def scaled_geometry(geometry: str, scale: int) -> str:
    """``1280x720`` at scale 2: ``2560x1440``. What is no size is returned as it is."""
    if scale == 1 or not GEOMETRY.fullmatch(geometry):
        return geometry
    return "x".join(str(int(length) * scale) for length in geometry.split("x"))
