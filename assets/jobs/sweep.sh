#!/bin/bash
# End every process of this user that belongs to a session of the local engine, and remove its runtime
# folders: after its job script, or if its supervisor was killed.
#   sweep.sh SESSION_ID [SUPERVISOR]
# A process belongs to it by its mark (in its initial environment), or as a descendant of SUPERVISOR (a
# PID), the caller, which is not ended.
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
remove_legacy "$1"
exit 0
