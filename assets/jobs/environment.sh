# shellcheck shell=bash disable=SC2034,SC2154
# Keep the user's software away from the session's own programs. The python3 or dbus-daemon of a conda
# environment, a module's LD_LIBRARY_PATH or a package in ~/.local may break them; the app gets all of
# these.
#
# Scripts that include this run as `bash -p`, which imports no functions and reads no BASH_ENV, but
# passes both on to its children (bash(1), "-p").

# Where the user's variables are set, ours may have one's name: what is needed then is in positional
# parameters. No function that sets or prints them has local variables.

set +o posix # POSIXLY_CORRECT; before bash 5.1, there are no process substitutions then
export -n system_path user_environment
system_path=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin
user_environment=''

# Save the environment in `user_environment` (text for `eval`, in a subshell that runs the user's
# programs), then keep only what the session's programs need, with the system's programs first. What they
# write is private, whatever the user's umask is.
set_aside_environment() {
  # A core dump of these programs leaves out their memory, which may hold passwords (core(5)).
  { echo 0 >/proc/self/coredump_filter; } 2>/dev/null
  user_environment=$(export_statements)
  umask 077
  unset -v IFS
  # shellcheck disable=SC2046
  set -- $(compgen -e)
  while [ $# -gt 0 ]; do
    case $1 in
      HOME | USER | LOGNAME | SHELL | TZ | TMPDIR | KRB5CCNAME) ;;
      SLURM_CLUSTERS) unset -v SLURM_CLUSTERS ;; # the job's own cluster is meant
      SLURM* | VIZDASH_* | *_VISIBLE_DEVICES | GPU_DEVICE_ORDINAL) ;;
      # The script's own by now, or bash's: unset, these lose their meaning.
      SESSION_ID | SECONDS | BASH | BASHPID) export -n "${1?}" ;;
      # For Apptainer, and through it for the app.
      APPTAINER* | SINGULARITY* | http_proxy | https_proxy | no_proxy) ;;
      *) unset -v "$1" 2>/dev/null || export -n "${1?}" ;;
    esac
    shift
  done
  PATH=$system_path${PATH:+:$PATH}
  # bash takes one from the environment for its own.
  [ -n "${UID:-}" ] || UID=$(id -u)
  # bash prints warnings about a locale that is not installed.
  { LC_ALL=C.UTF-8; } 2>/dev/null
  export PATH LC_ALL
}

# Print statements that restore this shell's umask, exported variables and functions, and a locale other
# than that of the session's programs. posix mode prints `export NAME=...`; `declare -x` would make local
# variables inside a function. Each function has a separate eval, so that one that cannot be parsed
# without extglob does not affect the others.
export_statements() {
  printf 'umask %s\nunset -v LC_ALL\n' "$(umask)"
  (set -o posix && export -n POSIXLY_CORRECT && export -p)
  declare -Fx | while read -r _ _ REPLY; do
    printf 'eval %q\n' "$(declare -f "$REPLY") && export -f $REPLY"
  done
  # Last: in posix mode, a statement that fails, such as one for UID, ends the shell.
  if [ -n "${POSIXLY_CORRECT+set}" ]; then printf 'export POSIXLY_CORRECT=%q\n' "$POSIXLY_CORRECT"; fi
}

# ---------------------------------------------------------------- in `inner`, on the host or in the image

# Turn `user_environment` into the app's: the configuration's settings over the user's (or the image's),
# and an installed locale.
inner_settle_environment() {
  user_environment=$(
    set -- "$runtime" "${SLURM_JOB_ID:-}"
    unset -v gl # an array cannot be exported
    eval "$user_environment" 2>/dev/null
    export PATH="${PATH:+$PATH:}/usr/local/bin:/usr/bin:/bin"
    inner_scale
    inner_configured_environment
    inner_settle_locale
    export VIZDASH_RUNTIME_DIR=$1
    inner_egl_vendor "$1"
    inner_slurm "$1" "$2"
    # Temporary files are removed with the session (an image has a private /tmp). Where jobs can be
    # submitted from the desktop, under Slurm perhaps once a module is loaded, they stay in /tmp: sbatch
    # passes TMPDIR on to jobs that outlive the session or run elsewhere. (SBATCH_EXPORT=ALL,TMPDIR=... would
    # override the export of a job script's #SBATCH lines and, as SLURM_EXPORT_ENV, that of each srun in the
    # job.)
    if [ "$VIZDASH_RUNTIME:${TMPDIR:-/tmp}" = host:/tmp ] && [ ! -d "$1/bin" ] && [ -z "$2" ]; then
      export TMPDIR=$1/work/tmp
    fi
    export_statements
  )
  if [ "$VIZDASH_RUNTIME:${TMPDIR:-/tmp}" = host:/tmp ]; then export TMPDIR=$runtime/work/tmp; fi
  export XDG_RUNTIME_DIR=$runtime/run XAUTHORITY=$runtime/xauth
}

inner_configured_environment() {
  set -- "${VIZDASH_ENV[@]}"
  while [ $# -gt 0 ]; do
    export "${1?}"
    shift
  done
}

# In the app's environment: let programs draw everything larger. Those that use the X server's resolution
# (Xft, Motif) get it from Xvnc (-dpi), which GTK does not ask, and Qt takes into account.
inner_scale() {
  [ -n "${VIZDASH_SCALE:-}" ] || return 0
  export GDK_SCALE=$VIZDASH_SCALE QT_SCALE_FACTOR=$VIZDASH_SCALE XCURSOR_SIZE=$((24 * VIZDASH_SCALE))
}

# In the app's environment: let EGL find the driver's entry (copy_egl_vendor) in an image without one.
inner_egl_vendor() { # RUNTIME
  local root=${VIZDASH_GPU_ROOT:-} places=/etc/glvnd/egl_vendor.d:/usr/share/glvnd/egl_vendor.d place
  [ -e "$1/egl/10_nvidia.json" ] || return 0
  for place in ${places/:/ }; do
    if [ -e "$root$place/10_nvidia.json" ]; then return 0; fi
  done
  if [ -n "${__EGL_VENDOR_LIBRARY_DIRS:-}${__EGL_VENDOR_LIBRARY_FILENAMES:-}" ]; then return 0; fi
  export __EGL_VENDOR_LIBRARY_DIRS=$1/egl:$places
}

# For a subshell that runs the user's programs: set their environment and nothing else (SLURM_* of the
# job would make srun a step of it), with the session's folders.
inner_user_environment() {
  set -- ${XDG_RUNTIME_DIR:+"XDG_RUNTIME_DIR=$XDG_RUNTIME_DIR"} ${XAUTHORITY:+"XAUTHORITY=$XAUTHORITY"} \
    ${DISPLAY:+"DISPLAY=$DISPLAY"} ${VIZDASH_SESSION_ID:+"VIZDASH_SESSION_ID=$VIZDASH_SESSION_ID"} \
    ${DBUS_SESSION_BUS_ADDRESS:+"DBUS_SESSION_BUS_ADDRESS=$DBUS_SESSION_BUS_ADDRESS"}
  inner_unset_all
  eval "$user_environment" 2>/dev/null
  while [ $# -gt 0 ]; do
    export "${1?}"
    shift
  done
}

inner_unset_all() {
  unset -v IFS
  # shellcheck disable=SC2046
  set -- $(compgen -e)
  while [ $# -gt 0 ]; do
    unset -v "$1" 2>/dev/null || export -n "${1?}"
    shift
  done
}

# inner_isolated COMMAND...: exec it, in a subshell, without exported functions and the user's Python
# packages. Everyone can see this argv for a moment: it contains only paths.
inner_isolated() {
  local name keep=()
  for name in HOME USER LOGNAME SHELL PATH LC_ALL TZ TMPDIR XDG_RUNTIME_DIR XAUTHORITY DISPLAY \
    DBUS_SESSION_BUS_ADDRESS VIZDASH_SESSION_ID SLURM_JOB_ID; do
    if [ -n "${!name:-}" ]; then keep+=("$name=${!name}"); fi
  done
  exec env -i PYTHONNOUSERSITE=1 "${keep[@]}" "$@"
}

# inner_as_user COMMAND...: exec it, in a subshell, in the user's environment, for a program found only
# there.
inner_as_user() {
  inner_user_environment
  case $1 in "$HOME"/*) ;; *) export PYTHONNOUSERSITE=1 ;; esac
  exec "$@"
}

# inner_find PROGRAM: set `found` to its path, and `as` to the function that runs it. The program of the
# system or image comes first, then one on the user's PATH.
inner_find() {
  as=inner_isolated
  found=$(PATH=$system_path && hash -r && type -P "$1") && return
  found=$(inner_user_environment && hash -r && type -P "$1") || return
  as=inner_as_user
  echo "$1: not in $system_path of this ${VIZDASH_RUNTIME/apptainer/image}; using $found from PATH"
}

# ---------------------------------------------------------------- the app's locale

# locale_charmap NAME: print its character set; fail if the locale is not installed. locale(1) warns
# then, as ld.so(8) does about the user's libraries; without locale(1), the name decides.
locale_charmap() {
  local charmap
  case $1 in '') return 1 ;; esac
  if ! type -P locale >/dev/null; then
    case $1 in *.[Uu][Tt][Ff]*8) echo UTF-8 ;; *) return 1 ;; esac
    return
  fi
  charmap=$(unset -v LD_PRELOAD LD_AUDIT LD_LIBRARY_PATH && env LC_ALL="$1" locale charmap 2>&1) || return 1
  case $charmap in '' | *$'\n'*) return 1 ;; esac
  printf '%s\n' "$charmap"
}

# File names and the clipboard are UTF-8. One category with a missing locale puts a program into "C"
# altogether. A character set set by the configuration is kept.
inner_settle_locale() {
  local name now charmap
  for name in LANG "${!LC_@}"; do
    if [ -n "${!name:-}" ] && ! locale_charmap "${!name}" >/dev/null; then
      now=${!name%%[.@]*}.UTF-8 # e.g. ko_KR.eucKR is not installed, but ko_KR.UTF-8 is
      if locale_charmap "$now" >/dev/null; then export "$name=$now"; else unset -v "$name"; fi
    fi
  done
  # What the configuration sets counts, though the user's would be stronger.
  case " ${VIZDASH_ENV[*]}" in
    *' LC_ALL='*) ;;
    *' LC_CTYPE='* | *' LANG='*) inner_only_utf_8 LC_ALL ;;
  esac
  case " ${VIZDASH_ENV[*]}" in
    *' LC_ALL='* | *' LC_CTYPE='*) ;;
    *' LANG='*) inner_only_utf_8 LC_CTYPE ;;
  esac
  now=${LC_ALL:-${LC_CTYPE:-${LANG:-}}}
  charmap=$(locale_charmap "$now")
  [ "$charmap" != UTF-8 ] || return 0
  case " ${VIZDASH_ENV[*]}" in
    *' LC_ALL='* | *' LC_CTYPE='* | *' LANG='*) [ -z "$charmap" ] || return 0 ;;
  esac
  # Where none is installed, C.UTF-8: the C library may have it built in.
  for name in "${now%%[.@]*}.UTF-8" "${LANG:-}" C.UTF-8 en_US.UTF-8 C.UTF-8; do
    if [ "$(locale_charmap "$name")" = UTF-8 ]; then break; fi
  done
  unset -v LC_ALL LC_CTYPE
  if [ "$(locale_charmap "${LANG:-}")" = UTF-8 ]; then
    export LC_CTYPE=$name
  else
    export LANG=$name
  fi
}

# inner_only_utf_8 NAME: unset a variable with a locale of another character set.
inner_only_utf_8() {
  if [ -n "${!1:-}" ] && [ "$(locale_charmap "${!1}")" != UTF-8 ]; then unset -v "$1"; fi
}
