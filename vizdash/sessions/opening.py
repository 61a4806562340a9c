"""From a way to a desktop to a person's eyes: their browser here, a helper's, or a handoff."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from vizdash.config import Cluster
from vizdash.files import account_name
from vizdash.sessions import browser, handoff
from vizdash.sessions.routes import Route
from vizdash.sessions.viewer import Viewer, ask_helper, viewer


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
        page = browser.RedirectFile(route.url)
        if route.kind != "direct":
            self._pages.append(page)
        return await page.start_browser()

    def close(self) -> None:
        """Take the pages away now; one leads nowhere without its tunnel."""
        for page in self._pages:
            page.remove()
