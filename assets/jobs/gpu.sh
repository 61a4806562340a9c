# shellcheck shell=bash disable=SC2154
# Which graphics device is the GPU that the job was given: VirtualGL's `-d egl` takes the machine's
# first. Runs on the node. VIZDASH_GPU_ROOT (for tests) stands before /proc, /sys and /dev.

# graphics_device: into `gl_device` what `vglrun -d` takes (a DRI device or eglN; VirtualGL User's
# Guide, "vglrun"); empty, with the reason in `gl_why`, when none is known to be the job's.
graphics_device() {
  local root=${VIZDASH_GPU_ROOT:-} pci='' row='' card
  gl_device='' gl_why=''
  if ! nvidia_gpu && ! drm_gpu; then
    gl_why=${gl_why:-no graphics device on $node is known to be the GPU that the job was given}
    return
  fi
  for card in "$root/sys/bus/pci/devices/$pci/drm"/card*; do
    card=/dev/dri/${card##*/}
    if [ -e "$root$card" ]; then gl_device=$card; fi
  done
  # Without a DRI device EGL counts the driver's GPUs, in the order of nvidia-smi.
  if [ -z "$gl_device" ] && [ -n "$row" ]; then gl_device=egl$row; fi
  [ -n "$gl_device" ] || gl_why="the GPU at $pci has no device in /dev/dri on $node"
}

# Into `pci` its address, into `row` its place among the GPUs that the job sees. Where devices are
# constrained (cgroup.conf(5), ConstrainDevices) nvidia-smi shows only the job's, and both it and
# CUDA_VISIBLE_DEVICES count them from 0; else both count all.
nvidia_gpu() {
  local id=${CUDA_VISIBLE_DEVICES:-} index uuid bus list count=0
  id=${id%%,*}
  case $id in MIG-*) gl_why="$id is a MIG slice, which has no graphics" && return 1 ;; esac
  list=$(timeout 20 nvidia-smi --query-gpu=index,uuid,pci.bus_id --format=csv,noheader 2>/dev/null) ||
    { nvidia_driver_gpu; return; }
  while IFS=', ' read -r index uuid bus; do
    case $id in
      GPU-*) [[ $uuid == "$id"* ]] ;; # CUDA takes the beginning of one
      *) [ "$index" = "${id:-0}" ] ;;
    esac && pci=$(sysfs_address "$bus") && row=$count
    count=$((count + 1))
  done <<<"$list"
  if [ -z "$pci" ] && [ "$count" = 1 ] && [[ $id != GPU-* ]]; then
    pci=$(sysfs_address "${list##*, }") row=0
  fi
  [ -n "$pci" ]
}

# nvidia-smi writes 00000000:3B:00.0, sysfs 0000:3b:00.0.
sysfs_address() {
  local address=${1,,}
  case $address in ????????:*) address=${address#????} ;; esac
  printf '%s\n' "$address"
}

# The same from the driver's list, which no cgroup narrows: SLURM_JOB_GPUS counts all of them too.
nvidia_driver_gpu() {
  local id=${CUDA_VISIBLE_DEVICES:-} file minor uuid
  case $id in GPU-*) ;; *) id=${SLURM_JOB_GPUS:-$id} ;; esac
  id=${id%%,*}
  for file in "$root/proc/driver/nvidia/gpus"/*/information; do
    [ -r "$file" ] || continue
    minor=$(sed -nE 's/^Device Minor:[[:space:]]*//p' "$file")
    uuid=$(sed -nE 's/^GPU UUID:[[:space:]]*//p' "$file")
    if [ "$minor" = "$id" ] || [[ $id == GPU-* && $uuid == "$id"* ]]; then
      pci=${file%/information}
      pci=${pci##*/}
      return 0
    fi
  done
  return 1
}

# Other makers': the render nodes that the job may open, in the order of their PCI addresses; AMD's
# alone where there are any. ROCR_VISIBLE_DEVICES counts the ones that may be opened.
drm_gpu() {
  local id=${ROCR_VISIBLE_DEVICES:-${CUDA_VISIBLE_DEVICES:-}} path name all=() amd=()
  [ -z "$gl_why" ] || return 1
  id=${id%%,*}
  for path in "$root/sys/bus/pci/devices"/*/drm/renderD*; do
    name=$root/dev/dri/${path##*/}
    [ -e "$name" ] && (: <>"$name") 2>/dev/null || continue
    path=${path%/drm/*}
    all+=("${path##*/}")
    if [ "$(cat "$path/vendor" 2>/dev/null)" = 0x1002 ]; then amd+=("${path##*/}"); fi
  done
  if [ ${#amd[@]} -gt 0 ]; then all=("${amd[@]}"); fi
  if [ ${#all[@]} = 1 ]; then id=0; fi
  case $id in '' | *[!0-9]*) return 1 ;; esac
  pci=${all[id]:-}
  [ -n "$pci" ]
}

# ---------------------------------------------------------------- in `inner`, on the host or in the image

# Into `gl`, the words before the app's command: vglrun on the job's GPU, if it can draw there. What
# glxinfo says under it decides, where there is a glxinfo (VirtualGL brings one).
inner_opengl() {
  local vglrun probe said
  gl=()
  [ -n "$GPU" ] || return 0
  vglrun=$(inner_user_environment && type -P vglrun) || return 0
  if [ -z "$GL_DEVICE" ]; then
    inner_software "$GL_WHY"
    return
  fi
  probe=$(inner_user_environment && PATH=$PATH:$(dirname "$(readlink -f "$vglrun")") && type -P glxinfo)
  said=$(inner_user_environment && exec timeout 60 "$vglrun" -d "$GL_DEVICE" "${probe:-true}" \
    2>&1 </dev/null 9>&-) || {
    inner_software "vglrun -d $GL_DEVICE: $(printf '%s\n' "$said" | last_line)"
    return
  }
  gl=("$vglrun" -d "$GL_DEVICE")
  said=$(printf '%s\n' "$said" | sed -n 's/^OpenGL renderer string: */, /p' | head -n 1)
  echo "OpenGL: vglrun -d $GL_DEVICE$said"
}

inner_software() { # WHY
  gl=()
  inner_without "OpenGL in software, without VirtualGL: $1"
}

# Whether the app that has just failed, soon after its start, did so because of VirtualGL, whose own
# messages begin so: it is then started without.
inner_opengl_failed() {
  local line
  if [ "$app_code" = 0 ] || [ ${#gl[@]} = 0 ] || [ $((SECONDS - app_began)) -gt 60 ]; then return 1; fi
  line=$(grep -a -m 1 '^\[VGL\] ERROR' "$R/app.log") || return 1
  inner_software "${gl[*]}: $line"
}
