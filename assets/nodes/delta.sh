#!/bin/bash
# Make one delta of an image for many nodes, on the image host (images/delta.py). It arrives on the standard
# input of bash, over SSH if vizdash runs elsewhere; when that ends, the delta is removed. Needs bash 4.4 and
# coreutils 8.30 (EL8).
#   bash -s -- MARK IMAGE RSYNC-OPTION... HOST:MODEL
# MODEL is the older image on a node, which sends its block checksums. Prints "MARK made BYTES DIGEST
# FILE", or the cause on stderr.
set -u
export LC_ALL=C
umask 077
set -m # each job is a process group

main() {
  local mark=$1 image=$2 job digest said=''
  shift 2
  folder=$(mktemp -d "${TMPDIR:-/var/tmp}/vizdash-delta.XXXXXX") || exit
  trap clear_up EXIT
  trap exit HUP TERM INT
  # Protocol 29 is the newest that rsync 3.1.3 (EL8) and 3.5 both read in a batch. With a fixed seed, the
  # same two images give the same delta. MODEL is not changed.
  rsync --protocol=29 --checksum-seed=1 --no-whole-file --ignore-times \
    --only-write-batch="$folder/delta" "${@:1:$#-1}" -- "$image" "${!#}" \
    </dev/null >/dev/null 2>"$folder/said" &
  job=$!
  while kill -0 "$job" 2>/dev/null; do
    read -r -t 0.1 || [ $? -gt 128 ] || exit
  done
  if ! wait "$job"; then
    while IFS= read -r said && [[ $said = "rsync error:"* || -z $said ]]; do :; done <"$folder/said"
    printf '%s\n' "${said:-rsync failed}" >&2
    exit 1
  fi
  job=''
  digest=$(sha256sum -b <"$folder/delta") || exit
  printf '%s made %s %s %s\n' "$mark" "$(stat -c %s "$folder/delta")" "${digest%% *}" "$folder/delta"
  while read -r -t 99999999; do :; done # without -t, TMOUT applies
}

clear_up() {
  [ -z "${job:-}" ] || kill -KILL -- "-$job"
  rm -rf -- "$folder"
} 2>/dev/null

main "$@"
exit
