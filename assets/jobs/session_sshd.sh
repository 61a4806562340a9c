# shellcheck shell=bash disable=SC2154
# Logins to the session over SSH (vizdash ssh). assets/nodes/session_sshd.py prepares $runtime/ssh, which only
# the user can write, and puts the event `ssh` into the job's pipe: what it left there then runs as part of the
# job, so that a program started over SSH outlives its connection and ends with the session.

start_session_sshd() {
  [ -f "$runtime/ssh/start" ] || return 0
  submit_from_logins
  say "ssh: logins are accepted through $runtime/ssh/s"
  (
    umask "$(eval "$user_environment" 2>/dev/null; umask)"
    exec setsid sh "$runtime/ssh/start"
  ) </dev/null >>"$runtime/ssh/log" 2>&1 &
}

# Jobs submitted from these logins do not get the session's mark and display: write what comes first on the
# logins' PATH (variables() in session_sshd.py).
submit_from_logins() {
  local name
  [ "${VIZDASH_ENGINE:-}" = slurm ] || return 0
  for name in sbatch srun salloc; do
    if (set -- "$name"; eval "$user_environment" 2>/dev/null; type -P "$1") >/dev/null; then
      inner_slurm_wrapper "$runtime/ssh/bin" "$name"
    fi
  done
}
