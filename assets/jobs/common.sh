# shellcheck shell=bash
# Shared by all kinds of session jobs: session folder, states, end. The including script sets `leader`
# (the leader of the desktop's process session), `runtime` (the runtime folder) and `step`, and may replace
# the hooks `before_end` and `after_end`.

F=${VIZDASH_FOLDER:-$HOME/.local/state/vizdash/sessions/$SESSION_ID}
runtime='' leader='' ending='' viewers='' since='' note='' image_digest='' write_error='' warning=''
renderer=''
job_comment='' commented=yes
job_id=${SLURM_JOB_ID:-${VIZDASH_JOB_ID:-$SESSION_ID}}
node=${SLURMD_NODENAME:-$(uname -n)}
# All processes of the session are found by this mark in /proc/PID/environ.
export VIZDASH_SESSION_ID=$SESSION_ID
source cleanup.sh # vizdash puts the file's text here
source lease.sh
source limit.sh
source reserve.sh

say() { printf '%(%H:%M:%S)T %s\n' -1 "$*"; }

before_end() { :; } # RESULT
after_end() { :; }  # RESULT
last_end() { :; }   # what may take long: after the final status

# ---------------------------------------------------------------- status and comment

# write_whole NAME TEXT: write TEXT and a newline to file NAME in the folder; on failure, keep the old
# file and set `write_error`. cat(1) checks its writes and its close, the shell's printf does not.
write_whole() {
  local new=$F/.$1.$BASHPID why='' room=${HOME:-}
  case $F/ in "${HOME:-/nowhere}"/*) ;; *) room=${F%/sessions/*} ;; esac
  for _ in first again; do
    if why=$({ printf '%s\n' "$2" | LC_ALL=C cat >"$new" && LC_ALL=C mv -f -- "$new" "$F/$1"; } 2>&1); then
      return 0
    fi
    rm -f -- "$new"
    if write_reserved "$F" "$1" "$2"; then return 0; fi
    # A file system that writes changed blocks elsewhere needs the reserved space to be free.
    rm -f -- "$F/.$1.reserve"
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

# The submitting vizdash made the folder. Files of an earlier run of a requeued job are removed; slurmd
# makes the log with the user's umask. A session that cannot write its folder cannot be opened, so it
# fails; others reserve some space for their final status.
own_folder() {
  if [ ! -d "$F" ] || [ -L "$F" ] || [ ! -O "$F" ]; then
    fail folder "the session folder $F does not exist on $node, or is not yours"
  fi
  chmod 700 "$F"
  if [ -e "$F/job.log" ]; then chmod 600 "$F/job.log"; fi
  rm -f -- "$F/connection"
  reserve "$F" status
  reserve "$F" connection
  status starting "$step" || fail folder "$write_error"
}

# roomy_folder PARENT: set `runtime` to a new folder below it (0700) that can hold files, or set `why_not`.
# Paths of sockets must be short (sun_path, unix(7)).
roomy_folder() {
  if [ ${#1} -ge 60 ]; then
    why_not="$1: its path is too long for sockets"
    return 1
  fi
  runtime=$(mktemp -d "$1/vizdash-$SESSION_ID.XXXXXXXX" 2>&1) || { why_not=$runtime && return 1; }
  # A full file system allows a folder, but no file with content.
  if why_not=$( (head -c 262144 /dev/zero >"$runtime/.room") 2>&1); then
    rm -f "$runtime/.room"
    return 0
  fi
  why_not="$1: ${why_not##*: }"
  rm -rf -- "$runtime"
  return 1
}

# If the node has no home, a folder beside the session folders is used instead, and kept.
own_home() {
  local line
  if [ -d "${HOME:-}" ]; then return 0; fi
  stand_in_home || fail folder "there is no home on $node, and $HOME cannot be made"
  printf -v line '\nexport HOME=%q' "$HOME"
  user_environment+=$line
  say "there is no home on $node: using $HOME instead"
}

stand_in_home() {
  export HOME=${F%/sessions/*}/home
  mkdir -p -- "$HOME"
}

# status STATE STEP [RESULT] [ERROR]: write the status file. READY, the time when the desktop first
# answered, is kept until the end of this run of the job.
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
    if [ -n "$renderer" ]; then printf 'RENDERER=%s\n' "$(one_line "$renderer")"; fi
    if [ -n "$idle_end" ]; then printf 'IDLE_END=%s\n' "$idle_end"; fi
    if [ -n "$viewers" ]; then printf 'VIEWERS=%s\nSINCE=%s\n' "$viewers" "$since"; fi
  )
  write_whole status "$text"
}

# encode TEXT: print it percent-encoded (RFC 3986), for the comment.
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
  printf '%s' "vizdash/1 id=$SESSION_ID app=$VIZDASH_APP${VIZDASH_KIND:+ kind=$VIZDASH_KIND}" \
    " image=${image//[^A-Za-z0-9._:+@\/-]/_}${VIZDASH_LEASE_SECONDS:+ lease=$VIZDASH_LEASE_SECONDS}" \
    " state=$1 step=$2" \
    "${viewers:+ viewers=$viewers since=$since}${image_digest:+ digest=$image_digest}" \
    "${note:+ note=$note}${3:+ error=$(encode "$3")}"
}

# The job's comment as slurmctld has it now; fails if that can't be read in so many seconds.
query_comment() { # SECONDS
  timeout "$1" squeue -h -t all -j "$job_id" -o %k 2>/dev/null
}

# note_in COMMENT: set REPLY to the message or note, percent-encoded, that someone has put into it.
note_in() {
  REPLY=''
  case $1 in 'vizdash/1 '*' note='*) REPLY=${1##* note=} ;; *) return 0 ;; esac
  REPLY=${REPLY%% *}
  case $REPLY in *[!A-Za-z0-9._~%-]*) REPLY='' ;; esac
}

# comment STATE STEP: set the job's comment, which is world-readable: no secrets. It is a hint for other
# users that a site may refuse and slurmctld may delay, so it is sent in the background, and repeated
# after a failure.
comment() {
  [ "${VIZDASH_ENGINE:-}" = slurm ] && [ -n "$runtime" ] || return 0
  comment_text "$@" >"$runtime/.comment.$BASHPID" && mv -f "$runtime/.comment.$BASHPID" "$runtime/comment"
  send_comment >/dev/null 2>&1 &
}

# One process at a time sends $runtime/comment, until the last text has been sent. A comment set by the site (a
# job_submit plugin) is kept, and so is a message in it that has not been shown yet ($runtime/shown): it was put
# there a moment ago.
send_comment() {
  local text shown now sent='' pause=1 tries=0
  exec 7>"$runtime/comment.lock"
  while text=$(cat "$runtime/comment") && shown=$(cat "$runtime/shown" || :) && [ "$text $shown" != "$sent" ]; do
    flock -n 7 || return 0 # its holder sends this text too
    printf '%s\n' "$BASHPID" >"$runtime/sender"
    now=$(query_comment 10) || now=''
    case $now in '' | '(null)' | 'vizdash/1 '*) ;; *) rm -f "$runtime/sender"; return 0 ;; esac
    note_in "$now"
    [ "$REPLY" != "$shown" ] || REPLY=''
    if timeout 10 scontrol update JobId="$job_id" Comment="$text${REPLY:+ note=$REPLY}" 7>&-; then
      # The same message may come again, once it is no longer there.
      if [ -n "$shown" ] && [ "$(cat "$runtime/shown")" = "$shown" ]; then : >"$runtime/shown"; fi
      sent="$text "
      : >"$runtime/commented"
    else
      tries=$((tries + 1))
      [ "$tries" -lt 10 ] || { rm -f "$runtime/sender"; return 0; }
      sleep "$pause" 7>&-
      pause=$((pause < 60 ? pause * 2 : 60))
    fi
    rm -f "$runtime/sender" # its PID may be another process's later
    flock -u 7
  done
}

# last_comment STATE STEP [ERROR], after read_note: one short try, since the job is about to end; none
# if slurmctld did not accept earlier ones, except for an error that the folder could not hold.
last_comment() {
  [ "${VIZDASH_ENGINE:-}" = slurm ] || return 0
  case $job_comment in '' | '(null)' | 'vizdash/1 '*) ;; *) return 0 ;; esac
  if [ -n "$commented" ] || [ -n "${3:-}" ]; then
    timeout 3 scontrol update JobId="$job_id" Comment="$(comment_text "$@")" >/dev/null 2>&1
  fi
  return 0
}

# read_note: set `note`, percent-encoded, to the message or note that an operator (or the owner) has
# put into the job's comment: shown on the desktop, and kept after the end. Fails if it can't be read.
read_note() {
  note=''
  [ "${VIZDASH_ENGINE:-}" = slurm ] || return 0
  job_comment=$(query_comment 3) || { commented='' && return 1; }
  note_in "$job_comment"
  note=$REPLY
}

# count_viewers N: set the number of viewers, and since when there are some, or none.
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

# The last non-empty line of a file, without a program's severity prefix.
last_line() {
  tail -q -n 50 -- "$@" 2>/dev/null | grep -v '^[[:space:]]*$' | tail -n 1 |
    sed -E 's/\x1b\[[0-9;]*m//g; s/^(FATAL|ERROR): *//; s/^[0-9:]{8} //'
}

fail() { # STEP WHY: end the session as failed
  step=$1
  say "failed at step $1: $2"
  finish failed "$2"
}

# hold_folder FOLDER: keep systemd-tmpfiles(8), which removes what is old in /tmp, out of it for as long as
# this process lives: it skips folders that are locked (flock(2)).
hold_folder() {
  local lock
  { exec {lock}<"$1" && flock -s -n "$lock"; } 2>/dev/null
}

node_address() {
  getent ahostsv4 "$node" 2>/dev/null | awk '$1 !~ /^127/ {print $1; exit}' | grep . ||
    hostname -I 2>/dev/null | awk '{print $1}' | grep . || printf '%s\n' "$node"
}

# ---------------------------------------------------------------- end

finish() { # RESULT [ERROR]: end all processes of the session, write its final status, and exit
  trap '' TERM USR1 HUP INT
  ending=1
  local lost=''
  before_end "$1"
  stop_keeper
  if [ -n "$runtime" ] && [ -e "$runtime/sender" ]; then kill "$(cat "$runtime/sender")" 2>/dev/null; fi
  status ending "$step" "$1" "${2:-}"
  end_session "$SESSION_ID" "$job_id" "$leader"
  after_end "$1"
  # No comment was accepted: slurmctld refuses them, or does not answer.
  if [ -n "$runtime" ] && [ -e "$runtime/comment" ] && [ ! -e "$runtime/commented" ]; then commented=''; fi
  if [ -n "$runtime" ]; then remove_folder "$runtime"; fi
  rm -f -- "$F/connection"
  rm -rf -- "$F/ssh" # the client's key and known host key
  say "ended: $1 ${2:-}"
  status ended "$step" "$1" "${2:-}" || lost=${2:-$write_error}
  rm -f -- "$F/.status.reserve" "$F/.connection.reserve"
  read_note
  if [ "$1" = failed ]; then
    last_comment failed "$step" "$lost"
    last_end
    exit 1
  fi
  last_comment ended "$step"
  last_end
  exit 0
}

on_term() {
  [ -z "$ending" ] || return 0
  ending=1
  local now end
  if [ -n "$runtime" ] && [ -s "$runtime/gave_up" ]; then
    { read -r step && read -r end; } <"$runtime/gave_up"
    fail "$step" "$end"
  fi
  on_early_end
  printf -v now '%(%s)T' -1
  end=${VIZDASH_END_TIME:-${SLURM_JOB_END_TIME:-}}
  # The local engine writes it here when it extends a session (supervise.sh).
  if [ -f "$F/end" ]; then read -r end <"$F/end"; fi
  if [ -n "$end" ] && [ "$now" -ge "$end" ]; then finish timed-out; else finish cancelled; fi
}
