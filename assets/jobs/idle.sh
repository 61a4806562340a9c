# shellcheck shell=bash disable=SC2154
# The idle policy of a session (VIZDASH_IDLE_SECONDS; without it, nothing here runs). A session is idle
# while nobody views it by any route, there is no input, and its processes and GPUs do next to nothing.
# What cannot be read is unknown, and a session of which something is unknown is never idle.
#
#   viewers, input   a watcher beside the desktop writes them to $runtime/activity; a service has no
#                    input, and its gate reports the viewers, which are in the status
#   CPU              times of the session's processes, in percent of one core (VIZDASH_IDLE_CPU)
#   GPU              by nvidia-smi, in percent (VIZDASH_IDLE_GPU), if the job has a GPU
#
# $runtime/activity is one line: TIME VIEWERS INPUT, the time in seconds since the epoch, the number of viewers
# and the seconds since the last input; "-" for unknown.

# Since when the session is idle (empty: it is not), and when it ends for it.
idle_since='' idle_end=''
# The sample before: when it was taken, until when input is known, the CPU time (clock ticks).
idle_sampled=0 idle_known='' idle_ticks=''
# What was unknown in the sample before, and what has been logged.
idle_unknown='' idle_noted=''

# keep_idle NOW: take a sample if it is time for one, and warn, end or forget accordingly.
keep_idle() {
  local every=$((VIZDASH_IDLE_SECONDS / 10)) busy='' unknown='' before=$idle_sampled
  if [ "$every" -gt 15 ]; then every=15; fi
  if [ -n "$idle_end" ] && [ "$every" -gt 5 ]; then every=5; fi
  if [ $(($1 - idle_sampled)) -lt $((every > 2 ? every : 2)) ]; then return; fi
  idle_sampled=$1
  sample_viewers_and_input "$1"
  sample_cpu $(($1 - before))
  sample_gpu
  note_unknown "$unknown"
  if [ -n "$busy$unknown" ]; then
    forget_idle
  elif [ -z "$idle_since" ]; then
    idle_since=$before
  else
    idle_for "$1"
  fi
}

# idle_for NOW: what follows from the time that it has been idle.
idle_for() {
  local for_s=$(($1 - idle_since))
  if [ -n "$idle_end" ] && [ "$1" -ge "$idle_end" ]; then
    end_early idle "no viewer, no input and no work for $(rough_time "$for_s")"
  elif [ -z "$idle_end" ] && [ "$for_s" -ge "$VIZDASH_IDLE_SECONDS" ]; then
    idle_end=$(($1 + VIZDASH_IDLE_GRACE))
    show_text "This session is idle and ends in $(rough_time "$VIZDASH_IDLE_GRACE"): use it to keep it."
    tell_reporter "idle $idle_end"
  fi
}

# note_unknown WHAT: log what stays unknown, once.
note_unknown() {
  if [ -n "$1" ] && [ "$1" = "$idle_unknown" ] && [ "$1" != "$idle_noted" ] && [ -e "$F/connection" ]; then
    say "the session is not idle, since its $1 is unknown"
    idle_noted=$1
  fi
  idle_unknown=$1
}

forget_idle() {
  if [ -n "$idle_end" ]; then
    say "the session is in use again"
    tell_reporter idle
  fi
  idle_since='' idle_end=''
}

# skip_idle SECONDS: the job was suspended for so long, which is not idle time.
skip_idle() {
  idle_sampled=$((idle_sampled + $1))
  if [ -n "$idle_since" ]; then idle_since=$((idle_since + $1)); fi
  if [ -n "$idle_end" ]; then
    idle_end=$((idle_end + $1))
    tell_reporter "idle $idle_end"
  fi
}

tell_reporter() { # WORDS
  timeout 5 bash -c 'printf "%s\n" "$1" >"$2"' - "$1" "$runtime/events" >/dev/null 2>&1
}

# sample_viewers_and_input NOW: input counts as known up to the time in $runtime/activity.
sample_viewers_and_input() {
  local at=0 viewers=- input=-
  if is_service; then
    viewers=$(sed -n 's/^VIEWERS=//p' "$F/status" 2>/dev/null)
    if [ "${viewers:--}" = - ]; then unknown='number of viewers'; elif [ "$viewers" != 0 ]; then busy=viewers; fi
    return
  fi
  { read -r at viewers input <"$runtime/activity"; } 2>/dev/null
  [[ "$at $viewers $input" =~ ^[0-9]+\ (-|[0-9]+)\ (-|[0-9]+)$ ]] || at=0 viewers=- input=-
  if [ $(($1 - at)) -gt 30 ] || [ "$input" = - ]; then
    unknown=input
  elif [ -z "$idle_known" ] || [ "$input" -lt $((at - idle_known)) ]; then
    busy=input
  fi
  if [ "$viewers" = - ]; then unknown='number of viewers'; elif [ "$viewers" != 0 ]; then busy=viewers; fi
  if [ -n "$unknown" ]; then idle_known=''; else idle_known=$at; fi
}

# sample_cpu SECONDS: since the last sample. Less time than before means that a process has ended whose
# time is lost: it did something.
sample_cpu() {
  local ticks before=$idle_ticks
  session_ticks
  idle_ticks=$ticks
  if [ -z "$ticks" ]; then
    unknown='CPU time'
  elif [ -z "$before" ] || [ "$ticks" -lt "$before" ] ||
    [ $(((ticks - before) * 100)) -ge $((VIZDASH_IDLE_CPU * $(getconf CLK_TCK) * $1)) ]; then
    busy=CPU
  fi
}

# Set `ticks` to the CPU time of the session's processes and their ended children (proc(5), stat: fields 14
# to 17), without those of this script; empty if there is none.
session_ticks() {
  local pid stat fields found='' sum=0
  ticks=''
  while read -r pid; do
    case " $$ $keeper_pid ${reporter:-} ${leader_log:-} " in *" $pid "*) continue ;; esac
    stat=''
    { IFS= read -r -d '' stat <"/proc/$pid/stat"; } 2>/dev/null
    read -r -a fields <<<"${stat##*) }"
    [ "${#fields[@]}" -gt 14 ] || continue
    found=1 sum=$((sum + fields[11] + fields[12] + fields[13] + fields[14]))
  done < <(session_processes "$SESSION_ID" "$job_id" "$leader")
  if [ -n "$found" ]; then ticks=$sum; fi
}

# A GPU that was granted and cannot be read is unknown (AMD's, a MIG slice, no nvidia-smi). Where devices
# are constrained, nvidia-smi counts them as CUDA_VISIBLE_DEVICES does; else both count all.
sample_gpu() {
  local list used ids=()
  [ -n "${CUDA_VISIBLE_DEVICES:-}${SLURM_JOB_GPUS:-}${ROCR_VISIBLE_DEVICES:-}${GPU_DEVICE_ORDINAL:-}" ] ||
    return 0
  if [ -n "${CUDA_VISIBLE_DEVICES:-}" ]; then ids=(-i "$CUDA_VISIBLE_DEVICES"); fi
  list=''
  if run_for 20 nvidia-smi --query-gpu=utilization.gpu --format=csv,noheader,nounits "${ids[@]}" \
    >"$runtime/gpu_load" 2>/dev/null; then list=$(<"$runtime/gpu_load"); fi
  if ! [[ $list =~ ^[0-9]+($'\n'[0-9]+)*$ ]]; then
    unknown='GPU load'
    return
  fi
  while read -r used; do
    if [ "$used" -ge "$VIZDASH_IDLE_GPU" ]; then busy=GPU; fi
  done <<<"$list"
}

# ---------------------------------------------------------------- inside, beside the desktop

# What write_inner adds.
activity_values() {
  [ -n "${VIZDASH_IDLE_SECONDS:-}" ] || return 0
  declare -p VIZDASH_IDLE_SECONDS
  declare -f activity_watcher
}

inner_activity() {
  [ -n "${VIZDASH_IDLE_SECONDS:-}" ] || return 0
  activity_watcher >"$runtime/activity.py"
  "$as" "$python" -I "$runtime/activity.py" "$runtime" "${DISPLAY#:}" "$websockify" \
    9>&- </dev/null >"$runtime/activity.log" 2>&1 &
}

# Input is that of MIT-SCREEN-SAVER (its protocol, version 1.1), which Xvnc has: keys, pointer and XTEST
# count, viewing does not. A child of websockify with three sockets serves a viewer (see inner_viewers).
activity_watcher() {
  cat <<'PY'
source x11.py

import os
import stat
import time

EXTENSION = b"MIT-SCREEN-SAVER"


def sockets(pid):
    """How many a process has: one of websockify's with three serves a viewer (see inner_viewers)."""
    folder = "/proc/%s/fd" % pid
    return sum(stat.S_ISSOCK(os.stat(folder + "/" + name).st_mode) for name in os.listdir(folder))


def viewers(pid):
    """Their number, or "-" where it can't be read."""
    try:
        with open("/proc/%s/task/%s/children" % (pid, pid)) as file:
            children = file.read().split()
    except OSError:
        return "-"
    count = 0
    for child in children:
        try:
            count += sockets(child) >= 3
        except OSError:  # it has just ended
            continue
    return count


def opcode(name):
    """The major opcode of an extension; 0 where the server lacks it."""
    reply = ask(98, 0, struct.pack("<Hxx", len(name)) + padded(name))
    return reply[9] if reply and reply[8] else 0


saver = opcode(EXTENSION)
while True:
    reply = ask(saver, 1, struct.pack("<I", root)) if saver else None
    idle = struct.unpack_from("<I", reply, 16)[0] // 1000 if reply else "-"
    with open(runtime + "/activity.new", "w") as file:
        file.write("%d %s %s\n" % (time.time(), viewers(sys.argv[3]), idle))
    os.rename(runtime + "/activity.new", runtime + "/activity")
    time.sleep(2)
PY
}
