#!/bin/bash
# Pass one file from node to node: run by each node of the chain (images/chain.py), and by the image host
# as its head. It arrives on the standard input of bash, over SSH, followed by commands, one per line.
# Needs bash 4.4 and coreutils 8.30 (EL8).
#   bash -s -- MARK PART SIZE PROBE [hash]
# It reports the size of PART every 0.4 s, towards the end every 0.1 s. When its standard input ends, it and
# its children end. With "hash", it reads the digest of PART while that arrives, and reports it with the stamp
# of the file (see images.sh). Before the file, each connection carries PROBE bytes, and the last two thirds of
# them measure its rate: the first may pass at once, through the buffers and the token bucket of a link. The
# beginning of these bytes is reported ("probing"), and how long they took ("probed").
#   feed NAME COMMAND SSH...   send PART to another node; SSH COMMAND runs bash there (see receiver)
#   stop                       stop sending
set -u
export LC_ALL=C
set -m # each job is a process group

mark=$1 part=$2 size=$3 probe=$4 hash=${5:-}
job='' kept=''

report() { printf '%s %s\n' "$mark" "$*"; }

# The receiver on the next node, run as `bash -s -- PART LOCK MARK PROBE`, followed by the data. An earlier
# receiver of PART holds the lock, and is killed first. Prints the byte from which to send.
read -r -d '' receiver <<'RECEIVER'
{ # in braces, so that bash reads it completely: the data follow
  export LC_ALL=C
  umask 022
  exec 9<>"$2" || exit
  if ! flock -n 9; then
    read -r old <"$1.pid"
    ! grep -qsF "of=$1" "/proc/${old:-none}/cmdline" || kill -KILL "$old"
    flock -w 10 9 || { echo "someone else is writing there"; exit; }
  fi 2>/dev/null
  size=$(stat -c %s "$1" 2>/dev/null) || exit # it is complete, and has its final name by now
  echo $$ >"$1.pid" || exit
  echo "$3 at $size"
  head -c "$(($4 / 3))" >/dev/null
  began=$(date +%s%N)
  head -c "$(($4 - $4 / 3))" >/dev/null
  echo "$3 probed $((($(date +%s%N) - began) / 1000))"
  exec dd bs=128k iflag=fullblock oflag=append conv=notrunc,nocreat status=none of="$1"
}
RECEIVER

# feed NAME COMMAND SSH...: send in the background; report its end with the last line printed, or that it
# must be tried later, because the other node already has more than this one.
feed() {
  local name=$1 command=$2
  shift 2
  stop
  send "$name" "$command" "$@" &
  job=$!
}

# Set `words` to the words of SSH: this node may know the host's key by another name than the image host.
# ssh(1)'s own setting here comes first (ssh_config(5), HostKeyAlias), then a name in known_hosts.
name_key() { # NAME SSH...
  local name=$1 alias='' host=${*: -1} word settings port
  shift
  words=()
  for word; do
    if [[ $word == HostKeyAlias=* ]]; then
      alias=${word#*=}
      unset 'words[-1]'
    else
      words+=("$word")
    fi
  done
  [ "$name$alias" != "$host" ] || return
  settings=$("${words[0]}" -G "${words[@]:1}" 2>/dev/null </dev/null)
  [ -z "$(value hostkeyalias)" ] || return
  port=$(value port)
  ! known "$(listed "$host")" || return
  for word in "$alias" "$(listed "$name")"; do
    if known "$word"; then
      words=("${words[0]}" -o "HostKeyAlias=$word" "${words[@]:1}")
      return
    fi
  done
}

value() { sed -n "s/^$1 //p" <<<"$settings" | head -n 1; }

listed() { [ "$port" = 22 ] && echo "$1" || echo "[$1]:$port"; }

known() {
  local file
  for file in $(value userknownhostsfile) $(value globalknownhostsfile); do
    [[ $file != \~/* ]] || file=$HOME/${file#\~/}
    [ -z "$(ssh-keygen -F "$1" -f "$file" 2>/dev/null)" ] || return 0
  done
  return 1
}

send() {
  local name=$1 command=$2 kind=ended line='' why='' offset words ends
  shift 2
  name_key "$name" "$@"
  # bash(1) forgets a coprocess that has ended: ssh starts when its pipes are held here.
  coproc { read -r -t 99999999 && exec "${words[@]}" "$command" 2>&1; }
  ends="${COPROC[1]:-} ${COPROC[0]:-}"
  if ! { exec 6>&"${ends% *}" 7<&"${ends#* }"; } 2>/dev/null; then
    report "ended $name ssh could not be started"
    return
  fi
  eval "exec ${ends% *}>&- ${ends#* }<&-"
  (trap '' PIPE && printf '\n%s\n' "$receiver") >&6 2>/dev/null
  # With -t, for else TMOUT applies (bash(1)).
  while IFS= read -r -t 99999999 line <&7 || [ -n "$line" ]; do
    if [[ $line == *"$mark at "* ]]; then
      offset=${line##* at } why='' # a start-up file printed what came before
      # tail(1) would wait forever beyond the end of the file.
      if [ "$offset" -le "$(stat -L -c %s "$part")" ]; then
        {
          head -c "$probe" /dev/zero
          follow "$((offset + 1))" 6>&- | head -c "$((size - offset))"
        } >&6 7<&- 2>/dev/null &
        report "probing $name"
      else
        kind=later
      fi
      exec 6>&-
    elif [[ $line == *"$mark probed "* ]]; then
      report "probed $name ${line##* }"
    elif [ -n "$line" ]; then
      why=${line:0:200}
    fi
    line=''
  done
  report "$kind $name $why"
}

# follow BYTE: print PART from this byte on while it grows. tail(1) learns of new bytes at once from
# inotify(7), but not for a symbolic link, nor on a network file system: then it looks every -s seconds.
follow() {
  local name=$part
  [ ! "$path" -ef "$part" ] || name=$path
  exec tail -c "+$1" -f -s 0.1 "--pid=$$" -- "$name"
}

# read_digest: report the digest of PART once all of it has arrived, and its stamp after that. openssl(1) takes
# a third of the time of sha256sum(1) (see images.sh).
read_digest() {
  local program=(openssl dgst -sha256 -r) said
  command -v openssl >/dev/null || program=(sha256sum -b)
  said=$(head -c "$size" < <(follow 1) | "${program[@]}") && [[ $said =~ ^[0-9a-f]{64}\  ]] || said=''
  report "digest ${said%% *} $(find -L "$part" -maxdepth 0 -printf 'size=%s mtime=%T@ inode=%i')"
}

stop() {
  [ -z "$job" ] || kill -KILL -- "-$job"
  job=''
} 2>/dev/null

# When complete, it is renamed while still being read.
[ -r "$part" ] && exec 8<"$part" || {
  echo "$part can't be read" >&2
  exit 1
}
path=$part part=/proc/$$/fd/8
trap stop EXIT
trap exit HUP TERM
report "ready"
if [ -n "$hash" ]; then read_digest 2>/dev/null </dev/null & fi
pause=0.4 had=0
while :; do
  line=''
  if IFS= read -r -t "$pause" line; then
    line=$kept$line kept=''
    eval "set -- $line"
    case ${1:-} in
      feed | stop) "$@" ;;
    esac
    continue
  elif [ $? -le 128 ]; then
    break
  fi
  kept+=$line
  now=$(stat -L -c %s "$part" 2>/dev/null || echo 0)
  report "size $now"
  # The end is reported soon, since nothing else happens on the node until then.
  pause=0.4
  [ "$now" -eq "$size" ] || [ $((now + now - had)) -lt "$size" ] || pause=0.1
  had=$now
done
exit
