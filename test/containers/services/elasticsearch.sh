#!/bin/sh
# The distribution for integration tests has no password of its own: a user gets the one of the environment. `elastic` is a reserved name.
set -eu
cd /usr/share/elasticsearch
export ES_JAVA_HOME=$(dirname "$(dirname "$(readlink -f "$(command -v java)")")")
chown elasticsearch data
as_elasticsearch() { setpriv --reuid elasticsearch --regid elasticsearch --clear-groups "$@"; }
# The role of deploy/elasticsearch/prepare.sh.
echo "firn: { cluster: [monitor], indices: [{ names: ['firn*'], privileges: [all] }] }" > config/roles.yml
printf '%s\n%s\n' "$SEARCH_PASSWORD" "$SEARCH_PASSWORD" | as_elasticsearch bin/elasticsearch-users useradd firn -r firn 2>/dev/null || true
exec setpriv --reuid elasticsearch --regid elasticsearch --clear-groups bin/elasticsearch -E discovery.type=single-node \
  -E network.host=0.0.0.0 -E xpack.security.enabled=true -E xpack.security.http.ssl.enabled=false -E xpack.security.transport.ssl.enabled=false
