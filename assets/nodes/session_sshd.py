"""Starts an sshd(8) for each login to a session.

Runs on the session's node, with Python 3.6 or newer.

set-up FOLDER ID KEY: prepare FOLDER/ssh in the session's runtime folder, ask the job to start the
keeper, wait until it answers, and print "key TYPE BASE64", the public host key. KEY is a client's
public key. Refusals are printed as "refused WHY".

keep FOLDER: started by the job (assets/jobs/session_sshd.sh). It listens on the Unix socket
FOLDER/ssh/s and starts `sshd -i` for each connection of this user, so that everything runs inside
the job and nothing listens on the network. It ends with the job's script.
"""

import fcntl
import os
import re
import select
import shlex
import signal
import socket
import stat
import struct
import subprocess
import sys
import time

#: Seconds that the job has to start the keeper, and between two checks whether the job lives.
START_S = 45
CHECK_S = 2
LOGIN_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
FOLDERS = "/usr/sbin:/usr/local/sbin:/sbin:/usr/bin:/usr/local/bin:/bin"
#: Key types in order of preference; a node in FIPS mode refuses the first.
KEY_TYPES = ("ed25519", "ecdsa", "rsa")
#: Variables of the job that logins get. SLURM_EXPORT_ENV=NONE would keep the login's own
#: environment from what it starts with srun.
PASSED = re.compile(
    r"SLURM\w*|VIZDASH_SESSION_ID|\w+_VISIBLE_DEVICES|GPU_DEVICE_ORDINAL|KRB5CCNAME|TMPDIR"
)
NOT_PASSED = ("SLURM_EXPORT_ENV", "SLURM_GET_USER_ENV")
#: Values that sshd_config(5) takes between double quotes in every version; others are left out.
PLAIN = re.compile(r"[ !#-\[\]-~]*")
CONFIG = """\
HostKey {place}/host_key
AuthorizedKeysFile {place}/authorized_keys
AuthenticationMethods publickey
PubkeyAuthentication yes
PasswordAuthentication no
ChallengeResponseAuthentication no
UsePAM no
StrictModes no
PermitUserEnvironment no
PidFile none
UseDNS no
PrintMotd no
PrintLastLog no
X11Forwarding no
GatewayPorts no
AllowTcpForwarding yes
AllowStreamLocalForwarding yes
StreamLocalBindMask 0177
MaxSessions 100
LoginGraceTime 60
ClientAliveInterval 30
ClientAliveCountMax 6
AcceptEnv LANG LC_*
SetEnv {variables}
Subsystem sftp internal-sftp
"""


class Refusal(Exception):
    """What cannot be done, in words for the user."""


def find(program):
    for folder in (FOLDERS + ":" + os.environ.get("PATH", "")).split(":"):
        path = os.path.join(folder, program)
        if folder.startswith("/") and os.access(path, os.X_OK):
            return path
    raise Refusal(f"there is no {program} on {os.uname()[1]}: install openssh-server")


def write_whole(path, text):
    new = f"{path}.{os.getpid()}"
    with open(new, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(new, path)


def read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def variables(folder, session_id):
    """The job's variables as one line of sshd_config(5): only its first SetEnv counts."""
    exported = {
        name: value
        for name, value in os.environ.items()
        if PASSED.fullmatch(name) and name not in NOT_PASSED
    }
    exported["VIZDASH_SESSION_ID"] = session_id
    submit = os.path.join(folder, "ssh", "bin")
    if os.path.isdir(submit):  # Slurm's commands, without this environment (session_sshd.sh)
        exported["PATH"] = f"{submit}:{LOGIN_PATH}"
    display = read(os.path.join(folder, "display")).strip()
    if display.isdigit():
        exported["DISPLAY"] = ":" + display
        exported["XAUTHORITY"] = os.path.join(folder, "xauth")
    return " ".join(
        f'"{name}={value}"' for name, value in sorted(exported.items()) if PLAIN.fullmatch(value)
    )


# ---------------------------------------------------------------- set-up


def set_up(text, folder, session_id, key):
    about = os.lstat(folder)
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o077:
        raise Refusal(f"its runtime folder {folder} is not private")
    sshd, keygen = find("sshd"), find("ssh-keygen")
    place = os.path.join(folder, "ssh")
    try:
        os.mkdir(place, 0o700)
    except OSError:
        if not os.path.isdir(place):
            raise
    with open(os.path.join(place, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        host_key = make_host_key(place, keygen)
        keys = read(os.path.join(place, "authorized_keys"))
        if key not in keys.splitlines():
            write_whole(os.path.join(place, "authorized_keys"), keys + key + "\n")
        if not answers(place):
            start(text, place, folder, session_id, sshd)
    print("key " + " ".join(host_key.split()[:2]))


def make_host_key(place, keygen):
    path = os.path.join(place, "host_key")
    if not os.path.exists(path):
        for kind in KEY_TYPES:
            done = subprocess.run(
                [keygen, "-q", "-t", kind, "-N", "", "-C", "vizdash", "-f", path + ".new"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
            if done.returncode == 0:
                break
        else:
            raise Refusal("no host key: " + last_line(done.stdout))
        os.rename(path + ".new.pub", path + ".pub")
        os.rename(path + ".new", path)
    return read(path + ".pub")


def last_line(data):
    lines = data.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "no message"


def start(text, place, folder, session_id, sshd):
    """Write what the job runs, and ask it to. Job scripts that do not know how ignore the event."""
    write_whole(os.path.join(place, "host.py"), text)
    write_whole(os.path.join(place, "about"), f"{session_id}\n{sshd}\n")
    words = (sys.executable, "-I", os.path.join(place, "host.py"), "keep", folder)
    write_whole(os.path.join(place, "start"), "exec {}\n".format(" ".join(map(shlex.quote, words))))
    try:
        events = os.open(os.path.join(folder, "events"), os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        why = "its job script does not listen: is it ending, or a script of the site's?"
        raise Refusal(why) from error
    try:
        os.write(events, b"ssh\n")
    finally:
        os.close(events)
    deadline = time.time() + START_S
    while not answers(place):
        if time.time() > deadline:
            log = read(os.path.join(place, "log")).strip().splitlines()
            old = "its job did not start it (was it submitted by an older vizdash?)"
            raise Refusal(log[-1] if log else old)
        time.sleep(0.1)


def answers(place):
    """Whether sshd answers through the keeper."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        try:
            sock.connect(os.path.join(place, "s"))
            return sock.recv(4) == b"SSH-"
        except OSError:
            return False


# ---------------------------------------------------------------- the keeper


def keep(folder):
    users_umask = os.umask(0o077)
    os.chdir("/")
    place = os.path.join(folder, "ssh")
    held = open(os.path.join(place, "keeper"), "w")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    session_id, sshd = read(os.path.join(place, "about")).splitlines()
    config = os.path.join(place, "conf")
    write_whole(config, CONFIG.format(place=place, variables=variables(folder, session_id)))
    done = subprocess.run([sshd, "-t", "-f", config], stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        sys.exit("sshd: " + last_line(done.stderr))
    path = os.path.join(place, "s")
    if os.path.exists(path):
        os.unlink(path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        os.umask(users_umask)  # sshd(8) passes it on to the user's programs
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
        children = []
        try:
            serve(listener, [sshd, "-i", "-f", config, "-E", os.path.join(place, "log")], children)
        finally:
            for child in children:
                child.terminate()


def serve(listener, argv, children):
    """Start sshd for each connection, until the job's script ends."""
    script = os.getppid()
    while os.getppid() == script:
        ready = select.select([listener], [], [], CHECK_S)[0]
        children[:] = [child for child in children if child.poll() is None]
        if not ready:
            continue
        connection = listener.accept()[0]
        with connection:
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            if struct.unpack("3i", credentials)[1] != os.getuid():
                continue
            try:
                child = subprocess.Popen(
                    argv, stdin=connection, stdout=connection, start_new_session=True
                )
            except OSError as error:
                print(f"sshd: {error}", file=sys.stderr, flush=True)
                continue
            children.append(child)


def main(words):
    if words[0] == "keep":
        keep(words[1])
        return
    os.umask(0o077)
    try:
        set_up(*words)
    except (OSError, Refusal) as error:
        print("refused {}".format(" ".join(str(error).split())))


if __name__ == "__main__":
    # By `python3 -c`, the program's text is the first argument.
    main(sys.argv[1:])
