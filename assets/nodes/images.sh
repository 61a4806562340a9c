#!/bin/bash
# What vizdash does in the image root of a node. It comes on the standard input of bash, over SSH:
#   bash -s -- MARK VERB ROOT ARGUMENTS...
# Answers are fields that end with NUL, since a file's name may hold anything else, between two
# fields that are MARK: a shell may print what it likes when it starts and ends. Errors are one
# line on stderr. Needs GNU coreutils 8.30 and findutils 4.6 (EL8), util-linux's flock.
#
#   ROOT/APP/APP-VERSION.sif          an image, never changed once it has this name
#   ROOT/APP/APP.sif                  a link to the current one
#   ROOT/APP/APP-VERSION.sif.sha256   its digest, and the size, time and inode that it was read at
#   ROOT/APP/.journal                 what was current since when: EPOCH VERB NAME DIGEST, a line each
#   ROOT/APP/.lock                    held by whoever writes in this folder
#   ROOT/APP/.APP-VERSION.sif.D.part  one on its way, D being the first digits of its digest (.pid:
#                                     the process that writes it)
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

# record FILE DIGEST [FOUND [STAMP]]: FOUND is what was read when it was not DIGEST, STAMP that of
# the file that was read. `sha256sum -c` reads this file too.
record() {
  local new=$1.sha256.new.$$
  {
    printf '%s  %s\n# %s\n' "$2" "${1##*/}" "${4:-$(stamp "$1")}"
    [ -z "${3:-}" ] || printf '# damaged: %s\n' "$3"
  } >"$new" && chmod 644 "$new" && mv -fT "$new" "$1.sha256"
}

# ---------------------------------------------------------------- the journal

# keep FILE: standard input becomes FILE, whole or not at all.
keep() {
  local new=$1.new.$$
  cat >"$new" && chmod 644 "$new" && mv -fT "$new" "$1"
}

# journal AT VERB NAME: NAME is the current one since AT. The last 200 lines are kept.
journal() {
  local digest
  [[ $3 =~ ^[A-Za-z0-9._+-]+$ ]] || return 0
  digest=$(recorded "$3")
  { [ ! -f .journal ] || tail -n 199 .journal; printf '%s %s %s %s\n' "$1" "$2" "$3" "${digest:--}"; } |
    keep .journal
}

# journaled: the name that the journal has last.
journaled() {
  local name=''
  [ -f .journal ] && read -r _ _ name _ < <(tail -n 1 .journal)
  printf '%s' "$name"
}

# digest_of NAME: what it was when it last became the current one, else when it came.
digest_of() {
  local name digest found=''
  if [ -f .journal ]; then
    while read -r _ _ name digest; do
      [ "$name" = "$1" ] && [[ $digest =~ ^[0-9a-f]{64}$ ]] && found=$digest
    done <.journal
  fi
  printf '%s' "${found:-$(recorded "$1")}"
}

# current APP: the name, with a version, of the image that APP.sif leads to.
current() {
  local name
  name=$(readlink "$1.sif")
  if [ ! -f "$name" ] || [ -L "$name" ] || [[ $name = */* ]]; then
    name=$([ -f "$1.sif" ] &&
      find . -maxdepth 1 -type f -samefile "$(readlink -f "$1.sif")" -name "$1-*.sif" -printf '%f\n' |
      head -n 1)
  fi
  printf '%s' "$name"
}

# settle APP: what became the current one without a line in the journal (a link made by hand, a
# switch that was cut off) gets it now.
settle() {
  local name
  name=$(current "$1")
  [ -z "$name" ] || [ "$name" = "$(journaled)" ] || journal "$(stat -c %Y "$1.sif")" found "$name"
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
    find . -mindepth 1 -maxdepth 2 -type l -printf 'link\0%P\0' 2>/dev/null
    while IFS= read -r -d '' file; do
      answer digest "$file" "$(head -c 600 "$file" 2>/dev/null | tr -d '\0')"
    done < <(find -L . -mindepth 2 -maxdepth 2 -type f -name '*.sif.sha256' -printf '%P\0')
    while IFS= read -r -d '' file; do
      answer journal "${file%/*}" "$(tail -c 60000 "$file" 2>/dev/null | tr -d '\0')"
    done < <(find . -mindepth 2 -maxdepth 2 -type f -name .journal -printf '%P\0')
    heads
  fi
  [ "$full" = 1 ] && used
  answer end
}

# heads: the beginning of images whose name tells no version, and of those that nobody has a
# digest of: a copy made by hand may have broken off.
heads() {
  local app file
  while IFS= read -r -d '' app; do
    while IFS= read -r -d '' file; do
      [ -f "$file.sha256" ] || head_in "$file"
    done < <(find "$app" -maxdepth 1 -type f -name "$app-*.sif" -print0 2>/dev/null)
    [ -f "$app/$app.sif" ] || continue
    # One with a version is the same file.
    [ -n "$(find -L "$app" -maxdepth 1 -samefile "$app/$app.sif" -name "$app-*.sif" 2>/dev/null)" ] ||
      head_in "$app/$app.sif"
  done < <(find -L . -mindepth 1 -maxdepth 1 -type d -printf '%P\0')
}

head_in() { answer head "$1" "$(head -c 49152 "$1" | gzip -c | base64 -w0)"; }

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

# verify ROOT FILES...: reads each whole, and records its digest where the caller may, unless
# another file has its name by then.
verify() {
  local root=$1 file was now seen
  shift
  cd "$root" || die "no image root $root"
  for file in "$@"; do
    seen=$(stamp "$file")
    now=$(sha256 "$file") || { answer unread "$file"; continue; }
    was=$(recorded "$file")
    answer read "$file" "$now" "$was"
    if [ -w "${file%/*}" ] && [ "$(stamp "$file")" = "$seen" ]; then
      if [ -z "$was" ] || [ "$was" = "$now" ]; then
        record "$file" "$now" '' "$seen"
      else
        record "$file" "$was" "$now" "$seen"
      fi
    fi
  done
  answer end
}

# ---------------------------------------------------------------- bringing one in

# enter ROOT APP: into the app's folder, alone. Only those who may write in the folder can open its
# lock: whoever can open a file can lock it.
enter() {
  if [ ! -d "$1/$2" ]; then
    mkdir -p "$1/$2" || die "can't make $1/$2"
    [ -z "$(shared "$1")" ] || { chgrp --reference="$1" "$1/$2" && chmod g+ws "$1/$2"; } 2>/dev/null
  fi
  cd "$1/$2" || die "can't enter $1/$2"
  [ -e .lock ] || (umask 077 && : >.lock) || die "can't write in $1/$2"
  share .lock .
  exec 9<>.lock ||
    die "can't lock $1/$2: $(stat -c '%U alone may open .lock (mode %a)' .lock) (chmod g+rw it)"
  flock -w 15 9 || die "another deploy is writing in $1/$2 (wait until it is done)"
}

# shared FOLDER: says yes where a group may write in it.
shared() { [[ $(stat -L -c %A "$1") != ?????w* ]] || echo yes; }

# share FILE FOLDER: it is for all who may write in FOLDER, root's too.
share() {
  if [ "$(id -u)" = 0 ]; then
    chown --reference="$2" "$1"
  elif [ ! -O "$1" ]; then
    return 0
  fi 2>/dev/null
  [ -z "$(shared "$2")" ] || { chgrp --reference="$2" "$1" && chmod g+rwX "$1"; } 2>/dev/null
  return 0
}

# own FILE: what somebody else began becomes ours to change.
own() {
  [ -f "$1" ] && [ ! -O "$1" ] && [ "$(id -u)" != 0 ] || return 0
  cp -- "$1" "$1.own" && mv -fT "$1.own" "$1"
}

size_of() { [ -f "$1" ] && stat -c %s "$1" || echo 0; }

# state_of NAME DIGEST: absent, have, damaged (it was brought as DIGEST, and is not that any more or
# was once seen not to be) or other. What was brought as another image is no DIGEST by having
# become one: a damaged file may be where DIGEST was read.
state_of() {
  local now was
  [ -e "$1" ] || { echo absent; return; }
  now=$(sha256 "$1")
  was=$(recorded "$1")
  if [ "$now" = "$2" ] && [ -n "$was" ] && [ "$was" != "$2" ]; then
    echo "other $was"
  elif [ "$now" = "$2" ] && ! grep -qs '^# damaged: ' "$1.sha256"; then
    record "$1" "$2"
    echo have
  elif [ "$was" = "$2" ]; then
    record "$1" "$2" "$now"
    echo damaged
  else
    echo "other $now"
  fi
}

# prepare ROOT APP VERSION DIGEST SIZE: says what is there, takes away what killed runs left, and
# lays a basis beside the file to come: what rsync takes from there need not travel.
prepare() {
  local root=$1 app=$2 name=$2-$3.sif digest=$4 size=$5 part basis delta old
  part=.$name.${digest:0:12}.part basis=.$name.${digest:0:12}.basis
  delta=.$name.${digest:0:12}.delta
  enter "$root" "$app"
  shopt -s nullglob
  for old in .*.part .*.pid .*.basis .*.delta ".$app.sif.new."* *.sif.sha256.new.* .journal.new.*; do
    [ "$old" = "$part" ] || [ "$old" = "$basis" ] || [ "$old" = "$delta" ] || rm -rf -- "$old"
  done
  local state
  state=$(state_of "$name" "$digest")
  case $state in
    have | other*)
      rm -rf -- "$part" "$basis" "$delta"
      answer "$state" '' 0 "$(readlink "$app.sif")" '' end
      return
      ;;
  esac
  [ "$(size_of "$part")" -le "$size" ] || rm -f -- "$part"
  own "$part"
  local model=''
  for old in "$app"-*.sif; do
    [ -s "$old" ] && { [ -z "$model" ] || [ "$old" -nt "$model" ]; } && model=$old
  done
  if [ -s "$app.sif" ]; then
    model=$(current "$app")
    model=${model:-$app.sif}
  fi
  [ -s "$name" ] && model=$name
  lay "$model"
  rm -f -- "$part.pid"
  # What feeds other nodes from here waits for it to grow (chain.sh).
  [ -n "$model" ] || [ -e "$part" ] || : >"$part" || die "can't write in $root/$app"
  answer "$state" "$model" "$(size_of "$part")" "$(readlink "$app.sif")" "$(model_digest "$model")" end
}

# model_digest MODEL: its digest, where a delta against it would do: it is not known to be damaged,
# and nothing has come of the new image yet that only rsync could use.
model_digest() {
  [ -n "$1" ] && [ "$1" != "$name" ] && [ ! -e "$part" ] &&
    [ "$(size_of "$basis/$part")" = "$(stat -L -c %s "$1")" ] &&
    ! grep -qs '^# damaged: ' "$1.sha256" && recorded "$1"
}

# lay MODEL: what arrived of this very image before it was broken off, and an image like it.
lay() {
  local model=$1 arrived kept=0 like=0 free block
  arrived=$(size_of "$part")
  [ -n "$model" ] && like=$(stat -L -c %s "$model")
  [ -f "$basis/$part" ] && kept=$(($(size_of "$basis/$part") - like))
  read -r free block < <(stat -f -c '%a %S' .)
  free=$((free * block))
  if [ "$kept" -gt 0 ] && [ "$kept" -ge "$arrived" ] && [ -n "$model" ]; then
    # More arrived at the try before the last.
    rm -f -- "$part"
    room "$size"
  elif [ -n "$model" ] && [ "$arrived" -gt 0 ] && [ "$free" -gt $((size + like)) ]; then
    rm -rf -- "$basis"
    mkdir -m 700 "$basis" && share "$basis" . && mv -fT "$part" "$basis/$part" && cat "$model" >>"$basis/$part"
  elif [ "$arrived" -gt 0 ]; then
    rm -rf -- "$basis"
    room $((size - arrived))
  else
    rm -rf -- "$basis"
    room "$size"
    [ -z "$model" ] || { mkdir -m 700 "$basis" && share "$basis" . && like "$model" "$basis/$part"; }
  fi
}

like() { ln -L "$1" "$2" 2>/dev/null || cp --reflink=auto "$1" "$2"; }

room() {
  [ "$free" -gt "$1" ] ||
    die "no room: it needs $(($1 >> 20)) MiB, $root has $((free >> 20)) MiB free (see vizdash prune)"
}

# sizes ROOT APP PART: how much of it is here.
sizes() { answer "$(size_of "$1/$2/$3")" end; }

# expect ROOT APP FILE: chain.sh waits for it to grow. Says how much of it is here.
expect() {
  enter "$1" "$2"
  own "$3"
  [ -e "$3" ] || : >"$3" || die "can't write in $1/$2"
  answer "$(size_of "$3")" end
}

# apply ROOT APP VERSION DIGEST SIZE OWNER MODE MODEL WANT DELTA BYTES: makes the image from MODEL,
# whose digest is WANT, and names it as place does. The delta (its digest is DELTA) is here, or comes on
# the standard input. Digests decide: rsync exits with 0 on a wrong basis, and waits for ever on a
# delta that is cut off.
apply() {
  local root=$1 app=$2 name=$2-$3.sif digest=$4 size=$5 model=$8 want=$9 bytes=${11}
  local basis=.$name.${digest:0:12}.basis file=.$name.${digest:0:12}.delta now said
  enter "$root" "$app"
  if [ "$(size_of "$file")" != "$bytes" ] || [ "$(sha256 "$file")" != "${10}" ]; then
    said=$({ head -c "$bytes" >"$file"; } 2>&1) || quit "can't write the delta: ${said##*: }"
    [ "$(sha256 "$file")" = "${10}" ] || quit "the delta did not arrive whole"
  fi
  now=$(sha256 "$model") || quit "$model can't be read"
  if [ "$now" != "$want" ]; then
    record "$model" "$want" "$now"
    quit "$model is damaged: its digest is ${now:0:12}, not ${want:0:12}"
  fi
  [ -d "$basis" ] || mkdir -m 700 "$basis"
  rm -f -- "$basis/new" && like "$model" "$basis/new" || quit "can't copy $model"
  said=$(timeout $((600 + size / 5000000)) rsync --ignore-times --read-batch="$file" "$basis/new" 2>&1 \
    </dev/null) || quit "rsync can't apply the delta: $(cause <<<"$said")"
  now=$(sha256 "$basis/new")
  [ "$now" = "$digest" ] || quit "the delta made an image with digest ${now:0:12}, not ${digest:0:12}"
  finish "$basis/new" "$6" "$7"
}

# quit WHY: what a failed delta left goes; the model beside it is for rsync.
quit() {
  rm -f -- "$file" "$basis/new" "$basis"/.new.*
  die "$@"
}

# cause: the first line that rsync printed, without its own name.
cause() {
  local line=''
  IFS= read -r line
  line=${line#rsync: }
  printf '%s' "${line#\[*\] }"
}

# place ROOT APP VERSION DIGEST SIZE OWNER MODE: gives what came its real name, if it is what was
# sent.
place() {
  local root=$1 app=$2 name=$2-$3.sif digest=$4 size=$5 part found
  part=.$name.${digest:0:12}.part
  enter "$root" "$app"
  [ -f "$part" ] || die "nothing arrived as $root/$app/$part"
  found=$(size_of "$part")
  [ "$found" = "$size" ] || die "$found of $size bytes arrived (deploy again: it goes on from there)"
  rm -f -- "$part.pid"
  found=$(sha256 "$part") || die "what arrived can't be read"
  if [ "$found" != "$digest" ]; then
    rm -f -- "$part"
    die "what arrived has digest ${found:0:12}, not ${digest:0:12}: it was thrown away (deploy again)"
  fi
  finish "$part" "$6" "$7"
}

# finish PART OWNER MODE: its real name, for what has the digest.
finish() {
  case $(state_of "$name" "$digest") in
    other*) die "there is another $name (versions are never overwritten: build it as a new one)" ;;
  esac
  [ "$(id -u)" != 0 ] || chown "$2" "$1" || die "no owner $2 on this node"
  chmod "$3" "$1" && sync "$1" && mv -fT "$1" "$name" || die "can't name it $name"
  record "$name" "$digest"
  rm -rf -- ".$name.${digest:0:12}".{basis,delta,delta.pid,part,part.pid}
  sync .
  answer placed end
}

# switch ROOT APP VERSION LEGACY VERB: makes it the one that starts, and writes that down. An image
# that has no other name than APP.sif is kept under the version LEGACY. A rollback reads the image
# whole first: nobody has since it came.
switch() {
  local root=$1 app=$2 name=$2-$3.sif legacy=$4 verb=$5 was
  enter "$root" "$app"
  [ -f "$name" ] || die "it has no $name (vizdash deploy $app --version $3)"
  if [ -f "$app.sif" ] && [ -z "$(current "$app")" ]; then
    [ -e "$app-$legacy.sif" ] && legacy=$legacy-$(stat -L -c %Y "$app.sif")
    ln -L "$app.sif" "$app-$legacy.sif" || die "can't keep the $app.sif that is there"
  fi
  settle "$app"
  was=$(current "$app")
  [ "$verb" != rollback ] || whole "$name" "$3"
  if [ "$was" != "$name" ] || [ "$(readlink "$app.sif")" != "$name" ]; then
    ln -s "$name" ".$app.sif.new.$$" && mv -fT ".$app.sif.new.$$" "$app.sif" ||
      die "can't make it the current one"
    # Only now: a line without a switch would name what never ran.
    [ "$was" = "$name" ] || journal "$(date +%s)" "$verb" "$name"
    sync .
  fi
  answer "$was" end
}

# whole NAME VERSION: it is what it was when it was the current one.
whole() {
  local want now
  want=$(digest_of "$1")
  now=$(sha256 "$1") || die "$1 can't be read"
  if [ -z "$want" ]; then
    record "$1" "$now"
  elif [ "$now" != "$want" ]; then
    record "$1" "$want" "$now"
    die "$1 is damaged: its digest is ${now:0:12}, not ${want:0:12} (vizdash deploy $app --version $2)"
  fi
}

# remove ROOT APP NAMES...: images that are neither current nor in use nor led to by another link,
# and what is left of copies that were broken off. Only root sees what everybody has open.
remove() {
  local root=$1 app=$2 name busy id link
  shift 2
  [ "$(id -u)" = 0 ] ||
    die "$(id -un) can't see what others have open, so nothing is removed (as root, or with sudo)"
  enter "$root" "$app"
  busy=$(used | tr '\0' '\n')
  for name in "$@"; do
    id=$(stat -c '%d:%i' "$name" 2>/dev/null) || { answer "$name" gone; continue; }
    link=$(find .. -mindepth 1 -maxdepth 2 -type l ! -path "../$app/$app.sif" \
      -exec test {} -ef "$name" ';' -printf '%P' -quit)
    if [ -L "$name" ]; then
      answer "$name" 'it is a link that somebody made'
    elif [ "$name" -ef "$app.sif" ]; then
      answer "$name" 'it is the current one'
    elif [ -n "$link" ]; then
      answer "$name" "$link leads to it"
    elif grep -qx "$id" <<<"$busy"; then
      answer "$name" 'a process runs from it'
    elif rm -rf -- "$name" && rm -f -- "$name.sha256"; then
      answer "$name" removed
    else
      answer "$name" 'it could not be removed'
    fi
  done
  sync .
  answer end
}

# save FILE BYTES: keeps the rest of the standard input as FILE, whole or not at all.
save() {
  local file=$1 new=$1.new.$$
  mkdir -p "$(dirname "$file")" && cat >"$new" || die "can't write $file"
  if [ "$(size_of "$new")" != "$2" ]; then
    rm -f -- "$new"
    die "what came for $file broke off"
  fi
  chmod 644 "$new" && sync "$new" && mv -fT "$new" "$file" || die "can't write $file"
  answer end
}

# head FILE: its beginning, where an image's metadata are.
head_of() { answer "$(stat -L -c %s "$1")" "$(head -c 49152 "$1" | gzip -c | base64 -w0)" end; }

# lease FILE SECONDS TEXT: holds FILE's lock, with TEXT in the file, until the standard input ends. A
# line "done" there empties the file first: text in a file that nobody holds is of one that was
# killed. Answers "held" with such text, or "taken" with the holder's.
lease() {
  local file=$1 seconds=$2 text=$3 folder word='' left=''
  folder=$(dirname "$file")
  mkdir -p "$folder" 2>/dev/null
  [ -w "$folder" ] || die "can't write in $folder"
  [ -e "$file" ] || (umask 077 && set -C && : >"$file") 2>/dev/null
  share "$file" "$folder"
  exec 9<>"$file" || die "can't open $file: $(stat -c '%U alone may (mode %a)' "$file")"
  if ! flock -w "$seconds" 9; then
    answer taken "$(head -c 8192 "$file" | tr -d '\0')" end
    return
  fi
  left=$(head -c 8192 "$file" | tr -d '\0')
  printf '%s\n' "$text" >"$file" || die "can't write $file"
  answer held "$left" end
  IFS= read -r word
  [ "$word" != "done" ] || : >"$file"
}

mark=$1 verb=$2
shift 2
case $verb in
  look | verify | prepare | sizes | expect | apply | place | switch | remove | save | head_of | lease)
    answer "$mark"
    "$verb" "$@"
    ;;
  *) die "no verb $verb" ;;
esac && answer "$mark"; exit # what follows is data
