# shellcheck shell=bash
# Programs with a time limit that holds.

# run_for SECONDS COMMAND...: run COMMAND; after so many seconds, or up to one more, kill it with what it has
# started, and return 124. Its output must go to a file: programs that it leaves running may hold a pipe for
# ever. It is not waited for once it is killed, since a driver of a GPU may hang.
run_for() {
  local deadline=$((SECONDS + $1 + 1)) child pause=0.02 looks=0
  shift
  set -m # a process group of its own
  "$@" &
  child=$!
  set +m
  while kill -0 "$child" 2>/dev/null; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      { kill -TERM -- "-$child" && sleep 1 && kill -KILL -- "-$child"; } 2>/dev/null
      return 124
    fi
    looks=$((looks + 1))
    [ "$looks" -lt 25 ] || pause=0.2
    sleep "$pause"
  done
  wait "$child"
}
