# shellcheck shell=bash disable=SC2154
# The desktop and the app, inside the image or on the host: `inner` runs there from a file that
# `write_inner` makes from these functions.

# Lines written to the job script: "step NAME", "without WHAT AND WHY", "ready DISPLAY PORT", "viewers N",
# "renderer TEXT".
inner_fail() {
  { printf '%s\n%s\n' "$1" "$2" >"$runtime/failed"; } 2>/dev/null # the folder may be gone
  exit 1
}

# inner_without TEXT: report a missing feature in the log and in the session's status.
inner_without() {
  printf '%s\n' "$1"
  printf 'without %s\n' "$(one_line "$1")" >&9
}

# wait_for SECONDS TEST...: wait until TEST succeeds.
wait_for() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.02
  done
}

inner() {
  local xvnc websockify app app_code='' windows='' windows_failed=0 windows_began=0 python as gl=()
  local app_began pause
  exec 9>"$runtime/events"
  inner_make_pause
  trap inner_end TERM
  inner_settle_environment
  echo 'step xvnc' >&9
  inner_xvnc
  echo 'step websockify' >&9
  inner_websockify
  echo 'step app' >&9
  inner_app
  inner_ready
  if [ -r "/proc/$websockify/task/$websockify/children" ]; then echo 'viewers 0' >&9; fi
  echo "ready $DISPLAY $(cat "$runtime/port" 2>/dev/null)" >&9
  inner_warner 9>&- &
  inner_viewers &
  inner_activity
  inner_renderer &
  inner_watch
}

# The end of the first process in an image kills all others there (pid_namespaces(7)): give them the time
# in which to save their work that they have on the host, where end_session (cleanup.sh) ends them.
inner_end() {
  local deadline=$((SECONDS + 5))
  trap '' TERM
  if [ "$VIZDASH_RUNTIME" != host ]; then
    while inner_others_live && [ "$SECONDS" -lt "$deadline" ]; do read -r -t 0.05 -u "$pause"; done
  fi
  exit 143
}

# Whether a program runs in this image besides this script and the servers.
inner_others_live() {
  local pid stat
  for pid in /proc/[1-9]*; do
    pid=${pid#/proc/} stat=Z
    if [ "$pid" = 1 ] || [ "$pid" = "$$" ]; then continue; fi
    { IFS= read -r -d '' stat <"/proc/$pid/stat"; } 2>/dev/null
    case ${stat##*) } in [ZX]*) continue ;; esac
    serves_others "$pid" || return 0
  done
  return 1
}

# Make Slurm's commands work on the desktop as on a login host. With the job's SLURM_*, srun would run
# steps of this job, with its --export=NONE, and pass them to every job submitted here. sbatch, srun and
# salloc also pass the environment on (--export=ALL is the default), so jobs get none of the desktop's
# folders and displays, nor its mark. A login shell may set PATH, a module may be what brings Slurm, and the
# runtime folder may be on a file system that runs no programs (noexec), so bash gets these as functions
# too; /usr/bin/srun takes those to other nodes.
inner_slurm() { # RUNTIME [JOB]
  local name folder
  for name in ${!SLURM_@}; do
    case $name in SLURM_CONF | SLURM_CLUSTERS | SLURM_JWT | SLURM_CPUS_ON_NODE) ;; *) unset "$name" ;; esac
  done
  for name in sbatch srun salloc; do
    folder=bin
    if ! type -P "$name" >/dev/null; then
      folder=later
      if [ -z "${2:-}" ] || ! declare -F module >/dev/null; then continue; fi
    fi
    inner_slurm_wrapper "$1/$folder" "$name"
    eval "$name() {
      if [ -r \"\${VIZDASH_RUNTIME_DIR:-}/$folder/$name\" ]; then
        /bin/bash \"\$VIZDASH_RUNTIME_DIR/$folder/$name\" \"\$@\"
      else
        command $name \"\$@\"
      fi
    }"
    export -f "${name?}"
  done
  if [ -d "$1/bin" ]; then PATH=$1/bin:$PATH; fi
}

inner_slurm_wrapper() { # FOLDER NAME
  [ -d "$1" ] || mkdir -m 700 "$1"
  {
    printf '#!/bin/bash\n# %s, without the environment of this desktop.\n' "$2"
    declare -f inner_submit
    printf 'inner_submit %q %q "$@"\n' "$2" "$1"
  } >"$1/$2"
  chmod 700 "$1/$2"
}

inner_submit() { # NAME FOLDER ARGUMENT...
  local name=$1 own=$2
  shift 2
  PATH=:$PATH: PATH=${PATH//":$own:"/:} PATH=${PATH#:} PATH=${PATH%:}
  unset -f sbatch srun salloc
  unset VIZDASH_RUNTIME_DIR XDG_RUNTIME_DIR DBUS_SESSION_BUS_ADDRESS IBUS_ADDRESS_FILE
  # srun and salloc end with their terminal, and may forward X (--x11).
  if [ "$name" = sbatch ]; then unset VIZDASH_SESSION_ID DISPLAY XAUTHORITY; fi
  exec "$name" "$@"
}

# Set `pause` to an empty pipe: a read with timeout from it sleeps without starting a process.
inner_make_pause() {
  mkfifo "$runtime/pause" && exec {pause}<>"$runtime/pause" || inner_fail runtime "can't make $runtime/pause"
}

# Wait until the app has ended or a required program has died. It polls: bash 4.4 cannot wait for one of
# several processes, and `wait -n` returns for helpers as well.
inner_watch() {
  if [ "$VIZDASH_ENDS_WITH" = windows ]; then inner_windows; fi
  until inner_app_over; do
    inner_parts_live
    inner_socket_exists rfb inner_parts_live
    read -r -t 0.5 -u "$pause"
  done
  # When Xvnc dies, its clients die too, and may be noticed first.
  for _ in {1..10}; do
    inner_parts_live
    read -r -t 0.1 -u "$pause"
  done
  if [ "${app_code:-0}" != 0 ]; then inner_app_failed "the app ended"; fi
}

inner_parts_live() {
  child_lives "$xvnc" || inner_died "$xvnc" xvnc Xvnc
  child_lives "$websockify" || inner_died "$websockify" websockify websockify
}

# inner_socket_exists NAME CHECK: fail if that socket has gone, without which nobody can open the session
# (someone may empty /tmp). A server that ends removes its socket first: so CHECK comes before.
inner_socket_exists() {
  for _ in 1 2 3 4; do
    if [ -e "$runtime/$1" ]; then return 0; fi
    read -r -t 0.5 -u "$pause"
    "$2"
  done
  inner_fail runtime "its socket $1 on this node was removed"
}

inner_died() { # PID STEP NAME
  wait "$1"
  inner_fail "$2" "$3 ended with $(code_words $?)$(after_colon "$(last_line "$runtime/$2.log")")"
}

# child_lives PID: whether it is a running child of this shell; `kill -0` also succeeds for a reused PID.
# In /proc/PID/stat (proc(5)), the name in brackets may contain any bytes. While a thread of it calls
# execve(2), as Apptainer's do, it looks for a moment like a zombie, or like nobody's child: so the state does
# not count (bash collects a child that has ended at once), and a second look is taken.
child_lives() {
  local stat
  for _ in 1 2 3; do
    stat=''
    { IFS= read -r -d '' stat <"/proc/$1/stat"; } 2>/dev/null
    [[ ${stat##*) } != ?" $$ "* ]] || return 0
    [ -e "/proc/$1" ] || return 1
  done
  return 1
}

code_words() { # CODE, as `wait` gives it
  local signal=''
  if [ "$1" -gt 128 ]; then signal=$(kill -l "$1" 2>/dev/null); fi
  printf 'code %s%s' "$1" "${signal:+ (signal $signal)}"
}

after_colon() { printf '%s' "${1:+: $1}"; }

# Whether the app has ended; sets `app_code` to the exit code of its first process.
inner_app_over() {
  if [ -z "$app_code" ] && ! child_lives "$app"; then
    wait "$app"
    app_code=$?
    if inner_opengl_failed; then inner_start_app; fi
  fi
  if [ "$VIZDASH_ENDS_WITH" = process ]; then
    [ -n "$app_code" ]
    return
  fi
  # A failed launcher will show no window.
  if [ "${app_code:-0}" != 0 ] && [ ! -e "$runtime/window" ]; then return 0; fi
  if [ "$windows" = unwatched ] || child_lives "$windows"; then return 1; fi
  wait "$windows"
  case $? in
    0) return 0 ;;
    3) inner_fail app "no window appeared in 5 minutes$(after_colon "$(inner_app_said 0)")" ;;
  esac
  # Xvnc may just have died.
  read -r -t 0.5 -u "$pause"
  inner_parts_live
  inner_watch_windows_again
  return 1
}

# The watcher of the windows may be killed (as the largest process, or by a `killall python3`), and Xvnc may
# be stuck for a while. Where it fails three times within a minute each, the session is kept: the windows may
# be open, and the end of a launcher means nothing.
inner_watch_windows_again() {
  if [ $((SECONDS - windows_began)) -ge 60 ]; then windows_failed=0; fi
  windows_failed=$((windows_failed + 1))
  if [ "$windows_failed" -le 3 ]; then
    inner_windows
    return
  fi
  windows=unwatched
  inner_without "the session ends only when it is stopped: the app's windows can't be \
watched$(after_colon "$(last_line "$runtime/windows.log")")"
}

# The cookie must exist before the start, or any user of the node could connect. Family 0xffff
# (FamilyWild) and an empty display make it valid for any display that Xvnc finds (Xau(3)).
inner_xvnc() {
  local name password view found as run_vncpasswd
  for name in vncpasswd Xvnc; do
    inner_find "$name" ||
      inner_fail xvnc "$name is not installed (package tigervnc) in this ${VIZDASH_RUNTIME/apptainer/image}"
    if [ "$name" = vncpasswd ]; then run_vncpasswd=("$as" "$found"); fi
  done
  {
    printf '\377\377\0\0\0\0\0\022MIT-MAGIC-COOKIE-1\0\020'
    head -c 16 /dev/urandom
  } >"$runtime/xauth"
  # 48 bits each: VNC's DES uses only eight characters.
  password=$(head -c 6 /dev/urandom | base64 | tr '+/' '-_')
  view=$(head -c 6 /dev/urandom | base64 | tr '+/' '-_')
  printf '%s\n%s\n' "$password" "$view" >"$runtime/passwords"
  ("${run_vncpasswd[@]}" -f) <"$runtime/passwords" >"$runtime/vncpasswd" || inner_fail xvnc "vncpasswd failed"
  start_xvnc
  # If /tmp/.X11-unix is someone else's: an abstract socket (unix(7)) needs no folder, and X clients try
  # it first.
  child_lives "$xvnc" || start_xvnc -nolisten unix
  if ! child_lives "$xvnc"; then
    # X compiles its keyboard map in /tmp, whatever TMPDIR is, and prints no reason when it cannot.
    local room why=''
    room=$(df -kP /tmp 2>/dev/null | tail -n 1 | tr -s ' ' | cut -d' ' -f4)
    if [ "${room:-64}" -lt 64 ]; then why='/tmp is full; '; fi
    inner_fail xvnc "Xvnc: $why$(last_line "$runtime/xvnc.log")"
  fi
  DISPLAY=:$(cat "$runtime/display")
  export DISPLAY
}

# start_xvnc OPTION...: wait until it prints its display or ends. Runs `found` through `as`.
start_xvnc() {
  "$as" "$found" -displayfd 3 -auth "$runtime/xauth" -rfbport -1 -rfbunixpath "$runtime/rfb" -rfbunixmode 0600 \
    -SecurityTypes VncAuth -PasswordFile "$runtime/vncpasswd" -UseBlacklist=0 -AlwaysShared \
    -geometry "$VIZDASH_GEOMETRY" -depth 24 -dpi $((96 * ${VIZDASH_SCALE:-1})) -nolisten tcp "$@" \
    -desktop "$VIZDASH_APP $SESSION_ID" 3>"$runtime/display" 9>&- >"$runtime/xvnc.log" 2>&1 </dev/null &
  xvnc=$!
  xvnc_up() { [ -s "$runtime/display" ] || ! child_lives "$xvnc"; }
  wait_for "$VIZDASH_READY_TIMEOUT" xvnc_up ||
    inner_fail xvnc "Xvnc did not come up in $VIZDASH_READY_TIMEOUT s"
}

inner_websockify() {
  local page found # not `as`: the readiness check uses it too
  inner_find_novnc || inner_fail websockify "noVNC is not installed: no /usr/share/novnc"
  inner_find websockify || inner_fail websockify "websockify is not installed"
  # Its own interpreter: others may lack the module.
  read -r python _ < <(sed -n '1s/^#! *//p' "$found" 2>/dev/null)
  case $python in */python*) ;; *) python=python3 ;; esac
  websockify_launcher >"$runtime/launcher.py"
  "$as" "$python" "$runtime/launcher.py" "$runtime" "$page" "$VIZDASH_ROUTE" "$VIZDASH_PORT_MIN" \
    "$VIZDASH_PORT_MAX" "$found" 9>&- </dev/null >"$runtime/websockify.log" 2>&1 &
  websockify=$!
}

# inner_find_novnc: set `page` to its folder.
inner_find_novnc() {
  for page in "${novnc:-/usr/share/novnc}" /usr/share/noVNC /usr/local/share/novnc; do
    if [ -r "$page/vnc.html" ]; then return 0; fi
  done
  return 1
}

# Start websockify with a bound socket, so that there is no race for a port. Versions before 0.11 cannot
# listen on a Unix socket: it is added here, since other users can connect to loopback TCP.
websockify_launcher() {
  cat <<'PY'
import os, socket, subprocess, sys

runtime, page, route, low, high, program = sys.argv[1:]
argv = [program, "--web", page, "--heartbeat", "30", "--unix-target", runtime + "/rfb"]
known = subprocess.run([program, "--help"], stdout=subprocess.PIPE).stdout
if b"--file-only" in known:
    argv.append("--file-only")
if route == "direct":
    for port in range(int(low), int(high) + 1):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", port))
            listener.listen(64)
        except OSError:
            continue
        with open(runtime + "/port.new", "w") as file:
            file.write("%d\n" % port)
        os.rename(runtime + "/port.new", runtime + "/port")
        os.dup2(listener.fileno(), 0)
        os.execv(program, argv + ["--inetd"])
    sys.exit("ports %s-%s are all taken" % (low, high))
path = runtime + "/web"
if b"--unix-listen" in known:
    os.execv(program, argv + ["--unix-listen", path])

from websockify import websocketproxy, websockifyserver

class Connection(socket.socket):
    def setsockopt(self, level, *rest):
        if level != socket.IPPROTO_TCP:  # Unix sockets have no TCP_NODELAY
            super().setsockopt(level, *rest)

class Listener(socket.socket):
    def accept(self):
        connection, _ = super().accept()
        return Connection(fileno=connection.detach()), ("unix", 0)

plain = websockifyserver.WebSockifyServer.socket

def unix_listener(host, port=None, connect=False, *args, **options):
    if connect:  # the connection to Xvnc is made here too
        return plain(host, port, connect, *args, **options)
    os.umask(0o177)
    listener = Listener(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(64)
    return listener

websockifyserver.WebSockifyServer.socket = staticmethod(unix_listener)
sys.argv = argv + ["127.0.0.1:1"]
websocketproxy.websockify_init()
PY
}

inner_app() {
  inner_bus
  inner_input_method
  inner_bus_environment
  inner_opengl
  : >"$runtime/app.log"
  inner_start_app
}

inner_start_app() {
  local command=$VIZDASH_COMMAND
  if [ -z "$command" ]; then command=/.singularity.d/runscript; fi
  rm -f "$runtime/app.pipe"
  mkfifo "$runtime/app.pipe"
  # It ends with its input: an app that cannot print may end before it has saved its work.
  (trap '' TERM HUP && exec tee -a "$runtime/app.log") <"$runtime/app.pipe" 9>&- &
  app_log=$!
  (
    exec {pause}>&-
    cd "$HOME" || exit 1 # bash prints the reason
    set -- "$gl_device" "${gl[@]}" bash -c "$command"
    unset -v gl
    inner_user_environment
    if [ -n "$1" ]; then export VGL_DISPLAY=$1; fi # for a vglrun in the command
    { echo 0x33 >/proc/self/coredump_filter; } 2>/dev/null # the kernel's default: see environment.sh
    shift
    exec "$@"
  ) 9>&- </dev/null >"$runtime/app.pipe" 2>&1 &
  app=$! app_code=''
  # shellcheck disable=SC2034 # gpu.sh asks
  app_began=$SECONDS
}

# Print the app's last error line, once its log is complete; programs that it left running may keep the
# pipe open. Warnings and messages (of GLib, for example) may be another program's, and count only if
# there is nothing else. A shell, the dynamic linker, or a program that starts another (env, nice, timeout)
# gives code 126 or 127 for a command that could not be run.
inner_app_said() { # CODE
  local line='' missing=': No such file or directory$'
  local cannot_run=': ((command )?not found|Permission denied|Is a directory|cannot execute.*)$'
  local remark='(^|[^a-z])(warning|message|info|debug)( \*\*)?: '
  inner_app_log_ended
  if [ "$1" = 127 ] || [ "$1" = 126 ]; then
    # A translated message of a shell is recognised by the shell's name. A missing command may be called as a
    # remark is ("info: not found").
    line=$(grep -aE "$cannot_run|$missing|error while loading shared libraries: " "$runtime/app.log" |
      grep -avEi "$remark.*$missing" || grep -aE '^[^ :]*(sh|runscript): ' "$runtime/app.log")
  fi
  line=${line:-$(grep -aviE "$remark" "$runtime/app.log")}
  line=$(printf '%s\n' "$line" | last_line)
  printf '%s' "${line:-$(last_line "$runtime/app.log")}"
}

# The app's output passes through another process, which may be later than the app's end.
inner_app_log_ended() {
  for _ in {1..40}; do
    child_lives "$app_log" || break
    sleep 0.05
  done
}

inner_app_failed() { # WHAT
  inner_fail app "$1 with $(code_words "$app_code")$(after_colon "$(inner_app_said "$app_code")")"
}

# Start a private bus with its socket in the runtime folder: dbus-run-session(1) would put it in /tmp, where
# it stays if the bus is killed. A desktop works without a bus.
inner_bus() {
  local found as
  inner_find dbus-daemon || return 0
  (
    unset -v SLURM_JOB_ID # with it, srun in a program that the bus starts would run a step of this job
    "$as" "$found" --session --nofork --nopidfile --address="unix:path=$runtime/run/bus"
  ) 9>&- </dev/null >"$runtime/bus.log" 2>&1 &
  local bus=$!
  bus_up() { [ -S "$runtime/run/bus" ] || ! kill -0 "$bus" 2>/dev/null; }
  wait_for 5 bus_up
  if [ -S "$runtime/run/bus" ]; then export DBUS_SESSION_BUS_ADDRESS=unix:path=$runtime/run/bus; fi
}

# What the bus starts (a terminal's server, a file manager) gets the app's environment. The bus can only
# be told of more variables, so those of its own that the app has not get their default.
inner_bus_environment() {
  local found as
  [ -n "${DBUS_SESSION_BUS_ADDRESS:-}" ] || return 0
  inner_find dbus-update-activation-environment || return 0
  bus_environment() {
    inner_user_environment
    export LC_ALL=${LC_ALL-} PYTHONNOUSERSITE=${PYTHONNOUSERSITE-} TMPDIR=${TMPDIR:-/tmp}
    exec "$1" --all
  }
  run_for 10 bus_environment "$found" >>"$runtime/bus.log" 2>&1 </dev/null 9>&-
}

# Ready when a browser would get a desktop: noVNC's page, and the greeting of Xvnc (RFC 6143, 7.1.1)
# through a WebSocket (RFC 6455).
inner_ready() {
  local check='
import socket, sys, time
runtime, deadline = sys.argv[1], time.monotonic() + float(sys.argv[2])
def ask(family, address, words, wanted):
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.settimeout(3)
        s.connect(address)
        s.sendall(words)
        said = b""
        while wanted not in said and len(said) < 4096:
            part = s.recv(256)
            if not part:
                break
            said += part
    if wanted not in said:
        raise OSError("answered %r" % said[:40])
def web():
    try:
        with open(runtime + "/port") as f:
            return socket.AF_INET, ("127.0.0.1", int(f.read()))
    except FileNotFoundError:
        return socket.AF_UNIX, runtime + "/web"
upgrade = (b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
           b"Sec-WebSocket-Key: dml6ZGFzaCBsb29rcyBhdA==\r\nSec-WebSocket-Protocol: binary\r\n")
get = b"GET /%s HTTP/1.1\r\nHost: localhost\r\n%s\r\n"
while True:
    try:
        ask(*web(), get % (b"vnc.html", b""), b" 200 ")
        ask(*web(), get % (b"websockify", upgrade), b"RFB 003.")
        break
    except (OSError, ValueError) as e:
        if time.monotonic() > deadline:
            sys.exit("no answer: %s" % e)
        time.sleep(0.03)
'
  "$as" "$python" -I -c "$check" "$runtime" "$VIZDASH_READY_TIMEOUT" 9>&- 2>"$runtime/check.log" &
  local checking=$!
  while child_lives "$checking"; do
    inner_parts_live
    inner_app_ended_early
    sleep 0.02
  done
  wait "$checking" || inner_fail websockify "$(last_line "$runtime/check.log")"
  inner_app_ended_early
}

# Before the desktop answers, only a launcher may end, with exit code 0.
inner_app_ended_early() {
  if [ -n "$app_code" ] || child_lives "$app"; then return 0; fi
  wait "$app"
  app_code=$?
  if inner_opengl_failed; then
    inner_start_app
    return
  fi
  if [ "$app_code" = 0 ] && [ "$VIZDASH_ENDS_WITH" = windows ]; then return 0; fi
  # When Xvnc dies, its clients die too, and may be noticed first.
  sleep 0.5
  inner_parts_live
  [ "$app_code" = 0 ] || inner_app_failed "the app ended at once"
  inner_fail app "the app ended at once with code 0: one that starts another program and returns \
needs ends_with: windows"
}

# Report the number of viewers when it has changed and been stable for a while, and less often the more
# it changes: each report costs slurmctld a call.
#
# websockify has a child for each connection (proc(5), /proc/PID/task/TID/children), including page
# requests; one connected to Xvnc has three sockets: the listening one, the browser's and Xvnc's. A
# preview, which does not use websockify, does not count.
inner_viewers() {
  local children child sockets now before=0 reported=0 reports=0 next=$SECONDS
  while sleep 2 9>&-; do
    children=() now=0
    read -r -a children 2>/dev/null <"/proc/$websockify/task/$websockify/children"
    for child in "${children[@]}"; do
      count_sockets "$child"
      if [ "$sockets" -ge 3 ]; then now=$((now + 1)); fi
    done
    if [ "$now" = "$before" ] && [ "$now" != "$reported" ] && [ "$SECONDS" -ge "$next" ]; then
      echo "viewers $now" >&9
      reported=$now reports=$((reports + 1))
      next=$((SECONDS + (reports < 30 ? reports * 10 : 300)))
    fi
    before=$now
  done
}

count_sockets() { # PID: set `sockets`, without starting a process
  local file
  sockets=0
  for file in "/proc/$1/fd"/*; do
    if [ -S "$file" ]; then sockets=$((sockets + 1)); fi
  done
}

# Exits with 0 when the last window has closed and none has opened within 4 s, with 3 if none opened.
inner_windows() {
  window_watcher >"$runtime/windows.py"
  "$as" "$python" -I "$runtime/windows.py" "$runtime" "${DISPLAY#:}" 300 4 \
    9>&- </dev/null >"$runtime/windows.log" 2>&1 &
  windows=$! windows_began=$SECONDS
}

# Query the app's windows by the X11 protocol (chapters 8 and 9): a node or an image may lack xwininfo,
# xprop and wmctrl, but has Python for websockify. A window manager lists windows, minimised ones
# included, in _NET_CLIENT_LIST (EWMH). Mapped windows count too: there may be no window manager, and one
# that is just starting misses a window now and then (Openbox does). It has windows of its own, without a
# class. Panels, the desktop window and our warnings are not windows of the app.
window_watcher() {
  cat <<'PY'
source x11.py

import os
import time

first_s, gap_s = float(sys.argv[3]), float(sys.argv[4])


def atom(name):
    payload = struct.pack("<Hxx", len(name)) + padded(name)
    return struct.unpack_from("<I", ask(16, 0, payload), 8)[0]


def get_property(window, name):
    """Format in bits, and the bytes."""
    reply = ask(20, 0, struct.pack("<5I", window, name, 0, 0, 65536))
    if reply is None:
        return 0, b""
    size = struct.unpack_from("<I", reply, 16)[0] * (reply[1] // 8)
    return reply[1], reply[32 : 32 + size]


def numbers(window, name):
    bits, data = get_property(window, name)
    return struct.unpack("<%dI" % (len(data) // 4), data) if bits == 32 else ()


def attributes(window):
    """Class, map state, override-redirect; None when there is no such window."""
    reply = ask(3, 0, struct.pack("<I", window))
    return reply and (struct.unpack_from("<H", reply, 12)[0], reply[26], reply[27])


def top_level():
    reply = ask(15, 0, struct.pack("<I", root))
    count = struct.unpack_from("<H", reply, 16)[0]
    for window in struct.unpack_from("<%dI" % count, reply, 32):
        size = ask(14, 0, struct.pack("<I", window))
        if attributes(window) == (1, 2, 0) and size[16:20] != b"\1\0\1\0":
            yield window


def app_windows():
    check = numbers(root, MANAGER)
    found = list(top_level())
    if check and attributes(check[0]):
        found = [w for w in found if get_property(w, WM_CLASS)[1]]
        found += [w for w in numbers(root, CLIENTS) if attributes(w)]
    return [
        w
        for w in found
        if not set(numbers(w, TYPE)) & NO_APP
        and b"vizdash-warning" not in get_property(w, WM_CLASS)[1].split(b"\0")
    ]


WM_CLASS = 67
MANAGER, CLIENTS = atom(b"_NET_SUPPORTING_WM_CHECK"), atom(b"_NET_CLIENT_LIST")
TYPE = atom(b"_NET_WM_WINDOW_TYPE")
NO_APP = {atom(b"_NET_WM_WINDOW_TYPE_DESKTOP"), atom(b"_NET_WM_WINDOW_TYPE_DOCK")}

began = time.monotonic()
last = began if os.path.exists(runtime + "/window") else None
while True:
    now = time.monotonic()
    if app_windows():
        if last is None:
            open(runtime + "/window", "w").close()
        last = now
    elif last is None and now - began > first_s:
        sys.exit(3)
    elif last is not None and now - last > gap_s:
        sys.exit(0)
    time.sleep(1)
PY
}

# Show each text from the pipe on the desktop, for five minutes or until it is closed.
inner_warner() {
  local text found as
  while read -r text <"$runtime/warn"; do
    if inner_find xmessage; then
      "$as" "$found" -name vizdash-warning -center -timeout 300 -buttons OK "$text" >/dev/null 2>&1 &
    elif inner_find zenity; then
      "$as" "$found" --class=vizdash-warning --name=vizdash-warning --warning --no-markup --timeout=300 --text="$text" >/dev/null 2>&1 &
    elif inner_find notify-send; then
      "$as" "$found" -u critical vizdash "$text" >/dev/null 2>&1 &
    elif inner_find xterm; then
      "$as" "$found" -name vizdash-warning -T vizdash -e bash -c 'echo "$1"; sleep 300' - "$text" >/dev/null 2>&1 &
    fi
  done
}
