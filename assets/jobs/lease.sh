# shellcheck shell=bash disable=SC2154
# The lease: how long the session may run before its job ends itself, at most Slurm's own time limit.
# Its end is in the session folder (LEASE_END, seconds since the epoch, in file `lease`), where vizdash
# moves it when the owner extends the session. A session without VIZDASH_LEASE_SECONDS has none. The time
# in which Slurm suspends the job does not count, as for its time limit.
#
# The idle policy (VIZDASH_IDLE_SECONDS): a session that has been idle for so long ends after a warning and
# a grace period. Idle is what idle.sh says.
#
# Both are conventions of the job, not enforced: the owner could stop the process that keeps them.

keeper='' lease_end='' lease_warned=''
# Seconds from which on the job was suspended: between two rounds of the keeper, and in a round, where slow
# programs and folders take up to 50.
suspended_from=30 suspended_in_round=120
source idle.sh

# Files of an earlier run of a requeued job are replaced.
begin_lease() {
  local now
  [ -n "${VIZDASH_LEASE_SECONDS:-}" ] || return 0
  printf -v now '%(%s)T' -1
  lease_end=$((now + VIZDASH_LEASE_SECONDS))
  write_whole lease "LEASE_END=$lease_end" || fail folder "$write_error"
}

start_keeper() {
  [ -n "${VIZDASH_LEASE_SECONDS:-}${VIZDASH_IDLE_SECONDS:-}" ] || return 0
  keep_session &
  keeper=$!
}

stop_keeper() {
  if [ -n "$keeper" ]; then kill "$keeper" 2>/dev/null; fi
  rm -f -- "$F/lease"
}

# A read with timeout from an empty pipe sleeps without starting a process.
keep_session() {
  local now last pause keeper_pid=$BASHPID
  mkfifo "$runtime/keeper" && exec {pause}<>"$runtime/keeper" || return
  printf -v last '%(%s)T' -1
  while :; do
    printf -v now '%(%s)T' -1
    if [ $((now - last)) -ge "$suspended_from" ]; then skip_suspension $((now - last)); fi
    if [ -n "${VIZDASH_LEASE_SECONDS:-}" ]; then keep_lease "$now"; fi
    if [ -n "${VIZDASH_IDLE_SECONDS:-}" ]; then keep_idle "$now"; fi
    printf -v last '%(%s)T' -1
    if [ $((last - now)) -ge "$suspended_in_round" ]; then skip_suspension $((last - now)); fi
    read -r -t 1 -u "$pause"
  done
}

# skip_suspension SECONDS: move the ends by the time in which the job was suspended.
skip_suspension() {
  if [ -n "${VIZDASH_LEASE_SECONDS:-}" ]; then
    say "the job was suspended for $1 s: its lease ends later by as much"
    read_lease
    lease_end=$((lease_end + $1))
    write_whole lease "LEASE_END=$lease_end"
  fi
  if [ -n "${VIZDASH_IDLE_SECONDS:-}" ]; then skip_idle "$1"; fi
}

keep_lease() { # NOW
  local left before=$((VIZDASH_LEASE_SECONDS / 2))
  read_lease
  left=$((lease_end - $1))
  if [ "$left" -le 0 ]; then
    # A change in the folder makes a network file system show what others have changed there.
    : >"$F/.lease" && rm -f -- "$F/.lease"
    read_lease
    if [ "$lease_end" -le "$1" ]; then end_early timed-out "its lease is over"; fi
    return
  fi
  if [ "$before" -gt "${VIZDASH_WARN_SECONDS:-300}" ]; then before=${VIZDASH_WARN_SECONDS:-300}; fi
  if [ "$left" -gt "$before" ] || [ "$lease_warned" = "$lease_end" ]; then return; fi
  lease_warned=$lease_end
  show_text "The lease of this session ends in $(rough_time "$left"): extend it, or save your work."
}

# A file that cannot be read, or is not a lease, changes nothing.
read_lease() {
  local line=''
  { IFS= read -r line <"$F/lease"; } 2>/dev/null
  if [[ $line =~ ^LEASE_END=([1-9][0-9]{0,11})$ ]]; then lease_end=${BASH_REMATCH[1]}; fi
}

rough_time() { # SECONDS
  if [ "$1" -lt 120 ]; then printf '%s seconds' "$1"; else printf '%s minutes' "$((($1 + 30) / 60))"; fi
}

# end_early RESULT WHY: have the main process end the session.
end_early() {
  if [ -s "$runtime/early" ]; then return; fi
  printf '%s\n%s\n' "$1" "$2" >"$runtime/early"
  kill -TERM "$$"
}

# The main process got TERM: whether it comes from end_early.
on_early_end() {
  local result why
  [ -n "$runtime" ] && [ -s "$runtime/early" ] || return 0
  {
    read -r result
    read -r why
  } <"$runtime/early"
  finish "$result" "$why"
}
