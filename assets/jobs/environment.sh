# shellcheck shell=bash disable=SC2034
# Keeps the user's software away from what a session runs for itself. A conda environment's python3
# or dbus-daemon, a module's LD_LIBRARY_PATH, a package in ~/.local may be anything: the app gets all
# of it, our own programs get none.
#
# Scripts that use this start as `bash -p`, which imports no functions and reads no BASH_ENV, but
# hands both on to its children (bash(1), "-p").

system_path=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin
user_environment=''

# Keeps the environment in `user_environment` (text for `eval`, in a subshell that runs what is the
# user's), then leaves only what our own programs need, with the system's programs first.
set_aside_environment() {
  local name names
  user_environment=$(export_statements)
  mapfile -t names < <(compgen -e)
  for name in "${names[@]}"; do
    case $name in
      HOME | USER | LOGNAME | SHELL | TZ | TMPDIR | KRB5CCNAME) ;;
      SLURM* | VIZDASH_* | *_VISIBLE_DEVICES | GPU_DEVICE_ORDINAL) ;;
      # For Apptainer, and through it for the app.
      APPTAINER* | SINGULARITY* | http_proxy | https_proxy | no_proxy) ;;
      *) unset -v "$name" 2>/dev/null || export -n "${name?}" ;;
    esac
  done
  PATH=$system_path${PATH:+:$PATH}
  # bash complains about a locale that is not installed.
  { LC_ALL=C.UTF-8; } 2>/dev/null
  export PATH LC_ALL
}

# Statements that make this shell's exported variables and functions again. posix mode prints
# `export NAME=...`; the usual `declare -x` would make a local variable inside a function. Each function
# has an eval of its own: one that needs extglob to be parsed must not take the others along.
export_statements() {
  local name
  (set -o posix && export -p)
  while read -r _ _ name; do
    printf 'eval %q\n' "$(declare -f "$name") && export -f $name"
  done < <(declare -Fx)
}

# ---------------------------------------------------------------- in `inner`, on the host or in the image

# Makes `user_environment` the app's: the configuration's settings over the user's (or the image's), and a
# locale that works.
inner_settle_environment() {
  if [ "$VIZDASH_RUNTIME" != host ]; then set_aside_environment; fi
  user_environment=$(
    unset -v LC_ALL
    eval "$user_environment" 2>/dev/null
    export PATH="${PATH:+$PATH:}/usr/local/bin:/usr/bin:/bin"
    for pair in "${VIZDASH_ENV[@]}"; do export "${pair?}"; done
    inner_settle_locale
    export VIZDASH_RUNTIME_DIR=$R
    inner_slurm
    # Temporary files go with the session; an image has a /tmp of its own that does. Where jobs can be
    # submitted from the desktop they stay in /tmp: sbatch hands TMPDIR on to jobs that outlive the
    # session or run elsewhere. (SBATCH_EXPORT=ALL,TMPDIR=... would override the export of a job
    # script's #SBATCH lines and, as SLURM_EXPORT_ENV, that of each srun in the job.)
    if [ "$VIZDASH_RUNTIME:${TMPDIR:-/tmp}" = host:/tmp ] && [ ! -d "$R/bin" ]; then
      export TMPDIR=$R/work/tmp
    fi
    export_statements
  )
  if [ "$VIZDASH_RUNTIME:${TMPDIR:-/tmp}" = host:/tmp ]; then export TMPDIR=$R/work/tmp; fi
  export XDG_RUNTIME_DIR=$R/run XAUTHORITY=$R/xauth
}

# For a subshell that runs what is the user's: their environment and nothing else (the job's own SLURM_*
# would make srun a step of it), with the session's own places.
inner_user_environment() {
  local name names=(XDG_RUNTIME_DIR XAUTHORITY DISPLAY DBUS_SESSION_BUS_ADDRESS VIZDASH_SESSION_ID)
  local values=() all
  for name in "${names[@]}"; do
    if [ -n "${!name:-}" ]; then values+=("$name=${!name}"); fi
  done
  mapfile -t all < <(compgen -e)
  for name in "${all[@]}"; do unset -v "$name" 2>/dev/null || export -n "${name?}"; done
  eval "$user_environment" 2>/dev/null
  for name in "${values[@]}"; do export "${name?}"; done
}

# inner_isolated COMMAND...: becomes it, in a subshell, without exported functions and the user's Python
# packages. Everybody can see this argv for a moment: it holds names of places only.
inner_isolated() {
  local name keep=()
  for name in HOME USER LOGNAME SHELL PATH LC_ALL TZ TMPDIR XDG_RUNTIME_DIR XAUTHORITY DISPLAY \
    DBUS_SESSION_BUS_ADDRESS VIZDASH_SESSION_ID SLURM_JOB_ID; do
    if [ -n "${!name:-}" ]; then keep+=("$name=${!name}"); fi
  done
  exec env -i PYTHONNOUSERSITE=1 "${keep[@]}" "$@"
}

# inner_as_user COMMAND...: the same in the user's environment, for what was found there alone: it
# may need all of it.
inner_as_user() {
  inner_user_environment
  case $1 in "$HOME"/*) ;; *) export PYTHONNOUSERSITE=1 ;; esac
  exec "$@"
}

# inner_find PROGRAM: its path into `found`, and the function that runs it into `as`. The system's or
# the image's own comes first; where there is none, the user's PATH counts.
inner_find() {
  as=inner_isolated
  found=$(PATH=$system_path && hash -r && type -P "$1") && return
  found=$(inner_user_environment && hash -r && type -P "$1") || return
  as=inner_as_user
  echo "$1: not in $system_path of this ${VIZDASH_RUNTIME/apptainer/image}; $found is used, from PATH"
}

# ---------------------------------------------------------------- the app's locale

# locale_charmap NAME: its character set; fails when no such locale is installed. locale(1) warns
# then; where there is no locale(1), the name decides.
locale_charmap() {
  local charmap
  case $1 in '') return 1 ;; esac
  if ! type -P locale >/dev/null; then
    case $1 in *.[Uu][Tt][Ff]*8) echo UTF-8 ;; *) return 1 ;; esac
    return
  fi
  charmap=$(env LC_ALL="$1" locale charmap 2>&1) || return 1
  case $charmap in '' | *$'\n'*) return 1 ;; esac
  printf '%s\n' "$charmap"
}

# File names and the clipboard are UTF-8. One category whose locale is not installed puts a program
# into "C" altogether. A character set that the configuration names is left as it is.
inner_settle_locale() {
  local name now charmap
  for name in LANG "${!LC_@}"; do
    if [ -n "${!name:-}" ] && ! locale_charmap "${!name}" >/dev/null; then
      now=${!name%%[.@]*}.UTF-8 # e.g. ko_KR.eucKR is not here, but ko_KR.UTF-8 is
      if locale_charmap "$now" >/dev/null; then export "$name=$now"; else unset -v "$name"; fi
    fi
  done
  now=${LC_ALL:-${LC_CTYPE:-${LANG:-}}}
  charmap=$(locale_charmap "$now")
  [ "$charmap" != UTF-8 ] || return 0
  case " ${VIZDASH_ENV[*]}" in
    *' LC_ALL='* | *' LC_CTYPE='* | *' LANG='*) [ -z "$charmap" ] || return 0 ;;
  esac
  for name in "${now%%[.@]*}.UTF-8" "${LANG:-}" C.UTF-8 en_US.UTF-8; do
    if [ "$(locale_charmap "$name")" = UTF-8 ]; then break; fi
  done
  unset -v LC_ALL LC_CTYPE
  if [ "$(locale_charmap "${LANG:-}")" = UTF-8 ]; then
    export LC_CTYPE=$name
  else
    export LANG=$name
  fi
}
