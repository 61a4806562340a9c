#!/bin/bash
# What vizdash does in the image root of a node. It comes on the standard input of bash, over SSH:
#   bash -s -- VERB ROOT ARGUMENTS...
# Answers are fields that end with NUL, since a file's name may hold anything else; errors are one
# line on stderr. Needs GNU coreutils 8.30 and findutils 4.6 (EL8), util-linux's flock.
#
#   ROOT/APP/APP-VERSION.sif          an image, never changed once it has this name
#   ROOT/APP/APP.sif                  a link to the current one
#   ROOT/APP/APP-VERSION.sif.sha256   its digest, and the size, time and inode that it was read at
#   ROOT/APP/.lock                    held by whoever writes in this folder
#   ROOT/APP/.APP-VERSION.sif.D.part  one on its way, D being the first digits of its digest
set -u
export LC_ALL=C
umask 022

die() {
  printf '%s\n' "$*" >&2
  exit 1
}

answer() { printf '%s\0' "$@"; }

# ---------------------------------------------------------------- digests

# stamp FILE: what tells that a file is not the one it was.
stamp() { find -L "$1" -maxdepth 0 -printf 'size=%s mtime=%T@ inode=%i'; }

sha256() {
  local said
  said=$(sha256sum -b <"$1") || return 1
  printf '%s' "${said%% *}"
}

# recorded FILE: the digest that was recorded for it, whatever became of it since.
recorded() {
  local line=''
  [ -f "$1.sha256" ] && IFS= read -r line <"$1.sha256"
  [[ $line =~ ^([0-9a-f]{64})\ \  ]] && printf '%s' "${BASH_REMATCH[1]}"
}

# record FILE DIGEST [FOUND]: FOUND is what was read when it was not DIGEST. `sha256sum -c` reads
# this file too.
record() {
  local new=$1.sha256.new.$$
  {
    printf '%s  %s\n# %s\n' "$2" "${1##*/}" "$(stamp "$1")"
    [ -z "${3:-}" ] || printf '# damaged: %s\n' "$3"
  } >"$new" && chmod 644 "$new" && mv -fT "$new" "$1.sha256"
}

# ---------------------------------------------------------------- look

# look ROOT FULL: all there is in it. FULL=1 adds the files that processes have open, as
# far as the caller may see them.
look() {
  local root=$1 full=$2 place=$1 file writable=0 tools=''
  answer vizdash-images 1
  while [ ! -e "$place" ] && [ "$place" != / ]; do place=$(dirname "$place"); done
  [ -w "$place" ] && writable=1
  for file in rsync flock sudo apptainer; do
    command -v "$file" >/dev/null && tools+=" $file"
  done
  local free=0 total=0 block=1
  read -r free total block < <(stat -f -c '%a %b %S' "$place")
  answer place "$(uname -m)" "$(id -un)" "$writable" "$((free * block))" "$((total * block))" \
    "$tools" "$([ -d "$root" ] && echo 1 || echo 0)"
  if [ -d "$root" ]; then
    cd "$root" || die "can't enter $root"
    find -L . -mindepth 1 -maxdepth 2 -printf 'file\0%P\0%y\0%s\0%T@\0%i\0%D\0' 2>/dev/null
    while IFS= read -r -d '' file; do
      answer digest "$file" "$(head -c 600 "$file" 2>/dev/null | tr -d '\0')"
    done < <(find -L . -mindepth 2 -maxdepth 2 -type f -name '*.sif.sha256' -printf '%P\0')
    heads
  fi
  [ "$full" = 1 ] && used
  answer end
}

# heads: the beginning of images whose name tells no version.
heads() {
  local app
  while IFS= read -r -d '' app; do
    [ -f "$app/$app.sif" ] || continue
    # One with a version is the same file.
    [ -n "$(find -L "$app" -maxdepth 1 -samefile "$app/$app.sif" -name "$app-*.sif" 2>/dev/null)" ] ||
      answer head "$app/$app.sif" "$(head -c 49152 "$app/$app.sif" | gzip -c | base64 -w0)"
  done < <(find -L . -mindepth 1 -maxdepth 1 -type d -printf '%P\0')
}

# used: device and inode of every SIF that a process has open (squashfuse, a file descriptor of
# Apptainer) or that is mounted through a loop device.
used() {
  local file
  while IFS= read -r -d '' file; do
    answer used "$(stat -L -c '%d:%i' "$file" 2>/dev/null)"
  done < <(find /proc/[0-9]*/fd -mindepth 1 -maxdepth 1 -lname '*.sif*' -print0 2>/dev/null)
  for file in /sys/block/loop*/loop/backing_file; do
    [ -r "$file" ] || continue
    IFS= read -r file <"$file"
    [ -e "$file" ] && answer used "$(stat -c '%d:%i' "$file")"
  done
}

# ---------------------------------------------------------------- verify

# verify ROOT FILES...: reads each whole, and records its digest where the caller may.
verify() {
  local root=$1 file was now
  shift
  cd "$root" || die "no image root $root"
  for file in "$@"; do
    now=$(sha256 "$file") || { answer unread "$file"; continue; }
    was=$(recorded "$file")
    answer read "$file" "$now" "$was"
    if [ -w "${file%/*}" ]; then
      if [ -z "$was" ] || [ "$was" = "$now" ]; then
        record "$file" "$now"
      else
        record "$file" "$was" "$now"
      fi
    fi
  done
  answer end
}

verb=$1
shift
case $verb in
  look | verify) "$verb" "$@" ;;
  *) die "no verb $verb" ;;
esac
