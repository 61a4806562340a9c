#!/bin/bash
# Runs inside the lab's root file system (chroot) once, after its packages are there: users, keys,
# daemons' settings. Arguments: NAME=ADDRESS of every host.
set -euo pipefail

for pair in "$@"; do
  printf '%s\t%s\n' "${pair#*=}" "${pair%%=*}"
done | cat <(printf '127.0.0.1\tlocalhost\n') - >/etc/hosts

mkdir -p /etc/slurm /var/spool/slurmctld /var/spool/slurmd /run/sshd /root/.ssh
printf 'CgroupPlugin=disabled\n' >/etc/slurm/cgroup.conf
printf 'NodeName=viz-node003 Name=gpu Type=a100 File=/dev/loop[0-1]\n' >/etc/slurm/gres.conf
[ -s /etc/munge/munge.key ] || /usr/sbin/mungekey --create --force
chown munge: /etc/munge/munge.key && chmod 400 /etc/munge/munge.key

# One host key for all hosts: every host knows every other, nobody is asked.
rm -f /etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
names=$(printf '%s,' "${@%%=*}" "${@#*=}")
printf '%slocalhost %s\n' "$names" "$(cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub)" \
  >/etc/ssh/ssh_known_hosts
cat >/etc/ssh/sshd_config.d/lab.conf <<'CONF'
UsePAM no
PasswordAuthentication no
PrintMotd no
CONF

mkdir -p /home.lab
for user in alice bob vizadmin; do
  useradd --create-home --shell /bin/bash --base-dir /home "$user"
  # A locked password keeps sshd from letting anyone in when PAM is off.
  usermod -p '*' "$user"
  install -d -m 700 -o "$user" -g "$user" "/home/$user/.ssh"
  ssh-keygen -q -t ed25519 -N '' -C "$user@lab" -f "/home/$user/.ssh/id_ed25519"
  cp "/home/$user/.ssh/id_ed25519.pub" "/home/$user/.ssh/authorized_keys"
  chown -R "$user:" "/home/$user/.ssh"
  chmod 700 "/home/$user"
done
printf 'vizadmin ALL=(ALL) NOPASSWD: ALL\n' >/etc/sudoers.d/vizadmin
mkdir -p /opt/apptainers/apps
