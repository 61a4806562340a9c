#!/bin/bash
# The local engine's slurmd: run the job script of one session, detached from vizdash.
#
#   supervise.sh FOLDER SESSION_ID LIMIT_SECONDS WARN_SECONDS SWEEP
#
# FOLDER/script is the job script, and FOLDER/job.log gets its output (this script's stdout).
# FOLDER/supervisor identifies this process: PID, start time in ticks since boot (proc(5), field 22 of
# stat) and boot id, so that a reused PID is never taken for this session.
# The script gets USR1 WARN_SECONDS before the limit, TERM at the limit, and KILL after a grace period.
# If vizdash has extended the session, FOLDER/end contains its new end, in seconds since the epoch.
# TERM to this process cancels the session. However the script ends, SWEEP (sweep.sh) then ends what it
# left running: vizdash starts this process as a subreaper (prctl(2)), so daemons are its children too.
set -u
# shellcheck source=environment.sh
source "${BASH_SOURCE[0]%/*}/environment.sh"
# shellcheck source=reserve.sh
source "${BASH_SOURCE[0]%/*}/reserve.sh"
set_aside_environment

# The mark by which this process and its timers are found if it is killed; no other process has it.
unset VIZDASH_SUPERVISOR_OF
folder=$1 id=$2 limit=$3 warn=$4 sweep=$5
grace=20

printf -v begins '%(%s)T' -1
VIZDASH_END_TIME=$((begins + limit))
export VIZDASH_END_TIME

# end_time: print the current end of the session.
end_time() {
  local later=''
  if [ -f "$folder/end" ]; then read -r later <"$folder/end"; fi
  [[ $later =~ ^[0-9]{1,12}$ ]] || later=$VIZDASH_END_TIME
  printf '%s' "$((10#$later))"
}

# The name in field 2 of stat may contain blanks and brackets: cut at the last bracket.
stat=$(cat "/proc/$$/stat")
read -r -a fields <<<"${stat##*) }"

# A timer that can be stopped at once: its sleep is a known child. It reads the clock repeatedly, since a
# suspended machine does not count its sleep. If this process is killed, the timer signals nobody, since
# the PID may have been reused. It touches FOLDER/supervisor in each round, so that a clone of this
# machine with the same home sees that the session is not its own (engines/local/machine.py,
# HostIdentity).
timers=()
due() { # AT: print that time, or for "end-SECONDS" the time that long before the session's end
  case $1 in end-*) printf '%s' "$(($(end_time) - ${1#end-}))" ;; *) printf '%s' "$1" ;; esac
}
timer() { # AT SIGNAL PID; after USR1, wait for a later end
  (
    trap 'kill "$!" 2>/dev/null; exit 0' TERM
    me=$BASHPID fired=''
    while :; do
      at=$(due "$1")
      printf -v now '%(%s)T' -1
      if [ "$now" -ge "$at" ] && [ "$at" != "$fired" ]; then
        read -r _ parent < <(grep '^PPid:' "/proc/$me/status")
        if [ "$parent" = "$$" ]; then kill -s "$2" "$3" 2>/dev/null; fi
        if [ "$2" != USR1 ]; then exit 0; fi
        fired=$at
      fi
      touch -c -- "$folder/supervisor"
      left=$((at > now && at - now < 30 ? at - now : 30))
      sleep "$left" &
      wait "$!"
    done
  ) >/dev/null 2>&1 &
  timers+=("$!")
}

job='' result=''
ask_end() {
  local now
  printf -v now '%(%s)T' -1
  if [ -z "$result" ]; then
    if [ "$now" -ge "$(end_time)" ]; then result=timed-out; else result=cancelled; fi
  fi
  [ -n "$job" ] || return 0
  kill -TERM "$job" 2>/dev/null
  timer "$((now + grace))" KILL "$job"
}

# write_whole FILE TEXT: write FILE, or keep the old one; cat(1) checks its writes and its close.
write_whole() {
  printf '%s\n' "$2" | cat >"$folder/.$1.$$" && mv -f "$folder/.$1.$$" "$folder/$1" && return
  rm -f "$folder/.$1.$$"
  if write_reserved "$folder" "$1" "$2"; then return; fi
  rm -f "$folder/.$1.reserve"
  printf '%s\n' "$2" | cat >"$folder/.$1.$$" && mv -f "$folder/.$1.$$" "$folder/$1" && return
  rm -f "$folder/.$1.$$"
  return 1
}

# A cancel may come as soon as the file is written, before the job starts.
trap ask_end TERM
# Caught, not ignored: children of the session would ignore them too.
trap : HUP INT

# Without this file, the session could not be found or ended.
write_whole supervisor "$$ ${fields[19]} $(cat /proc/sys/kernel/random/boot_id)" || exit 1

# If it is already cancelled, do not start it.
if [ -z "$result" ]; then
  (
    set -- "$id" "$VIZDASH_END_TIME" setsid "$BASH" -p "$folder/script"
    unset -v fields timers # arrays cannot be exported
    eval "$user_environment" 2>/dev/null
    export VIZDASH_SESSION_ID=$1 VIZDASH_END_TIME=$2
    unset VIZDASH_SUPERVISOR_OF
    shift 2
    exec "$@"
  ) </dev/null &
  job=$!
  if [ "$limit" -gt "$warn" ]; then timer "end-$warn" USR1 "$job"; fi
  timer end-0 TERM "$$"
  [ -z "$result" ] || ask_end
fi

while [ -n "$job" ] && kill -0 "$job" 2>/dev/null; do
  wait "$job"
done
trap : TERM
if [ "${#timers[@]}" -gt 0 ]; then kill "${timers[@]}" 2>/dev/null; fi

bash -p "$sweep" "$id" "$$"

# A killed script could not write its final status.
if ! grep -qs '^STATE=ended$' "$folder/status"; then
  step=$(sed -n 's/^STEP=//p' "$folder/status" 2>/dev/null)
  ready=$(sed -n '/^READY=/p' "$folder/status" 2>/dev/null)
  error=''
  [ -n "$result" ] || error='the job script was killed'
  rm -f "$folder/connection"
  write_whole status "$(
    printf 'STATE=ended\nSTEP=%s\nERROR=%s\n' "$step" "$error"
    printf 'RESULT=%s\nUPDATED=%(%s)T\n' "${result:-failed}" -1
    printf 'NODE=%s\nJOB_ID=%s\n' "$(uname -n)" "$id"
    if [ -n "$ready" ]; then printf '%s\n' "$ready"; fi
  )"
fi
rm -f "$folder/connection" "$folder/script" "$folder"/.*.reserve "$folder/end" "$folder/lease"
