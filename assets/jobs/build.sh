#!/bin/bash
# Build one image for vizdash: on the machine of vizdash, on a build host by SSH, or in a job step.
# `bash -s` reads it from stdin, after assignments of
#   mark        a random word; lines that begin with it are for vizdash, all others are the log
#   definition  the text of the definition file         name       its file name
#   arguments   (--build-arg KEY=VALUE ...)             options    more words for apptainer build
#   result      path of the image (empty: in the work folder on this machine)
#   folder      base of relative paths in %files (empty: the files that follow on stdin)
#   bytes       size of what follows on stdin: those files, as a tar archive in gzip and base64
#   tmpdir      parent of the work folder (empty: TMPDIR or /tmp)
# stdin stays open. Its end means that vizdash is done, has cancelled, or has died: this script then ends
# every process and removes every file.
# shellcheck disable=SC2154  # vizdash assigns them
{
set -u
trap : PIPE  # caught, not ignored: children get the default
umask 077
exec 3<&0 </dev/null 2>&1

say() { printf '\n%s %s\n' "$mark" "$*"; }

# Every process with the work folder in its environment, wherever Apptainer has moved it.
marked() {
  grep -lsz -e "=$1\$" -e "=$1/" /proc/[0-9]*/environ | cut -d/ -f3 |
    grep -vx -e "$$" -e "$BASHPID" || true
}

end_marked() {
  local pids try none=0
  for try in {1..50}; do
    mapfile -t pids < <(marked "$1")
    if [ ${#pids[@]} -eq 0 ] || ! kill -0 "${pids[@]}" 2>/dev/null; then
      # During execve(2) a process shows no environment: two looks in a row find none.
      none=$((none + 1))
      [ "$none" -lt 2 ] || return 0
    else
      none=0
      if [ "$try" -le 10 ]; then kill -TERM "${pids[@]}"; else kill -KILL "${pids[@]}"; fi 2>/dev/null
    fi
    sleep 0.1
  done
}

# Files of the container's other users belong to subordinate ids: only a user namespace with these
# can remove them.
clear_folder() {
  rm -rf -- "$1" 2>/dev/null ||
    unshare --user --map-root-user --map-auto rm -rf -- "$1" 2>/dev/null ||
    say left "$1"
}

parent=${tmpdir:-${TMPDIR:-/tmp}}
# Folders of killed builds: nothing holds their lock.
for old in "$parent"/vizdash-build.*; do
  [ -d "$old" ] && [ ! -L "$old" ] && [ -O "$old" ] || continue
  if [ -e "$old/lock" ]; then
    flock -n "$old/lock" true || continue
    end_marked "$old"
  elif [ -z "$(find "$old" -maxdepth 0 -mmin +1440)" ]; then
    continue # it has no lock yet
  fi
  clear_folder "$old"
done

# The work folder keeps its name, and nobody else can replace it. It is checked again before anything
# in it is run.
ours() {
  [ -d "$work" ] && [ ! -L "$work" ] && [ -O "$work" ] && [[ $(stat -c %a "$work") = *700 ]] &&
    [ "$work" -ef "$1" ]
}

if [ -n "$(find -H "$parent" -maxdepth 0 -perm -0002 ! -perm -1000)" ]; then
  say failed "anyone can rename files in $parent (chmod +t $parent, or set build.tmpdir)"
  exit 1
fi
work=$(mktemp -d "$parent/vizdash-build.XXXXXXXX") && cd "$work" && ours . ||
  { say failed "cannot make a private folder in $parent"; exit 1; }
exec 9>"$work/.lock"
flock 9
mv "$work/.lock" "$work/lock"
mkdir "$work/tmp" "$work/files"
printf '%s' "$definition" >"$work/$name"
if [ "${bytes:-0}" -gt 0 ]; then
  head -c "$bytes" <&3 | base64 -d | tar -xzf - -C "$work/files" ||
    { say failed "the files of %files did not arrive"; cd / && clear_folder "$work"; exit 1; }
fi
say at "$(uname -n)" "$work"

builder=$(command -v apptainer || command -v singularity) || builder=
code=127
gone=
if [ -z "$builder" ]; then
  say failed "neither apptainer nor singularity is on $(uname -n)"
else
  image=${result:-$work/image.sif}
  ours . || { say failed "$work was replaced"; exit 1; }
  cd "${folder:-$work/files}" || exit 1
  # SingularityCE reads the second name.
  export VIZDASH_BUILD=$work APPTAINER_TMPDIR=$work/tmp SINGULARITY_TMPDIR=$work/tmp
  (umask 022; exec setsid "$builder" build "${options[@]}" "${arguments[@]}" "$image" "$work/$name") \
    3<&- 9>&- &
  pid=$!
  trap 'gone=1' USR1 TERM INT HUP
  # If this script is killed, the reader of stdin ends the build.
  (cat <&3 >/dev/null; kill -USR1 $$ 2>/dev/null || kill -TERM -- "-$pid") 9>&- &
  watcher=$!
  # wait first: it gives the exit code also of a process that has ended already.
  while :; do
    wait "$pid"
    code=$?
    [ -z "$gone" ] && kill -0 "$pid" 2>/dev/null || break
  done
  if [ -n "$gone" ]; then
    # On TERM, Apptainer ends its container and removes its files: give it time.
    kill -TERM -- "-$pid" "$pid" 2>/dev/null
    for _ in {1..150}; do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
    kill -KILL -- "-$pid" 2>/dev/null
  elif [ "$code" = 0 ]; then
    if digest=$(sha256sum <"$image") && size=$(stat -c %s "$image"); then
      say built "${digest%% *}" "$size" "$image"
      # Keep it until it has been fetched and checked.
      while [ -z "$gone" ]; do wait "$watcher" || true; kill -0 "$watcher" 2>/dev/null || break; done
    else
      code=1
      say failed "${builder##*/} succeeded, but $image cannot be read"
      say ended 1
      kill "$watcher" 2>/dev/null
    fi
  else
    say ended "$code"
    kill "$watcher" 2>/dev/null
  fi
  end_marked "$work"
fi
cd / && clear_folder "$work"
exit "$code"
}
