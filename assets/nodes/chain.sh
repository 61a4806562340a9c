#!/bin/bash
# One file on its way from node to node: what each node of the chain runs (images/chain.py), and
# the image host as its head. It comes on the standard input of bash, over SSH; what follows it there
# are commands, a line each. Bash 4.4 and coreutils 8.30 (EL8).
#   bash -s -- MARK PART SIZE PROBE
# Every 0.4 s it reports the size of PART. When its standard input ends, so do it and all that it
# started. Before the file's bytes, each connection carries PROBE bytes that are only timed.
#   feed NAME COMMAND SSH...   send PART to another node: SSH COMMAND runs bash there (see receiver)
#   stop                       stop sending
set -u
export LC_ALL=C
set -m # each job is a process group

mark=$1 part=$2 size=$3 probe=$4
job='' kept=''

report() { printf '%s %s\n' "$mark" "$*"; }

# What receives on the next node, as `bash -s -- PART LOCK MARK PROBE`; the data follow it. Whoever wrote
# there before is ended first, and holds the lock until then. It says from which byte on it wants them.
read -r -d '' receiver <<'RECEIVER'
{ # read whole before it runs: the data come right behind it
  export LC_ALL=C
  umask 022
  exec 9<>"$2" || exit
  if ! flock -n 9; then
    read -r old <"$1.pid"
    ! grep -qsF "of=$1" "/proc/${old:-none}/cmdline" || kill -KILL "$old"
    flock -w 10 9 || { echo "somebody else is writing there"; exit; }
  fi 2>/dev/null
  echo $$ >"$1.pid" || exit
  echo "$3 at $(stat -c %s "$1")"
  head -c 1 >/dev/null
  began=$(date +%s%N)
  head -c "$(($4 - 1))" >/dev/null
  echo "$3 probed $((($(date +%s%N) - began) / 1000))"
  exec dd bs=128k iflag=fullblock oflag=append conv=notrunc status=none of="$1"
}
RECEIVER

# feed NAME COMMAND SSH...: in the background; says when it has ended, with the last line that it said,
# or that it is to be tried later, since the other has more than there is here.
feed() {
  local name=$1 command=$2
  shift 2
  stop
  send "$name" "$command" "$@" &
  job=$!
}

# The words of SSH, in `words`: its host's key may be known here by another name than on the image host. What
# ssh(1) itself says here counts first (ssh_config(5), HostKeyAlias), then whichever name is in known_hosts.
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
  local name=$1 command=$2 kind=ended line='' why='' offset words
  shift 2
  name_key "$name" "$@"
  coproc "${words[@]}" "$command" 2>&1
  exec 6>&"${COPROC[1]}" 7<&"${COPROC[0]}"
  eval "exec ${COPROC[1]}>&- ${COPROC[0]}<&-"
  printf '%s\n' "$receiver" >&6
  while IFS= read -r line <&7 || [ -n "$line" ]; do
    if [[ $line == *"$mark at "* ]]; then
      offset=${line##* at }
      # tail(1) would wait for ever beyond the end of the file.
      if [ "$offset" -le "$(stat -L -c %s "$part")" ]; then
        {
          head -c "$probe" /dev/zero
          tail -c "+$((offset + 1))" -f "--pid=$$" -- "$part" 6>&- | head -c "$((size - offset))"
        } >&6 7<&- 2>/dev/null &
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

stop() {
  [ -z "$job" ] || kill -KILL -- "-$job"
  job=''
} 2>/dev/null

# Once it is whole it gets another name, and is read on all the same.
[ -r "$part" ] && exec 8<"$part" || {
  echo "$part can't be read" >&2
  exit 1
}
part=/proc/$$/fd/8
trap stop EXIT
trap exit HUP TERM
report "ready"
while :; do
  line=''
  if IFS= read -r -t 0.4 line; then
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
  report "size $(stat -L -c %s "$part" 2>/dev/null || echo 0)"
done
exit
