#!/bin/sh
# For docker-compose.yml: the user that Firn searches as, who may do what he likes with indexes called firn..., and nothing else. Passwords
# come from the environment, and are in no argument.
set -eu
put() { # path, body on standard input
  { printf 'user = "elastic:%s"\n' "$ELASTIC_PASSWORD"; } > /tmp/curl
  curl -fsS -K /tmp/curl -X PUT -H 'content-type: application/json' "http://elasticsearch:9200/_security/$1" --data-binary @- > /dev/null
  rm /tmp/curl
}
echo '{"cluster":["monitor"],"indices":[{"names":["firn*"],"privileges":["all"]}]}' | put role/firn
printf '{"password":"%s","roles":["firn"]}' "$SEARCH_PASSWORD" | put user/firn
