#!/bin/bash -p
# Check on this node what a session needs, for `vizdash doctor`. vizdash inserts values below this comment
# and sends it on the standard input of bash, in a job step or over SSH. It makes only a temporary folder,
# which it removes, and a file in VIZDASH_FOLDER.
#
# The answer consists of fields that end with NUL: NAME and VALUE alternately, then `end`, between two fields
# VIZDASH_MARK. It uses the functions of the session jobs (assets/jobs).
set -u
: "${VIZDASH_MARK:?}" "${SESSION_ID:?}"
source environment.sh
set_aside_environment
source common.sh
source image.sh
source gpu.sh
source inner.sh

answer() { printf '%s\0' "$@"; }

# free_kib PATH: print the free space in KiB.
free_kib() { df -kP -- "$1" 2>/dev/null | tail -n 1 | tr -s ' ' | cut -d' ' -f4; }

folders() {
  if [ ! -d "${HOME:-}" ]; then
    answer home_problem 'does not exist'
  elif [ ! -w "$HOME" ]; then
    answer home_problem 'is not writable'
  fi
  answer home "${HOME:-}" home_free_kib "$(free_kib "${HOME:-/}")"
  if [ ! -d "$F" ] || [ -L "$F" ] || [ ! -O "$F" ]; then
    answer folder_problem "$F, made on the login host, does not exist on $node, or is not yours"
  elif ! write_whole doctor "$node" >/dev/null; then
    answer folder_problem "$write_error"
  elif [ ! -d "${HOME:-}" ]; then
    stand_in_home 2>/dev/null # as in the job
  fi
  local parent why=''
  while IFS= read -r parent; do
    if roomy_folder "$parent" && mkdir -p "$runtime/work/tmp" "$runtime/work/var_tmp"; then
      answer runtime_folder "$parent" runtime_free_kib "$(free_kib "$parent")" runtime_passed "$why"
      return
    fi
    runtime='' why=${why:-$why_not}
  done < <(runtime_parents)
  answer runtime_problem "$why"
}

namespaces() {
  local file words='' value
  for file in /proc/sys/user/max_user_namespaces /proc/sys/kernel/unprivileged_userns_clone \
    /proc/sys/kernel/apparmor_restrict_unprivileged_userns; do
    value=$(cat "$file" 2>/dev/null) || continue
    words="$words ${file##*/}=$value"
  done
  if (unshare --user true) 2>/dev/null; then words="user namespaces work;$words"; else words="no user namespaces;$words"; fi
  for file in "${apptainer%/*}"/../libexec/{apptainer,singularity}/bin/starter-suid; do
    if [ -u "$file" ]; then words="$words; setuid"; fi
  done
  answer namespaces "$words"
}

# survey: runs where the desktop's programs run, inside the image or on the host.
inner_survey() {
  local name found as page version
  for name in Xvnc vncpasswd websockify; do
    if ! inner_find "$name" >/dev/null; then
      answer "$name" ''
      continue
    fi
    version=''
    if [ "$name" = Xvnc ]; then
      version=$("$as" "$found" -version 2>&1 </dev/null | grep -oE -m 1 'TigerVNC [0-9.]+')
    elif [ "$name" = websockify ] && ! ("$as" "$found" --help) >/dev/null 2>"$runtime/survey.log" </dev/null; then
      answer websockify_problem "$(last_line "$runtime/survey.log")"
    fi
    answer "$name" "$found${version:+, $version}"
  done
  if inner_find_novnc; then answer novnc "$page"; else answer novnc ''; fi
  answer surveyed 1
}

survey_host() {
  novnc=${VIZDASH_NOVNC:-}
  (inner_survey)
}

survey_image() {
  local args missing_bind functions
  seek_apptainer || { answer apptainer '' && return; }
  answer apptainer "$apptainer" apptainer_version "$("$apptainer" --version 2>/dev/null </dev/null)"
  namespaces
  if [ ! -e "$VIZDASH_IMAGE" ]; then
    answer image_problem "no image $VIZDASH_IMAGE on $node"
    return
  elif [ ! -r "$VIZDASH_IMAGE" ]; then
    answer image_problem "image $VIZDASH_IMAGE on $node can't be read by $(id -un)"
    return
  fi
  answer image "$(readlink -f -- "$VIZDASH_IMAGE")"
  [ -n "$runtime" ] || return
  image_arguments || { answer image_problem "bind $missing_bind does not exist on $node" && return; }
  mapfile -t functions < <(compgen -A function inner_)
  {
    echo 'set +o posix' # see environment.sh
    declare -p VIZDASH_RUNTIME system_path
    printf 'runtime=/tmp/vizdash novnc=%q user_environment=""\n' "${VIZDASH_NOVNC:-}"
    declare -f "${functions[@]}" answer last_line
    printf 'inner_survey >/tmp/vizdash/survey\n'
  } >"$runtime/survey.sh"
  survey() {
    if [ -n "$apptainer_of_user" ]; then eval "$user_environment"; fi 2>/dev/null
    exec "$@"
  }
  run_for 180 survey "$apptainer" "${args[@]}" "$VIZDASH_IMAGE" /bin/bash -p /tmp/vizdash/survey.sh \
    >"$runtime/said" 2>&1 </dev/null
  [ $? != 124 ] || echo 'it did not end in 180 s' >>"$runtime/said"
  grep -v gocryptfs "$runtime/said" >"$runtime/apptainer.log"
  if [ -s "$runtime/survey" ]; then cat "$runtime/survey"; else answer image_problem "$(last_line "$runtime/apptainer.log")"; fi
}

graphics() {
  local gl_device gl_why cards='' problem=''
  if type -P nvidia-smi >/dev/null; then
    run_for 20 nvidia-smi --query-gpu=name --format=csv,noheader >"$runtime/cards" 2>&1 </dev/null
    case $? in
      0) cards=$(sort "$runtime/cards" | uniq -c | sed -E 's/^ *([0-9]+) /\1 × /' | paste -sd, -) ;;
      124) problem='nvidia-smi does not answer in 20 s' ;;
      *) problem="nvidia-smi: $(last_line "$runtime/cards")" ;;
    esac
  fi
  CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES-0} graphics_device
  # On a node with another vendor's GPUs, nvidia-smi may be installed too.
  if [ -n "$gl_device" ] && [ ! -d /proc/driver/nvidia ]; then problem=''; fi
  answer gpu_problem "$problem" gpu "$cards" gl_device "$gl_device" gl_why "$gl_why"
}

main() {
  answer "$VIZDASH_MARK" node "$node" user "$(id -un)" time "$(date +%s)" bash "$BASH_VERSION"
  folders
  case $VIZDASH_RUNTIME in host) survey_host ;; apptainer) survey_image ;; esac
  if [ "${VIZDASH_GPUS:-0}" != 0 ] && [ -n "$runtime" ]; then graphics; fi
  if [ -n "$runtime" ]; then rm -rf -- "$runtime"; fi
  answer end "$VIZDASH_MARK"
}

main
