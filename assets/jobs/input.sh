# shellcheck shell=bash disable=SC2154
# Start an input method for Chinese, Japanese, Korean and the like: fcitx5 or IBus, if it is installed
# with an engine (fcitx5-hangul, ibus-hangul, ...). Runs in `inner`, on the host or in the image. A
# failure here does not end the session.

# Start it, and set it in the app's environment. Settings of the user or the configuration come first:
# XMODIFIERS=@im=ibus selects IBus, @im=none neither.
inner_input_method() {
  local name program found as why='' engines=()
  name=$(inner_user_environment && printf '%s' "${XMODIFIERS:-${GTK_IM_MODULE:-${QT_IM_MODULE:-}}}")
  case $name in
    *fcitx*) name=fcitx ;;
    *ibus*) name=ibus ;;
    '') for name in fcitx ibus ''; do inner_engines "$name" && break; done ;;
    *) return 0 ;;
  esac
  case $name in
    fcitx) program=fcitx5 ;;
    ibus) program=ibus-daemon ;;
    *) return 0 ;;
  esac
  if ! inner_find "$program"; then
    why='not installed'
  elif ! "inner_start_$name"; then
    why=${why:-$(last_line "$runtime/input.log")}
  fi
  if [ -n "$why" ]; then
    inner_without "no input method: $program: $why"
    return 0
  fi
  echo "input method: $program${engines[*]:+ (${engines[*]})}"
  user_environment+=$(
    printf '\nexport %s' "GTK_IM_MODULE=\${GTK_IM_MODULE:-$name} QT_IM_MODULE=\${QT_IM_MODULE:-$name}"
    printf ' %s' "XMODIFIERS=\${XMODIFIERS:-@im=$name}"
    if [ "$name" = ibus ]; then printf ' %s' "IBUS_ADDRESS_FILE=\"$runtime/run/ibus.address\""; fi
  )
}

# inner_engines fcitx|ibus: set `engines` to its installed engines; fail if there is none. Many hosts
# have IBus without any, as a part of GNOME. An empty name never fails.
inner_engines() {
  local file
  engines=()
  case $1 in
    fcitx) for file in /usr/share/fcitx5/inputmethod/*.conf; do inner_engine "$file" '^\[InputMethod]'; done ;;
    ibus) for file in /usr/share/ibus/component/*.xml; do inner_engine "$file" '<engines?[ >]'; done ;;
    *) return 0 ;;
  esac
  [ ${#engines[@]} -gt 0 ]
}

inner_engine() { # FILE PATTERN
  local name=${1##*/}
  # "simple" is for keyboard layouts; dconf, gtkpanel and the like are not engines.
  if [ "$name" != simple.xml ] && grep -qsE "$2" "$1"; then engines+=("${name%.*}"); fi
}

# inner_input_up TEST...: wait for the daemon with PID `daemon`. Apps look for it when they start.
inner_input_up() {
  input_up() { "$@" || ! child_lives "$daemon"; }
  if wait_for 30 input_up "$@" && child_lives "$daemon"; then return; fi
  if child_lives "$daemon"; then why='no answer in 30 s'; fi
  kill -KILL "$daemon" 2>/dev/null
  return 1
}

# fcitx5 activates an engine only when switched on, with Ctrl+Space or the Hangul key. Its add-ons that
# emulate older programs write to the home, under names that sessions on other nodes use too.
inner_start_fcitx() { # runs `found` through `as`
  local daemon settings=()
  (inner_find fcitx5-remote) >/dev/null || { why='no fcitx5-remote' && return 1; }
  inner_engines fcitx
  inner_fcitx_settings
  "$as" env "${settings[@]}" "$found" --disable=wayland,waylandim,ibusfrontend,fcitx4frontend 9>&- \
    </dev/null >"$runtime/input.log" 2>&1 &
  daemon=$!
  inner_find fcitx5-remote
  fcitx_up() { ("$as" "$found" --check) >/dev/null 2>&1 9>&-; }
  inner_input_up fcitx_up
}

# Set `settings` to a folder with a profile of the installed engines, if the user has no profile, or one
# without these engines (from another image). fcitx5 saves its profile in the home when it ends.
inner_fcitx_settings() {
  local name mine=$HOME/.config/fcitx5 profile=$runtime/run/config/fcitx5 number=0
  [ ${#engines[@]} -gt 0 ] || return 0
  for name in "${engines[@]}"; do
    if grep -qsxF "Name=$name" "$mine/profile"; then return 0; fi
  done
  mkdir -p "$profile"
  settings=("XDG_CONFIG_DIRS=$runtime/run/config:/etc/xdg")
  if [ -e "$mine/profile" ]; then
    settings=("XDG_CONFIG_HOME=$runtime/run/config")
    cp -r "$mine/." "$profile"
  fi
  {
    printf '%s\n' '[Groups/0]' Name=Default 'Default Layout=us' "DefaultIM=${engines[0]}"
    for name in keyboard-us "${engines[@]}"; do
      printf '\n[Groups/0/Items/%s]\nName=%s\nLayout=\n' "$number" "$name"
      number=$((number + 1))
    done
    printf '\n[GroupOrder]\n0=Default\n'
  } >"$profile/profile"
}

# IBus starts with its engine active; Korean and Japanese ones start with Latin letters, and have their
# own keys (Shift+Space or the Hangul key). By default, the file with its address is in the home, under
# a name that sessions on other nodes use too.
inner_start_ibus() { # runs `found` through `as`
  local daemon address=$runtime/run/ibus.address
  inner_engines ibus
  "$as" env IBUS_ADDRESS_FILE="$address" "$found" --xim --address="unix:path=$runtime/run/ibus" 9>&- \
    </dev/null >"$runtime/input.log" 2>&1 &
  daemon=$!
  inner_input_up test -s "$address" || return
  inner_find ibus || return 0
  inner_ibus_engine 9>&- </dev/null >"$runtime/engine.log" 2>&1 &
}

# It answers some seconds later. Without a setting of the user, it has only the keyboard layout.
inner_ibus_engine() {
  local now name
  ibus_says() { ("$as" env IBUS_ADDRESS_FILE="$address" "$found" "$@") }
  ibus_up() { now=$(ibus_says engine) && [ -n "$now" ]; }
  wait_for 120 ibus_up || return
  case $now in xkb:*) ;; *) return ;; esac
  name=$(ibus_says list-engine --name-only | grep -v '^xkb:' | head -n 1)
  if [ -n "$name" ]; then ibus_says engine "$name"; fi
}
