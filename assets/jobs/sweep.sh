#!/bin/bash
# Ends every process of ours that belongs to a session of the local engine, and removes the session's
# runtime folders: for what its job script left behind, or a supervisor that was killed.
#   sweep.sh SESSION_ID [SUPERVISOR]
# A process belongs to it by its mark (the environment it was started with), or by being below
# SUPERVISOR (a PID), which calls us: that one and we ourselves live on.
set -u
case $1 in *[!0-9a-f]* | '') exit 2 ;; esac
# shellcheck source=environment.sh
source "${BASH_SOURCE[0]%/*}/environment.sh"
set_aside_environment
source "${BASH_SOURCE[0]%/*}/cleanup.sh"

end_session "$1" '' '' "${2:-}"
while IFS= read -r folder; do
  remove_display "$folder"
  remove_folder "$folder"
done < <(folders_of "$1")
exit 0
