"""The limit of open files of this process."""

from __future__ import annotations

import contextlib
import resource


def raise_limit(files: int) -> int:
    """Raise the limit of open files as far as needed and permitted (getrlimit(2)); returns it, or
    what suffices for ``files``.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < files:
        most = files if hard == resource.RLIM_INFINITY else min(files, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return files if soft == resource.RLIM_INFINITY else min(soft, files)
