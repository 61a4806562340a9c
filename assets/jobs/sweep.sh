#!/bin/bash
# Ends every process of ours that carries a session's mark, and removes the session's runtime
# folders: for a session whose job script was killed before it could do so.
#   sweep.sh SESSION_ID
set -u
id=$1
case $id in *[!0-9a-f]* | '') exit 2 ;; esac

for try in {1..50}; do
  mapfile -t pids < <(grep -lsz "^VIZDASH_SESSION_ID=$id\$" /proc/[0-9]*/environ |
    cut -d/ -f3 | grep -vx -e "$$" -e "$PPID")
  [ ${#pids[@]} -gt 0 ] && kill -0 "${pids[@]}" 2>/dev/null || break
  if [ "$try" -le 20 ]; then kill -TERM "${pids[@]}" 2>/dev/null; else kill -KILL "${pids[@]}" 2>/dev/null; fi
  sleep 0.1
done
for folder in /tmp "${TMPDIR:-/tmp}" /dev/shm "/run/user/$(id -u)" /var/tmp; do
  for left in "$folder/vizdash-$id".????????; do
    [ -d "$left" ] && [ ! -L "$left" ] && [ -O "$left" ] || continue
    display=$(cat "$left/display" 2>/dev/null)
    for name in "/tmp/.X11-unix/X$display" "/tmp/.X$display-lock"; do
      if [ -n "$display" ] && [ -O "$name" ]; then rm -f "$name"; fi
    done
    rm -rf -- "$left"
  done
done
exit 0
