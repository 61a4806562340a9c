#!/bin/bash
# Runs inside the lab's root file system (chroot) once, after its packages are there: users, keys,
# daemons' settings. Hosts' names and addresses come when a lab starts.
set -euo pipefail

mkdir -p /etc/slurm /var/spool/slurmctld /var/spool/slurmd /run/sshd /root/.ssh
printf 'CgroupPlugin=disabled\n' >/etc/slurm/cgroup.conf
printf 'NodeName=viz-node003 Name=gpu Type=a100 File=/dev/loop[0-1]\n' >/etc/slurm/gres.conf
[ -s /etc/munge/munge.key ] || /usr/sbin/mungekey --create --force
chown munge: /etc/munge/munge.key && chmod 400 /etc/munge/munge.key

# One host key for all hosts: a lab's ssh_known_hosts lists it for every name.
rm -f /etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
cat >/etc/ssh/sshd_config.d/lab.conf <<'CONF'
UsePAM no
PasswordAuthentication no
PrintMotd no
CONF

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
