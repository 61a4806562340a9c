#!/bin/bash
# Brings up slurmdbd on a MariaDB of its own and says who may use what: on the login host, before
# slurmctld. The data are in memory and end with the host.
set -euo pipefail
data=/run/mariadb
mkdir -p /run/mysqld "$data"
chown mysql: /run/mysqld "$data"
mariadb-install-db --user=mysql --datadir="$data" --skip-test-db >/dev/null
setpriv --reuid mysql --regid mysql --init-groups mariadbd --no-defaults --datadir="$data" \
  --socket=/run/mysqld/mysqld.sock --skip-networking --innodb-flush-log-at-trx-commit=0 \
  --innodb-log-file-size=8M --innodb-snapshot-isolation=OFF >/var/log/mariadbd.log 2>&1 &
wait_for() {
  for _ in {1..300}; do
    if "$@" >/dev/null 2>&1; then return; fi
    sleep 0.1
  done
  "$@"
}
wait_for mariadb -e 'select 1'
# An older library than the suite's own: see accounting.py.
LD_LIBRARY_PATH=/opt/mariadb-client slurmdbd
wait_for sacctmgr -n list cluster
while read -r line; do
  # shellcheck disable=SC2086
  sacctmgr -iQ $line </dev/null
done </etc/slurm/accounts
