"""Which of several ways to a node works here: found by trying, and remembered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from vizdash.errors import Unreachable, VizdashError
from vizdash.resources import example_config
from vizdash.transport.base import Forward, PortForwarder

#: Seconds that a desktop's web server has to answer through a new way.
_ANSWER_S = 20.0
#: Seconds after which a route that is not the cheapest is no longer taken for the only one.
_TRUSTED_S = 900.0


class AutoForwarder:
    """Tries ``ways`` in their order (the cheapest first), but the one that worked last before them.

    ``only`` names the one way that may be taken (empty: any). ``remember`` is told what worked;
    ``since`` is when ``first`` was remembered (seconds since the epoch). After a quarter of an hour
    the cheaper ones are tried again in the background: what kept them from working may be over.
    """

    def __init__(
        self,
        ways: Mapping[str, PortForwarder],
        *,
        only: str = "",
        first: str = "",
        since: float = 0.0,
        remember: Callable[[str], None] = lambda way: None,
    ) -> None:
        self._ways = ways
        self._only = only
        self._first = first
        self._since = since
        self._remember = remember
        self._trying: set[asyncio.Task[None]] = set()

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
                self._keep(name)
            elif time.time() - self._since > _TRUSTED_S:
                self._keep(name)
                self._retry_cheaper(name, node, socket, job_id)
            return forward
        if len(failures) == 1:
            raise failures[0][1]
        why = "; ".join(f"{name}: {e.why or e.what}" for name, e in failures)
        raise Unreachable(f"no way to {node}", why, f"see `tunnel` in {example_config()}")

    def _keep(self, name: str) -> None:
        self._first, self._since = name, time.time()
        self._remember(name)

    def _retry_cheaper(self, name: str, node: str, socket: str, job_id: str) -> None:
        cheaper = [] if self._only else list(self._ways)[: list(self._ways).index(name)]

        async def retry() -> None:
            for one in cheaper:
                try:
                    forward = await self._try(self._ways[one], node, socket, job_id)
                except VizdashError:
                    continue
                await forward.close()
                self._keep(one)
                return

        if cheaper:
            task = asyncio.create_task(retry())
            self._trying.add(task)
            task.add_done_callback(self._trying.discard)

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
