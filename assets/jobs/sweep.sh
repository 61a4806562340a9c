#!/bin/bash
# Ends every process of ours that belongs to a session, and removes the session's runtime folders:
# for what a session's job script left behind, or a supervisor that was killed.
#   sweep.sh SESSION_ID [SUPERVISOR]
# A process belongs to it by its mark (the environment it was started with), or by being below
# SUPERVISOR (a PID), which calls us: that one and we ourselves live on.
set -u
id=$1 supervisor=${2:-}
case $id in *[!0-9a-f]* | '') exit 2 ;; esac

marked() {
  grep -lszE "^VIZDASH_(SESSION_ID|SUPERVISOR_OF)=$id\$" /proc/[0-9]*/environ | cut -d/ -f3
}

# Descendants of the supervisor, but not those of this script.
below() {
  [ -n "$supervisor" ] || return 0
  ps -eo pid=,ppid= | awk -v top="$supervisor" -v us="$$" '
    {parent[$1] = $2}
    END {
      for (pid in parent) {
        for (p = pid; p in parent && p != us && p != top; p = parent[p]);
        if (p == top && pid != top) print pid
      }
    }'
}

for try in {1..50}; do
  mapfile -t pids < <({ marked; below; } | sort -un | grep -vx -e "$$" -e "$PPID")
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
