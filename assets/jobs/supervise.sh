#!/bin/bash
# Stands in for slurmd on the local engine: runs one session's job script, detached from vizdash.
#
#   supervise.sh FOLDER SESSION_ID LIMIT_SECONDS WARN_SECONDS SWEEP
#
# FOLDER/script is the job script, FOLDER/job.log takes its output (this script's stdout), and
# FOLDER/supervisor says who we are: PID, its start time in ticks since boot (proc(5), field 22 of
# stat) and the boot's id, so that a reused PID is never taken for this session.
# USR1 goes to the script WARN_SECONDS before the limit, TERM at the limit, KILL after a grace. Where
# vizdash has extended the session, FOLDER/end holds its new end, in seconds since the epoch.
# TERM sent to us is a cancel. Whatever way the script ends, SWEEP (sweep.sh) then ends what it
# left behind: vizdash starts us as a subreaper (prctl(2)), so also what has daemonised is below us.
set -u
umask 077
# shellcheck source=environment.sh
source "${BASH_SOURCE[0]%/*}/environment.sh"
set_aside_environment

# The mark by which we and our timers are found, should we be killed; nobody else is to carry it.
unset VIZDASH_SUPERVISOR_OF
folder=$1 id=$2 limit=$3 warn=$4 sweep=$5
grace=20

printf -v begins '%(%s)T' -1
VIZDASH_END_TIME=$((begins + limit))
export VIZDASH_END_TIME

# end_time: when it ends, as far as is known now.
end_time() {
  local later=''
  if [ -f "$folder/end" ]; then read -r later <"$folder/end"; fi
  [[ $later =~ ^[0-9]{1,12}$ ]] || later=$VIZDASH_END_TIME
  printf '%s' "$((10#$later))"
}

# The executable's name in field 2 of stat may hold blanks and brackets: cut to the last bracket.
stat=$(cat "/proc/$$/stat")
read -r -a fields <<<"${stat##*) }"

# A timer that can be ended at once: its sleep is a child that it remembers. It looks at the clock
# again and again, since a machine that was suspended has not slept on; and should we be killed,
# it signals nobody, for the PID may be another's by then. FOLDER/supervisor is as old as its last
# round: by that a clone of this machine, which has the same home, sees that the session is not its
# own (machine.py, Place).
timers=()
due() { # AT: that moment, or for "end-SECONDS" so long before the session's end, as it is now
  case $1 in end-*) printf '%s' "$(($(end_time) - ${1#end-}))" ;; *) printf '%s' "$1" ;; esac
}
timer() { # AT SIGNAL PID; after a USR1 it waits for another end
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

# write_whole FILE TEXT: FILE holds TEXT, or stays as it was; cat(1) checks its writes and its close.
write_whole() {
  printf '%s\n' "$2" | cat >"$folder/.$1.$$" && mv -f "$folder/.$1.$$" "$folder/$1" && return
  rm -f "$folder/.$1.$$" "$folder/.reserve"
  printf '%s\n' "$2" | cat >"$folder/.$1.$$" && mv -f "$folder/.$1.$$" "$folder/$1" && return
  rm -f "$folder/.$1.$$"
  return 1
}

# A cancel may come as soon as the file says who we are, and before there is a job.
trap ask_end TERM
# Caught, not ignored: what the session starts would ignore them too.
trap : HUP INT

# Nobody could find or end what nobody knows the supervisor of.
write_whole supervisor "$$ ${fields[19]} $(cat /proc/sys/kernel/random/boot_id)" || exit 1

# Cancelled already, it is not started.
if [ -z "$result" ]; then
  (
    eval "$user_environment" 2>/dev/null
    export VIZDASH_SESSION_ID=$id VIZDASH_END_TIME
    unset VIZDASH_SUPERVISOR_OF
    exec setsid "$BASH" -p "$folder/script"
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

# A script that was killed could not write its own end.
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
rm -f "$folder/connection" "$folder/script" "$folder/.reserve" "$folder/end"
