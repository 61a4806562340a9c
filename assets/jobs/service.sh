# shellcheck shell=bash disable=SC2034,SC2154
# Sessions that are services, not desktops (VIZDASH_KIND: web or pvserver): no X server and no noVNC, but
# the app, and a gate in front of it. Included by vnc.sh; a desktop uses nothing of this.
#
#   steps    image -> runtime -> modules -> app -> ready
#
# The app listens where nobody but the session can connect: on a Unix socket in the runtime folder
# (VIZDASH_LISTEN=socket), or on a port of 127.0.0.1 in a network namespace of the session's own (port). The
# gate is the one way in: it listens on $runtime/web, as websockify does for a desktop.

is_service() { [ -n "${VIZDASH_KIND:-}" ]; }

# The port of an app in its own network namespace, where all ports are free.
service_port=8000

# ---------------------------------------------------------------- on the node

# Add the namespace to Apptainer's arguments: it has a loopback device and nothing else.
add_network_namespace() {
  [ "${VIZDASH_LISTEN:-}" = port ] || return 0
  args+=(--net --network none)
}

# Set `namespace` to the prefix that runs a host command in a network namespace of its own.
find_network_namespace() {
  local python
  namespace=()
  [ "${VIZDASH_LISTEN:-}" = port ] || return 0
  python=$(PATH=$system_path && type -P python3) ||
    fail app "no network namespace for the service: $node has no python3"
  network_namespace >"$runtime/namespace.py"
  namespace=("$python" -I "$runtime/namespace.py" "$runtime")
}

# What write_inner adds for a service.
service_values() {
  declare -p VIZDASH_KIND VIZDASH_LISTEN VIZDASH_PATH service_port
  printf 'node_network=%q\n' "$(readlink /proc/self/ns/net)"
  declare -f service_gate
}

# unshare(1) of EL8 cannot map a user to itself. The loopback device is switched on before exec, which
# drops the capabilities of the new user namespace (user_namespaces(7)).
network_namespace() {
  cat <<'PY'
import ctypes, fcntl, os, signal, socket, struct, sys

runtime, argv = sys.argv[1], sys.argv[2:]
uid, gid = os.getuid(), os.getgid()


def write(name, text):
    with open("/proc/self/" + name, "w") as file:
        file.write(text)


try:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x10000000 | 0x40000000):  # CLONE_NEWUSER | CLONE_NEWNET
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    write("setgroups", "deny")
    write("uid_map", "%d %d 1" % (uid, uid))
    write("gid_map", "%d %d 1" % (gid, gid))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, 0x8914, struct.pack("16sH14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
except OSError as e:
    why = "no network namespace for the service: %s (user namespaces may be off)" % e.strerror
    with open(runtime + "/failed", "w") as file:
        file.write("app\n%s\n" % why)
    sys.exit(1)
for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and so would the service
    signal.signal(number, signal.SIG_DFL)
os.execvp(argv[0], argv)
PY
}

write_service_connection() {
  local token text
  read -r token <"$runtime/token"
  text=$(
    printf 'JOB_ID=%s\nNODE=%s\nVNC_PORT=\n' "$job_id" "$node"
    printf 'SESSION_ID=%s\nSTATUS=running\nSTART_TIME=%(%s)T\n' "$SESSION_ID" -1
    printf 'NODE_IP=%s\nRUNTIME_DIR=%s\n' "$(node_address)" "$runtime"
    printf 'WEB_SOCKET=%s\nKIND=%s\n' "$runtime/web" "$VIZDASH_KIND"
    printf 'IMAGE=%s\nIMAGE_VERSION=%s\n' "$VIZDASH_IMAGE" "$VIZDASH_IMAGE_VERSION"
    printf 'IMAGE_DIGEST=%s\n' "$image_digest"
    printf 'SERVER_VERSION=%s\n' "$(one_line "$(cat "$runtime/version" 2>/dev/null)")"
    printf 'PASSWORD=%s\n' "$token"
  )
  write_whole connection "$text"
}

# ---------------------------------------------------------------- in the image, or on the host

inner_service() {
  local python as found gate app app_code='' gl=() app_began pause
  exec 9>"$runtime/events"
  inner_make_pause
  trap inner_end TERM
  inner_settle_environment
  echo 'step app' >&9
  inner_service_private
  inner_find python3 || inner_fail app "python3 is not installed in this ${VIZDASH_RUNTIME/apptainer/image}"
  python=$found
  head -c 24 /dev/urandom | base64 | tr '+/' '-_' >"$runtime/token"
  service_gate >"$runtime/gate.py"
  user_environment+=$'\n'"export VIZDASH_SOCKET=$runtime/service VIZDASH_PORT=$service_port"
  if [ "$VIZDASH_KIND:$VIZDASH_RUNTIME" = pvserver:host ]; then inner_mpi_folders; fi
  : >"$runtime/app.log"
  inner_server_version
  inner_start_app
  "$as" "$python" -I "$runtime/gate.py" "$runtime" "$VIZDASH_KIND" "$VIZDASH_LISTEN" "$service_port" \
    "$SESSION_ID" "$VIZDASH_PATH" 9>&- </dev/null >"$runtime/gate.log" 2>&1 &
  gate=$!
  inner_service_ready
  echo ready >&9
  inner_service_watch
}

# MPI's files of a pvserver that is killed would stay in /tmp and /dev/shm (an image's are private): keep
# Open MPI's in the runtime folder, with which they are removed (parameters: ompi_info --all). `pvserver
# --version` starts MPI, too.
inner_mpi_folders() {
  local name
  user_environment+=$'\n'"export TMPDIR=$runtime/work/tmp"
  for name in orte_tmpdir_base btl_vader_backing_directory btl_sm_backing_directory \
    osc_sm_backing_directory; do
    user_environment+=$'\n'"export OMPI_MCA_$name=$runtime/work/tmp"
  done
}

# Clients of another version cannot use a pvserver, and get no reason from it.
inner_server_version() {
  local place=${VIZDASH_RUNTIME/apptainer/image}
  [ "$VIZDASH_KIND" = pvserver ] || return 0
  # MPI may leave a daemon running.
  run_for 60 inner_as_user pvserver --version >"$runtime/said" 2>&1 </dev/null 9>&-
  case $? in
    0) ;;
    124) inner_fail app "pvserver --version does not end in this $place" ;;
    *) inner_fail app "pvserver --version failed in this $place$(after_colon "$(last_line "$runtime/said")")" ;;
  esac
  grep -oE '[0-9]+\.[0-9]+(\.[0-9]+)?' "$runtime/said" | head -n 1 >"$runtime/version"
}

# A port of the node's own loopback device would be open to every user of the node.
inner_service_private() {
  [ "$VIZDASH_LISTEN" = port ] || return 0
  [ "$(readlink /proc/self/ns/net)" != "$node_network" ] ||
    inner_fail app "the service would listen on a port that every user of the node can reach"
}

inner_service_ready() {
  local why
  answered() { [ -e "$runtime/answered" ] || ! child_lives "$gate" || ! child_lives "$app"; }
  wait_for "$VIZDASH_READY_TIMEOUT" answered || {
    why=$(last_line "$runtime/gate.log" "$runtime/app.log")
    inner_fail app "no answer in $VIZDASH_READY_TIMEOUT s$(after_colon "$why")"
  }
  inner_service_over || return 0
  [ "$app_code" = 0 ] || inner_app_failed "the service ended at once"
  inner_fail app "the service ended at once with code 0: it must stay in the foreground"
}

inner_service_over() {
  local VIZDASH_ENDS_WITH=process
  inner_gate_lives
  inner_app_over
}

inner_gate_lives() {
  child_lives "$gate" && return
  wait "$gate"
  inner_fail app "the gate ended with $(code_words $?)$(after_colon "$(last_line "$runtime/gate.log")")"
}

inner_service_watch() {
  until inner_service_over; do
    inner_socket_exists web inner_gate_lives
    read -r -t 0.5 -u "$pause"
  done
  if [ "$app_code" != 0 ]; then inner_app_failed "the service ended"; fi
}

source gate.sh # vizdash puts the file's text here
