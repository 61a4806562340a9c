"""Software that users load at login or keep at home breaks none of their sessions."""

from __future__ import annotations

from collections.abc import Iterator
from signal import SIGINT, SIGPIPE

import pytest

from tests.lab import Lab
from tests.lab.test_failures import hidden
from tests.lab.verbs import run_vizdash, start_session, wait_nothing_left
from tests.waiting import wait_until

#: Names that the job scripts use, too.
_OWN = (
    "runtime port command python name names values pair all found as app id folder step node why gl"
)
#: What modules, conda and people set at login; the prefixed names reach into images.
_PROFILE = """\
export PATH=$HOME/conda/bin:$PATH
for prefix in '' APPTAINERENV_; do
  export ${prefix}PYTHONPATH=$HOME/mine ${prefix}PYTHONHOME=/nosuch ${prefix}PYTHONSTARTUP=/nosuch
  export ${prefix}LD_PRELOAD=/nosuch/preload.so ${prefix}LD_LIBRARY_PATH=$HOME/lib
  export ${prefix}BASH_ENV=$HOME/.noise ${prefix}ENV=$HOME/.noise
  export ${prefix}GREP_OPTIONS=--nosuch ${prefix}LC_ALL=ko_KR.eucKR
  export ${prefix}R=/opt/R ${prefix}F=1 ${prefix}GPU=none ${prefix}NOVNC=no
  export ${prefix}TMOUT=1 ${prefix}POSIXLY_CORRECT=1
  export ${prefix}GL_DEVICE=/dev/null ${prefix}SESSION_ID=desk ${prefix}VNC_PORT=5901
  for own in OWN; do export ${prefix}$own=$own; done
done
export UID APPTAINERENV_UID=$UID
"""
#: What bash reads before each script (BASH_ENV).
_NOISE = """\
echo 'Welcome back!'
sed() { echo 'sed of the home'; return 1; }
cat() { echo 'cat of the home'; return 1; }
export -f sed cat
"""
_MAKE = """
mkdir -p conda/bin mine lib
for name in python3 websockify dbus-daemon Xvnc head mktemp; do
  printf '#!/bin/sh\\necho the %s of conda\\nexit 9\\n' $name >conda/bin/$name
done
chmod +x conda/bin/*
# Xvnc and Python link with these; no program that a session's app runs here does.
echo no library | tee lib/libz.so.1 lib/libjpeg.so.62 lib/libgnutls.so.30 >/dev/null
for module in socket subprocess numpy; do
  echo "raise RuntimeError('of the home')" >mine/$module.py
done
# Found first by a program that Python gets as text, in the folder where it is started.
cp mine/socket.py .
for minor in $(seq 6 20); do
  at=.local/lib/python3.$minor/site-packages/numpy
  mkdir -p $at && cp mine/numpy.py $at/__init__.py
done
"""


@pytest.fixture
def busy_home(lab: Lab) -> Iterator[Lab]:
    """Alice's home, full of software and settings of her own."""
    lab.login.run(_MAKE, user="alice")
    home = lab.login.root / "home/alice"
    (home / ".noise").write_text(_NOISE)
    (home / ".bash_profile").write_text(_PROFILE.replace("OWN", _OWN))
    yield lab
    names = ".noise .bash_profile conda mine lib socket.py .local/lib seen seen.new"
    lab.login.run(["sh", "-c", f"cd /home/alice && rm -rf {names}"])


def _app_environment(lab: Lab) -> dict[str, str]:
    """The environment of the app, which has written it down."""
    text = lab.login.run(["cat", "/home/alice/seen"]).stdout
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


@pytest.mark.parametrize("app", ["seeing", "seeing-image"])
def test_only_the_app_gets_the_users_software(busy_home: Lab, site: None, app: str) -> None:
    lab = busy_home
    config = lab.login.root / "etc/vizdash/config.yaml"
    mask = "read -r _ ignored < <(/usr/bin/grep SigIgn /proc/$$/status)"
    seen_words = (
        f"{mask}; {{ /usr/bin/env; echo UMASK=$(umask); echo IGNORED=$ignored; }} >$HOME/seen"
    )
    command = f"{seen_words}.new; unset LD_LIBRARY_PATH LD_PRELOAD; "
    command += "/usr/bin/mv $HOME/seen.new $HOME/seen; exec /usr/bin/openbox"
    image = "/opt/apptainers/apps/desktop/desktop.sif"
    config.write_text(
        config.read_text()
        + f'  seeing: {{runtime: host, host_command: "{command}"}}\n'
        + f'  seeing-image: {{image: {image}, command: "{command}"}}\n'
    )
    session = start_session(lab, app, "--cpus", "1")
    log = run_vizdash(lab, "logs", session["id"]).stdout
    assert "of conda" not in log
    assert "RuntimeError" not in log
    wait_until((lab.login.root / "home/alice/seen").exists, "the app")
    seen = _app_environment(lab)
    assert seen["UMASK"] == lab.login.run("umask", user="alice").stdout.split()[-1]
    # Ctrl-C and a closed pipe end programs. (What slurmd ignores is ignored by its jobs.)
    assert int(seen["IGNORED"], 16) & (1 << SIGINT - 1 | 1 << SIGPIPE - 1) == 0
    assert seen["PYTHONPATH"] == "/home/alice/mine"
    assert seen["LD_PRELOAD"] == "/nosuch/preload.so"
    assert seen["BASH_ENV"] == "/home/alice/.noise"
    settings = {name: seen.get(name, "") for name in ("LC_ALL", "LC_CTYPE", "LANG")}
    assert "UTF-8" in next(filter(None, settings.values()), ""), settings
    assert (seen["R"], seen["GPU"], seen["NOVNC"]) == ("/opt/R", "none", "no")
    assert {name: seen.get(name) for name in _OWN.split()} == {name: name for name in _OWN.split()}
    assert seen["VIZDASH_RUNTIME_DIR"].startswith("/tmp/vizdash"), seen["VIZDASH_RUNTIME_DIR"]
    run_vizdash(lab, "stop", session["id"])
    for node in lab.nodes:
        wait_nothing_left(node)


def test_singularity_alone_is_a_runtime(lab: Lab) -> None:
    """As on a node that has SingularityCE: no program is called apptainer."""
    node = lab.hosts["viz-node002"]
    node.run("cp --remove-destination /usr/bin/apptainer /usr/bin/singularity")
    try:
        with hidden(node, "/usr/bin/apptainer"):
            session = start_session(lab, "desktop", "--node", node.name)
            run_vizdash(lab, "stop", session["id"])
    finally:
        node.run(["ln", "-sfn", "/etc/alternatives/singularity", "/usr/bin/singularity"])
    wait_nothing_left(node)
