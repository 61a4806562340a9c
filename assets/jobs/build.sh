#!/bin/bash
# Builds one image for vizdash: on its own machine, on a build host by ssh, or as a job's step.
# `bash -s` reads it from stdin, after assignments of
#   mark        a random word; a line that begins with it is for vizdash, all others are the log
#   definition  the text of the definition file         name       its file name
#   arguments   (--build-arg KEY=VALUE ...)             options    more words for apptainer build
#   result      where the image goes (empty: into the work folder on this machine)
#   folder      what relative paths in %files start from (empty: what comes by stdin)
#   bytes       how many follow on stdin: those files, as a tar archive in gzip and base64
#   tmpdir      where the work folder is made (empty: TMPDIR or /tmp)
# stdin stays open then. Its end means that vizdash has what it wanted, or has cancelled, or is no
# more: everything is ended and removed, whatever it was.
# shellcheck disable=SC2154  # vizdash assigns them
{
set -u
trap : PIPE  # for us alone: children get the default again
umask 077
exec 3<&0 </dev/null 2>&1

say() { printf '\n%s %s\n' "$mark" "$*"; }

# Every process that has a work folder's name in its environment: that of the build, wherever
# Apptainer has put it.
marked() {
  grep -lsz -e "=$1\$" -e "=$1/" /proc/[0-9]*/environ | cut -d/ -f3 |
    grep -vx -e "$$" -e "$BASHPID" || true
}

end_marked() {
  local pids try
  for try in {1..50}; do
    mapfile -t pids < <(marked "$1")
    [ ${#pids[@]} -gt 0 ] && kill -0 "${pids[@]}" 2>/dev/null || return 0
    if [ "$try" -le 10 ]; then kill -TERM "${pids[@]}"; else kill -KILL "${pids[@]}"; fi 2>/dev/null
    sleep 0.1
  done
}

# Files of other users of the container's belong to our subordinate ids: only a name space with
# those can remove them.
clear_folder() {
  rm -rf -- "$1" 2>/dev/null ||
    unshare --user --map-root-user --map-auto rm -rf -- "$1" 2>/dev/null ||
    say left "$1"
}

parent=${tmpdir:-${TMPDIR:-/tmp}}
# What builds left that were killed with all they had: nothing holds their lock any more.
for old in "$parent"/vizdash-build.*; do
  [ -d "$old" ] && [ ! -L "$old" ] && [ -O "$old" ] || continue
  if [ -e "$old/lock" ]; then
    flock -n "$old/lock" true || continue
    end_marked "$old"
  elif [ -z "$(find "$old" -maxdepth 0 -mmin +1440)" ]; then
    continue # it has not come to its lock yet
  fi
  clear_folder "$old"
done

# One folder, under one name for all of its life: nobody can put another one in its place. It is
# looked at once more before anything in it is run.
ours() {
  [ -d "$work" ] && [ ! -L "$work" ] && [ -O "$work" ] && [[ $(stat -c %a "$work") = *700 ]] &&
    [ "$work" -ef "$1" ]
}

if [ -n "$(find -H "$parent" -maxdepth 0 -perm -0002 ! -perm -1000)" ]; then
  say failed "anybody can rename what is in $parent (chmod +t $parent, or build.tmpdir elsewhere)"
  exit 1
fi
work=$(mktemp -d "$parent/vizdash-build.XXXXXXXX") && cd "$work" && ours . ||
  { say failed "no folder of our own in $parent"; exit 1; }
exec 9>"$work/.lock"
flock 9
mv "$work/.lock" "$work/lock"
mkdir "$work/tmp" "$work/files"
printf '%s' "$definition" >"$work/$name"
if [ "${bytes:-0}" -gt 0 ]; then
  head -c "$bytes" <&3 | base64 -d | tar -xzf - -C "$work/files" ||
    { say failed "what %files names did not arrive"; cd / && clear_folder "$work"; exit 1; }
fi
say at "$(uname -n)" "$work"

builder=$(command -v apptainer || command -v singularity) || builder=
code=127
gone=
if [ -z "$builder" ]; then
  say failed "neither apptainer nor singularity is on $(uname -n)"
else
  image=${result:-$work/image.sif}
  ours . || { say failed "$work is not ours any more"; exit 1; }
  cd "${folder:-$work/files}" || exit 1
  # Both names: SingularityCE knows the second.
  export VIZDASH_BUILD=$work APPTAINER_TMPDIR=$work/tmp SINGULARITY_TMPDIR=$work/tmp
  (umask 022; exec setsid "$builder" build "${options[@]}" "${arguments[@]}" "$image" "$work/$name") \
    3<&- 9>&- &
  pid=$!
  trap 'gone=1' USR1 TERM INT HUP
  # Should this script itself be killed, the reader of stdin still ends the build.
  (cat <&3 >/dev/null; kill -USR1 $$ 2>/dev/null || kill -TERM -- "-$pid") 9>&- &
  watcher=$!
  # wait first: of one that has ended already, kill says nothing and wait the code.
  while :; do
    wait "$pid"
    code=$?
    [ -z "$gone" ] && kill -0 "$pid" 2>/dev/null || break
  done
  if [ -n "$gone" ]; then
    # Apptainer ends its container and removes its files on TERM; it gets the time for that.
    kill -TERM -- "-$pid" "$pid" 2>/dev/null
    for _ in {1..150}; do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
    kill -KILL -- "-$pid" 2>/dev/null
  elif [ "$code" = 0 ]; then
    if digest=$(sha256sum <"$image") && size=$(stat -c %s "$image"); then
      say built "${digest%% *}" "$size" "$image"
      # It waits to be fetched and looked at.
      while [ -z "$gone" ]; do wait "$watcher" || true; kill -0 "$watcher" 2>/dev/null || break; done
    else
      code=1
      say failed "${builder##*/} ended without an error, but $image can't be read"
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
