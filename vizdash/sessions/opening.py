"""From a way to a desktop to a person's eyes: their browser here, a helper's, or a handoff."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from vizdash.config import Cluster
from vizdash.files import account_name
from vizdash.sessions import browser, handoff
from vizdash.sessions.routes import Route
from vizdash.sessions.viewer import Viewer, ask_helper, viewer
from vizdash.transport.pages import OnePage


@dataclass(frozen=True, slots=True)
class Handoff:
    """What to do on one's own computer to see a desktop that this host holds.

    ``command`` is a shell's line; ``host`` is this host as it is called there.
    """

    command: str
    host: str
    port: int


def hand_off(route: Route, session_id: str, host: str, attempt: int = 0) -> Handoff:
    """The line for a handoff route, and the route's address at the end of it; ``attempt`` counts
    ports that were taken there.
    """
    port = handoff.local_port(session_id, attempt)
    route.at("127.0.0.1", port)
    line = handoff.ssh_line(port, route.socket, account_name(), host, handoff.server_port())
    return Handoff(line, host, port)


async def host_name(cluster: Cluster) -> str:
    """This host, as a person's own computer calls it."""
    return await asyncio.to_thread(handoff.this_host, cluster.handoff_host)


class Showing:
    """Starts browsers, and takes away the pages that led them to tunnels of ours."""

    def __init__(self) -> None:
        self._pages: list[browser.RedirectFile] = []
        self._serving: dict[asyncio.Task[None], OnePage] = {}

    async def show(self, route: Route) -> bool:
        """Have the person's browser open the route; False when there's none to be had."""
        where = viewer()
        if route.kind == "handoff" or where is Viewer.NONE:
            return False
        address = route.offer(browser.page_to)
        if where is Viewer.HELPER:
            return await ask_helper(address or route.url.partition("#")[0])
        if address:
            # A browser with a /tmp of its own (snap, Flatpak) could not read a file of ours.
            return await browser.start_browser(address)
        if (shown := await self._show_once(route)) is not None:
            return shown
        page = browser.RedirectFile(route.url)
        if route.kind != "direct":
            self._pages.append(page)
        return await page.start_browser()

    async def _show_once(self, route: Route) -> bool | None:
        """As ``show``, by a listener that has the page alone; None where there can be none."""
        listener = OnePage()
        try:
            await listener.start()
        except OSError:
            return None
        address = listener.offer(browser.page_to(route.url))
        if not address or not await browser.start_browser(address):
            await listener.close()
            return False if address else None
        task = asyncio.create_task(_serve(listener))
        self._serving[task] = listener
        task.add_done_callback(self._serving.pop)
        return True

    async def wait_taken(self) -> None:
        """Wait until browsers have the pages that lead them to direct routes, PAGE_S at most."""
        await asyncio.gather(*self._serving)

    async def close(self) -> None:
        """Take the pages away now; one leads nowhere without its tunnel."""
        for page in self._pages:
            page.remove()
        serving = dict(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        for listener in serving.values():  # of a task that was cancelled before it began, too
            await listener.close()


async def _serve(listener: OnePage) -> None:
    """Keep the page until it has been taken, or for PAGE_S."""
    try:
        async with asyncio.timeout(browser.PAGE_S):
            await listener.taken.wait()
    except TimeoutError:
        return
    finally:
        await listener.close()
