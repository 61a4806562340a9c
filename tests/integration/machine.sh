#!/bin/bash
# The first process of a test's machine: this machine's own file system and programs, with places
# for temporary files, homes, processes and a loopback network that nobody else sees.
#   machine.sh RUN COVERED... -- KEPT...
# Each COVERED folder is replaced by an empty one that everybody can enter; the KEPT paths that
# lie below one (the checkout, the Python that runs it) stay to be seen at their own place.
# RUN (a folder) gives etc/passwd and etc/group where they are to be others, and gets `up`.
set -euo pipefail
umask 022
run=$1
shift
covered=() kept=()
while [ "$1" != -- ]; do
  covered+=("$1")
  shift
done
shift
kept=("$@")

mount --make-rprivate /
for at in "${!covered[@]}"; do
  place=$run/covered-$at folder=${covered[at]} mode=755
  case $folder in /tmp | /var/tmp | /dev/shm) mode=1777 ;; esac
  mkdir "$place"
  mount -t tmpfs -o "mode=$mode,size=2g" covered "$place"
  for path in "${kept[@]}"; do
    case $path in "$folder"/*) ;; *) continue ;; esac
    mkdir -p "$place/${path#"$folder"/}"
    mount --bind "$path" "$place/${path#"$folder"/}"
  done
done
for file in etc/passwd etc/group; do
  if [ -e "$run/$file" ]; then mount --bind "$run/$file" "/$file"; fi
done
exec 3>"$run/up"
# What hides RUN itself goes last.
for at in "${!covered[@]}"; do
  case $run in "${covered[at]}"/*) last=$at ;; *) mount --move "$run/covered-$at" "${covered[at]}" ;; esac
done
if [ -n "${last:-}" ]; then mount --move "$run/covered-$last" "${covered[last]}"; fi
ip link set lo up
echo up >&3
exec 3>&-
# The first process of a PID namespace buries its orphans; bash does so while it waits.
while :; do
  sleep 3600 &
  wait "$!" || true
done
