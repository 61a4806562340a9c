# shellcheck shell=bash disable=SC2154
# Logins to the session over SSH (vizdash ssh). assets/nodes/session_sshd.py prepares $runtime/ssh, which only
# the user can write, and puts the event `ssh` into the job's pipe: what it left there then runs as part of the
# job, so that a program started over SSH outlives its connection and ends with the session.

start_session_sshd() {
  [ -f "$runtime/ssh/start" ] || return 0
  say "ssh: logins are accepted through $runtime/ssh/s"
  (
    umask "$(eval "$user_environment" 2>/dev/null; umask)"
    exec setsid sh "$runtime/ssh/start"
  ) </dev/null >>"$runtime/ssh/log" 2>&1 &
}
