#!/bin/sh
# For docker-compose.yml, before the tables are made and after: the owner of Firn's tables, who is no superuser, the database, the roles of
# docs/deployment.md, and a login for each of them. Passwords come from the environment, and are in no argument.
set -eu
ask() { psql -q -v ON_ERROR_STOP=1 -d "$1"; }
login() { # name, password, role that it has
  cat <<SQL
SELECT format('CREATE ROLE %I LOGIN', '$1') WHERE to_regrole('$1') IS NULL \gexec
ALTER ROLE $1 PASSWORD '$2';
SQL
  if [ -n "${3:-}" ]; then echo "GRANT $3 TO $1;"; fi
}
case "$1" in
  database)
    {
      login firn "$OWNER_PASSWORD"
      echo "SELECT 'CREATE DATABASE firn OWNER firn' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'firn') \gexec"
    } | ask postgres
    ;;
  roles)
    {
      cat /deploy/roles.sql
      login crawler "$CRAWLER_PASSWORD" firn_crawler
      login worker "$WORKER_PASSWORD" firn_worker
      login retriever "$RETRIEVER_PASSWORD" firn_retriever
      login finder "$FINDER_PASSWORD" firn_finder
    } | ask firn
    ;;
esac
