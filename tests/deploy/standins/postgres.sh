#!/bin/sh
# As the real image's entry: run what is not postgres; else make the database of POSTGRES_DB in an empty folder, run the
# scripts of SQL against it while nobody can reach it, then serve.
set -eu
[ "$1" = postgres ] || exec "$@"
settings="-c unix_socket_directories=/run/postgresql -c dynamic_shared_memory_type=posix"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  chmod 0700 "$PGDATA"
  printf '%s\n' "$POSTGRES_PASSWORD" > /tmp/password
  initdb --username "$POSTGRES_USER" --pwfile /tmp/password --locale C.UTF-8 $POSTGRES_INITDB_ARGS
  rm /tmp/password
  echo "CREATE DATABASE $POSTGRES_DB" | postgres --single postgres
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
  pg_ctl --wait -o "-c listen_addresses= $settings" start
  for file in /docker-entrypoint-initdb.d/*.sql; do
    psql -v ON_ERROR_STOP=1 --host /run/postgresql --username "$POSTGRES_USER" --no-password --no-psqlrc \
      --dbname "$POSTGRES_DB" --file "$file"
  done
  pg_ctl --wait --mode fast stop
fi
exec "$@" -c listen_addresses='*' $settings
