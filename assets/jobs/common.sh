# shellcheck shell=bash
# What every kind of session job shares: its folder, its states, its end. The script that holds
# this sets `leader` (the process whose session is the desktop's), `R` and `step`, and may replace
# the hooks `before_end` and `after_end`.

F=${VIZDASH_FOLDER:-$HOME/.local/state/vizdash/sessions/$SESSION_ID}
R='' leader='' ending='' viewers='' since='' note='' image_digest='' write_error='' warning=''
job_comment='' commented=yes
job_id=${SLURM_JOB_ID:-${VIZDASH_JOB_ID:-$SESSION_ID}}
node=${SLURMD_NODENAME:-$(uname -n)}
# Everything that the session starts is found again by this mark in /proc/PID/environ.
export VIZDASH_SESSION_ID=$SESSION_ID
source cleanup.sh # vizdash puts the file's text here

say() { printf '%(%H:%M:%S)T %s\n' -1 "$*"; }

before_end() { :; } # RESULT
after_end() { :; }  # RESULT

# ---------------------------------------------------------------- what the job says of itself

# write_whole NAME TEXT: TEXT and a newline become the folder's file NAME, or NAME stays as it was and
# `write_error` says why. cat(1) checks its writes and its close, the shell's printf does not.
write_whole() {
  local new=$F/.$1.$BASHPID why='' room=${HOME:-}
  case $F/ in "${HOME:-/nowhere}"/*) ;; *) room=${F%/sessions/*} ;; esac
  for _ in first again; do
    if why=$({ printf '%s\n' "$2" | LC_ALL=C cat >"$new" && LC_ALL=C mv -f -- "$new" "$F/$1"; } 2>&1); then
      return 0
    fi
    # Where nothing else is left, there is the room that was kept.
    rm -f -- "$new" "$F/.reserve"
  done
  why=${why##*: }
  case $why in
    'No space left on device') write_error="no space left in $room on $node" ;;
    'Disk quota exceeded') write_error="the disk quota of $room is used up" ;;
    'Read-only file system') write_error="$room is read-only on $node" ;;
    *) write_error="$F/$1 can't be written on $node: $why" ;;
  esac
  say "$write_error"
  return 1
}

# Whoever submitted made the folder. What an earlier run of a requeued job left there is not ours;
# slurmd makes the log with the user's own umask. A session whose folder takes nothing can't be
# reached; one that could be keeps some room for its last words.
own_folder() {
  if [ ! -d "$F" ] || [ -L "$F" ] || [ ! -O "$F" ]; then
    fail folder "the session's folder $F is not there on $node, or not yours"
  fi
  chmod 700 "$F"
  if [ -e "$F/job.log" ]; then chmod 600 "$F/job.log"; fi
  rm -f -- "$F/connection"
  head -c 8192 /dev/zero 2>/dev/null | cat 2>/dev/null >"$F/.reserve"
  status starting "$step" || fail folder "$write_error"
}

# roomy_folder PARENT: into R a new folder below it (0700) that holds files; else `why_not` says why
# there is none. Socket paths have to stay short (sun_path, unix(7)).
roomy_folder() {
  if [ ${#1} -ge 60 ]; then
    why_not="$1: its path is too long for sockets"
    return 1
  fi
  R=$(mktemp -d "$1/vizdash-$SESSION_ID.XXXXXXXX" 2>&1) || { why_not=$R && return 1; }
  # A full file system makes a folder, but no file that holds anything.
  if why_not=$( (head -c 262144 /dev/zero >"$R/.room") 2>&1); then
    rm -f "$R/.room"
    return 0
  fi
  why_not="$1: ${why_not##*: }"
  rm -rf -- "$R"
  return 1
}

# A home that is not there on the node: a folder beside the sessions takes its place, and stays.
own_home() {
  if [ -d "${HOME:-}" ]; then return 0; fi
  stand_in_home || fail folder "there is no home on $node, and $HOME can't be made"
  say "there is no home on $node: $HOME takes its place"
}

stand_in_home() {
  export HOME=${F%/sessions/*}/home
  mkdir -p -- "$HOME"
}

# status STATE STEP [RESULT] [ERROR]: into the folder, whole or not at all. READY, the moment at which
# the desktop first answered, stays to the end of this run of the job.
status() {
  local ready='' text
  [ "$1" = starting ] || ready=$(sed -n 's/^READY=//p' "$F/status" 2>/dev/null) || ready=''
  if [ "$1" = ready ] && [ -z "$ready" ]; then printf -v ready '%(%s)T' -1; fi
  text=$(
    printf 'STATE=%s\nSTEP=%s\nRESULT=%s\n' "$1" "$2" "${3:-}"
    printf 'ERROR=%s\nUPDATED=%(%s)T\n' "$(one_line "${4:-}")" -1
    printf 'NODE=%s\nJOB_ID=%s\nSTARTED=%s\n' "$node" "$job_id" "${SLURM_JOB_START_TIME:-}"
    if [ -n "$ready" ]; then printf 'READY=%s\n' "$ready"; fi
    if [ -n "$image_digest" ]; then printf 'IMAGE_DIGEST=%s\n' "$image_digest"; fi
    if [ -n "$warning" ]; then printf 'WARNING=%s\n' "$(one_line "$warning")"; fi
    if [ -n "$viewers" ]; then printf 'VIEWERS=%s\nSINCE=%s\n' "$viewers" "$since"; fi
  )
  write_whole status "$text"
}

# encode TEXT: percent-encoded (RFC 3986), for the comment.
encode() {
  local LC_ALL=C i char
  for ((i = 0; i < ${#1} && i < 200; i++)); do
    char=${1:i:1}
    case $char in
      [A-Za-z0-9._~-]) printf '%s' "$char" ;;
      *) printf '%%%02X' "$(($(printf '%d' "'$char") & 255))" ;;
    esac
  done
}

comment_text() { # STATE STEP [ERROR]
  local image=${VIZDASH_IMAGE_VERSION:--}
  printf '%s' "vizdash/1 id=$SESSION_ID app=$VIZDASH_APP" \
    " image=${image//[^A-Za-z0-9._:+@\/-]/_} state=$1 step=$2" \
    "${viewers:+ viewers=$viewers since=$since}${image_digest:+ digest=$image_digest}" \
    "${note:+ note=$note}${3:+ error=$(encode "$3")}"
}

# Whether the job's comment may be ours: a site's own (job_submit plugins set such) is left alone.
may_comment() {
  local said
  said=$(timeout 10 squeue -h -t all -j "$job_id" -o %k 2>/dev/null) || return 0
  case $said in '' | '(null)' | 'vizdash/1 '*) return 0 ;; esac
  return 1
}

# comment STATE STEP: into the job, where every squeue sees it. World-readable: no secrets. It is a
# hint for others, which a site may refuse or slurmctld delay: it is sent in the background, and
# again when it was not taken.
comment() {
  [ "${VIZDASH_ENGINE:-}" = slurm ] && [ -n "$R" ] || return 0
  comment_text "$@" >"$R/.comment.$BASHPID" && mv -f "$R/.comment.$BASHPID" "$R/comment"
  send_comment >/dev/null 2>&1 &
}

# One at a time sends what is in $R/comment, until that is what was sent last.
send_comment() {
  local text sent='' pause=1 tries=0
  exec 7>"$R/comment.lock"
  while text=$(cat "$R/comment") && [ "$text" != "$sent" ]; do
    flock -n 7 || return 0 # who holds it sends this text too
    printf '%s\n' "$BASHPID" >"$R/sender"
    if [ ! -e "$R/may_comment" ]; then
      may_comment || return 0
      : >"$R/may_comment"
    fi
    if timeout 10 scontrol update JobId="$job_id" Comment="$text" 7>&-; then
      sent=$text
      : >"$R/commented"
    else
      tries=$((tries + 1))
      [ "$tries" -lt 10 ] || return 0
      sleep "$pause" 7>&-
      pause=$((pause < 60 ? pause * 2 : 60))
    fi
    flock -u 7
  done
}

# last_comment STATE STEP [ERROR]: after read_note. The job does not outlive it, so it has one short
# try; none where slurmctld did not answer or take the ones before, but for an error that the folder
# could not take.
last_comment() {
  [ "${VIZDASH_ENGINE:-}" = slurm ] || return 0
  case $job_comment in '' | '(null)' | 'vizdash/1 '*) ;; *) return 0 ;; esac
  if [ -n "$commented" ] || [ -n "${3:-}" ]; then
    timeout 3 scontrol update JobId="$job_id" Comment="$(comment_text "$@")" >/dev/null 2>&1
  fi
  return 0
}

# read_note: into `note`, percent-encoded, what an operator (or the owner) has put into the job's
# comment for whoever sits at the desktop: shown while it runs, kept when it ends.
read_note() {
  local said
  note=''
  [ "${VIZDASH_ENGINE:-}" = slurm ] || return 0
  job_comment=$(timeout 3 squeue -h -t all -j "$job_id" -o %k 2>/dev/null) || { commented='' && return 0; }
  said=$job_comment
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
  local lost=''
  before_end "$1"
  if [ -n "$R" ] && [ -e "$R/sender" ]; then kill "$(cat "$R/sender")" 2>/dev/null; fi
  status ending "$step" "$1" "${2:-}"
  end_session "$SESSION_ID" "$job_id" "$leader"
  after_end "$1"
  # None was taken: slurmctld refuses them, or does not answer.
  if [ -n "$R" ] && [ -e "$R/comment" ] && [ ! -e "$R/commented" ]; then commented=''; fi
  if [ -n "$R" ]; then remove_folder "$R"; fi
  rm -f -- "$F/connection"
  say "ended: $1 ${2:-}"
  status ended "$step" "$1" "${2:-}" || lost=${2:-$write_error}
  rm -f -- "$F/.reserve"
  read_note
  if [ "$1" = failed ]; then
    last_comment failed "$step" "$lost"
    exit 1
  fi
  last_comment ended "$step"
  exit 0
}

on_term() {
  [ -z "$ending" ] || return 0
  ending=1
  local now end
  if [ -n "$R" ] && [ -s "$R/unwritable" ]; then fail folder "$(cat "$R/unwritable")"; fi
  printf -v now '%(%s)T' -1
  end=${VIZDASH_END_TIME:-${SLURM_JOB_END_TIME:-}}
  # The local engine has it here when it was extended (supervise.sh).
  if [ -f "$F/end" ]; then read -r end <"$F/end"; fi
  if [ -n "$end" ] && [ "$now" -ge "$end" ]; then finish timed-out; else finish cancelled; fi
}
