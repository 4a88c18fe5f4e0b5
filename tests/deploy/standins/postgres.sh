# As the real image's entry: make the database of POSTGRES_DB in an empty folder, then serve.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  chmod 0700 "$PGDATA"
  printf '%s\n' "$POSTGRES_PASSWORD" > /tmp/password
  initdb --username "$POSTGRES_USER" --pwfile /tmp/password --locale C.UTF-8 $POSTGRES_INITDB_ARGS
  rm /tmp/password
  echo "CREATE DATABASE $POSTGRES_DB" | postgres --single postgres
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
fi
exec "$@" -c listen_addresses='*' -c unix_socket_directories=/run/postgresql -c dynamic_shared_memory_type=posix
