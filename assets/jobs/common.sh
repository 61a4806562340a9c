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
source cleanup.sh # vizdash puts the file's text here

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

finish() { # RESULT [ERROR]: nothing of the session outlives this
  trap '' TERM USR1 HUP INT
  ending=1
  before_end "$1"
  status ending "$step" "$1" "${2:-}"
  end_session "$SESSION_ID" "$job_id" "$leader"
  after_end "$1"
  if [ -n "$R" ]; then remove_folder "$R"; fi
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
