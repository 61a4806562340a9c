#!/bin/bash
#SBATCH --job-name=gedit_vnc
#SBATCH --partition=viz
#SBATCH --nodes=1
#SBATCH --output=/tmp/gedit_vnc_%j.out
# A job script of the legacy kind: the same variables, the same info file in /tmp on the node.

SESSION_ID=${SESSION_ID:-test-session}
WEB_PORT=${VNC_PORT:-6080}
IMAGE=/opt/apptainers/apps/legacy-gedit/legacy-gedit.sif
INFO=/tmp/app_session_${SESSION_ID}.info

if [ ! -f "$IMAGE" ]; then
  echo "Apptainer image not found: $IMAGE"
  exit 1
fi

cat >"$INFO" <<INFO
JOB_ID=$SLURM_JOB_ID
NODE=$(hostname)
VNC_PORT=$WEB_PORT
SESSION_ID=$SESSION_ID
STATUS=running
START_TIME=$(date +%s)
NODE_IP=$(hostname -I | awk '{print $1}')
INFO

apptainer run --cleanenv --env VNC_PORT=5901 --env WEBSOCKIFY_PORT="$WEB_PORT" --env DISPLAY=:1 "$IMAGE"
rm -f "$INFO"
