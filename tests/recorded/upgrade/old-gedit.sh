#!/bin/bash
#SBATCH --job-name=gedit_vnc
#SBATCH --partition=viz
#SBATCH --nodes=1
#SBATCH --output=/tmp/gedit_vnc_%j.out
# Runs a site's job script of the legacy kind, whole and unchanged, as a vizdash session.
#
# Such a script knows SESSION_ID and VNC_PORT, leaves /tmp/app_session_SESSION_ID.info on the node
# and starts an image that brings up a desktop by itself. It picks nothing and publishes nothing,
# so this does: a port that is free on the node that will use it, the states, an end that leaves
# nothing behind. The site's script stands in VIZDASH_SCRIPT.

# Values of this session, set by vizdash.
SESSION_ID=aaaaaaa3
VNC_PORT=''
VIZDASH_SCHEMA=1
VIZDASH_ENGINE=slurm
VIZDASH_APP=old-gedit
VIZDASH_RUNTIME=host
VIZDASH_IMAGE=''
VIZDASH_IMAGE_VERSION=''
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
VIZDASH_VNC_PASSWORD=password
VIZDASH_SCRIPT='#!/bin/bash
#SBATCH --job-name=gedit_vnc
#SBATCH --partition=viz
#SBATCH --nodes=1
#SBATCH --output=/tmp/gedit_vnc_%j.out
# A job script of the legacy kind: the same variables, the same info file in /tmp on the node.

SESSION_ID=${SESSION_ID:-test-session}
WEB_PORT=${VNC_PORT:-6080}
IMAGE=/opt/apptainers/apps/legacy-gedit/legacy-gedit.sif
INFO=/tmp/app_session_${SESSION_ID}.info

if [ ! -f "$IMAGE" ]; then
  echo "Apptainer image not found: $IMAGE"
  exit 1
fi

cat >"$INFO" <<INFO
JOB_ID=$SLURM_JOB_ID
NODE=$(hostname)
VNC_PORT=$WEB_PORT
SESSION_ID=$SESSION_ID
STATUS=running
START_TIME=$(date +%s)
NODE_IP=$(hostname -I | awk '"'"'{print $1}'"'"')
INFO

apptainer run --cleanenv --env VNC_PORT=5901 --env WEBSOCKIFY_PORT="$WEB_PORT" --env DISPLAY=:1 "$IMAGE"
rm -f "$INFO"
'
set -u -o pipefail
umask 077

step=runtime waiter=''
info=/tmp/app_session_$SESSION_ID.info
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

before_end() {
  if [ -n "$waiter" ]; then kill "$waiter" 2>/dev/null; fi
}

# The script's own removal does not survive scancel.
after_end() {
  if [ -O "$info" ] && [ ! -L "$info" ]; then rm -f "$info"; fi
}

# listening PORT [UID]: whether a socket listens there, of that user if one is given (proc(5),
# /proc/net/tcp: local address, state 0A, uid).
listening() {
  cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
    awk -v port="$(printf ':%04X$' "$1")" -v uid="${2:-}" \
      '$2 ~ port && $4 == "0A" && (uid == "" || $8 == uid) {found = 1} END {exit !found}'
}

# Begins at a port that differs from user to user, so that two who start at once rarely meet. A
# lock in the user's own folder, where nobody else can squat it, keeps their own sessions apart
# until the image listens.
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

# The info file counts only when it is ours: /tmp is everybody's.
info_port() {
  local port=''
  if [ -f "$info" ] && [ ! -L "$info" ] && [ -O "$info" ]; then
    port=$(sed -n 's/^VNC_PORT=\([0-9]\{1,5\}\)$/\1/p' "$info" | tail -n 1)
  fi
  printf '%s\n' "${port:-$VNC_PORT}"
}

answers() { # PORT: whether a websockify of ours answers there
  local line
  listening "$1" "$UID" || return 1
  exec 3<>"/dev/tcp/127.0.0.1/$1" || return 1
  printf 'GET /vnc.html HTTP/1.0\r\n\r\n' >&3
  read -r -t 3 line <&3
  exec 3>&-
  [[ ${line:-} == HTTP/* ]]
}

write_connection() { # PORT
  local new=$F/.connection.$BASHPID
  {
    printf 'JOB_ID=%s\nNODE=%s\nVNC_PORT=%s\n' "$job_id" "$node" "$1"
    printf 'SESSION_ID=%s\nSTATUS=running\nSTART_TIME=%(%s)T\n' "$SESSION_ID" -1
    printf 'NODE_IP=%s\nRUNTIME_DIR=%s\n' "$(node_address)" "$R"
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
      comment ready legacy
      say "ready on $node, port $port"
      return
    fi
    sleep 0.2
  done
  printf 'no desktop answered at port %s in %s s\n' "$port" "$VIZDASH_READY_TIMEOUT" >"$R/failed"
  kill -TERM "$leader" 2>/dev/null
}

main() {
  trap on_term TERM
  trap 'say "ends in $((VIZDASH_WARN_SECONDS / 60)) minutes"' USR1
  trap : HUP INT
  own_folder
  say "session $SESSION_ID of app $VIZDASH_APP: job $job_id on $node"
  status starting runtime
  R=$(mktemp -d "/tmp/vizdash-$SESSION_ID.XXXXXXXX" 2>&1) ||
    { local why=$R && R='' && fail runtime "no folder for the session on $node: $why"; }
  step=websockify
  free_port || fail websockify "ports $VIZDASH_PORT_MIN-$VIZDASH_PORT_MAX are all taken on $node"
  export SESSION_ID VNC_PORT
  # What the script and its image put into a temporary folder goes when the session goes; the
  # prefixed names reach into an image past --cleanenv.
  export TMPDIR=$R APPTAINERENV_TMPDIR=$R SINGULARITYENV_TMPDIR=$R
  step=app
  status starting app
  printf '%s\n' "$VIZDASH_SCRIPT" >"$R/script.sh" ||
    fail runtime "the job script could not be written to $R"
  setsid bash "$R/script.sh" </dev/null 8>&- &
  leader=$!
  wait_ready 8>&- &
  waiter=$!
  local code
  while :; do
    wait "$leader"
    code=$?
    kill -0 "$leader" 2>/dev/null || break
  done
  if [ -s "$R/failed" ]; then fail app "$(cat "$R/failed")"; fi
  if [ "$code" != 0 ]; then
    fail app "the job script ended with code $code: $(last_line "$F/job.log")"
  fi
  [ -e "$F/connection" ] || fail app "the job script ended before a desktop answered"
  step=ready
  finish finished
}

main
