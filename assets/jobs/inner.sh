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
