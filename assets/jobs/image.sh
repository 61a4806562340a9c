# shellcheck shell=bash disable=SC2034,SC2154
# How an image is run on a node: by which program, with which arguments.

# seek_apptainer: into `apptainer` the path of Apptainer, or of SingularityCE, which takes the same words:
# the system's own, else (`apptainer_of_user` is 1 then) that of a module or of the user's PATH.
seek_apptainer() {
  apptainer_of_user=''
  apptainer=$(PATH=$system_path && { type -P apptainer || type -P singularity; }) && return
  apptainer=$(eval "$user_environment" 2>/dev/null; type -P apptainer || type -P singularity) || return 1
  apptainer_of_user=1
}

# image_arguments: into `args` what stands before the image's path. Fails, with the path in
# `missing_bind`, where something that is to be bound is not there. Wherever R is outside, inside it lies
# in the image's own /tmp, where a mount point can be made.
image_arguments() {
  local bind
  args=(-q exec --cleanenv --contain --pid --workdir "$R/work" --pwd "$HOME")
  mkdir "$R/work/tmp/vizdash"
  args+=(-B "$HOME" -B "$R:/tmp/vizdash")
  if [ -n "${CUDA_VISIBLE_DEVICES:-}${SLURM_JOB_GPUS:-}" ] && [ -e /dev/nvidiactl ]; then
    args+=(--nv)
  fi
  if [ -d /dev/dri ]; then args+=(-B /dev/dri); fi
  for bind in "${VIZDASH_BINDS[@]}"; do
    missing_bind=${bind%%:*}
    [ -e "$missing_bind" ] || return 1
    args+=(-B "$bind")
  done
}
