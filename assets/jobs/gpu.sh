# shellcheck shell=bash disable=SC2154
# Find the graphics device of the GPU that was allocated to the job: VirtualGL's `-d egl` uses the
# machine's first. Runs on the node. VIZDASH_GPU_ROOT (for tests) is a prefix of /proc, /sys and /dev.

# forget_other_gpus: unset, in the script, the variables that name GPUs where Slurm has given the job none:
# they come from the user's login files, or say that there are none ("NoDevFiles", Slurm before 21.08).
# A site may hand out GPUs without Slurm, on nodes that have them.
forget_other_gpus() {
  local root=${VIZDASH_GPU_ROOT:-}
  [ "${VIZDASH_ENGINE:-}" = slurm ] || return 0
  [ -z "${SLURM_JOB_GPUS:-}${SLURM_GPUS_ON_NODE:-}${SLURM_SHARDS_ON_NODE:-}" ] || return 0
  case ${CUDA_VISIBLE_DEVICES:-} in
    NoDevFiles | -*) ;;
    *) if [ -e "$root/dev/nvidiactl" ] || [ -e "$root/dev/kfd" ]; then return 0; fi ;;
  esac
  unset -v CUDA_VISIBLE_DEVICES ROCR_VISIBLE_DEVICES GPU_DEVICE_ORDINAL
}

# graphics_device: set `gl_device` to the argument of `vglrun -d` (a DRI device or eglN; VirtualGL User's
# Guide, "vglrun"); empty, with the reason in `gl_why`, if the job's device is not known.
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

# Set `pci` to its address, `row` to its index among the GPUs that the job sees. Where devices are
# constrained (cgroup.conf(5), ConstrainDevices), nvidia-smi shows only the job's, and both it and
# CUDA_VISIBLE_DEVICES count them from 0; else both count all.
nvidia_gpu() {
  local id=${CUDA_VISIBLE_DEVICES:-} index uuid bus list count=0
  id=${id%%,*}
  case $id in MIG-*) id=$(mig_parent "$id") || { gl_why=$id && return 1; } ;; esac
  run_for 20 nvidia-smi --query-gpu=index,uuid,pci.bus_id --format=csv,noheader >"$runtime/gpus" 2>/dev/null ||
    { nvidia_driver_gpu; return; }
  list=$(<"$runtime/gpus")
  while IFS=', ' read -r index uuid bus; do
    case $id in
      GPU-*) [[ $uuid == "$id"* ]] ;; # CUDA accepts a prefix
      *) [ "$index" = "${id:-0}" ] ;;
    esac && pci=$(sysfs_address "$bus") && row=$count
    count=$((count + 1))
  done <<<"$list"
  if [ -z "$pci" ] && [ "$count" = 1 ] && [[ $id != GPU-* ]]; then
    pci=$(sysfs_address "${list##*, }") row=0
  fi
  [ -n "$pci" ]
}

# mig_parent ID: print the UUID of the GPU that a MIG slice is part of; fail, with the reason on stdout, if
# the slice computes only. Slices whose profile has "+gfx" have graphics (NVIDIA MIG User Guide, "Supported
# MIG Profiles"). nvidia-smi -L lists each GPU before its slices.
mig_parent() {
  local line gpu='' profile
  run_for 20 nvidia-smi -L >"$runtime/slices" 2>/dev/null
  while IFS= read -r line; do
    case $line in
      GPU\ *) gpu=${line##*UUID: } gpu=${gpu%%)*} ;;
      *"UUID: $1"*)
        read -r _ profile _ <<<"$line"
        case $profile in *+gfx*) printf '%s\n' "$gpu" && return 0 ;; esac
        printf '%s is a MIG slice of profile %s, which computes only (no +gfx)\n' "$1" "$profile"
        return 1
        ;;
    esac
  done <"$runtime/slices"
  printf '%s is a MIG slice, which has no graphics\n' "$1"
  return 1
}

# nvidia-smi writes 00000000:3B:00.0, sysfs 0000:3b:00.0.
sysfs_address() {
  local address=${1,,}
  case $address in ????????:*) address=${address#????} ;; esac
  printf '%s\n' "$address"
}

# The same from the driver's list, which cgroups do not restrict: SLURM_JOB_GPUS counts all GPUs too.
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

# Other vendors: the render nodes that the job may open, by PCI address; only AMD's if there are any.
# ROCR_VISIBLE_DEVICES counts those that may be opened.
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

# Set `gl` to the prefix of the app's command: vglrun on the job's GPU, if it can render there. glxinfo
# under it decides, if there is one (VirtualGL includes it).
inner_opengl() {
  local vglrun probe said
  gl=()
  [ -n "$has_gpu" ] || return 0
  vglrun=$(inner_user_environment && type -P vglrun) || return 0
  if [ -z "$gl_device" ]; then
    inner_software "$gl_why"
    return
  fi
  probe=$(
    set -- "$(dirname "$(readlink -f "$vglrun")")"
    inner_user_environment && PATH=$PATH:$1 && type -P glxinfo
  )
  run_for 60 inner_as_user "$vglrun" -d "$gl_device" "${probe:-true}" >"$runtime/glxinfo" 2>&1 </dev/null 9>&-
  case $? in
    0) ;;
    124)
      inner_software "vglrun -d $gl_device does not end"
      return
      ;;
    *)
      inner_software "vglrun -d $gl_device: $(last_line "$runtime/glxinfo")"
      return
      ;;
  esac
  gl=("$vglrun" -d "$gl_device")
  said=$(sed -n 's/^OpenGL renderer string: */, /p' "$runtime/glxinfo" | head -n 1)
  echo "OpenGL: vglrun -d $gl_device$said"
}

inner_software() { # WHY
  gl=()
  : >"$runtime/software"
  inner_without "OpenGL in software, without VirtualGL: $1"
}

# Report once what draws OpenGL for the app (opengl.py): a GPU's name, Mesa's software renderer, or "none"
# with the reason. Programs of the desktop come first.
inner_renderer() {
  local kind text
  : >"$runtime/asked"
  ask() { # DEVICE COMMAND...
    inner_user_environment
    # No cache in the user's home.
    export MESA_SHADER_CACHE_DISABLE=true MESA_GLSL_CACHE_DISABLE=true __GL_SHADER_DISK_CACHE=0
    if [ -n "$1" ]; then export VGL_DISPLAY=$1; fi
    shift
    exec nice -n 10 "$@"
  }
  run_for 300 ask "$gl_device" "${gl[@]}" "$python" -I -c "$(opengl_query)" \
    2>/dev/null >"$runtime/opengl" </dev/null 9>&-
  read -r kind text < <(grep -a -m 1 -E '^(renderer|none) ' "$runtime/opengl")
  case $kind in
    renderer) text=${text:-unnamed} ;;
    none) text="none: $text" ;;
    *) return 0 ;;
  esac
  text=$(one_line "$text")
  echo "OpenGL is drawn by: $text"
  echo "renderer $text" >&9
  inner_explain_software "$text"
}

# inner_explain_software RENDERER: a session with a GPU whose OpenGL is drawn in software gets a warning
# with the reason, unless it already has one.
inner_explain_software() {
  [ -n "$has_gpu" ] && [ ! -e "$runtime/software" ] || return 0
  case ${1,,} in none:* | *llvmpipe* | *softpipe* | *swrast* | *'software rasterizer'*) ;; *) return 0 ;; esac
  if [ ${#gl[@]} -gt 0 ]; then
    inner_without "OpenGL in software: ${gl[*]} renders with $1"
    return
  fi
  inner_software "${gl_why:-VirtualGL (vglrun) is not installed in this ${VIZDASH_RUNTIME/apptainer/image}}"
}

opengl_query() {
  cat <<'PY'
source opengl.py
PY
}

# Whether the app failed soon after its start because of VirtualGL, by the prefix of its messages: it is
# then started without.
inner_opengl_failed() {
  local line
  if [ "$app_code" = 0 ] || [ ${#gl[@]} = 0 ] || [ $((SECONDS - app_began)) -gt 60 ]; then return 1; fi
  inner_app_log_ended
  line=$(grep -a -m 1 '^\[VGL\] ERROR' "$runtime/app.log") || return 1
  inner_software "${gl[*]}: $line"
  if [ -e "$runtime/asked" ]; then inner_renderer & fi
}
