# shellcheck shell=bash disable=SC2154
# Logins to the session over SSH (vizdash ssh). assets/nodes/session_sshd.py prepares $R/ssh, which only
# the user can write, and puts the event `ssh` into the job's pipe: what it left there then runs as part of the
# job, so that a program started over SSH outlives its connection and ends with the session.

start_session_sshd() {
  [ -f "$R/ssh/start" ] || return 0
  say "ssh: logins are accepted through $R/ssh/s"
  (
    umask "$(eval "$user_environment" 2>/dev/null; umask)"
    exec setsid sh "$R/ssh/start"
  ) </dev/null >>"$R/ssh/log" 2>&1 &
}
