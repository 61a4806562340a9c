"""The app gets whatever its user has installed; the session's own programs do not."""

from __future__ import annotations

import json
from signal import SIGHUP, SIGINT, SIGPIPE, SIGQUIT

import pytest

from tests.integration.machine import Machine
from tests.integration.test_session import configure
from tests.waiting import wait_until

#: What a conda environment's bin may hold, each of them of no use to a session.
SHADOWS = (
    "python3", "python", "websockify", "Xvnc", "vncpasswd", "dbus-daemon", "xauth", "xmessage",
    "sed", "grep", "head", "tee", "cat", "base64", "awk", "ps", "df", "find", "tail", "mktemp",
)  # fmt: skip
_APP = """\
apps:
  mine:
    runtime: host
    host_command: >-
      {{ python3; env; env -u LD_PRELOAD locale charmap; }} >~/seen 2>&1; echo done >>~/seen;
      exec openbox
    modules: {modules}
    environment: {environment}
    resources: {{cores: 1, memory: 256M, time: 1h}}
"""


def _configure(machine: Machine, modules: str = "[]", environment: str = "{}") -> None:
    configure(machine, _APP.format(modules=modules, environment=environment))


def _start(machine: Machine, env: dict[str, str]) -> tuple[str, list[str]]:
    """A ready session's id, and what its app has seen: the lines of ``host_command``."""
    size = ("--cpus", "1", "--memory", "256M")
    done = machine.vizdash("start", "mine", *size, "--wait", env=env)
    seen = machine.outside("~/seen")
    wait_until(lambda: seen.exists() and seen.read_text().endswith("done\n"), "app")
    return done.stdout.strip(), seen.read_text().splitlines()


def _path(machine: Machine, folder: str) -> dict[str, str]:
    inside = machine.run('printf %s "$PATH"').stdout
    return {"PATH": f"{machine.home}/{folder}:{inside}"}


def test_a_conda_environment_and_packages_in_the_home_break_nothing(machine: Machine) -> None:
    _configure(machine)
    machine.run(
        "mkdir -p conda/bin && for name in " + " ".join(SHADOWS) + "; do "
        "printf '#!/bin/sh\\necho the %s of conda\\nexit 9\\n' $name >conda/bin/$name; done; "
        "chmod +x conda/bin/*; "
        # websockify imports numpy where it is.
        "for minor in $(seq 6 20); do at=.local/lib/python3.$minor/site-packages/numpy; "
        "mkdir -p $at; echo 'raise RuntimeError(\"of the home\")' >$at/__init__.py; done"
    )
    session, seen = _start(machine, _path(machine, "conda/bin"))
    assert seen[0] == "the python3 of conda"
    log = machine.vizdash("logs", session).stdout
    assert "conda" not in log.replace("the python3 of conda", ""), log
    assert "RuntimeError" not in log
    machine.vizdash("stop", session)
    assert machine.leftovers() == []


def test_what_the_system_lacks_is_taken_from_the_users_path(machine: Machine) -> None:
    """A site's module brings websockify: its own PATH and PYTHONPATH are what it needs."""
    _configure(machine, environment="{PYTHONPATH: ~/site/lib}")
    machine.run(
        "mkdir -p site/bin site/lib && cp /usr/bin/websockify site/bin/ && "
        "sed -i '1a import of_the_module' site/bin/websockify && "
        "touch site/lib/of_the_module.py"
    )
    _configure(machine, environment=f"{{PYTHONPATH: {machine.home}/site/lib}}")
    machine.hide("websockify")
    session, _ = _start(machine, _path(machine, "site/bin"))
    log = machine.vizdash("logs", session).stdout
    assert f"using {machine.home}/site/bin/websockify from PATH" in log
    machine.vizdash("stop", session)
    assert machine.leftovers() == []


@pytest.mark.parametrize(
    ("environment", "log"),
    [
        ('{XMODIFIERS: "@im=fcitx"}', "no input method: fcitx5: no keyboard today"),
        ('{GTK_IM_MODULE: nosuch-im, XMODIFIERS: ""}', ""),
    ],
)
def test_an_input_method_that_fails_is_named_and_breaks_nothing(
    machine: Machine, environment: str, log: str
) -> None:
    """Nor is one started where the user has another."""
    _configure(machine, environment=environment)
    broken = "#!/bin/sh\\nenv >~/input.env\\necho no keyboard today >&2\\nexit 1\\n"
    machine.run(
        f"mkdir bin && printf '{broken}' >bin/fcitx5 && chmod +x bin/fcitx5 && "
        "ln -s /bin/false bin/fcitx5-remote"
    )
    session, seen = _start(machine, _path(machine, "bin"))
    output = machine.vizdash("logs", session).stdout
    assert log in output if log else "input method" not in output, output
    (listed,) = json.loads(machine.vizdash("sessions", "--json").stdout)["sessions"]
    assert listed["warning"] == log
    assert machine.outside("~/input.env").exists() == bool(log)
    assert [line for line in seen if line.startswith("QT_IM_MODULE")] == []
    machine.vizdash("stop", session)
    assert machine.leftovers() == []


def test_the_app_has_the_users_umask_signals_and_locale(machine: Machine) -> None:
    """What it saves is for whom the user wants, and Ctrl-C works in its terminals."""
    # Of a program that the app's shell runs: bash itself always ignores SIGQUIT.
    seen = (
        "{ umask; env | grep ^LC_ALL; grep SigIgn /proc/self/status; } >~/seen; echo done >>~/seen"
    )
    configure(machine, f"apps: {{mine: {{runtime: host, host_command: '{seen}; exec openbox'}}}}\n")
    # As a script's `vizdash start &`, under nohup(1).
    start = "umask 0002; LANG=C.UTF-8 vizdash start mine --cpus 1 --memory 256M --wait"
    machine.run(["env", "--ignore-signal=INT,QUIT,HUP,PIPE", "bash", "-c", start])
    file = machine.outside("~/seen")
    wait_until(lambda: file.exists() and file.read_text().endswith("done\n"), "app")
    umask, ignored, _ = file.read_text().splitlines()
    assert umask == "0002"
    for number in (SIGINT, SIGQUIT, SIGHUP, SIGPIPE):
        assert int(ignored.split()[1], 16) & 1 << number - 1 == 0, number
    (session,) = machine.sessions()
    log = machine.outside(f"~/.local/state/vizdash/sessions/{session['id']}/job.log")
    assert log.stat().st_mode & 0o777 == 0o600
    machine.vizdash("stop", session["id"])
    assert machine.leftovers() == []


def test_the_bus_starts_programs_in_the_apps_environment(machine: Machine) -> None:
    """As a terminal's server or a file manager: not in that of the session's own programs."""
    services = ".local/share/dbus-1/services"
    machine.run(
        f"mkdir -p {services} && printf '%s\\n' '[D-BUS Service]' Name=org.example.Seen "
        f"Exec={machine.home}/seen.sh >{services}/seen.service && "
        "printf '%s\\n' '#!/bin/sh' 'env >~/seen.new' 'mv ~/seen.new ~/seen' >seen.sh && "
        "chmod +x seen.sh"
    )
    ask = "dbus-send --session --dest=org.example.Seen / org.example.Seen.Hello"
    environment = "{OF_THE_APP: set, PYTHONPATH: /nowhere}"
    configure(
        machine,
        f"apps: {{mine: {{runtime: host, host_command: '{ask}; exec openbox', "
        f"environment: {environment}}}}}\n",
    )
    session = machine.start("mine")["id"]
    seen = machine.outside("~/seen")
    wait_until(seen.exists, "program of the bus")
    values = dict(line.split("=", 1) for line in seen.read_text().splitlines() if "=" in line)
    assert (values["OF_THE_APP"], values["PYTHONPATH"]) == ("set", "/nowhere")
    assert (values["LANG"], values["LC_ALL"]) == ("C.UTF-8", "")
    assert values["PYTHONNOUSERSITE"] == ""
    assert values["TMPDIR"].startswith("/tmp/vizdash-")
    assert values["VIZDASH_SESSION_ID"] == session
    machine.vizdash("stop", session)
    assert machine.leftovers() == []


def test_a_python_that_needs_its_module_watches_windows_too(machine: Machine) -> None:
    """A module's websockify comes with an interpreter that finds its libraries by the module."""
    machine.run(
        "mkdir -p site/bin && cp /usr/bin/websockify site/bin/ && "
        f"sed -i '1s|.*|#!{machine.home}/site/bin/python3|' site/bin/websockify && "
        "printf '%s\\n' '#!/bin/sh' '[ \"$OF_MODULE\" ] || exit 127' "
        "'exec /usr/bin/python3 \"$@\"' >site/bin/python3 && chmod +x site/bin/python3"
    )
    configure(
        machine,
        "apps: {mine: {runtime: host, ends_with: windows, environment: {OF_MODULE: loaded}, "
        "host_command: 'xterm -e sleep 98765 &'}}\n",
    )
    machine.hide("websockify")
    size = ("--cpus", "1", "--memory", "256M")
    done = machine.vizdash("start", "mine", *size, "--wait", env=_path(machine, "site/bin"))
    session = done.stdout.strip()
    wait_until(lambda: any(machine.outside("/tmp").glob("vizdash-*/window")), "window")
    assert "cannot watch" not in machine.vizdash("logs", session).stdout
    machine.run("pkill -f 'xterm -e'")
    assert machine.wait_for_state(session, "ended")["result"] == "finished"
    assert machine.leftovers() == []


def test_folders_that_are_read_only_go_with_the_session(machine: Machine) -> None:
    """Such as an unpacked image, or a dataset of git-annex."""
    make = "mkdir -p $TMPDIR/tree/deep && touch $TMPDIR/tree/deep/file && chmod -R a-w $TMPDIR/tree"
    closed = "chmod 000 $TMPDIR/tree/deep; echo done >~/made"
    configure(
        machine,
        f"apps: {{mine: {{runtime: host, host_command: '{make}; {closed}; exec openbox'}}}}\n",
    )
    session = machine.start("mine")["id"]
    wait_until(machine.outside("~/made").exists, "tree")
    machine.vizdash("stop", session)
    machine.wait_for_state(session, "ended")
    assert "Permission denied" not in machine.vizdash("logs", session).stdout
    assert machine.leftovers() == []


# ---------------------------------------------------------------- modules

#: What the kinds of ``module`` print, and their exit code. Modules 3.2 (utilerror.c: FILE(LINE):
#: ERROR:NUMBER) always gives 0; Lmod 8 and Modules 5 do not, unless a site has wrapped them.
_MODULE = """\
module() {
  case $2 in
    friendly/1) echo 'Loaded libgpg-error, for fewer errors. ERROR handling: see --help' >&2
                export FROM_MODULE=yes LD_LIBRARY_PATH=/opt/friendly/lib ;;
    old/1) echo "ModuleCmd_Load.c(213):ERROR:105: Unable to locate a modulefile for '$2'" >&2 ;;
    lmod/1) printf '%s\\n' 'Lmod has detected the following error:  The following module(s) are \
unknown: "lmod/1"' '' 'Please check the spelling or version number.' >&2 ;;
    new/1) echo "ERROR: Unable to locate a modulefile for 'new/1'" >&2; return 1 ;;
  esac
}
"""


def _modules(machine: Machine) -> None:
    machine.run(
        "mount -t tmpfs -o mode=755 modules /etc/profile.d && "
        f"cat >/etc/profile.d/modules.sh <<'E'\n{_MODULE}E",
        root=True,
    )


def test_a_module_may_speak_of_errors(machine: Machine) -> None:
    _modules(machine)
    _configure(machine, "[friendly/1]")
    session, seen = _start(machine, {})
    assert {"FROM_MODULE=yes", "LD_LIBRARY_PATH=/opt/friendly/lib"} <= set(seen)
    # What asks for the renderer has the app's environment, and ends when it is known.
    wait_until(lambda: machine.sessions()[0]["renderer"], "renderer")
    helpers = machine.run(
        "cat /proc/[0-9]*/environ | tr '\\0' '\\n'", root=True, check=False
    ).stdout
    assert helpers.count("LD_LIBRARY_PATH") == 1, "more than openbox has what the module sets"
    machine.vizdash("stop", session)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("old/1", "Unable to locate a modulefile for 'old/1'"),
        ("lmod/1", 'The following module(s) are unknown: "lmod/1"'),
        ("new/1", "Unable to locate a modulefile for 'new/1'"),
    ],
)
def test_a_module_that_is_missing(machine: Machine, name: str, why: str) -> None:
    _modules(machine)
    _configure(machine, f"[friendly/1, {name}]")
    size = ("--cpus", "1", "--memory", "256M")
    done = machine.vizdash("start", "mine", *size, "--wait", check=False)
    assert done.returncode == 1
    assert f"failed at step modules: module load {name}: {why}" in done.stderr
    assert machine.leftovers() == []


# ---------------------------------------------------------------- locales


@pytest.mark.parametrize(
    ("env", "environment", "charmap"),
    [
        ({"LANG": "ko_KR.eucKR"}, "{}", "UTF-8"),
        ({"LC_ALL": "C"}, "{}", "UTF-8"),
        ({"LANG": "C.UTF-8", "LC_CTYPE": "POSIX"}, "{}", "UTF-8"),
        ({"LANG": ""}, "{LC_TIME: xx_YY.UTF-8}", "UTF-8"),
        # A site's LANG, where the user has set a stronger variable.
        ({"LC_ALL": "C"}, "{LANG: C.UTF-8}", "UTF-8"),
        ({"LC_ALL": "C"}, "{LANG: POSIX}", "ANSI_X3.4-1968"),
        # ld.so warns whenever a program starts.
        ({"LANG": "C.UTF-8"}, "{LD_PRELOAD: /nosuch.so}", "UTF-8"),
        # The configuration knows better.
        ({"LANG": "C.UTF-8"}, "{LC_ALL: POSIX}", "ANSI_X3.4-1968"),
    ],
)
def test_every_session_has_a_locale_of_utf_8(
    machine: Machine, env: dict[str, str], environment: str, charmap: str
) -> None:
    _configure(machine, environment=environment)
    session, seen = _start(machine, env)
    assert seen[-2:] == [charmap, "done"], seen
    assert not [line for line in seen if "xx_YY" in line or "eucKR" in line]
    machine.vizdash("stop", session)
