#!/bin/bash
# Everything that vizdash does in the image root of a node. It arrives on the standard input of bash, over SSH:
#   bash -s -- MARK VERB ROOT ARGUMENTS...
# Answers are fields that end with NUL, since a file name may contain anything else, between two fields
# MARK, since a shell may print text when it starts and ends. Errors are one line on stderr. Needs GNU
# coreutils 8.30, findutils 4.6 (EL8) and flock (util-linux).
#
#   ROOT/APP/APP-VERSION.sif          an image; its content never changes
#   ROOT/APP/APP.sif                  a link to the current one
#   ROOT/APP/APP-VERSION.sif.sha256   its digest, with the size, time and inode when it was read
#   ROOT/APP/.journal                 what was current since when: lines of EPOCH VERB NAME DIGEST
#   ROOT/APP/.lock                    locked during a change of this folder
#   ROOT/APP/.APP-VERSION.sif.D.part  an incomplete copy; D is the beginning of its digest (.pid: the
#                                     process that writes it)
set -u
set +o posix # POSIXLY_CORRECT; before bash 5.1, there are no process substitutions then
export LC_ALL=C
umask 022
# Seconds: without -t, `read` ends after TMOUT, which sites set for logins (bash(1)).
forever=99999999

die() {
  printf '%s\n' "$*" >&2
  exit 1
}

answer() { printf '%s\0' "$@"; }

# A process costs a node more than what most of these functions do: those that give a text set REPLY, which
# needs none.

# text_of FILE BYTES: its beginning, without NULs.
text_of() {
  REPLY=''
  IFS= read -r -N "$2" REPLY 2>/dev/null <"$1"
  return 0
}

# end_of FILE BYTES: its last bytes, without NULs.
end_of() {
  text_of "$1" $(($2 + 1))
  [ ${#REPLY} -le "$2" ] || REPLY=$(tail -c "$2" "$1" 2>/dev/null | tr -d '\0')
}

# size_of FILE: its size in bytes; 0 for none.
size_of() {
  REPLY=0
  [ ! -s "$1" ] || [ ! -f "$1" ] || REPLY=$(stat -c %s "$1")
}

# link_of FILE: where a symbolic link leads to.
link_of() {
  REPLY=''
  [ ! -L "$1" ] || REPLY=$(readlink "$1")
}

# ---------------------------------------------------------------- digests

# stamp FILE: size, time and inode, by which a changed file is noticed.
stamp() { REPLY=$(find -L "$1" -maxdepth 0 -printf 'size=%s mtime=%T@ inode=%i'); }

# sha256 FILE: its digest. openssl(1) uses the CPU's own instructions, which sha256sum(1) does only where it
# was built with them: a third of the time.
sha256() {
  REPLY=''
  [ -r "$1" ] || return 1
  REPLY=$(openssl dgst -sha256 -r <"$1" 2>/dev/null)
  [[ $REPLY =~ ^[0-9a-f]{64}\  ]] || REPLY=$(sha256sum -b <"$1") || return 1
  REPLY=${REPLY%% *}
}

# recorded FILE: the recorded digest, even if the file has changed since.
recorded() {
  REPLY=''
  [ ! -f "$1.sha256" ] || text_of "$1.sha256" 600
  if [[ $REPLY =~ ^([0-9a-f]{64})\ \  ]]; then REPLY=${BASH_REMATCH[1]}; else REPLY=''; fi
}

# is_damaged FILE: whether another digest than the recorded one was found.
is_damaged() {
  [ -f "$1.sha256" ] && text_of "$1.sha256" 600 && [[ $REPLY == *$'\n# damaged: '* ]]
}

# record FILE DIGEST [FOUND [STAMP]]: record the digest; FOUND is the digest that was read, if another,
# STAMP the stamp of the file that was read. `sha256sum -c` also reads this file.
record() {
  REPLY=${4:-}
  [ -n "$REPLY" ] || stamp "$1"
  keep "$1.sha256" "$2  ${1##*/}" "# $REPLY" ${3:+"# damaged: $3"}
}

# keep FILE LINES...: write a file atomically.
keep() {
  local file=$1 new=$1.new.$$
  shift
  printf '%s\n' "$@" >"$new" && mv -fT "$new" "$file" || { rm -f -- "$new"; return 1; }
}

# ---------------------------------------------------------------- the journal

# journal AT VERB NAME: note that NAME is current since AT. The last 200 lines are kept. Fails rather than
# replace a journal that cannot be read.
journal() {
  local lines=() more
  [[ $3 =~ ^[A-Za-z0-9._+-]+$ ]] || return 0
  if [ -e .journal ]; then
    [ -f .journal ] && [ -r .journal ] || return 1
    read_journal
  fi
  more=$((${#lines[@]} - 199))
  recorded "$3"
  keep .journal "${lines[@]:$((more > 0 ? more : 0))}" "$1 $2 $3 ${REPLY:--}"
}

# read_journal: set `lines` to its lines, at most those of the last 60000 bytes.
read_journal() {
  text_of .journal 60001
  if [ ${#REPLY} -le 60000 ]; then mapfile -t lines <.journal; else mapfile -t lines < <(tail -c 60000 .journal); fi
}

# journaled: the last name of the journal, unless its line is incomplete.
journaled() {
  local lines=() complete='^[^ ]+ [^ ]+ ([^ ]+) ([0-9a-f]{64}|-)$'
  [ ! -f .journal ] || read_journal
  REPLY=''
  [ ${#lines[@]} = 0 ] || [[ ! ${lines[-1]} =~ $complete ]] || REPLY=${BASH_REMATCH[1]}
}

# digest_of NAME: the digest when it last became current, else when it was deployed.
digest_of() {
  local name digest
  recorded "$1"
  [ ! -f .journal ] || while read -r _ _ name digest; do
    [ "$name" = "$1" ] && [[ $digest =~ ^[0-9a-f]{64}$ ]] && REPLY=$digest
  done <.journal
}

# current APP: the name, with version, of the image that APP.sif leads to.
current() {
  local name
  link_of "$1.sif"
  [ ! -f "$REPLY" ] || [ -L "$REPLY" ] || [[ $REPLY = */* ]] || return 0
  REPLY=''
  [ ! -f "$1.sif" ] || for name in "$1"-*.sif; do
    if [ -f "$name" ] && [ ! -L "$name" ] && [ "$name" -ef "$1.sif" ]; then
      REPLY=$name
      return
    fi
  done
}

# settle APP NOW: add a missing line to the journal (for a link made by hand, or an interrupted switch).
# Sets REPLY to the current name.
settle() {
  local name at
  current "$1"
  name=$REPLY
  if [ -n "$name" ]; then
    journaled
    if [ "$name" != "$REPLY" ]; then
      at=$(stat -c %Y "$1.sif")
      journal $((at < $2 ? at : $2)) found "$name" || return
    fi
  fi
  REPLY=$name
}

# ---------------------------------------------------------------- look

# look ROOT FULL: list its files. FULL=1 adds the files that processes have open, as far as the caller
# can see them.
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
    find -L . -mindepth 1 -maxdepth 2 -printf 'file\0%P\0%y\0%s\0%T@\0%i\0%D\0' \
      \( ! -xtype l -o -printf 'link\0%P\0' \) 2>/dev/null
    shopt -s nullglob dotglob
    for file in */*.sif.sha256; do
      [ -f "$file" ] && text_of "$file" 600 && answer digest "$file" "$REPLY"
    done
    for file in */.journal; do
      [ -f "$file" ] || continue
      end_of "$file" 60000
      answer journal "${file%/*}" "$REPLY"
    done
    heads
    shopt -u nullglob dotglob
  fi
  [ "$full" = 1 ] && used
  answer end
}

# heads: the beginning of images without a version in their name, and of those without a recorded digest,
# since a manual copy may be incomplete.
heads() {
  local app file named
  for app in */; do
    app=${app%/} named=''
    for file in "$app/$app"-*.sif; do
      [ ! -f "$file" ] || [ -L "$file" ] || [ -f "$file.sha256" ] || head_in "$file"
      [ ! "$file" -ef "$app/$app.sif" ] || named=1
    done
    # Unless a file with a version in its name is the same file.
    [ ! -f "$app/$app.sif" ] || [ -n "$named" ] || head_in "$app/$app.sif"
  done
}

head_in() { answer head "$1" "$(head -c 49152 "$1" | gzip -c | base64 -w0)"; }

# used: print device and inode of every SIF that a process has open (squashfuse, Apptainer) or that is
# mounted through a loop device.
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

# verify ROOT RECORD FILES...: read each file; with RECORD=1, record its digest if the caller may, unless
# the file was replaced meanwhile.
verify() {
  local root=$1 record=$2 file was now seen
  shift 2
  cd "$root" || die "no image root $root"
  for file in "$@"; do
    stamp "$file"
    seen=$REPLY
    sha256 "$file" || { answer unread "$file"; continue; }
    now=$REPLY
    recorded "$file"
    was=$REPLY
    answer read "$file" "$now" "$was"
    stamp "$file"
    if [ "$record" = 1 ] && [ -w "${file%/*}" ] && [ "$REPLY" = "$seen" ]; then
      if [ -z "$was" ] || [ "$was" = "$now" ]; then
        record "$file" "$now" '' "$seen"
      else
        record "$file" "$was" "$now" "$seen"
      fi
    fi
  done
  answer end
}

# ---------------------------------------------------------------- deploy

# enter ROOT APP: lock the app's folder and enter it. Only those who may write to the folder can open its
# lock, since anyone who can open a file can lock it.
enter() {
  local said
  if [ ! -d "$1/$2" ]; then
    said=$(mkdir -p "$1/$2" 2>&1) || die "can't make $1/$2: ${said##*: }"
    ! is_shared "$1" || { chgrp --reference="$1" "$1/$2" && chmod g+ws "$1/$2"; } 2>/dev/null
  fi
  cd "$1/$2" || die "can't enter $1/$2"
  [ -e .lock ] || said=$( (umask 077 && : >.lock) 2>&1) || die "can't write in $1/$2: ${said##*: }"
  share .lock .
  if ! { exec 9<>.lock; } 2>/dev/null; then
    said=$({ : 9<>.lock; } 2>&1)
    case $said in
      *denied*) die "can't lock $1/$2: $(stat -c '%U alone may open .lock (mode %a)' .lock) (chmod g+rw it)" ;;
      *) die "can't lock $1/$2: ${said##*: }" ;;
    esac
  fi
  flock -w 15 9 || die "another deploy is writing to $1/$2 (wait until it has finished)"
}

# is_shared FOLDER: whether a group may write to it.
is_shared() { [[ $(stat -L -c %A "$1") == ?????w* ]]; }

# share FILE FOLDER: let everyone who may write to FOLDER write to FILE, also if root owns it.
share() {
  if [ "$EUID" != 0 ]; then
    [ -O "$1" ] || return 0
  elif [ ! -O "$1" ] || [ ! -G "$1" ] || [ ! -O "$2" ] || [ ! -G "$2" ]; then
    chown --reference="$2" "$1" 2>/dev/null
  fi
  ! is_shared "$2" || { chgrp --reference="$2" "$1" && chmod g+rwX "$1"; } 2>/dev/null
  return 0
}

# own FILE: take over a file that someone else began.
own() {
  [ -f "$1" ] && [ ! -O "$1" ] && [ "$EUID" != 0 ] || return 0
  cp -- "$1" "$1.own" && mv -fT "$1.own" "$1"
}

# state_of NAME DIGEST: absent, have, damaged (it was deployed as DIGEST, but does not have it any
# more, or did not have it once) or other. A file deployed as another image is `other` even if it has
# DIGEST now: DIGEST may have been read from that damaged file.
state_of() {
  local now was
  REPLY=absent
  [ -e "$1" ] || return 0
  sha256 "$1"
  now=$REPLY
  recorded "$1"
  was=$REPLY
  if [ "$now" = "$2" ] && [ -n "$was" ] && [ "$was" != "$2" ]; then
    REPLY="other $was"
  elif [ "$now" = "$2" ] && ! is_damaged "$1"; then
    record "$1" "$2"
    REPLY=have
  elif [ "$was" = "$2" ]; then
    record "$1" "$2" "$now"
    REPLY=damaged
  else
    REPLY="other $now"
  fi
}

# prepare ROOT APP VERSION DIGEST SIZE: print the state, remove files of killed runs, and put a basis beside
# the new file, so that rsync sends only what differs.
prepare() {
  local root=$1 app=$2 name=$2-$3.sif digest=$4 size=$5 part basis delta old state was model=''
  part=.$name.${digest:0:12}.part basis=.$name.${digest:0:12}.basis
  delta=.$name.${digest:0:12}.delta
  enter "$root" "$app"
  shopt -s nullglob
  for old in .*.part .*.pid .*.basis .*.delta ".$app.sif.new."* *.sif.sha256.new.* .journal.new.*; do
    [ "$old" = "$part" ] || [ "$old" = "$basis" ] || [ "$old" = "$delta" ] || rm -rf -- "$old"
  done
  link_of "$app.sif"
  was=$REPLY
  state_of "$name" "$digest"
  state=$REPLY
  case $state in
    have | other*)
      rm -rf -- "$part" "$basis" "$delta"
      answer "$state" '' 0 "$was" '' 0 end
      return
      ;;
  esac
  size_of "$part"
  [ "$REPLY" -le "$size" ] || rm -f -- "$part"
  own "$part"
  for old in "$app"-*.sif; do
    [ -s "$old" ] && { [ -z "$model" ] || [ "$old" -nt "$model" ]; } && model=$old
  done
  if [ -s "$app.sif" ]; then
    current "$app"
    model=${REPLY:-$app.sif}
  fi
  [ -s "$name" ] && model=$name
  lay "$model"
  [ ! -e "$part.pid" ] || rm -f -- "$part.pid"
  # chain.sh, which feeds other nodes from here, waits for it to grow.
  [ -n "$model" ] || [ -e "$part" ] || : >"$part" || die "can't write in $root/$app"
  model_digest "$model"
  old=$REPLY
  if [ -n "$old" ]; then # a delta may come, for which chain.sh waits as well
    own "$delta"
    [ -e "$delta" ] || : >"$delta" || die "can't write in $root/$app"
  fi
  answer "$state" "$model"
  size_of "$part"
  answer "$REPLY" "$was" "$old"
  size_of "$delta"
  answer "$REPLY" end
}

# model_digest MODEL: its digest if a delta against it is useful: it is not known to be damaged, and no part of
# the new image has arrived that only rsync could use.
model_digest() {
  REPLY=''
  [ -n "$1" ] && [ "$1" != "$name" ] && [ ! -e "$part" ] || return 0
  size_of "$basis/$part"
  if [ "$basis/$part" -ef "$1" ] || [ "$REPLY" = "$(stat -L -c %s "$1")" ]; then
    ! is_damaged "$1" && recorded "$1" || REPLY=''
  else
    REPLY=''
  fi
}

# lay MODEL: prepare what has already arrived of this image, and a similar image.
lay() {
  local model=$1 arrived kept=0 like=0 free block
  size_of "$part"
  arrived=$REPLY
  [ -n "$model" ] && like=$(stat -L -c %s "$model")
  size_of "$basis/$part"
  [ "$REPLY" = 0 ] || kept=$((REPLY - like))
  read -r free block < <(stat -f -c '%a %S' .)
  free=$((free * block))
  if [ "$kept" -gt 0 ] && [ "$kept" -ge "$arrived" ] && [ -n "$model" ]; then
    # An earlier try got further than the last.
    rm -f -- "$part"
    room "$size"
  elif [ -n "$model" ] && [ "$arrived" -gt 0 ] && [ "$free" -gt $((size + like)) ]; then
    rm -rf -- "$basis"
    mkdir -m 700 "$basis" && share "$basis" . && mv -fT "$part" "$basis/$part" && cat "$model" >>"$basis/$part"
  elif [ "$arrived" -gt 0 ]; then
    rm -rf -- "$basis"
    room $((size - arrived))
  else
    [ ! -e "$basis" ] || rm -rf -- "$basis"
    room "$size"
    [ -z "$model" ] || { mkdir -m 700 "$basis" && share "$basis" . && like "$model" "$basis/$part"; }
  fi
}

like() { ln -L "$1" "$2" 2>/dev/null || cp --reflink=auto "$1" "$2"; }

# gib BYTES: print them as GiB with one decimal.
gib() {
  local tenths=$((($1 * 10 + (1 << 29)) >> 30))
  if [ "$tenths" = 0 ] && [ "$1" -gt 0 ]; then echo '<0.1 GiB'; else echo "$((tenths / 10)).$((tenths % 10)) GiB"; fi
}

room() {
  [ "$free" -gt "$1" ] ||
    die "not enough space: it needs $(gib "$1"), $root has $(gib "$free") free (see vizdash prune)"
}

# sizes ROOT APP PART: print the size that has arrived.
sizes() {
  size_of "$1/$2/$3"
  answer "$REPLY" end
}

# apply ROOT APP VERSION DIGEST SIZE OWNER MODE LEGACY NOW MODEL WANT DELTA BYTES: make the image from MODEL,
# whose digest is WANT, and rename it as place does. The delta (with digest DELTA) is here, or follows on
# standard input. Digests are compared, since rsync exits with 0 on a wrong basis, and waits forever on a
# truncated delta. The digest of the result decides; that of MODEL is read only to name the cause of a failure.
apply() {
  local root=$1 app=$2 name=$2-$3.sif digest=$4 size=$5 model=${10} want=${11} bytes=${13}
  local basis=.$name.${digest:0:12}.basis file=.$name.${digest:0:12}.delta now said
  enter "$root" "$app"
  size_of "$file"
  if [ "$REPLY" != "$bytes" ] || ! sha256 "$file" || [ "$REPLY" != "${12}" ]; then
    said=$({ head -c "$bytes" >"$file"; } 2>&1) || quit "can't write the delta: ${said##*: }"
    sha256 "$file" && [ "$REPLY" = "${12}" ] || quit "the delta arrived incomplete"
  fi
  [ -d "$basis" ] || mkdir -m 700 "$basis"
  [ ! -e "$basis/new" ] || rm -f -- "$basis/new"
  like "$model" "$basis/new" || quit "can't copy $model"
  said=$(timeout $((600 + size / 5000000)) rsync --ignore-times --read-batch="$file" "$basis/new" 2>&1 \
    </dev/null) || refute "rsync can't apply the delta: $(cause <<<"$said")"
  sha256 "$basis/new" && [ "$REPLY" = "$digest" ] ||
    refute "the delta made an image with digest ${REPLY:0:12}, not ${digest:0:12}"
  finish "$basis/new" "$6" "$7" "$8" "$9"
}

# refute WHY: quit; if MODEL is damaged, with that as the cause.
refute() {
  sha256 "$model" || quit "$model can't be read"
  now=$REPLY
  if [ "$now" != "$want" ]; then
    record "$model" "$want" "$now"
    quit "$model is damaged: its digest is ${now:0:12}, not ${want:0:12}"
  fi
  quit "$@"
}

# quit WHY: remove what a failed delta left, and keep the model for rsync.
quit() {
  rm -f -- "$file" "$basis/new" "$basis"/.new.*
  die "$@"
}

# cause: print the first line of rsync's messages, without its name.
cause() {
  local line=''
  IFS= read -r line
  line=${line#rsync: }
  printf '%s' "${line#\[*\] }"
}

# place ROOT APP VERSION DIGEST SIZE OWNER MODE LEGACY NOW [READ STAMP]: verify what has arrived, and rename it;
# with NOW, make it current as well (see switch). READ is the digest that was read while it arrived, valid if
# the file still has the STAMP that it had then. A file with another digest is removed; the answer is then
# "wrong" and that digest.
place() {
  local root=$1 app=$2 name=$2-$3.sif digest=$4 size=$5 read=${10:-} stamp=${11:-} part found
  part=.$name.${digest:0:12}.part
  enter "$root" "$app"
  [ -f "$part" ] || die "nothing arrived as $root/$app/$part"
  size_of "$part"
  [ "$REPLY" = "$size" ] || die "$REPLY of $size bytes arrived (deploy again: it continues from there)"
  [ ! -e "$part.pid" ] || rm -f -- "$part.pid"
  found=''
  if [ -n "$read" ]; then
    stamp "$part"
    [ "$REPLY" != "$stamp" ] || found=$read
  fi
  if [ -z "$found" ]; then
    sha256 "$part" || die "the copy can't be read"
    found=$REPLY
  fi
  if [ "$found" != "$digest" ]; then
    rm -f -- "$part"
    answer wrong "$found" end
    return
  fi
  finish "$part" "$6" "$7" "$8" "$9"
}

# finish PART OWNER MODE LEGACY NOW: rename a verified file; with NOW, make it current.
finish() {
  state_of "$name" "$digest"
  [[ $REPLY != other* ]] || die "there is a different $name (versions are never overwritten: build a new version)"
  [ "$EUID" != 0 ] || chown "$2" "$1" || die "this node has no user or group $2"
  chmod "$3" "$1" && sync "$1" && mv -fT "$1" "$name" || die "can't rename it to $name"
  record "$name" "$digest"
  rm -rf -- ".$name.${digest:0:12}".{basis,delta,delta.pid,part,part.pid}
  if [ -n "$5" ]; then
    make_current "$4" deploy "$5"
  else
    sync .
    answer placed end
  fi
}

# switch ROOT APP VERSION LEGACY VERB [NOW]: make it current, and note it in the journal. An image whose
# only name is APP.sif is kept as version LEGACY. A rollback verifies the image first, since it has not been
# read since its deploy. NOW is the time on the image host: rollbacks compare the journals of nodes, whose
# clocks may differ.
switch() {
  local root=$1 app=$2 name=$2-$3.sif
  enter "$root" "$app"
  [ -f "$name" ] || die "it has no $name (vizdash deploy $app --version $3)"
  [ "$5" != rollback ] || whole "$name" "$3"
  make_current "$4" "$5" "${6:-$(date +%s)}"
}

# make_current LEGACY VERB NOW: switch to the image NAME. Answers with the name that was current.
make_current() {
  local legacy=$1 verb=$2 now=$3 was
  current "$app"
  if [ -z "$REPLY" ] && [ -f "$app.sif" ]; then
    [ -e "$app-$legacy.sif" ] && legacy=$legacy-$(stat -L -c %Y "$app.sif")
    ln -L "$app.sif" "$app-$legacy.sif" || die "can't keep the existing $app.sif"
  fi
  settle "$app" "$now" || die "can't update $root/$app/.journal: nothing was switched"
  was=$REPLY
  link_of "$app.sif"
  if [ "$was" != "$name" ] || [ "$REPLY" != "$name" ]; then
    ln -s "$name" ".$app.sif.new.$$" && mv -fT ".$app.sif.new.$$" "$app.sif" ||
      die "can't make it current"
    # Only after the switch: otherwise the journal could name an image that was never current.
    [ "$was" = "$name" ] || journal "$now" "$verb" "$name"
  fi
  sync .
  answer "$was" end
}

# whole NAME VERSION: verify that it is what it was when it was current.
whole() {
  local want now
  digest_of "$1"
  want=$REPLY
  sha256 "$1" || die "$1 can't be read"
  now=$REPLY
  if [ -z "$want" ]; then
    record "$1" "$now"
  elif [ "$now" != "$want" ]; then
    record "$1" "$want" "$now"
    die "$1 is damaged: its digest is ${now:0:12}, not ${want:0:12} (vizdash deploy $app --version $2)"
  fi
}

# remove ROOT APP NAMES...: remove images that are neither current nor in use nor the target of another link,
# and incomplete copies. Only root sees everyone's open files.
remove() {
  local root=$1 app=$2 name busy id link
  shift 2
  [ "$(id -u)" = 0 ] ||
    die "$(id -un) can't see other users' open files, so nothing is removed (run as root, or with sudo)"
  enter "$root" "$app"
  busy=$(used | tr '\0' '\n')
  for name in "$@"; do
    id=$(stat -c '%d:%i' "$name" 2>/dev/null) || { answer "$name" gone; continue; }
    # From the root, since the app's folder may be a link itself.
    link=$(cd "$root" && find -L . -mindepth 1 -maxdepth 2 -xtype l ! -path "./$app/$app.sif" \
      -exec test {} -ef "$app/$name" ';' -printf '%P' -quit 2>/dev/null)
    if [ -L "$name" ]; then
      answer "$name" 'it is a link made by hand'
    elif [ "$name" -ef "$app.sif" ]; then
      answer "$name" 'it is current'
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

# save FILE BYTES: write the rest of standard input to FILE atomically.
save() {
  local file=$1 new=$1.new.$$
  mkdir -p "$(dirname "$file")" && cat >"$new" || die "can't write $file"
  size_of "$new"
  if [ "$REPLY" != "$2" ]; then
    rm -f -- "$new"
    die "the data for $file was incomplete"
  fi
  chmod 644 "$new" && sync "$new" && mv -fT "$new" "$file" || die "can't write $file"
  answer end
}

# head FILE: print its beginning, which has the metadata of an image.
head_of() { answer "$(stat -L -c %s "$1")" "$(head -c 49152 "$1" | gzip -c | base64 -w0)" end; }

# hold_lock FILE SECONDS TEXT: hold the lock of FILE, with TEXT in it, until standard input ends. A line "done"
# empties the file first: text in an unlocked file is that of a killed holder. Answers "held" with such
# text, or "taken" with the holder's.
hold_lock() {
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
  IFS= read -r -t "$forever" word
  [ "$word" != "done" ] || : >"$file"
}

mark=$1 verb=$2
shift 2
case $verb in
  look | verify | prepare | sizes | apply | place | switch | remove | save | head_of | hold_lock)
    answer "$mark"
    "$verb" "$@"
    ;;
  *) die "no verb $verb" ;;
esac && answer "$mark"; exit # the rest is data
