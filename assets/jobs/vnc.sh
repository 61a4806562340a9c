#!/bin/bash -p
# One vizdash session: a VNC desktop or a service (service.sh) as a job, under Slurm or on the local
# machine.
#
# Runs on the node with the node's own tools (bash 4.4, coreutils, procps). vizdash inserts the
# session's values below this comment, so that they are in no argv and no environment.
#
#   steps    image -> runtime -> modules -> xvnc -> websockify -> app -> ready
#   F        the session folder, made by the submitting vizdash (VIZDASH_FOLDER: in state_dir, or
#            ~/.local/state/vizdash/sessions/ID): job.log, status, connection (0700)
#   runtime  the runtime folder on the node, by mktemp (0700): cookie, passwords, sockets
#   USR1     show a warning on the desktop, some minutes before the time limit
#   TERM     end all processes, daemons included, and remove the runtime folder
#
# With runtime "apptainer", Xvnc, websockify and the app run inside the image, so a node needs only
# Apptainer; with "host" they are the node's. Both run the same function, `inner`. No secret is ever in
# an argv or in the environment.

set -u -o pipefail

: "${SESSION_ID:?}" "${VIZDASH_APP:?}"
source environment.sh # vizdash puts the file's text here
set_aside_environment
step=image reporter='' leader_log='' unpack_folder=''
source common.sh
source image.sh
source gpu.sh
source input.sh
source inner.sh
source service.sh
source session_sshd.sh

before_end() {
  if [ -n "$reporter" ]; then kill "$reporter" 2>/dev/null; fi
  if [ "$1" != failed ] && [ -r "$runtime/step" ]; then step=$(cat "$runtime/step"); fi
}

after_end() {
  [ -n "$runtime" ] || return 0
  # An image has a private /tmp.
  if [ "$VIZDASH_RUNTIME" = host ]; then remove_display "$runtime"; fi
  if [ "$1" = failed ]; then tail -n 30 "$runtime"/*.log 2>/dev/null; fi
  set_unpacked_aside
}

last_end() {
  if [ -n "$unpack_folder" ]; then remove_folder "$unpack_folder"; fi
}

# The reporter knows the state: ask it to warn, through its pipe.
on_warn() {
  if [ -n "$runtime" ] && [ -p "$runtime/events" ]; then
    (timeout 5 bash -c 'echo warn >"$1"' - "$runtime/events" &) >/dev/null 2>&1
  fi
}

# The text to show on the desktop: an operator's message, else that the time limit is near.
show_warning() {
  local text="This session ends in $((${VIZDASH_WARN_SECONDS:-300} / 60)) minutes: save your work."
  if ! { read_note || read_note || read_note; }; then
    text="The time limit is near, or a message came that Slurm does not give: save your work."
  elif [ -n "$note" ]; then
    text="Message: $(one_line "$(printf '%b' "${note//%/\\x}")")"
    printf '%s' "$note" >"$runtime/shown"
    note=''
    if [ -e "$F/connection" ]; then comment ready ready; fi
  fi
  show_text "$text"
}

show_text() { # TEXT
  if is_service; then
    say "message: $1"
    return
  fi
  say "shown on the desktop: $1"
  if [ -p "$runtime/warn" ]; then
    # There is no reader before the desktop is ready.
    (timeout "$VIZDASH_READY_TIMEOUT" bash -c 'printf "%s\n" "$1" >"$2"' - "$1" "$runtime/warn" &) \
      >/dev/null 2>&1
  fi
}

# ---------------------------------------------------------------- the steps on the node

check_image() {
  [ "$VIZDASH_RUNTIME" = apptainer ] || return 0
  [ -e "$VIZDASH_IMAGE" ] ||
    fail image "no image $VIZDASH_IMAGE on $node: vizdash deploy $VIZDASH_APP"
  [ -r "$VIZDASH_IMAGE" ] || fail image "image $VIZDASH_IMAGE on $node can't be read by $(id -un)"
  know_image
}

# <app>.sif is a link that may be switched at any time: use and report the file it leads to. Its digest
# is the one recorded when it was last verified (assets/nodes/images.sh), if it is still that file.
know_image() {
  local stem line stamp
  VIZDASH_IMAGE=$(readlink -f -- "$VIZDASH_IMAGE") || return 0
  stem=${VIZDASH_IMAGE##*/}
  stem=${stem%.sif}
  case $stem in "$VIZDASH_APP"-?*) VIZDASH_IMAGE_VERSION=${stem#"$VIZDASH_APP"-} ;; esac
  [ -r "$VIZDASH_IMAGE.sha256" ] || return 0
  {
    IFS= read -r line
    IFS= read -r stamp
  } <"$VIZDASH_IMAGE.sha256"
  [ "$stamp" = "# $(LC_ALL=C find "$VIZDASH_IMAGE" -maxdepth 0 -printf 'size=%s mtime=%T@ inode=%i')" ] ||
    return 0
  if [[ $line =~ ^([0-9a-f]{64})\ \  ]]; then image_digest=${BASH_REMATCH[1]}; fi
}

# Under /tmp if there is space; paths of sockets must be short (sun_path, unix(7)).
make_runtime() {
  local parent parents why='' why_not
  mapfile -t parents < <(runtime_parents)
  for parent in "${parents[@]}"; do
    if roomy_folder "$parent"; then
      mkdir "$runtime/run" "$runtime/work" "$runtime/work/tmp" "$runtime/work/var_tmp" &&
        mkfifo "$runtime/events" "$runtime/warn" &&
        claim_folder "$runtime" "$job_id" && return 0
      rm -rf -- "$runtime"
      why=${why:-$parent: it takes no folder or pipe}
    fi
    runtime='' why=${why:-$why_not}
  done
  fail runtime "no folder for the session on $node: $why"
}

# Load modules in the user's environment, which defines `module`; the result is the app's environment.
load_modules() {
  local name line
  [ ${#VIZDASH_MODULES[@]} -gt 0 ] || return 0
  {
    declare -f export_statements load_each load_profile
    printf 'load_each "$@"\n'
  } >"$runtime/modules.sh"
  : >"$runtime/environment" # under our own umask
  : >"$runtime/modules.name"
  load() {
    eval "$user_environment" 2>/dev/null
    exec "$@"
  }
  run_for "$VIZDASH_READY_TIMEOUT" load "$BASH" "$runtime/modules.sh" "$runtime" "$module_errors" \
    "${VIZDASH_MODULES[@]}" </dev/null >>"$runtime/modules.log" 2>&1
  local code=$?
  if [ "$code" = 0 ]; then
    user_environment=$(<"$runtime/environment")
    return
  fi
  name=$(cat "$runtime/modules.name" 2>/dev/null)
  [ "$code" != 124 ] || fail modules "module load${name:+ $name}: not done in $VIZDASH_READY_TIMEOUT s"
  [ -n "$name" ] || fail modules "no module command on $node"
  line=$(sed -nE "s/$module_errors *//p" "$runtime/modules.log" | head -n 1)
  fail modules "module load $name: ${line:-$(last_line "$runtime/modules.log")}"
}

# Exit code 0 is not enough: Modules 3.2 always returns it, with lines such as
# "ModuleCmd_Load.c(213):ERROR:105: Unable to locate a modulefile for 'gcc/99'", and a site's wrapper
# of Lmod may lose the code.
module_errors='^([A-Za-z_]+\.c\([0-9]+\):ERROR:[0-9]+:|Lmod has detected the following error:)'

# Runs in a separate bash, which writes the name of the current module.
load_each() { # RUNTIME ERRORS MODULE...
  load_profile /etc/profile.d/modules.sh
  load_profile /etc/profile.d/lmod.sh
  load_profile /etc/profile.d/z00_lmod.sh
  command -v module >/dev/null || exit
  while [ $# -gt 2 ]; do
    printf '%s\n' "$3" >"$1/modules.name"
    : >"$1/modules.log" # only the output of the last one
    module load "$3" || exit
    if grep -qE "$2" "$1/modules.log"; then exit 1; fi
    set -- "$1" "$2" "${@:4}"
  done
  export_statements >"$1/environment"
}

load_profile() { # FILE
  # shellcheck disable=SC1090
  if [ -r "$1" ] && ! command -v module >/dev/null; then . "$1"; fi
}

find_apptainer() {
  apptainer_of_user=''
  [ "$VIZDASH_RUNTIME" = apptainer ] || return 0
  seek_apptainer || fail image "neither apptainer nor singularity is installed on $node"
  [ -n "$apptainer_of_user" ] || return 0
  say "Apptainer: not in $system_path on $node; using $apptainer from PATH"
}

# Write what `inner` needs to a private file. INSIDE is the path of the runtime folder inside.
write_inner() { # INSIDE
  local name functions gpu='' gl_device='' gl_why=''
  mapfile -t functions < <(compgen -A function inner_)
  if [ -n "${CUDA_VISIBLE_DEVICES:-}${SLURM_JOB_GPUS:-}${ROCR_VISIBLE_DEVICES:-}" ]; then
    gpu=1
    graphics_device
  fi
  {
    echo 'set +o posix' # see environment.sh
    # All functions that run inside, and those of common.sh that they use.
    declare -f inner "${functions[@]}" start_xvnc child_lives code_words after_colon count_sockets \
      wait_for run_for websockify_launcher window_watcher opengl_query last_line one_line \
      set_aside_environment export_statements locale_charmap serves_others
    echo 'export -n system_path user_environment'
    declare -p system_path
    printf 'export VIZDASH_SESSION_ID=%q HOME=%q USER=%q LOGNAME=%q\n' \
      "$SESSION_ID" "$HOME" "$(id -un)" "$(id -un)"
    for name in CUDA_VISIBLE_DEVICES ROCR_VISIBLE_DEVICES; do
      if [ -n "${!name:-}" ]; then printf 'export %s=%q\n' "$name" "${!name}"; fi
    done
    if [ "$VIZDASH_RUNTIME" = host ]; then
      declare -p user_environment
    else
      printf 'export LANG=%q\n' \
        "$(eval "$user_environment" 2>/dev/null; printf '%s' "${LC_ALL:-${LC_CTYPE:-${LANG:-}}}")"
      # An image may have a variable with the name of one below.
      echo set_aside_environment
    fi
    declare -p SESSION_ID VIZDASH_APP VIZDASH_RUNTIME VIZDASH_COMMAND VIZDASH_GEOMETRY \
      VIZDASH_ROUTE VIZDASH_PORT_MIN VIZDASH_PORT_MAX VIZDASH_ENV VIZDASH_READY_TIMEOUT VIZDASH_ENDS_WITH
    printf 'runtime=%q has_gpu=%q gl_device=%q gl_why=%q novnc=%q\n' "$1" "$gpu" "$gl_device" "$gl_why" \
      "${VIZDASH_NOVNC:-}"
    if [ -n "${VIZDASH_SCALE:-}" ]; then declare -p VIZDASH_SCALE; fi
    if is_service; then service_values; fi
    activity_values
    printf 'set -u -o pipefail\n'
    if is_service; then echo inner_service; else echo inner; fi
  } >"$runtime/inner.sh"
}

start_inner() {
  if [ "$VIZDASH_RUNTIME" = host ]; then
    local namespace=()
    write_inner "$runtime"
    if is_service; then find_network_namespace; fi
    # Without exec, bash would let the session's programs ignore Ctrl-C (bash(1), SIGNALS).
    (exec setsid "${namespace[@]}" bash -p "$runtime/inner.sh") </dev/null &
    leader=$!
    return
  fi
  local args missing_bind
  image_arguments || fail image "bind $missing_bind does not exist on $node"
  if is_service; then add_network_namespace; fi
  write_inner /tmp/vizdash
  make_unpack_folder
  mkfifo "$runtime/apptainer.pipe"
  { tee "$runtime/apptainer.log" | grep -v gocryptfs >&2; } <"$runtime/apptainer.pipe" &
  leader_log=$!
  (
    set -- "$SESSION_ID" "$unpack_folder" "$apptainer_of_user" \
      setsid "$apptainer" "${args[@]}" "$VIZDASH_IMAGE" /bin/bash -p /tmp/vizdash/inner.sh
    unset -v args # an array cannot be exported
    # A module may have set APPTAINER_BIND and others.
    eval "$user_environment" 2>/dev/null
    export VIZDASH_SESSION_ID=$1
    # SingularityCE reads the second name.
    set -- "${APPTAINER_TMPDIR:-${SINGULARITY_TMPDIR:-$2}}" "${@:2}"
    export APPTAINER_TMPDIR=$1 SINGULARITY_TMPDIR=${SINGULARITY_TMPDIR:-$1}
    set -- "$(umask)" "${@:3}"
    if [ -z "$2" ]; then set_aside_environment; fi
    umask "$1" # Apptainer passes it on
    shift 2
    exec "$@"
  ) </dev/null 2>"$runtime/apptainer.pipe" &
  leader=$!
}

# Set `unpack_folder` to a folder for Apptainer, which unpacks an image there where it cannot mount one, and
# leaves it there if it is killed. Where TMPDIR is not the runtime folder's parent, it may have the space.
make_unpack_folder() {
  case ${TMPDIR:-${runtime%/*}} in
    "${runtime%/*}") ;;
    *) unpack_folder=$(mktemp -d "$TMPDIR/vizdash-$SESSION_ID.XXXXXXXX" 2>/dev/null) &&
      claim_folder "$unpack_folder" "$job_id" ;;
  esac
  if [ -n "$unpack_folder" ]; then return; fi
  unpack_folder=$runtime/unpacked
  mkdir "$unpack_folder"
}

# An image takes a while to remove: out of the runtime folder, it is removed when the final status is written.
set_unpacked_aside() {
  local folder
  [ "$unpack_folder" = "$runtime/unpacked" ] && [ -n "$(ls -A "$unpack_folder" 2>/dev/null)" ] || return 0
  folder=$(mktemp -d "${runtime%/*}/vizdash-$SESSION_ID.XXXXXXXX" 2>/dev/null) || return 0
  claim_folder "$folder" "$job_id" && mv -- "$unpack_folder" "$folder/"
  unpack_folder=$folder
}

# The last line of Apptainer's log, once it is complete.
leader_said() {
  for _ in {1..40}; do
    if [ -z "$leader_log" ] || ! kill -0 "$leader_log" 2>/dev/null; then break; fi
    sleep 0.05
  done
  last_line "$runtime/apptainer.log"
}

# ---------------------------------------------------------------- when the desktop answers

write_connection() { # DISPLAY [PORT]
  if is_service; then
    write_service_connection
    return
  fi
  local password view web=$runtime/web text
  {
    read -r password
    read -r view
  } <"$runtime/passwords"
  if [ "$VIZDASH_ROUTE" = direct ]; then web=''; fi
  text=$(
    printf 'JOB_ID=%s\nNODE=%s\nVNC_PORT=%s\n' "$job_id" "$node" "${2:-}"
    printf 'SESSION_ID=%s\nSTATUS=running\nSTART_TIME=%(%s)T\n' "$SESSION_ID" -1
    printf 'NODE_IP=%s\nRUNTIME_DIR=%s\n' "$(node_address)" "$runtime"
    printf 'WEB_SOCKET=%s\nVNC_SOCKET=%s\n' "$web" "$runtime/rfb"
    printf 'IMAGE=%s\nIMAGE_VERSION=%s\n' "$VIZDASH_IMAGE" "$VIZDASH_IMAGE_VERSION"
    printf 'IMAGE_DIGEST=%s\n' "$image_digest"
    printf 'DISPLAY=%s\nGEOMETRY=%s\n' "$1" "$VIZDASH_GEOMETRY"
    if [ -n "${VIZDASH_SCALE:-}" ]; then printf 'SCALE=%s\n' "$VIZDASH_SCALE"; fi
    printf 'PASSWORD=%s\nVIEW_PASSWORD=%s\n' "$password" "$view"
  )
  write_whole connection "$text"
}

# Remove the folders of sessions that ended 90 days ago. One without a final status may belong to a
# pending or running job, which writes none for as long as nobody views it: it is kept for longer than jobs
# run, 400 days.
forget_old() {
  find "${F%/*}" -mindepth 2 -maxdepth 2 -name status -mtime +90 \
    \( -mtime +400 -o -exec grep -qx STATE=ended {} \; \) -printf '%h\0' 2>/dev/null | xargs -0 -r rm -rf --
  # A vizdash that was killed left these: no job was submitted for them.
  find "${F%/*}" -mindepth 1 -maxdepth 1 -type d -mtime +90 ! -exec test -e {}/status \; \
    ! -exec test -e {}/job.log \; ! -exec grep -qs '^JOB_ID=.' {}/job \; -print0 2>/dev/null |
    xargs -0 -r rm -rf --
}

# give_up STEP WHY, in the reporter: main ends the session as failed.
give_up() {
  printf '%s\n' "$1" "$(one_line "$2")" >"$runtime/gave_up"
  kill -TERM "$$"
}

# A session that cannot write its folder cannot be opened.
unwritable() { give_up folder "$write_error"; }

# Each step has limits of its own. Where they fail, as with a program that nobody can kill, a session that
# reports nothing for longer is given up: after a last short wait, since a job that was suspended has not
# had this time.
# Until `inner` reports its first step, the pipe is held open here: it may never open it, and a warning
# may be the only writer. From then on, `inner` has it open until it ends.
report() {
  local word first second last=5 now held
  # Apptainer may have to unpack a large image first.
  local step_s=$((VIZDASH_READY_TIMEOUT * 4 / 3)) usual=$((VIZDASH_READY_TIMEOUT * 4))
  local patience=$usual
  exec {held}<>"$runtime/events"
  hold_folder "$runtime"
  while :; do
    read -r ${patience:+-t "$patience"} word first second
    case $? in
      0) patience=${patience:+$usual} ;;
      1) return ;;
      *)
        if [ "$patience" != "$last" ]; then
          patience=$last
          continue
        fi
        now=$(cat "$runtime/step" 2>/dev/null || echo image)
        give_up "$now" "no progress for $((usual + last)) s$(after_colon "$(last_line "$runtime"/*.log)")"
        patience='' word=''
        ;;
    esac
    if [ -n "$held" ] && [ "$word" != warn ]; then
      exec {held}>&-
      held='' usual=$step_s patience=${patience:+$step_s}
    fi
    case $word in
      step)
        say "step $first"
        status starting "$first" || unwritable
        printf '%s\n' "$first" >"$runtime/step"
        ;;
      ready)
        patience=''
        printf 'ready\n' >"$runtime/step"
        if ! { write_connection "$first" "$second" && status ready ready; }; then
          unwritable
          continue
        fi
        say "ready on $node${first:+, display $first}"
        comment ready ready
        forget_old
        ;;
      warn) show_warning ;;
      ssh) start_session_sshd ;;
      without)
        warning=${warning:+$warning; }$first${second:+ $second}
        if [ -e "$F/connection" ]; then status ready ready; fi
        ;;
      renderer)
        renderer=$first${second:+ $second}
        if [ -e "$F/connection" ]; then status ready ready; fi
        ;;
      idle)
        idle_end=$first
        if [ -e "$F/connection" ]; then status ready ready; fi
        ;;
      viewers)
        count_viewers "$first"
        # Before the desktop is ready, there are no viewers.
        if [ -e "$F/connection" ]; then
          status ready ready
          comment ready ready
        fi
        ;;
    esac
  done <"$runtime/events"
}

# ---------------------------------------------------------------- the job

main() {
  trap on_term TERM
  trap on_warn USR1
  trap : HUP INT # caught, not ignored: children would ignore them too
  cd / || exit 1
  say "session $SESSION_ID of app $VIZDASH_APP: job $job_id on $node"
  forget_other_gpus
  own_folder
  begin_lease
  own_home
  check_image
  step=runtime
  status starting runtime || fail folder "$write_error"
  remove_orphans
  make_runtime
  # Remove what an earlier run of a requeued job left there.
  if [ "${SLURM_RESTART_COUNT:-0}" != 0 ]; then
    if read_note; then printf '%s' "$note" >"$runtime/shown"; fi
    note=''
    comment starting runtime
  fi
  step=modules
  load_modules
  find_apptainer
  report &
  reporter=$!
  start_keeper
  start_inner
  local code
  while :; do
    wait "$leader"
    code=$?
    kill -0 "$leader" 2>/dev/null || break
  done
  # A trap may have interrupted wait: then the code is the trap's, and `ending` is set.
  [ -d "$runtime" ] || fail runtime "its folder $runtime on $node was removed"
  step=$(cat "$runtime/step" 2>/dev/null || echo image)
  if [ -s "$runtime/failed" ]; then
    { read -r step && read -r why; } <"$runtime/failed"
    fail "$step" "$why"
  fi
  if [ "$code" != 0 ]; then
    why=$(leader_said)
    fail "$step" "${why:-its first process ended with $(code_words "$code")}"
  fi
  finish finished
}

main
