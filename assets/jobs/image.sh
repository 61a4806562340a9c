# shellcheck shell=bash disable=SC2034,SC2154
# Find the program that runs an image on a node, and its arguments.

# seek_apptainer: set `apptainer` to the path of Apptainer, or of SingularityCE, which takes the same
# arguments: of the system, else (with `apptainer_of_user` set to 1) of a module or the user's PATH.
seek_apptainer() {
  apptainer_of_user=''
  apptainer=$(PATH=$system_path && { type -P apptainer || type -P singularity; }) && return
  apptainer=$(eval "$user_environment" 2>/dev/null; type -P apptainer || type -P singularity) || return 1
  apptainer_of_user=1
}

# image_arguments: set `args` to the arguments before the image's path. Fails, with the path in
# `missing_bind`, if the source of a bind mount does not exist. Inside, the runtime folder is always in the
# image's /tmp, where a mount point can be made.
image_arguments() {
  local bind
  args=(-q exec --cleanenv --contain --pid --workdir "$runtime/work" --pwd "$HOME")
  mkdir "$runtime/work/tmp/vizdash"
  args+=(-B "$HOME" -B "$runtime:/tmp/vizdash")
  if [ -n "${CUDA_VISIBLE_DEVICES:-}${SLURM_JOB_GPUS:-}" ] && [ -e /dev/nvidiactl ]; then
    args+=(--nv)
    copy_egl_vendor
  fi
  if [ -d /dev/dri ]; then args+=(-B /dev/dri); fi
  for bind in "${VIZDASH_BINDS[@]}"; do
    missing_bind=${bind%%:*}
    [ -e "$missing_bind" ] || return 1
    args+=(-B "$bind")
  done
}

# copy_egl_vendor: put the driver's entry for EGL (libglvnd, "EGL ICD enumeration") into the runtime folder:
# Apptainer's --nv brings the libraries, and not this file, without which EGL does not find them.
copy_egl_vendor() {
  local root=${VIZDASH_GPU_ROOT:-} place
  for place in /etc/glvnd/egl_vendor.d /usr/share/glvnd/egl_vendor.d; do
    if [ -r "$root$place/10_nvidia.json" ]; then
      mkdir -p "$runtime/egl" && cp "$root$place/10_nvidia.json" "$runtime/egl/"
      return
    fi
  done
}
