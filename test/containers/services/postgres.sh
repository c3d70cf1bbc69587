#!/bin/sh
# What the official image does at its first start: a cluster with the user and the password of the environment.
set -eu
data=/var/lib/postgresql/data
chown postgres "$data"
chmod 0700 "$data"
as_postgres() { setpriv --reuid postgres --regid postgres --clear-groups "$@"; }
if [ ! -e "$data/PG_VERSION" ]; then
  printf %s "$POSTGRES_PASSWORD" > /tmp/password
  # shellcheck disable=SC2086
  as_postgres initdb -D "$data" -U "$POSTGRES_USER" --auth=scram-sha-256 --pwfile=/dev/stdin $POSTGRES_INITDB_ARGS < /tmp/password
  rm /tmp/password
  echo 'host all all all scram-sha-256' >> "$data/pg_hba.conf"
fi
exec setpriv --reuid postgres --regid postgres --clear-groups postgres -D "$data" -c listen_addresses='*' -c unix_socket_directories=/tmp -c max_connections=300
