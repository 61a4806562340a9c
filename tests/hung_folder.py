"""A folder whose file server is gone: every call on it hangs, as on a hard NFS mount."""

from __future__ import annotations

#: Mounts a FUSE file system (fuse(4)) over a folder, whose server reads no request: whoever asks
#: for anything in it waits until killed.
HANG = """
import ctypes, os, sys, time
fd = os.open("/dev/fuse", os.O_RDWR)
libc = ctypes.CDLL(None, use_errno=True)
options = f"fd={fd},rootmode=40000,user_id={os.geteuid()},group_id={os.getegid()},allow_other"
if libc.mount(b"gone", sys.argv[1].encode(), b"fuse", 0, options.encode()):
    sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")
if os.fork() == 0:
    os.setsid()
    for number in (0, 1, 2):
        os.close(number)
    time.sleep(100_000)
"""
