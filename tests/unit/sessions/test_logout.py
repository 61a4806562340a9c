"""Whether sessions survive a logout, by recorded answers of systemd 252's logind."""

from __future__ import annotations

import pytest

from vizdash.sessions.logout import logout_warning
from vizdash.transport.base import Command, Result
from vizdash.util.files import account_name

#: /proc/self/cgroup: v2 and v1 (Debian 12, EL8) of a login, of a service of the user's manager, of
#: a system service.
LOGIN = "0::/user.slice/user-1000.slice/session-3.scope\n"
LOGIN_V1 = (
    "12:pids:/user.slice/user-1000.slice/session-3.scope\n"
    "1:name=systemd:/user.slice/user-1000.slice/session-3.scope\n"
)
MANAGER = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-u5.scope\n"
NEITHER = "0::/system.slice/cron.service\n"


class Logind:
    """Answers as loginctl(1) does."""

    def __init__(self, kill: str, linger: str = "no", only: str = "", spared: str = "") -> None:
        self._manager = (
            f"KillOnlyUsers={only}\nKillExcludeUsers={spared}\nKillUserProcesses={kill}\n"
        )
        self._linger = f"Linger={linger}\n"
        self.there = True

    def has(self, program: str) -> bool:
        return self.there and program == "loginctl"

    async def run(self, command: Command) -> Result:
        assert command.argv[:2] == ("loginctl", "show-user")
        if command.argv[2].startswith("--"):
            return Result(0, self._manager, "")
        assert command.argv[2] == account_name()
        return Result(0, self._linger, "")


async def warning(cgroup: str, *words: str, **more: str) -> str:
    return await logout_warning(Logind(*words, **more), cgroup)


@pytest.mark.parametrize("cgroup", [LOGIN, LOGIN_V1])
async def test_a_login_whose_processes_are_killed(cgroup: str) -> None:
    assert await warning(cgroup, "no") == ""
    killed = await warning(cgroup, "yes", "yes")
    assert killed.startswith("logind ends it when you log out (KillUserProcesses=yes)")
    assert "loginctl enable-linger; systemd-run --user --scope vizdash" in killed


async def test_users_whose_processes_logind_keeps() -> None:
    me = account_name()
    assert await warning(LOGIN, "yes", spared=f"root {me}") == ""
    assert await warning(LOGIN, "yes", only="somebody") == ""
    assert await warning(LOGIN, "yes", only=f"somebody {me}") != ""


async def test_a_scope_of_the_users_manager_stays_where_the_user_lingers() -> None:
    assert await warning(MANAGER, "yes", "yes") == ""
    assert "Linger=no" in await warning(MANAGER, "no", "no")


async def test_without_logind_there_is_no_warning() -> None:
    logind = Logind("yes")
    assert await logout_warning(logind, NEITHER) == ""
    logind.there = False
    assert await logout_warning(logind, LOGIN) == ""
