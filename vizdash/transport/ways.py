"""Which of several ways to a node works here: found by trying, and remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from vizdash.errors import Unreachable, VizdashError
from vizdash.transport.base import Forward, PortForwarder

#: Seconds that a desktop's web server has to answer through a new way.
_ANSWER_S = 20.0


class AutoForwarder:
    """Tries ``ways`` in their order, the one that worked last first.

    ``only`` names the one way that may be taken (empty: any). ``remember`` is told what worked.
    """

    def __init__(
        self,
        ways: Mapping[str, PortForwarder],
        *,
        only: str = "",
        first: str = "",
        remember: Callable[[str], None] = lambda way: None,
    ) -> None:
        self._ways = ways
        self._only = only
        self._first = first
        self._remember = remember

    async def open(self, node: str, socket: str, *, job_id: str = "") -> Forward:
        """See PortForwarder.open. Raises Unreachable with what each way said."""
        names = [self._only] if self._only else sorted(self._ways, key=lambda n: n != self._first)
        failures: list[tuple[str, VizdashError]] = []
        for name in names:
            try:
                forward = await self._try(self._ways[name], node, socket, job_id)
            except VizdashError as e:
                failures.append((name, e))
                continue
            if name != self._first:
                self._first = name
                self._remember(name)
            return forward
        if len(failures) == 1:
            raise failures[0][1]
        why = "; ".join(f"{name}: {e.why or e.what}" for name, e in failures)
        raise Unreachable(f"no way to {node}", why, "see `tunnel` in config.example.yaml")

    async def _try(self, way: PortForwarder, node: str, socket: str, job_id: str) -> Forward:
        forward = await way.open(node, socket, job_id=job_id)
        try:
            await answers(forward, node)
        except BaseException:
            await asyncio.shield(forward.close())
            raise
        return forward


async def answers(forward: Forward, node: str) -> None:
    """Raise Unreachable unless a web server, or a desktop itself, answers through ``forward``.

    A tunnel to a socket that isn't there looks well until something is sent.
    """
    what = f"the desktop on {node}"
    try:
        async with asyncio.timeout(_ANSWER_S):
            reader, writer = await forward.dial()
            try:
                writer.write(b"GET /vnc.html HTTP/1.0\r\n\r\n")
                await writer.drain()
                answer = await reader.read(16)
            finally:
                writer.close()
    except TimeoutError as e:
        raise Unreachable(what, f"no answer in {_ANSWER_S:g} s") from e
    except OSError as e:
        raise Unreachable(what, e.strerror or str(e)) from e
    if not answer.startswith((b"HTTP/", b"RFB ")):
        raise Unreachable(what, "it does not answer", "has the session ended?")
