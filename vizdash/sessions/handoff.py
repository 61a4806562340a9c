"""Shows an open route: in a browser here, by a helper, or by a command for another computer."""

from __future__ import annotations

import asyncio
import os
import platform
import shlex
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from vizdash.config import Cluster
from vizdash.sessions import browser
from vizdash.sessions.browser import BrowserLocation, locate_browser, open_by_helper
from vizdash.sessions.routes import Route
from vizdash.transport.redirect_page import OnePage
from vizdash.util.files import account_name

#: Below the ephemeral ports of every system (Linux from 32768, macOS and Windows from 49152).
_FIRST_PORT, _PORTS = 20000, 12000


def local_port(session_id: str, attempt: int = 0) -> int:
    """The port on the user's computer: always the same for a session, so that the command and the
    browser's tab can be used again; ``attempt`` gives another where that one is taken.
    """
    return _FIRST_PORT + (int(session_id or "0", 16) + attempt) % _PORTS


def login_host_name(template: str = "") -> str:
    """The name by which users reach this very host, not its round-robin alias.

    ``template`` is the site's setting, with ``{host}`` for the short host name; without one it is
    the fully qualified name where there is one. This may query a name server.
    """
    name = platform.node()
    short = name.partition(".")[0]
    if template:
        return template.replace("{host}", short)
    full = name if "." in name else socket.getfqdn(name)
    return full if full.partition(".")[0] == short and "localhost" not in full else name


def server_port(environ: Mapping[str, str] = os.environ) -> int:
    """The port of the sshd through which the user logged in (ssh(1), SSH_CONNECTION); else 22."""
    words = environ.get("SSH_CONNECTION", "").split()
    return int(words[3]) if len(words) == 4 and words[3].isdecimal() else 22


def ssh_command(port: int, path: str, user: str, host: str, ssh_port: int = 22) -> str:
    """``ssh -N -L PORT:SOCKET user@host`` (ssh(1), -L): no shell, only the tunnel."""
    other = ["-p", str(ssh_port)] if ssh_port != 22 else []
    return shlex.join(["ssh", "-N", *other, "-L", f"{port}:{path}", f"{user}@{host}"])


@dataclass(frozen=True, slots=True)
class Handoff:
    """What to run on the user's computer to show a desktop.

    ``command`` is a shell command; ``host`` is this host's name there, ``port`` the local port.
    """

    command: str
    host: str
    port: int


def make_handoff(route: Route, session_id: str, host: str, attempt: int = 0) -> Handoff:
    """The command for a handoff route, which gets its address there; ``attempt`` counts ports that
    were taken.
    """
    port = local_port(session_id, attempt)
    route.set_address("127.0.0.1", port)
    line = ssh_command(port, route.socket, account_name(), host, server_port())
    return Handoff(line, host, port)


def make_viewer_handoff(route: Route, session_id: str, host: str) -> Handoff:
    """One line for the user's computer: a tunnel to the socket of a ``viewer`` route, and a viewer
    on it. ssh goes to the background after the login and ends with the viewer (ssh(1), -f).
    """
    port = local_port(session_id)
    ssh = ["ssh", "-f", "-o", "ExitOnForwardFailure=yes"]
    ssh += ["-p", str(server_port())] if server_port() != 22 else []
    ssh += ["-L", f"{port}:{route.socket}", f"{account_name()}@{host}", "sleep", "30"]
    return Handoff(f"{shlex.join(ssh)} && vncviewer 127.0.0.1::{port}", host, port)


async def host_name(cluster: Cluster) -> str:
    """This host's name, as the user's computer knows it."""
    return await asyncio.to_thread(login_host_name, cluster.handoff_host)


class BrowserLauncher:
    """Starts browsers, and removes the pages that redirect them."""

    def __init__(self) -> None:
        self._pages: list[browser.RedirectFile] = []
        self._serving: dict[asyncio.Task[None], OnePage] = {}

    async def show(self, route: Route) -> bool:
        """Open the route in the user's browser; False where there is none."""
        where = locate_browser()
        if route.kind == "handoff" or where is BrowserLocation.NONE:
            return False
        address = route.offer_redirect(browser.redirect_page)
        if where is BrowserLocation.HELPER:
            return await open_by_helper(address or route.url.partition("#")[0])
        if address:
            # A browser with a private /tmp (snap, Flatpak) could not read our file.
            return await browser.start_browser(address)
        if (shown := await self._show_once(route)) is not None:
            return shown
        page = browser.RedirectFile(route.url)
        if route.kind != "direct":
            self._pages.append(page)
        return await page.start_browser()

    async def _show_once(self, route: Route) -> bool | None:
        """As ``show``, by a listener that serves only the page; None where it can't listen."""
        listener = OnePage()
        try:
            await listener.start()
        except OSError:
            return None
        address = listener.offer(browser.redirect_page(route.url))
        if not address or not await browser.start_browser(address):
            await listener.close()
            return False if address else None
        task = asyncio.create_task(_serve(listener))
        self._serving[task] = listener
        task.add_done_callback(self._serving.pop)
        return True

    async def wait_pages_loaded(self) -> None:
        """Wait until browsers have loaded the pages for direct routes, at most PAGE_S seconds."""
        await asyncio.gather(*self._serving)

    async def close(self) -> None:
        """Remove the pages now; without its tunnel a page is useless."""
        for page in self._pages:
            page.remove()
        serving = dict(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        for listener in serving.values():  # of a task that was cancelled before it began, too
            await listener.close()


async def _serve(listener: OnePage) -> None:
    """Serve the page until it has been loaded, or for PAGE_S seconds."""
    try:
        async with asyncio.timeout(browser.PAGE_S):
            await listener.taken.wait()
    except TimeoutError:
        return
    finally:
        await listener.close()
