# shellcheck shell=bash
# Space for a file's next version on a file system that may be full by then. It is never free in
# between: other programs, and the session's own logs, would take it.

# reserve FOLDER NAME: reserve space for file NAME. Random, since some file systems compress.
reserve() { head -c 4096 /dev/urandom 2>/dev/null | cat 2>/dev/null >"$1/.$2.reserve"; }

# write_reserved FOLDER NAME TEXT: replace file NAME by TEXT and a newline, in the reserved space. What
# the old version took is reserved for the next one. Does nothing if TEXT does not fit.
write_reserved() {
  local space=$1/.$2.reserve LC_ALL=C
  [ -s "$space" ] && [ "${#3}" -lt 4095 ] || return 1
  {
    printf '%s\n' "$3" | cat 1<>"$space" && truncate -s "$((${#3} + 1))" -- "$space" || return
    if [ -e "$1/$2" ]; then ln -f -- "$1/$2" "$1/.$2.old"; fi
    mv -f -- "$space" "$1/$2" || return
    if [ -e "$1/.$2.old" ]; then mv -f -- "$1/.$2.old" "$space"; fi
  } 2>/dev/null
  return 0
}
