"""Print what renders OpenGL on $DISPLAY, as one line:

    renderer TEXT      GL_RENDERER, as glxinfo(1) calls it
    none TEXT          there is no OpenGL, and why

It uses libGL itself (GLX 1.3: a context of a pbuffer), so an image needs no glxinfo. Python 3.6.
"""

import ctypes
import sys
from ctypes import POINTER, byref, c_char_p, c_int, c_uint, c_ulong, c_void_p

DRAWABLE_TYPE, PBUFFER_BIT, RGBA_TYPE = 0x8010, 4, 0x8014
PBUFFER_HEIGHT, PBUFFER_WIDTH = 0x8040, 0x8041
RENDERER = 0x1F01


def function(library, name, result, *arguments):
    symbol = getattr(library, name)
    symbol.restype, symbol.argtypes = result, arguments
    return symbol


def attributes(*numbers):
    return (c_int * (len(numbers) + 1))(*numbers, 0)


def renderer():
    """The text. Raises OSError with the cause if there is none."""
    gl, x = ctypes.CDLL("libGL.so.1"), ctypes.CDLL("libX11.so.6")
    numbers = POINTER(c_int)
    display = function(x, "XOpenDisplay", c_void_p, c_char_p)(None)
    if not display:
        raise OSError("no display")
    function(gl, "glXChooseFBConfig", POINTER(c_void_p), c_void_p, c_int, numbers, numbers)
    requested, count = attributes(DRAWABLE_TYPE, PBUFFER_BIT), c_int()
    screen = function(x, "XDefaultScreen", c_int, c_void_p)(display)
    configs = gl.glXChooseFBConfig(display, screen, requested, byref(count))
    if not configs or not count.value:
        raise OSError("its X server has no GLX")
    chosen = configs[0]
    create = function(
        gl, "glXCreateNewContext", c_void_p, c_void_p, c_void_p, c_int, c_void_p, c_int
    )
    context = create(display, chosen, RGBA_TYPE, None, 1)
    buffer = function(gl, "glXCreatePbuffer", c_ulong, c_void_p, c_void_p, numbers)
    drawable = buffer(display, chosen, attributes(PBUFFER_WIDTH, 16, PBUFFER_HEIGHT, 16))
    make = function(gl, "glXMakeContextCurrent", c_int, c_void_p, c_ulong, c_ulong, c_void_p)
    if not context or not make(display, drawable, drawable, context):
        raise OSError("no context can be created")
    name = function(gl, "glGetString", c_char_p, c_uint)(RENDERER)
    return name.decode("utf-8", "replace") if name else ""


try:
    print("renderer " + renderer())
except (OSError, AttributeError) as e:
    print("none " + str(e).replace("\n", " "))
sys.stdout.flush()
