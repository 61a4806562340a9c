#!/bin/bash
# One vizdash session: a VNC desktop as a job, under Slurm or on one machine.
#
# Runs on the node with the node's own tools (bash 4.4, coreutils, procps). vizdash puts the
# session's values below this comment, where they need neither argv nor environment.
#
#   steps    image -> runtime -> modules -> xvnc -> websockify -> app -> ready
#   F        ~/.local/state/vizdash/sessions/ID: job.log, status, connection (0700)
#   R        a folder of the node, by mktemp (0700): cookie, passwords, sockets
#   USR1     a warning on the desktop, some minutes before the time limit
#   TERM     ends everything, also what has daemonised, and removes R
#
# With runtime "apptainer" Xvnc, websockify and the app all run inside the image, so a node needs
# Apptainer and nothing else; with "host" they are the node's own. Both run the same function,
# `inner`. No secret is ever in an argv or in the environment.

# Values of this session, set by vizdash.
SESSION_ID=aaaaaaa2
VNC_PORT=''
VIZDASH_SCHEMA=1
VIZDASH_ENGINE=slurm
VIZDASH_APP=desktop
VIZDASH_RUNTIME=apptainer
VIZDASH_IMAGE=/opt/apptainers/apps/desktop/desktop.sif
VIZDASH_IMAGE_VERSION=1.0
VIZDASH_COMMAND=''
VIZDASH_GEOMETRY=1280x720
VIZDASH_ROUTE=tunnel
VIZDASH_PORT_MIN=6080
VIZDASH_PORT_MAX=6099
VIZDASH_BINDS=(  )
VIZDASH_ENV=(  )
VIZDASH_MODULES=(  )
VIZDASH_JOB_ID=''
VIZDASH_WARN_SECONDS=300
VIZDASH_READY_TIMEOUT=600
VIZDASH_VNC_PASSWORD=''
set -u -o pipefail
umask 077

: "${SESSION_ID:?}" "${VIZDASH_APP:?}"
step=image reporter='' leader_log=''
# shellcheck shell=bash
# What every kind of session job shares: its folder, its states, its end. The script that holds
# this sets `leader` (the process whose session is the desktop's), `R` and `step`, and may replace
# the hooks `before_end` and `after_end`.

F=$HOME/.local/state/vizdash/sessions/$SESSION_ID
R='' leader='' ending='' viewers='' since='' note='' image_digest=''
job_id=${SLURM_JOB_ID:-${VIZDASH_JOB_ID:-$SESSION_ID}}
node=${SLURMD_NODENAME:-$(uname -n)}
# Everything that the session starts is found again by this mark in /proc/PID/environ.
export VIZDASH_SESSION_ID=$SESSION_ID

say() { printf '%(%H:%M:%S)T %s\n' -1 "$*"; }

before_end() { :; } # RESULT
after_end() { :; }  # RESULT

# ---------------------------------------------------------------- what the job says of itself

# slurmd makes the log with the user's own umask.
own_folder() {
  mkdir -p -- "$F" && chmod 700 "$F"
  if [ -e "$F/job.log" ]; then chmod 600 "$F/job.log"; fi
}

# status STATE STEP [RESULT] [ERROR]: into the folder, whole or not at all. READY, the moment at which
# the desktop first answered, stays to the end.
status() {
  local new=$F/.status.$BASHPID ready
  ready=$(sed -n 's/^READY=//p' "$F/status" 2>/dev/null) || ready=''
  if [ "$1" = ready ] && [ -z "$ready" ]; then printf -v ready '%(%s)T' -1; fi
  {
    printf 'STATE=%s\nSTEP=%s\nRESULT=%s\n' "$1" "$2" "${3:-}"
    printf 'ERROR=%s\nUPDATED=%(%s)T\n' "$(one_line "${4:-}")" -1
    printf 'NODE=%s\nJOB_ID=%s\n' "$node" "$job_id"
    if [ -n "$ready" ]; then printf 'READY=%s\n' "$ready"; fi
    if [ -n "$image_digest" ]; then printf 'IMAGE_DIGEST=%s\n' "$image_digest"; fi
    if [ -n "$viewers" ]; then printf 'VIEWERS=%s\nSINCE=%s\n' "$viewers" "$since"; fi
  } >"$new" && mv -f "$new" "$F/status"
}

# comment STATE STEP: into the job, where every squeue sees it. World-readable: no secrets.
comment() {
  [ "${VIZDASH_ENGINE:-}" = slurm ] || return 0
  local image=${VIZDASH_IMAGE_VERSION:--}
  timeout 10 scontrol update JobId="$job_id" Comment="vizdash/1 id=$SESSION_ID app=$VIZDASH_APP \
image=${image//[^A-Za-z0-9._:+@\/-]/_} state=$1 step=$2\
${viewers:+ viewers=$viewers since=$since}${image_digest:+ digest=$image_digest}\
${note:+ note=$note}" >/dev/null 2>&1
  return 0
}

# read_note: into `note`, percent-encoded, what an operator (or the owner) has put into the job's
# comment for whoever sits at the desktop: shown while it runs, kept when it ends.
read_note() {
  local said
  note=''
  [ "${VIZDASH_ENGINE:-}" = slurm ] || return 0
  said=$(timeout 5 squeue -h -t all -j "$job_id" -o %k 2>/dev/null) || return 0
  case $said in 'vizdash/1 '*' note='*) said=${said##* note=} ;; *) return 0 ;; esac
  said=${said%% *}
  case $said in *[!A-Za-z0-9._~%-]*) return 0 ;; esac
  note=$said
}

# count_viewers N: how many look at the desktop, and since when anybody or nobody has.
count_viewers() {
  case $1 in '' | 0?* | *[!0-9]* | ?????*) return ;; esac
  if [ -z "$viewers" ] || [ "$((viewers > 0))" != "$(($1 > 0))" ]; then
    printf -v since '%(%s)T' -1
  fi
  viewers=$1
}

one_line() {
  local text=${1//[[:cntrl:]]/ }
  printf '%s' "${text:0:400}"
}

# The last line of a file that says something, without a program's own mark of severity.
last_line() {
  tail -n 50 -- "$@" 2>/dev/null | grep -v '^[[:space:]]*$' | tail -n 1 |
    sed -E 's/\x1b\[[0-9;]*m//g; s/^(FATAL|ERROR): *//; s/^[0-9:]{8} //'
}

fail() { # STEP WHY: the session could not be had; ends the script
  step=$1
  say "failed at step $1: $2"
  finish failed "$2"
}

node_address() {
  getent ahostsv4 "$node" 2>/dev/null | awk '$1 !~ /^127/ {print $1; exit}' | grep . ||
    hostname -I 2>/dev/null | awk '{print $1}' | grep . || printf '%s\n' "$node"
}

# ---------------------------------------------------------------- ending

# The PIDs of ours that carry the session's mark or belong to the session of `leader`.
marked() {
  {
    grep -lsz "^VIZDASH_SESSION_ID=$SESSION_ID\$" /proc/[0-9]*/environ | cut -d/ -f3
    [ -z "$leader" ] || ps -o pid= -s "$leader" 2>/dev/null
  } | tr -d ' ' | sort -un | grep -vx -e "$$" -e "$BASHPID"
}

end_all() {
  local pids tries
  for tries in {1..60}; do
    mapfile -t pids < <(marked)
    # What is left may be marked() itself, seen by its own grep: only what lives on counts.
    [ ${#pids[@]} -gt 0 ] && kill -0 "${pids[@]}" 2>/dev/null || return 0
    # A shell at a prompt ignores TERM and heeds HUP (bash(1), SIGNALS).
    if [ "$tries" = 1 ]; then kill -TERM "${pids[@]}" 2>/dev/null; fi
    if [ "$tries" = 3 ]; then kill -HUP "${pids[@]}" 2>/dev/null; fi
    if [ "$tries" -gt 20 ]; then kill -KILL "${pids[@]}" 2>/dev/null; fi
    sleep 0.1
  done
}

finish() { # RESULT [ERROR]: nothing of the session outlives this
  trap '' TERM USR1 HUP INT
  ending=1
  before_end "$1"
  status ending "$step" "$1" "${2:-}"
  end_all
  after_end "$1"
  if [ -n "$R" ]; then rm -rf -- "$R"; fi
  rm -f -- "$F/connection"
  say "ended: $1 ${2:-}"
  status ended "$step" "$1" "${2:-}"
  read_note
  if [ "$1" = failed ]; then
    comment failed "$step"
    exit 1
  fi
  comment ended "$step"
  exit 0
}

on_term() {
  [ -z "$ending" ] || return 0
  ending=1
  local now end
  printf -v now '%(%s)T' -1
  end=${VIZDASH_END_TIME:-${SLURM_JOB_END_TIME:-}}
  if [ -n "$end" ] && [ "$now" -ge "$end" ]; then finish timed-out; else finish cancelled; fi
}
# shellcheck shell=bash
# The desktop and the app, inside the image or on the host itself: `inner` runs there alone, from
# a file that `write_inner` makes of these functions.

# Lines to the script outside: "step NAME", "ready DISPLAY PORT", "failed STEP WHY".
inner_fail() {
  printf '%s\n%s\n' "$1" "$2" >"$R/failed"
  exit 1
}

# wait_for SECONDS TEST...: until TEST holds.
wait_for() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.02
  done
}

inner() {
  local code xvnc websockify app python
  exec 9>"$R/events"
  trap 'exit 143' TERM
  for pair in "${VIZDASH_ENV[@]}"; do export "${pair?}"; done
  export XDG_RUNTIME_DIR=$R/run XAUTHORITY=$R/xauth PATH=$PATH:/usr/local/bin:/usr/bin:/bin
  # Temporary files go with the session; an image has a /tmp of its own that does.
  if [ "$VIZDASH_RUNTIME:${TMPDIR:-/tmp}" = host:/tmp ]; then export TMPDIR=$R/work/tmp; fi
  echo 'step xvnc' >&9
  inner_xvnc
  echo 'step websockify' >&9
  inner_websockify
  echo 'step app' >&9
  inner_app
  inner_ready
  if [ -r "/proc/$websockify/task/$websockify/children" ]; then echo 'viewers 0' >&9; fi
  echo "ready $DISPLAY $(cat "$R/port" 2>/dev/null)" >&9
  inner_warner 9>&- &
  inner_viewers &
  # Whichever of the three ends first ends the session.
  while kill -0 "$xvnc" "$websockify" "$app" 2>/dev/null; do
    wait -n "$xvnc" "$websockify" "$app"
  done
  if kill -0 "$app" 2>/dev/null; then
    if kill -0 "$xvnc" 2>/dev/null; then
      inner_fail websockify "websockify died: $(last_line "$R/websockify.log")"
    fi
    inner_fail xvnc "Xvnc died: $(last_line "$R/xvnc.log")"
  fi
  # When X dies its clients die with it, and may be the first to be seen.
  sleep 0.2
  kill -0 "$xvnc" 2>/dev/null || inner_fail xvnc "Xvnc died: $(last_line "$R/xvnc.log")"
  wait "$app"
  code=$?
  [ "$code" = 0 ] || inner_fail app "the app ended with code $code: $(inner_app_said)"
}

# A cookie before the start, or any user of the node is let in. Its family is 0xffff
# (FamilyWild), its display empty: it holds for whichever display Xvnc finds free (Xau(3)).
inner_xvnc() {
  local name password view
  for name in Xvnc vncpasswd; do
    command -v "$name" >/dev/null ||
      inner_fail xvnc "$name is not installed (package tigervnc) in this ${VIZDASH_RUNTIME/apptainer/image}"
  done
  {
    printf '\377\377\0\0\0\0\0\022MIT-MAGIC-COOKIE-1\0\020'
    head -c 16 /dev/urandom
  } >"$R/xauth"
  # 48 bits each: VNC's DES takes eight characters and no more.
  password=$(head -c 6 /dev/urandom | base64 | tr '+/' '-_')
  view=$(head -c 6 /dev/urandom | base64 | tr '+/' '-_')
  printf '%s\n%s\n' "$password" "$view" >"$R/passwords"
  vncpasswd -f <"$R/passwords" >"$R/vncpasswd" || inner_fail xvnc "vncpasswd failed"
  start_xvnc
  # Someone else's /tmp/.X11-unix: an abstract socket (unix(7)) needs no folder, and X's clients
  # look there first.
  kill -0 "$xvnc" 2>/dev/null || start_xvnc -nolisten unix
  if ! kill -0 "$xvnc" 2>/dev/null; then
    # X compiles its keyboard in /tmp, whatever TMPDIR says, and does not say why it could not.
    local room why=''
    room=$(df -kP /tmp 2>/dev/null | tail -n 1 | tr -s ' ' | cut -d' ' -f4)
    if [ "${room:-64}" -lt 64 ]; then why='/tmp is full; '; fi
    inner_fail xvnc "Xvnc: $why$(last_line "$R/xvnc.log")"
  fi
  DISPLAY=:$(cat "$R/display")
  export DISPLAY
}

# start_xvnc OPTION...: until it says its display or ends.
start_xvnc() {
  Xvnc -displayfd 3 -auth "$R/xauth" -rfbport -1 -rfbunixpath "$R/rfb" -rfbunixmode 0600 \
    -SecurityTypes VncAuth -PasswordFile "$R/vncpasswd" -UseBlacklist=0 -AlwaysShared \
    -geometry "$VIZDASH_GEOMETRY" -depth 24 -dpi 96 -nolisten tcp "$@" \
    -desktop "$VIZDASH_APP $SESSION_ID" 3>"$R/display" 9>&- >"$R/xvnc.log" 2>&1 </dev/null &
  xvnc=$!
  xvnc_up() { [ -s "$R/display" ] || ! kill -0 "$xvnc" 2>/dev/null; }
  wait_for "$VIZDASH_READY_TIMEOUT" xvnc_up ||
    inner_fail xvnc "Xvnc did not come up in $VIZDASH_READY_TIMEOUT s"
}

inner_websockify() {
  local page
  for page in "${NOVNC:-/usr/share/novnc}" /usr/share/noVNC /usr/local/share/novnc; do
    if [ -r "$page/vnc.html" ]; then break; fi
  done
  [ -r "$page/vnc.html" ] || inner_fail websockify "noVNC is not installed: no /usr/share/novnc"
  websockify=$(command -v websockify) || inner_fail websockify "websockify is not installed"
  # Its own interpreter, since the module may be in that one alone.
  read -r python _ < <(sed -n '1s/^#! *//p' "$websockify" 2>/dev/null)
  case $python in */python*) ;; *) python=python3 ;; esac
  websockify_launcher >"$R/launcher.py"
  "$python" "$R/launcher.py" "$R" "$page" "$VIZDASH_ROUTE" "$VIZDASH_PORT_MIN" \
    "$VIZDASH_PORT_MAX" "$websockify" 9>&- </dev/null >"$R/websockify.log" 2>&1 &
  websockify=$!
}

# Hands websockify a socket that is bound already, so that no port is picked in a race. Versions
# before 0.11 know no Unix listener: they get one here, as loopback TCP is open to other users.
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
        if level != socket.IPPROTO_TCP:  # a Unix socket has no TCP_NODELAY
            super().setsockopt(level, *rest)

class Listener(socket.socket):
    def accept(self):
        connection, _ = super().accept()
        return Connection(fileno=connection.detach()), ("unix", 0)

plain = websockifyserver.WebSockifyServer.socket

def unix_listener(host, port=None, connect=False, *args, **options):
    if connect:  # the way on to Xvnc is made here too
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
  local run=()
  inner_bus
  if [ -n "$GPU" ] && command -v vglrun >/dev/null; then run+=(vglrun -d egl); fi
  local command=$VIZDASH_COMMAND
  if [ -z "$command" ]; then command=/.singularity.d/runscript; fi
  mkfifo "$R/app.pipe"
  tee "$R/app.log" <"$R/app.pipe" 9>&- &
  app_log=$!
  (
    cd "$HOME" || exit 1 # bash says why
    unset NOVNC GPU
    exec "${run[@]}" bash -c "$command"
  ) 9>&- </dev/null >"$R/app.pipe" 2>&1 &
  app=$!
}

# The app's last words, once they are all in its log; what it left running may hold the pipe open.
inner_app_said() {
  for _ in {1..40}; do
    kill -0 "$app_log" 2>/dev/null || break
    sleep 0.05
  done
  last_line "$R/app.log"
}

# A bus of the session's own, its socket in R: dbus-run-session(1) would put it into /tmp, where
# it stays when the bus is killed. A desktop without a bus is still one.
inner_bus() {
  command -v dbus-daemon >/dev/null || return 0
  dbus-daemon --session --nofork --nopidfile --address="unix:path=$R/run/bus" 9>&- \
    </dev/null >"$R/bus.log" 2>&1 &
  local bus=$!
  bus_up() { [ -S "$R/run/bus" ] || ! kill -0 "$bus" 2>/dev/null; }
  wait_for 5 bus_up
  if [ -S "$R/run/bus" ]; then export DBUS_SESSION_BUS_ADDRESS=unix:path=$R/run/bus; fi
}

# Ready when a browser would get a desktop: noVNC's page, and through a WebSocket (RFC 6455) the
# greeting of Xvnc (RFC 6143, 7.1.1).
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
  "$python" -c "$check" "$R" "$VIZDASH_READY_TIMEOUT" 9>&- 2>"$R/check.log" &
  local checking=$!
  while kill -0 "$checking" 2>/dev/null; do
    kill -0 "$websockify" 2>/dev/null ||
      inner_fail websockify "websockify: $(last_line "$R/websockify.log")"
    kill -0 "$xvnc" 2>/dev/null || inner_fail xvnc "Xvnc: $(last_line "$R/xvnc.log")"
    kill -0 "$app" 2>/dev/null || break
    sleep 0.02
  done
  if ! kill -0 "$app" 2>/dev/null; then
    wait "$app"
    local code=$?
    [ "$code" = 0 ] || inner_fail app "the app ended at once with code $code: $(inner_app_said)"
    inner_fail app "the app ended at once, without a word of why (code 0)"
  fi
  wait "$checking" || inner_fail websockify "$(last_line "$R/check.log")"
}

# Tells how many browsers look at the desktop: when that has changed and stayed so for a while,
# and the more seldom the oftener it has, since each word costs slurmctld a call.
#
# websockify has a child for each connection (proc(5), /proc/PID/task/TID/children), a page that is
# being read included; one that leads on to Xvnc holds three sockets: the listening one, the
# browser's and Xvnc's. A look at the desktop that does not come through websockify, as that of a
# thumbnail, does not count.
inner_viewers() {
  local children child sockets now before=0 told=0 words=0 next=$SECONDS
  while sleep 2 9>&-; do
    children=() now=0
    read -r -a children 2>/dev/null <"/proc/$websockify/task/$websockify/children"
    for child in "${children[@]}"; do
      count_sockets "$child"
      if [ "$sockets" -ge 3 ]; then now=$((now + 1)); fi
    done
    if [ "$now" = "$before" ] && [ "$now" != "$told" ] && [ "$SECONDS" -ge "$next" ]; then
      echo "viewers $now" >&9
      told=$now words=$((words + 1))
      next=$((SECONDS + (words < 30 ? words * 10 : 300)))
    fi
    before=$now
  done
}

count_sockets() { # PID: into `sockets`, without a process of its own
  local file
  sockets=0
  for file in "/proc/$1/fd"/*; do
    if [ -S "$file" ]; then sockets=$((sockets + 1)); fi
  done
}

# Shows what comes through the pipe on the desktop, for as long as anybody may want to read it.
inner_warner() {
  local text
  while read -r text <"$R/warn"; do
    if command -v xmessage >/dev/null; then
      xmessage -center -timeout 300 -buttons OK "$text" >/dev/null 2>&1 &
    elif command -v zenity >/dev/null; then
      zenity --warning --no-markup --timeout=300 --text="$text" >/dev/null 2>&1 &
    elif command -v notify-send >/dev/null; then
      notify-send -u critical vizdash "$text" >/dev/null 2>&1 &
    else
      xterm -T vizdash -e bash -c 'echo "$1"; sleep 300' - "$text" >/dev/null 2>&1 &
    fi
  done
}

# X's own names for a display, where Xvnc was killed before it could remove them.
remove_display() {
  local display name
  display=$(cat "$R/display" 2>/dev/null) || return 0
  for name in "/tmp/.X11-unix/X$display" "/tmp/.X$display-lock"; do
    if [ -n "$display" ] && [ "$VIZDASH_RUNTIME" = host ] && [ -O "$name" ]; then rm -f "$name"; fi
  done
}

before_end() {
  if [ -n "$reporter" ]; then kill "$reporter" 2>/dev/null; fi
  if [ "$1" != failed ] && [ -r "$R/step" ]; then step=$(cat "$R/step"); fi
}

after_end() {
  [ -n "$R" ] || return 0
  remove_display
  if [ "$1" = failed ]; then tail -n 30 "$R"/*.log 2>/dev/null; fi
}

# The reporter knows the state: it is asked to warn, through its own pipe.
on_warn() {
  if [ -n "$R" ] && [ -p "$R/events" ]; then
    (timeout 5 bash -c 'echo warn >"$1"' - "$R/events" &) >/dev/null 2>&1
  fi
}

# What the desktop is to show: an operator's note if there is one, else that its time is nearly up.
show_warning() {
  local text="This session ends in $((${VIZDASH_WARN_SECONDS:-300} / 60)) minutes: save your work."
  read_note
  if [ -n "$note" ]; then
    text="Message: $(one_line "$(printf '%b' "${note//%/\\x}")")"
    note=''
    if [ -e "$F/connection" ]; then comment ready ready; fi
  fi
  say "shown on the desktop: $text"
  if [ -p "$R/warn" ]; then
    # Nobody may be listening there yet.
    (timeout 5 bash -c 'printf "%s\n" "$1" >"$2"' - "$text" "$R/warn" &) >/dev/null 2>&1
  fi
}

# ---------------------------------------------------------------- the steps on the node

check_image() {
  [ "$VIZDASH_RUNTIME" = apptainer ] || return 0
  apptainer=$(command -v apptainer || command -v singularity) ||
    fail image "apptainer is not installed on $node"
  [ -e "$VIZDASH_IMAGE" ] ||
    fail image "no image $VIZDASH_IMAGE on $node: vizdash deploy $VIZDASH_APP"
  [ -r "$VIZDASH_IMAGE" ] || fail image "image $VIZDASH_IMAGE on $node can't be read by $(id -un)"
  know_image
}

# <app>.sif is a link that may have been switched since the job was submitted, and may be again: the
# file itself is taken, and told. Its digest is the one that was recorded when it was last read
# whole (assets/nodes/images.sh), as long as it is that very file.
know_image() {
  local stem line stamp
  VIZDASH_IMAGE=$(readlink -f -- "$VIZDASH_IMAGE") || return 0
  stem=${VIZDASH_IMAGE##*/}
  stem=${stem%.sif}
  case $stem in "$VIZDASH_APP"-?*) VIZDASH_IMAGE_VERSION=${stem#"$VIZDASH_APP"-} ;; esac
  [ -r "$VIZDASH_IMAGE.sha256" ] || return 0
  {
    IFS= read -r line
    IFS= read -r stamp
  } <"$VIZDASH_IMAGE.sha256"
  [ "$stamp" = "# $(LC_ALL=C find "$VIZDASH_IMAGE" -maxdepth 0 -printf 'size=%s mtime=%T@ inode=%i')" ] ||
    return 0
  if [[ $line =~ ^([0-9a-f]{64})\ \  ]]; then image_digest=${BASH_REMATCH[1]}; fi
}

# Under /tmp where there's room; socket paths have to stay short (sun_path, unix(7)).
make_runtime() {
  local parent why=''
  for parent in /tmp "${TMPDIR:-/tmp}" /dev/shm "/run/user/$(id -u)" /var/tmp; do
    [ ${#parent} -lt 60 ] || continue
    R=$(mktemp -d "$parent/vizdash-$SESSION_ID.XXXXXXXX" 2>&1) || { why=${why:-$R} R=''; continue; }
    # A full file system makes a folder, but no file that holds anything.
    if why_now=$( (head -c 262144 /dev/zero >"$R/.room") 2>&1); then
      rm -f "$R/.room"
      mkdir "$R/run" "$R/work" "$R/work/tmp" "$R/work/var_tmp" && mkfifo "$R/events" "$R/warn" &&
        return 0
    fi
    why=${why:-$parent: ${why_now##*: }}
    rm -rf -- "$R"
    R=''
  done
  fail runtime "no folder for the session on $node: $why"
}

load_modules() {
  [ ${#VIZDASH_MODULES[@]} -gt 0 ] || return 0
  local file name said
  set +u
  for file in /etc/profile.d/{modules,lmod,z00_lmod}.sh; do
    # shellcheck disable=SC1090
    if [ -r "$file" ] && ! command -v module >/dev/null; then . "$file"; fi
  done
  command -v module >/dev/null || fail modules "no module command on $node"
  for name in "${VIZDASH_MODULES[@]}"; do
    # In this shell, so that it takes effect; its words go to a file.
    module load "$name" >"$R/modules.log" 2>&1 || { said=$(last_line "$R/modules.log"); false; } ||
      fail modules "module load $name: $said"
    if grep -qi error "$R/modules.log"; then fail modules "$(last_line "$R/modules.log")"; fi
  done
  set -u
}

# What `inner` needs, in a file that is ours alone. INSIDE is the name that R has for it.
write_inner() { # INSIDE
  local name gpu=''
  if [ -n "${CUDA_VISIBLE_DEVICES:-}${SLURM_JOB_GPUS:-}${ROCR_VISIBLE_DEVICES:-}" ]; then gpu=1; fi
  {
    declare -p SESSION_ID VIZDASH_APP VIZDASH_RUNTIME VIZDASH_COMMAND VIZDASH_GEOMETRY \
      VIZDASH_ROUTE VIZDASH_PORT_MIN VIZDASH_PORT_MAX VIZDASH_ENV VIZDASH_READY_TIMEOUT
    printf 'R=%q GPU=%q NOVNC=%q\n' "$1" "$gpu" "${VIZDASH_NOVNC:-}"
    printf 'export VIZDASH_SESSION_ID=%q HOME=%q USER=%q LOGNAME=%q LANG=%q\n' \
      "$SESSION_ID" "$HOME" "$(id -un)" "$(id -un)" "${LANG:-C.UTF-8}"
    for name in CUDA_VISIBLE_DEVICES ROCR_VISIBLE_DEVICES; do
      if [ -n "${!name:-}" ]; then printf 'export %s=%q\n' "$name" "${!name}"; fi
    done
    declare -f inner inner_fail inner_xvnc start_xvnc inner_websockify inner_app inner_app_said \
      inner_bus inner_ready inner_viewers count_sockets inner_warner wait_for websockify_launcher last_line
    printf 'set -u -o pipefail\numask 077\ninner\n'
  } >"$R/inner.sh"
}

start_inner() {
  if [ "$VIZDASH_RUNTIME" = host ]; then
    write_inner "$R"
    setsid bash "$R/inner.sh" </dev/null &
    leader=$!
    return
  fi
  local bind args=(-q exec --cleanenv --contain --pid --workdir "$R/work" --pwd "$HOME")
  # Wherever R is outside, inside it lies in the image's own /tmp, where a mount point can be made.
  mkdir "$R/work/tmp/vizdash"
  write_inner /tmp/vizdash
  args+=(-B "$HOME" -B "$R:/tmp/vizdash")
  if [ -n "${CUDA_VISIBLE_DEVICES:-}${SLURM_JOB_GPUS:-}" ] && [ -e /dev/nvidiactl ]; then
    args+=(--nv)
  fi
  if [ -d /dev/dri ]; then args+=(-B /dev/dri); fi
  for bind in "${VIZDASH_BINDS[@]}"; do
    [ -e "${bind%%:*}" ] || fail image "bind ${bind%%:*} is not there on $node"
    args+=(-B "$bind")
  done
  mkfifo "$R/apptainer.pipe"
  { tee "$R/apptainer.log" | grep -v gocryptfs >&2; } <"$R/apptainer.pipe" &
  leader_log=$!
  setsid "$apptainer" "${args[@]}" "$VIZDASH_IMAGE" /bin/bash /tmp/vizdash/inner.sh \
    </dev/null 2>"$R/apptainer.pipe" &
  leader=$!
}

# Apptainer's last words, once they are all in its log.
leader_said() {
  for _ in {1..40}; do
    if [ -z "$leader_log" ] || ! kill -0 "$leader_log" 2>/dev/null; then break; fi
    sleep 0.05
  done
  last_line "$R/apptainer.log"
}

# ---------------------------------------------------------------- once the desktop answers

write_connection() { # DISPLAY [PORT]
  local new=$F/.connection.$BASHPID password view web=$R/web
  {
    read -r password
    read -r view
  } <"$R/passwords"
  if [ "$VIZDASH_ROUTE" = direct ]; then web=''; fi
  {
    printf 'JOB_ID=%s\nNODE=%s\nVNC_PORT=%s\n' "$job_id" "$node" "${2:-}"
    printf 'SESSION_ID=%s\nSTATUS=running\nSTART_TIME=%(%s)T\n' "$SESSION_ID" -1
    printf 'NODE_IP=%s\nRUNTIME_DIR=%s\n' "$(node_address)" "$R"
    printf 'WEB_SOCKET=%s\nVNC_SOCKET=%s\n' "$web" "$R/rfb"
    printf 'IMAGE=%s\nIMAGE_VERSION=%s\n' "$VIZDASH_IMAGE" "$VIZDASH_IMAGE_VERSION"
    printf 'IMAGE_DIGEST=%s\n' "$image_digest"
    printf 'DISPLAY=%s\nGEOMETRY=%s\n' "$1" "$VIZDASH_GEOMETRY"
    printf 'PASSWORD=%s\nVIEW_PASSWORD=%s\n' "$password" "$view"
  } >"$new" && mv -f "$new" "$F/connection"
}

# Folders of sessions that ended a season ago go, so that a home does not fill up with them. One that
# says nothing of its end may belong to a job that still waits or runs: it stays.
forget_old() {
  find "${F%/*}" -mindepth 2 -maxdepth 2 -name status -mtime +90 \
    -exec grep -qx STATE=ended {} \; -printf '%h\0' 2>/dev/null | xargs -0 -r rm -rf --
}

report() {
  local word first second
  while read -r word first second; do
    case $word in
      step)
        say "step $first"
        status starting "$first"
        printf '%s\n' "$first" >"$R/step"
        ;;
      ready)
        printf 'ready\n' >"$R/step"
        write_connection "$first" "$second"
        status ready ready
        say "ready on $node, display $first"
        comment ready ready
        forget_old
        ;;
      warn) show_warning ;;
      viewers)
        count_viewers "$first"
        # Before the desktop is ready there is nobody to tell of.
        if [ -e "$F/connection" ]; then
          status ready ready
          comment ready ready
        fi
        ;;
    esac
  done <"$R/events"
}

# ---------------------------------------------------------------- the job

main() {
  trap on_term TERM
  trap on_warn USR1
  trap : HUP INT # caught, not ignored: what we start would ignore them too
  own_folder
  cd / || exit 1
  say "session $SESSION_ID of app $VIZDASH_APP: job $job_id on $node"
  status starting image
  check_image
  step=runtime
  status starting runtime
  make_runtime
  step=modules
  load_modules
  report &
  reporter=$!
  start_inner
  local code
  while :; do
    wait "$leader"
    code=$?
    kill -0 "$leader" 2>/dev/null || break
  done
  # A trap may have taken wait's place: then the code is the trap's, and `ending` is set.
  step=$(cat "$R/step" 2>/dev/null || echo image)
  if [ -s "$R/failed" ]; then
    { read -r step && read -r why; } <"$R/failed"
    fail "$step" "$why"
  fi
  if [ "$code" != 0 ]; then fail "$step" "$(leader_said)"; fi
  finish finished
}

main
