#!/bin/bash
# The first process of a lab host, in namespaces of its own: puts the file system together, moves
# into it, and starts the daemons of its role.
#   host-init.sh NAME RUN LOWER ROLE
# ROLE: login (slurmctld), node (slurmd), submit (Slurm's commands alone), jump (sshd alone),
# laptop (no daemon); bare keeps the machine's network. A laptop and a jump host have homes of
# their own, the others share one.
set -euo pipefail
name=$1 run=$2 lower=$3 role=$4
host=$run/$name
root=$host/root

mkdir -p "$host/upper" "$host/work" "$root"
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$host/upper,workdir=$host/work" "$root"
case $role in
  laptop | jump) cp -a "$root/home.template/." "$root/home" ;;
  *) mount --bind "$run/home" "$root/home" ;;
esac

# Devices of its own, so that nothing of the machine's is changed.
mount -t tmpfs -o mode=755 dev "$root/dev"
for device in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0 fuse:10:229; do
  IFS=: read -r file major minor <<<"$device"
  mknod -m 666 "$root/dev/$file" c "$major" "$minor"
done
# Played GPUs: Slurm wants a device file for each.
mknod -m 666 "$root/dev/loop0" b 7 0
mknod -m 666 "$root/dev/loop1" b 7 1
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s fd/0 "$root/dev/stdin"
ln -s fd/1 "$root/dev/stdout"
ln -s fd/2 "$root/dev/stderr"
mount -t tmpfs -o mode=1777,size=64m shm "$root/dev/shm"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys" 2>/dev/null || mount --rbind /sys "$root/sys"
mount -t tmpfs -o mode=755 run "$root/run"
mount -t tmpfs -o mode=1777,size=1g tmp "$root/tmp"
if [ "$role" = bare ]; then
  mkdir -p "$root/mnt/run"
  mount --bind "$run" "$root/mnt/run"
fi

hostname "$name"
mkdir -p "$root/.old"
cd "$root"
pivot_root . .old
umount -l /.old
cd /
ip link set lo up
mkdir -p /run/sshd /run/munge /run/lock /run/user
chown munge: /run/munge

if [ "$role" != bare ]; then
  # The network is plugged in from outside.
  until ip -4 addr show dev eth0 2>/dev/null | grep -q inet; do sleep 0.05; done
fi
if [ -e /etc/lab-setup.sh ]; then LAB_RUN=vizdash-lab-${run##*/} bash /etc/lab-setup.sh; fi
case $role in
  login | node | submit) setpriv --reuid munge --regid munge --init-groups /usr/sbin/munged ;;
esac
case $role in
  login | node | submit | jump) /usr/sbin/sshd ;;
esac
if [ -e /etc/slurm/accounting.sh ]; then bash /etc/slurm/accounting.sh; fi
case $role in
  login) slurmctld ;;
  node) slurmd ;;
esac
touch /run/lab-up
# The first process of a PID namespace buries its orphans; bash does so while it waits.
trap 'exit 0' TERM
while :; do
  sleep 3600 &
  wait "$!" || true
done
