# shellcheck shell=bash
# Find and remove what a session has on a node: its processes, its display, its runtime folder. Used
# by the job scripts, by sweep.sh, and for sessions whose job was killed.

# start_ticks PID: the start time of a process, in ticks since boot (proc(5), stat, field 22); empty
# for a missing process or a zombie (without threads that live on).
start_ticks() { # PID
  local stat=''
  { IFS= read -r -d '' stat <"/proc/${1:-none}/stat"; } 2>/dev/null
  # shellcheck disable=SC2086 # words without wildcards
  set -- ${stat##*) }
  case ${1:-Z} in [ZX]) [ "${18:-1}" -gt 1 ] || return 1 ;; esac
  printf '%s\n' "${20}"
}

# lives PID...: whether one of these processes has not ended.
lives() {
  local pid
  for pid; do
    if start_ticks "$pid" >/dev/null; then return 0; fi
  done
  return 1
}

# session_processes ID [JOB] [LEADER] [TOP]: the PIDs of a session's processes, of this user, without
# those of this script. Where slurmd tracks jobs by cgroup (v1 and v2: .../job_N/step_S), they are the
# processes of the job's cgroup. Elsewhere they are those with the session's mark and without another
# job's SLURM_JOB_ID (sbatch passes the environment of the desktop on to jobs), or in the process
# session of LEADER. Their descendants and those of TOP are included, except another session that was
# started from the desktop (supervise.sh) and its descendants. Without JOB, the session's supervisor
# and its timers are included. One that has ended, and that its parent has not waited for, is none.
session_processes() {
  local id=$1 job=${2:-} me=$BASHPID files=() seeds=() others=()
  local marks='VIZDASH_(SESSION_ID|SUPERVISOR_OF)'
  mapfile -t others < <(grep -lszE "^$marks=" /proc/[0-9]*/environ)
  if [ -n "$job" ]; then marks=VIZDASH_SESSION_ID; fi
  if [ ${#others[@]} -gt 0 ]; then mapfile -t files < <(grep -lszE "^$marks=$id\$" "${others[@]}"); fi
  if [ -n "$job" ] && grep -qs "/job_$job/" /proc/self/cgroup; then
    mapfile -t seeds < <(grep -s "/job_$job/" /proc/[0-9]*/cgroup |
      grep -v "/job_$job/step_extern" | cut -d/ -f3)
  elif [ ${#files[@]} -gt 0 ]; then
    mapfile -t seeds < <({
      grep -Lsz '^SLURM_JOB_ID=' "${files[@]}"
      [ -z "$job" ] || grep -lszFx "SLURM_JOB_ID=$job" "${files[@]}"
    } | cut -d/ -f3)
  fi
  mapfile -t others < <(printf '%s\n' "${others[@]}" |
    grep -vxF "$(printf '%s\n' "${files[@]}" none)" | cut -d/ -f3)
  {
    if [ ${#seeds[@]} -gt 0 ]; then printf 'seed %s\n' "${seeds[@]}"; fi
    if [ ${#others[@]} -gt 0 ]; then printf 'other %s\n' "${others[@]}"; fi
    ps -eo pid=,ppid=,sid=,uid=,stat=
  } | awk -v uid="$UID" -v leader="${3:-}" -v top="${4:-}" -v script="$$" -v me="$me" '
    $1 == "seed" {seed[$2] = 1; next}
    $1 == "other" {other[$2] = 1; next}
    $5 !~ /^[ZX][^l]*$/ {parent[$1] = $2; sid[$1] = $3; owner[$1] = $4}
    function ours(pid,   p, yes) {
      for (p = pid; p in parent && p != script && p != me; p = parent[p]) {
        if (yes) continue
        if (p in seed || (leader && sid[p] == leader) || p == top) yes = 1
        else if (p in other) return 0
      }
      return yes && p != me
    }
    END {for (pid in parent) if (owner[pid] == uid && pid != top && ours(pid)) print pid}'
}

# serves_others PID: whether it is a server without which other programs cannot save their work: of the
# display, of the session bus, or of a file system (FUSE), as Apptainer mounts images by. By its name in
# proc(5), /proc/PID/comm.
serves_others() {
  local name=''
  { IFS= read -r name <"/proc/$1/comm"; } 2>/dev/null
  case $name in Xvnc | Xtigervnc | dbus-daemon | *fuse* | gocryptfs | sshfs) ;; *) return 1 ;; esac
}

# has_terminal PID: whether it has a controlling terminal (proc(5), stat, field 7).
has_terminal() {
  local stat=''
  { IFS= read -r -d '' stat <"/proc/$1/stat"; } 2>/dev/null
  # shellcheck disable=SC2086 # words without wildcards
  set -- ${stat##*) }
  [ "${5:-0}" != 0 ]
}

# end_session ID [JOB] [LEADER]: send TERM to the programs, and to the servers that they need once they
# have ended or 2 s have passed; a second later, send KILL (SECONDS counts whole ones). An interactive shell ends by HUP (bash(1), SIGNALS):
# a program without a terminal may be saving its work then, and would be killed by it. Done when two
# checks in a row found nothing: during execve(2) a process shows no environment.
end_session() {
  local pid pids programs servers shells tries none=0 began=$SECONDS asked=''
  for tries in {1..60}; do
    mapfile -t pids < <(session_processes "$@")
    # What is left may be a process of this check: only one that stays counts.
    if ! lives "${pids[@]}"; then
      none=$((none + 1))
      [ "$none" -lt 2 ] || return 0
    else
      none=0 programs=() servers=() shells=()
      for pid in "${pids[@]}"; do
        if serves_others "$pid"; then servers+=("$pid"); else programs+=("$pid"); fi
        if has_terminal "$pid"; then shells+=("$pid"); fi
      done
      case $tries in
        1)
          kill -TERM "${programs[@]}" 2>/dev/null
          began=$SECONDS # the processes may have been slow to list
          ;;
        3) kill -HUP "${shells[@]}" 2>/dev/null ;;
      esac
      if [ -z "$asked" ] && { ! lives "${programs[@]}" || [ $((SECONDS - began)) -ge 3 ]; }; then
        asked=yes
        kill -TERM "${servers[@]}" 2>/dev/null
      fi
      # By the clock: on a busy node each try takes long, and Slurm kills the job after KillWait.
      if [ $((SECONDS - began)) -ge 4 ]; then kill -KILL "${pids[@]}" 2>/dev/null; fi
    fi
    sleep 0.1
  done
}

# remove_display FOLDER: remove what is left of a session's display.
remove_display() { remove_dead_display "$(cat "$1/display" 2>/dev/null)"; }

# remove_dead_displays: remove what is left of this user's displays. Those of a legacy job script are not
# known by number.
remove_dead_displays() {
  local lock
  for lock in /tmp/.X[0-9]*-lock; do
    lock=${lock#/tmp/.X}
    remove_dead_display "${lock%-lock}"
  done
}

# remove_dead_display NUMBER: remove the lock and the socket of a display whose server was killed, unless
# another has the display by now: its PID is in the lock, and it listens (proc(5), /proc/net/unix).
remove_dead_display() {
  local display=$1 pid='' name
  case $display in '' | *[!0-9]*) return 0 ;; esac
  if [ -f "/tmp/.X$display-lock" ]; then
    read -r pid <"/tmp/.X$display-lock" || return 0
    if start_ticks "$pid" >/dev/null; then return 0; fi
  fi
  if awk -v path="/tmp/.X11-unix/X$display" '$4 == "00010000" && $8 == path {found = 1}
    END {exit !found}' /proc/net/unix; then return 0; fi
  for name in "/tmp/.X11-unix/X$display" "/tmp/.X$display-lock"; do
    if [ -O "$name" ]; then rm -f "$name"; fi
  done
}

# mounts_below FOLDER: the mount points below it, deepest first (proc(5), mountinfo: field 5, blanks as \040).
mounts_below() { # FOLDER
  local point
  while read -r _ _ _ _ point _; do
    printf -v point '%b' "${point//\\/\\0}"
    case $point in "$1"/*) printf '%s\n' "$point" ;; esac
  done </proc/self/mountinfo | sort -r
}

# remove_folder FOLDER: unmount what is mounted in it (gvfs and document portals use XDG_RUNTIME_DIR),
# and remove it. What cannot be unmounted stays, with its folder.
remove_folder() {
  local folder point entry
  folder=$(readlink -f -- "$1") && [ -d "$folder" ] || return 0
  while IFS= read -r point; do
    { fusermount3 -u -z "$point" || fusermount -u -z "$point" || umount -l "$point"; } 2>/dev/null
  done < <(mounts_below "$folder")
  if [ -z "$(mounts_below "$folder")" ]; then
    remove_tree "$folder"
    return
  fi
  for entry in "$folder"/* "$folder"/.[!.]*; do
    if mounts_below "$folder" | grep -qF -e "$entry"; then
      echo "not removed: $entry is a mount point" >&2
    else
      remove_tree "$entry"
    fi
  done
}

# remove_tree PATH: remove it, with folders that someone has made read-only (an unpacked image or archive).
remove_tree() {
  rm -rf --one-file-system -- "$1" 2>/dev/null && return
  find "$1" -xdev -type d ! -perm -u=rwx -exec chmod u+rwx {} \; 2>/dev/null
  rm -rf --one-file-system -- "$1"
}

# claim_folder FOLDER JOB: note in the folder that it belongs to this process.
claim_folder() {
  printf '%s %s %s %s %s %s\n' "$$" "$(start_ticks $$)" "$(cat /proc/sys/kernel/random/boot_id)" \
    "$(readlink /proc/self/ns/pid)" "$(uname -n)" "$2" >"$1/.owner" && mv -f "$1/.owner" "$1/owner"
}

# orphaned FOLDER ID: whether the process of its claim has certainly ended; sets `job` to its job id.
# Only the kernel is asked, since Slurm may not answer. A folder without a claim is just being made,
# or belongs to an older vizdash.
orphaned() {
  local pid ticks boot space node now
  job=''
  if ! read -r pid ticks boot space node job 2>/dev/null <"$1/owner"; then
    now=$(awk '$1 == "btime" {print $2}' /proc/stat)
    [ "$(stat -c %Y -- "$1")" -lt "${now:-0}" ] || grep -qsx STATE=ended "${F%/*}/$2/status"
    return
  fi
  [ "$node" = "$(uname -n)" ] || return 1
  [ "$boot" = "$(cat /proc/sys/kernel/random/boot_id)" ] || return 0
  # A PID is valid only in its own namespace (pid_namespaces(7)).
  [ "$space" = "$(readlink /proc/self/ns/pid)" ] || return 1
  [ "$(start_ticks "$pid")" != "$ticks" ]
}

# Parent folders of runtime folders, in order of preference. systemd-logind(8) removes a user's files in
# /dev/shm at their last logout, unless RemoveIPC=no, and /run/user/UID always.
runtime_parents() {
  printf '%s\n' /tmp "${TMPDIR:-/tmp}" /var/tmp /dev/shm | awk '!seen[$0]++'
}

# folders_of ID: the runtime folders of a session of this user (*: of all sessions).
folders_of() {
  local parent folder
  # Older versions also used /run/user/UID.
  while IFS= read -r parent; do
    for folder in "$parent"/vizdash-$1.????????; do
      if [ -d "$folder" ] && [ ! -L "$folder" ] && [ -O "$folder" ]; then printf '%s\n' "$folder"; fi
    done
  done < <(runtime_parents && printf '/run/user/%s\n' "$UID")
}

# remove_legacy ID: remove what a legacy job script (legacy.sh) may leave: its info file, if it is this
# user's, and its display.
remove_legacy() {
  local info=/tmp/app_session_$1.info
  if [ -O "$info" ] && [ ! -L "$info" ]; then
    rm -f -- "$info"
    remove_dead_displays
  fi
}

# Remove what sessions left whose job was killed or whose node crashed, including passwords.
remove_orphans() {
  local folder id job
  while IFS= read -r folder; do
    id=${folder##*/vizdash-}
    id=${id%%.*}
    case $id in '' | *[!0-9a-f]*) continue ;; esac
    if [ "$id" = "$SESSION_ID" ] || ! orphaned "$folder" "$id"; then continue; fi
    say "removing $folder of a job that was killed"
    end_session "$id" "$job"
    remove_display "$folder"
    remove_folder "$folder"
    remove_legacy "$id"
    close_session "$id"
  done < <(folders_of '*')
}

# close_session ID: what `finish` would have done in the folder of a session whose job was killed on this node,
# unless the job runs again: here (it has a runtime folder of its own by now) or on another node.
close_session() {
  local id=$1 F=${F%/*}/$1 folder job now
  if [ ! -O "$F" ] || [ -L "$F" ] || ! grep -qsx "NODE=$node" "$F/status"; then return 0; fi
  while IFS= read -r folder; do orphaned "$folder" "$id" || return 0; done < <(folders_of "$id")
  rm -f -- "$F/connection" "$F/lease"
  rm -rf -- "$F/ssh"
  grep -qsx STATE=ended "$F/status" && return
  printf -v now '%(%s)T' -1
  write_whole status "$(sed -E "s/^STATE=.*/STATE=ended/; s/^UPDATED=.*/UPDATED=$now/
    /^RESULT=\$/ {s/\$/failed/; n; s/^ERROR=\$/ERROR=the job script was killed/}" "$F/status")"
  rm -f -- "$F/.status.reserve" "$F/.connection.reserve"
}
