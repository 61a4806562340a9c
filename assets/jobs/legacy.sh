#!/bin/bash -p
# Run a site's legacy job script, unchanged, as a vizdash session.
#
# Such a script reads SESSION_ID and VNC_PORT, writes /tmp/app_session_SESSION_ID.info on the node, and
# starts an image that brings up a desktop. This script adds the rest: a free port on the node, the
# states, and an end that removes everything. VIZDASH_SCRIPT is the site's script, VIZDASH_CHDIR its --chdir.

set -u -o pipefail

source environment.sh # vizdash puts the file's text here
set_aside_environment
step=runtime watcher=''
info=/tmp/app_session_$SESSION_ID.info
source common.sh

before_end() {
  if [ -n "$watcher" ]; then kill "$watcher" 2>/dev/null; fi
}

# After scancel, the script does not remove it.
after_end() {
  remove_legacy "$SESSION_ID"
  remove_dead_displays
}

# listening PORT [UID]: whether a socket (of that user) listens there (proc(5), /proc/net/tcp: local
# address, state 0A, uid).
listening() {
  cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
    awk -v port="$(printf ':%04X$' "$1")" -v uid="${2:-}" \
      '$2 ~ port && $4 == "0A" && (uid == "" || $8 == uid) {found = 1} END {exit !found}'
}

# Start at a port that depends on the user, so that two users rarely collide. A lock in the user's own
# folder separates their sessions until the image listens.
free_port() {
  local count=$((VIZDASH_PORT_MAX - VIZDASH_PORT_MIN + 1)) i port
  mkdir -p -- "${F%/*}/../ports"
  for ((i = 0; i < count; i++)); do
    port=$((VIZDASH_PORT_MIN + (UID * 7 + i) % count))
    if listening "$port"; then continue; fi
    exec 8>"${F%/*}/../ports/$node-$port" || continue
    if flock -n 8; then
      VNC_PORT=$port
      return 0
    fi
    exec 8>&-
  done
  return 1
}

# The info file counts only if this user owns it, since anyone can write to /tmp.
info_port() {
  local port=''
  if [ -f "$info" ] && [ ! -L "$info" ] && [ -O "$info" ]; then
    port=$(sed -n 's/^VNC_PORT=\([0-9]\{1,5\}\)$/\1/p' "$info" | tail -n 1)
  fi
  printf '%s\n' "${port:-$VNC_PORT}"
}

answers() { # PORT: whether this user's websockify answers there
  local line
  listening "$1" "$UID" || return 1
  exec 3<>"/dev/tcp/127.0.0.1/$1" || return 1
  printf 'GET /vnc.html HTTP/1.0\r\n\r\n' >&3
  read -r -t 3 line <&3
  exec 3>&-
  [[ ${line:-} == HTTP/* ]]
}

write_connection() { # PORT
  local text
  text=$(
    printf 'JOB_ID=%s\nNODE=%s\nVNC_PORT=%s\n' "$job_id" "$node" "$1"
    printf 'SESSION_ID=%s\nSTATUS=running\nSTART_TIME=%(%s)T\n' "$SESSION_ID" -1
    printf 'NODE_IP=%s\nRUNTIME_DIR=%s\n' "$(node_address)" "$runtime"
    printf 'WEB_SOCKET=\nVNC_SOCKET=\nPASSWORD=%s\n' "$VIZDASH_VNC_PASSWORD"
  )
  write_whole connection "$text"
}

# Temporary files of the script and its image are removed with the session. A folder set by the site or
# the user is kept; so is /tmp for the script where it can submit jobs, since sbatch passes TMPDIR on to
# jobs that outlive the session. The prefixed names reach an image in spite of --cleanenv; the folder is
# bound, since an image may have a private /tmp.
temporary_folder() { # RUNTIME
  [ "${TMPDIR:-/tmp}" = /tmp ] || return 0
  if ! type -P sbatch >/dev/null && ! type -P srun >/dev/null; then export TMPDIR=$1/tmp; fi
  export APPTAINERENV_TMPDIR=${APPTAINERENV_TMPDIR:-$1/tmp}
  export SINGULARITYENV_TMPDIR=${SINGULARITYENV_TMPDIR:-$1/tmp}
  local old=${SINGULARITY_BIND:-${SINGULARITY_BINDPATH:-}} new=${APPTAINER_BIND:-${APPTAINER_BINDPATH:-}}
  export SINGULARITY_BIND=$1/tmp${old:+,$old}
  new=${new:-$old} # Apptainer reads the older names if the new ones are not set
  export APPTAINER_BIND=$1/tmp${new:+,$new}
}

# Print the session's X and VNC servers, by name.
servers() {
  local pid name
  for pid in $(session_processes "$SESSION_ID" "$job_id" "$leader"); do
    name=$(cat "/proc/$pid/comm" 2>/dev/null) || continue
    case $name in X*vnc | Xvfb | Xorg | x11vnc | x0*vncserver) printf '%s\n' "$pid" ;; esac
  done
}

# set_interpreter SCRIPT: set `interpreter` to the words that run it: by its first line, as execve(2) reads
# it, with at most one argument. The file itself may be on a file system mounted noexec.
set_interpreter() {
  local line=''
  interpreter=("$BASH")
  IFS= read -r line <"$1"
  if [[ $line =~ ^#![[:blank:]]*([^[:blank:]]+)([[:blank:]]+(.*[^[:blank:]]))?[[:blank:]]*$ ]]; then
    interpreter=("${BASH_REMATCH[1]}" ${BASH_REMATCH[3]:+"${BASH_REMATCH[3]}"})
  fi
}

give_up() { # STEP WHY: report a failure to main
  printf '%s\n%s\n' "$1" "$2" >"$runtime/failed.new" && mv -f "$runtime/failed.new" "$runtime/failed"
}

wait_ready() { # sets port and pids
  local deadline=$((SECONDS + VIZDASH_READY_TIMEOUT))
  while [ "$SECONDS" -lt "$deadline" ]; do
    port=$(info_port)
    if answers "$port" 2>/dev/null; then
      mapfile -t pids < <(servers) # before anyone may end them
      if ! { write_connection "$port" && status ready ready; }; then
        give_up folder "$write_error"
        return 1
      fi
      comment ready legacy
      say "ready on $node, port $port"
      return 0
    fi
    sleep 0.2
  done
  give_up app "no desktop answered at port $port in $VIZDASH_READY_TIMEOUT s"
  return 1
}

# End the session when the desktop has gone, though the script waits for something else. Connecting would
# count as a failed login in Xvnc, so sockets are checked; a desktop missing in three checks in a row has
# gone, since a script may restart its server, which takes time on a busy node.
watch_desktop() {
  local port pids had step why missing=0
  wait_ready || return
  had=${#pids[@]}
  while [ "$missing" -lt 3 ]; do
    sleep 2
    if [ "$had" -gt 0 ] && ! lives "${pids[@]}"; then
      mapfile -t pids < <(servers) # it may have been restarted
    fi
    if ! listening "$port" "$UID"; then
      step=websockify why="nothing listens at port $port of $node any more"
    elif [ "$had" -gt 0 ] && [ "${#pids[@]}" = 0 ]; then
      step=xvnc why="the desktop's X server ended"
    else
      missing=0
      continue
    fi
    missing=$((missing + 1))
  done
  give_up "$step" "$why"
}

# Change to the folder of the script's own --chdir, which is relative to that of the submission. Where it is
# missing, slurmd uses /tmp, too.
change_folder() {
  cd -- "${SLURM_SUBMIT_DIR:-$HOME}" 2>/dev/null || cd -- "$HOME" || cd / || exit 1
  if [ -n "$VIZDASH_CHDIR" ] && ! cd -- "$VIZDASH_CHDIR" 2>/dev/null; then
    say "cannot change to the folder $VIZDASH_CHDIR on $node: using /tmp instead"
    cd /tmp || exit 1
  fi
}

main() {
  trap on_term TERM
  trap 'say "ends in $((VIZDASH_WARN_SECONDS / 60)) minutes"' USR1
  trap : HUP INT
  say "session $SESSION_ID of app $VIZDASH_APP: job $job_id on $node"
  own_folder
  own_home
  change_folder
  remove_orphans
  runtime=$(mktemp -d "/tmp/vizdash-$SESSION_ID.XXXXXXXX" 2>&1) ||
    { local why=$runtime && runtime='' && fail runtime "no folder for the session on $node: $why"; }
  { claim_folder "$runtime" "$job_id" && mkdir "$runtime/tmp"; } ||
    fail runtime "can't write to $runtime on $node"
  step=websockify
  free_port || fail websockify "ports $VIZDASH_PORT_MIN-$VIZDASH_PORT_MAX are all taken on $node"
  step=app
  status starting app || fail folder "$write_error"
  printf '%s\n' "$VIZDASH_SCRIPT" >"$runtime/script.sh" ||
    fail runtime "cannot write the job script to $runtime"
  (
    set_interpreter "$runtime/script.sh"
    set -- "$SESSION_ID" "$VNC_PORT" "$runtime" "${interpreter[@]}"
    eval "$user_environment" 2>/dev/null
    export SESSION_ID=$1 VNC_PORT=$2 VIZDASH_SESSION_ID=$1
    temporary_folder "$3"
    { echo 0x33 >/proc/self/coredump_filter; } 2>/dev/null # the kernel's default: see environment.sh
    exec setsid "${@:4}" "$3/script.sh"
  ) </dev/null 8>&- &
  leader=$!
  watch_desktop 8>&- &
  watcher=$!
  local code why
  # A script may ignore TERM, so nothing here waits for its end: finish ends it.
  while kill -0 "$leader" 2>/dev/null && [ ! -s "$runtime/failed" ]; do
    sleep 0.5 8>&- &
    wait "$!"
  done
  if [ -s "$runtime/failed" ]; then
    { read -r step && read -r why; } <"$runtime/failed"
    fail "$step" "$why"
  fi
  wait "$leader"
  code=$?
  if [ "$code" != 0 ]; then
    fail app "the job script ended with code $code: $(last_line "$F/job.log")"
  fi
  [ -e "$F/connection" ] || fail app "the job script ended before a desktop answered"
  step=ready
  finish finished
}

main
