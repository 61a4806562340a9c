#!/bin/bash
# Stands in for slurmd on the local engine: runs one session's job script, detached from vizdash.
#
#   supervise.sh FOLDER SESSION_ID LIMIT_SECONDS WARN_SECONDS SWEEP
#
# FOLDER/script is the job script, FOLDER/job.log takes its output (this script's stdout), and
# FOLDER/supervisor says who we are: PID, its start time in ticks since boot (proc(5), field 22 of
# stat) and the boot's id, so that a reused PID is never taken for this session.
# USR1 goes to the script WARN_SECONDS before the limit, TERM at the limit, KILL after a grace.
# TERM sent to us is a cancel. Whatever way the script ends, SWEEP (sweep.sh) then ends what it
# left behind.
set -u
umask 077

folder=$1 id=$2 limit=$3 warn=$4 sweep=$5
grace=20

VIZDASH_END_TIME=$(($(date +%s) + limit))
export VIZDASH_END_TIME

# The executable's name in field 2 of stat may hold blanks and brackets: cut to the last bracket.
stat=$(cat "/proc/$$/stat")
read -r -a fields <<<"${stat##*) }"
printf '%s %s %s\n' "$$" "${fields[19]}" "$(cat /proc/sys/kernel/random/boot_id)" \
  >"$folder/.supervisor.$$"
mv -f "$folder/.supervisor.$$" "$folder/supervisor"

# A timer that can be ended at once: its sleep is a child that it remembers.
timers=()
timer() { # SECONDS SIGNAL PID
  (
    trap 'kill "$!" 2>/dev/null; exit 0' TERM
    sleep "$1" &
    wait "$!"
    kill -s "$2" "$3" 2>/dev/null
  ) >/dev/null 2>&1 &
  timers+=("$!")
}

job=''
ask_end() {
  [ -z "$job" ] || kill -TERM "$job" 2>/dev/null
  timer "$grace" KILL "$job"
}
trap ask_end TERM
trap '' HUP INT

VIZDASH_SESSION_ID=$id setsid bash "$folder/script" </dev/null &
job=$!

if [ "$limit" -gt "$warn" ]; then timer $((limit - warn)) USR1 "$job"; fi
timer "$limit" TERM "$$"

while kill -0 "$job" 2>/dev/null; do
  wait "$job"
done
kill "${timers[@]}" 2>/dev/null

bash "$sweep" "$id"

# A script that was killed could not write its own end.
if ! grep -qs '^STATE=ended$' "$folder/status"; then
  step=$(sed -n 's/^STEP=//p' "$folder/status" 2>/dev/null)
  {
    printf 'STATE=ended\nSTEP=%s\n' "$step"
    printf 'ERROR=the job script was killed\nRESULT=failed\nUPDATED=%s\n' "$(date +%s)"
    printf 'NODE=%s\nJOB_ID=%s\n' "$(uname -n)" "$id"
  } >"$folder/.status.$$"
  mv -f "$folder/.status.$$" "$folder/status"
fi
rm -f "$folder/connection" "$folder/script"
