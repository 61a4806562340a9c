"""Sets when Python collects garbage: not while vizdash starts.

It would find none then, and take a tenth of the time until the first screen (gc(3py)).

"""

from __future__ import annotations

import gc

#: Objects made, less those freed, between two searches (Python's default is 700: a poll of a large
#: cluster makes many thousands).
_OBJECTS = 20_000


def pause() -> None:
    """Search no more until ``resume``."""
    gc.disable()


def resume() -> None:
    """Search again, among the objects made from now on."""
    if gc.isenabled():
        return
    gc.set_threshold(_OBJECTS)
    gc.freeze()
    gc.enable()
