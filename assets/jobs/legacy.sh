#!/bin/bash
# Runs a site's job script of the legacy kind, whole and unchanged, as a vizdash session.
#
# Such a script knows SESSION_ID and VNC_PORT, leaves /tmp/app_session_SESSION_ID.info on the node
# and starts an image that brings up a desktop by itself. It picks nothing and publishes nothing,
# so this does: a port that is free on the node that will use it, the states, an end that leaves
# nothing behind. The site's script stands in VIZDASH_SCRIPT.

set -u -o pipefail
umask 077

F=$HOME/.local/state/vizdash/sessions/$SESSION_ID
info=/tmp/app_session_$SESSION_ID.info
job_id=${SLURM_JOB_ID:-${VIZDASH_JOB_ID:-$SESSION_ID}}
node=${SLURMD_NODENAME:-$(uname -n)}
R='' step=runtime script='' ending=''
export VIZDASH_SESSION_ID=$SESSION_ID

say() { printf '%(%H:%M:%S)T %s\n' -1 "$*"; }

status() { # STATE STEP [RESULT] [ERROR]
  local new=$F/.status.$BASHPID error=${4:-}
  {
    printf 'STATE=%s\nSTEP=%s\nRESULT=%s\n' "$1" "$2" "${3:-}"
    printf 'ERROR=%s\nUPDATED=%(%s)T\n' "${error//[[:cntrl:]]/ }" -1
    printf 'NODE=%s\nJOB_ID=%s\n' "$node" "$job_id"
  } >"$new" && mv -f "$new" "$F/status"
}

comment() { # STATE
  [ "${VIZDASH_ENGINE:-}" = slurm ] || return 0
  timeout 10 scontrol update JobId="$job_id" Comment="vizdash/1 id=$SESSION_ID \
app=$VIZDASH_APP image=- state=$1 step=legacy" >/dev/null 2>&1
  return 0
}

marked() {
  {
    grep -lsz "^VIZDASH_SESSION_ID=$SESSION_ID\$" /proc/[0-9]*/environ | cut -d/ -f3
    [ -z "$script" ] || ps -o pid= -s "$script" 2>/dev/null
  } | tr -d ' ' | sort -un | grep -vx -e "$$" -e "$BASHPID"
}

finish() { # RESULT [ERROR]
  trap '' TERM USR1 HUP INT
  ending=1
  status ending "$step" "$1" "${2:-}"
  local pids tries
  for tries in {1..60}; do
    mapfile -t pids < <(marked)
    if [ ${#pids[@]} = 0 ] || ! kill -0 "${pids[@]}" 2>/dev/null; then break; fi
    if [ "$tries" = 1 ]; then kill -TERM "${pids[@]}" 2>/dev/null; fi
    if [ "$tries" -gt 20 ]; then kill -KILL "${pids[@]}" 2>/dev/null; fi
    sleep 0.1
  done
  # The script's own removal does not survive scancel.
  if [ -O "$info" ] && [ ! -L "$info" ]; then rm -f "$info"; fi
  if [ -n "$R" ]; then rm -rf -- "$R"; fi
  rm -f -- "$F/connection"
  say "ended: $1 ${2:-}"
  status ended "$step" "$1" "${2:-}"
  if [ "$1" = failed ]; then
    comment failed
    exit 1
  fi
  comment ended
  exit 0
}

on_term() {
  [ -z "$ending" ] || return 0
  local now end=${VIZDASH_END_TIME:-${SLURM_JOB_END_TIME:-}}
  printf -v now '%(%s)T' -1
  if [ -n "$end" ] && [ "$now" -ge "$end" ]; then finish timed-out; else finish cancelled; fi
}

# A lock for each port keeps two of our sessions off the same one until the image listens;
# what else listens is seen by asking. A lock of someone else's is as good as taken.
free_port() {
  local port
  for ((port = VIZDASH_PORT_MIN; port <= VIZDASH_PORT_MAX; port++)); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then continue; fi
    { exec 8>"/tmp/.vizdash-port-$port.lock"; } 2>/dev/null || continue
    if flock -n 8; then
      VNC_PORT=$port
      return 0
    fi
    exec 8>&-
  done
  return 1
}

# The info file counts only when it is ours: /tmp is everybody's.
info_port() {
  local port=''
  if [ -f "$info" ] && [ ! -L "$info" ] && [ -O "$info" ]; then
    port=$(sed -n 's/^VNC_PORT=\([0-9]\{1,5\}\)$/\1/p' "$info" | tail -n 1)
  fi
  printf '%s\n' "${port:-$VNC_PORT}"
}

answers() { # PORT: whether websockify answers there
  local line
  exec 3<>"/dev/tcp/127.0.0.1/$1" || return 1
  printf 'GET /vnc.html HTTP/1.0\r\n\r\n' >&3
  read -r -t 3 line <&3
  exec 3>&-
  [[ ${line:-} == HTTP/* ]]
}

write_connection() { # PORT
  local new=$F/.connection.$BASHPID ip
  ip=$(getent ahostsv4 "$node" | awk '$1 !~ /^127/ {print $1; exit}')
  {
    printf 'JOB_ID=%s\nNODE=%s\nVNC_PORT=%s\n' "$job_id" "$node" "$1"
    printf 'SESSION_ID=%s\nSTATUS=running\nSTART_TIME=%(%s)T\n' "$SESSION_ID" -1
    printf 'NODE_IP=%s\nRUNTIME_DIR=%s\n' "${ip:-$node}" "$R"
    printf 'WEB_SOCKET=\nVNC_SOCKET=\nPASSWORD=%s\n' "$VIZDASH_VNC_PASSWORD"
  } >"$new" && mv -f "$new" "$F/connection"
}

wait_ready() {
  local port deadline=$((SECONDS + VIZDASH_READY_TIMEOUT))
  while [ "$SECONDS" -lt "$deadline" ]; do
    port=$(info_port)
    if answers "$port" 2>/dev/null; then
      write_connection "$port"
      status ready ready
      comment ready
      say "ready on $node, port $port"
      return
    fi
    sleep 0.2
  done
  printf 'no desktop answered at port %s in %s s\n' "$port" "$VIZDASH_READY_TIMEOUT" >"$R/failed"
  kill -TERM "$script" 2>/dev/null
}

main() {
  trap on_term TERM
  trap 'say "ends in $((VIZDASH_WARN_SECONDS / 60)) minutes"' USR1
  trap '' HUP INT
  mkdir -p -- "$F" && chmod 700 "$F"
  status starting runtime
  R=$(mktemp -d "/tmp/vizdash-$SESSION_ID.XXXXXXXX" 2>&1) || { R='' && finish failed "no folder in /tmp"; }
  step=websockify
  free_port || finish failed "ports $VIZDASH_PORT_MIN-$VIZDASH_PORT_MAX are all taken on $node"
  export SESSION_ID VNC_PORT
  step=app
  status starting app
  printf '%s\n' "$VIZDASH_SCRIPT" >"$R/script.sh"
  setsid bash "$R/script.sh" </dev/null 8>&- 2> >(tee "$R/errors" >&2) &
  script=$!
  wait_ready 8>&- &
  local code
  while :; do
    wait "$script"
    code=$?
    kill -0 "$script" 2>/dev/null || break
  done
  if [ -s "$R/failed" ]; then finish failed "$(cat "$R/failed")"; fi
  if [ "$code" != 0 ]; then
    finish failed "the job script ended with code $code: $(tail -n 5 "$F/job.log" | grep . | tail -n 1)"
  fi
  [ -e "$F/connection" ] || finish failed "the job script ended before a desktop answered"
  step=ready
  finish finished
}

main
