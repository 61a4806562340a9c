#!/bin/bash -p
# What a session would meet on this node, for `vizdash doctor`. vizdash puts the values below this
# comment and sends the whole on the standard input of bash, in a job's step or over SSH. It changes
# nothing but for a folder of its own, which goes again, and a file in VIZDASH_FOLDER.
#
# Answers are fields that end with NUL: NAME and VALUE in turn, then `end`, between two fields that are
# VIZDASH_MARK. It asks with the functions that a session's own job uses (assets/jobs).
set -u
umask 077
: "${VIZDASH_MARK:?}" "${SESSION_ID:?}"
source environment.sh
set_aside_environment
source common.sh
source image.sh
source gpu.sh
source inner.sh

answer() { printf '%s\0' "$@"; }

# free_kib PATH: KiB that are free there.
free_kib() { df -kP -- "$1" 2>/dev/null | tail -n 1 | tr -s ' ' | cut -d' ' -f4; }

folders() {
  if [ ! -d "${HOME:-}" ]; then
    answer home_problem 'is not there'
  elif [ ! -w "$HOME" ]; then
    answer home_problem 'takes no files'
  fi
  answer home "${HOME:-}" home_free_kib "$(free_kib "${HOME:-/}")"
  if [ ! -d "$F" ] || [ -L "$F" ] || [ ! -O "$F" ]; then
    answer folder_problem "$F, made on the login host, is not there on $node, or not yours"
  elif ! write_whole doctor "$node" >/dev/null; then
    answer folder_problem "$write_error"
  elif [ ! -d "${HOME:-}" ]; then
    stand_in_home 2>/dev/null # as the job has it
  fi
  local parent why=''
  while IFS= read -r parent; do
    if roomy_folder "$parent" && mkdir -p "$R/work/tmp" "$R/work/var_tmp"; then
      answer runtime_folder "$parent" runtime_free_kib "$(free_kib "$parent")" runtime_passed "$why"
      return
    fi
    R='' why=${why:-$why_not}
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

# survey: runs where the desktop's programs are to be, inside the image or on the host.
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
    elif [ "$name" = websockify ] && ! ("$as" "$found" --help) >/dev/null 2>"$R/survey.log" </dev/null; then
      answer websockify_problem "$(last_line "$R/survey.log")"
    fi
    answer "$name" "$found${version:+, $version}"
  done
  if inner_find_novnc; then answer novnc "$page"; else answer novnc ''; fi
  answer surveyed 1
}

survey_host() {
  NOVNC=${VIZDASH_NOVNC:-}
  (inner_survey)
}

survey_image() {
  local args missing_bind functions said
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
  [ -n "$R" ] || return
  image_arguments || { answer image_problem "bind $missing_bind is not there on $node" && return; }
  mapfile -t functions < <(compgen -A function inner_)
  {
    declare -p VIZDASH_RUNTIME system_path
    printf 'R=/tmp/vizdash NOVNC=%q user_environment=""\n' "${VIZDASH_NOVNC:-}"
    declare -f "${functions[@]}" answer last_line
    printf 'inner_survey >/tmp/vizdash/survey\n'
  } >"$R/survey.sh"
  said=$(
    if [ -n "$apptainer_of_user" ]; then eval "$user_environment"; fi 2>/dev/null
    timeout 180 "$apptainer" "${args[@]}" "$VIZDASH_IMAGE" /bin/bash -p /tmp/vizdash/survey.sh 2>&1 </dev/null
  )
  printf '%s\n' "$said" | grep -v gocryptfs >"$R/apptainer.log"
  if [ -s "$R/survey" ]; then cat "$R/survey"; else answer image_problem "$(last_line "$R/apptainer.log")"; fi
}

graphics() {
  local gl_device gl_why names
  names=$(timeout 20 nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null </dev/null | sort | uniq -c |
    sed -E 's/^ *([0-9]+) /\1 × /' | paste -sd, -)
  CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES-0} graphics_device
  answer gpu "$names" gl_device "$gl_device" gl_why "$gl_why"
}

main() {
  answer "$VIZDASH_MARK" node "$node" user "$(id -un)" time "$(date +%s)" bash "$BASH_VERSION"
  folders
  case $VIZDASH_RUNTIME in host) survey_host ;; apptainer) survey_image ;; esac
  if [ "${VIZDASH_GPUS:-0}" != 0 ]; then graphics; fi
  if [ -n "$R" ]; then rm -rf -- "$R"; fi
  answer end "$VIZDASH_MARK"
}

main
