#!/bin/sh
# A walk through the API with curl. Start a server in another terminal, then run this file:
#
#   cargo run --release -- serve --data-dir ./data
#   examples/walkthrough.sh
#
# TARGET is the server's address. TOKEN is a bearer token, if the server requires one.
# `make test` runs this file, and fails if one of its expectations does not hold.
set -eu

TARGET=${TARGET:-http://127.0.0.1:8080}
ADS=$TARGET/api/v1/ad
answer=$(mktemp)
head=$(mktemp)
trap 'rm -f "$answer" "$head"' EXIT

# Sends a request and prints its answer. The first argument is the status that is expected.
request() {
    expected=$1
    shift
    echo
    echo "$ curl $*"
    status=$(curl --silent --show-error --max-time 10 --output "$answer" --dump-header "$head" \
        --write-out '%{http_code}' ${TOKEN:+--header "Authorization: Bearer $TOKEN"} "$@")
    echo "$status $(cat "$answer")"
    [ "$status" = "$expected" ] || { echo "expected status $expected" >&2; exit 1; }
}

# Prints a header field of the last answer.
field() {
    tr -d '\r' <"$head" | sed -n "s/^$1: //Ip"
}

# Fails unless the last answer contains the text.
contains() {
    grep --quiet --fixed-strings -- "$1" "$answer" || { echo "expected $1" >&2; exit 1; }
}

# Prints the first id in the last answer.
first_id() {
    sed -n 's/^[^}]*"id":"\([0-9a-f-]*\)".*/\1/p' "$answer"
}

key=walkthrough-$(date +%s)-$$
ad='{"title":"Espresso for two","content":"Today only.","age_start":18,"age_end":40,"country":["TW","JP"],
 "start_at":"2020-01-01T00:00:00Z","end_at":"2100-01-01T00:00:00Z"}'

echo "# Create an ad. The key makes it safe to repeat the request."
request 201 "$ADS" --json "$ad" --header "Idempotency-Key: $key"
version=$(field Placard-Version)
id=$(first_id)

echo
echo "# Repeat the request: the first answer comes again, and nothing is written twice."
request 201 "$ADS" --json "$ad" --header "Idempotency-Key: $key"
[ "$(field Idempotency-Replayed)" = true ]

echo
echo "# Find it, on a server that has at least the version of the write."
request 200 "$ADS?age=24&country=TW&limit=100&min_version=$version"
contains "$id"

echo
echo "# A visitor of another country does not get it."
request 200 "$ADS?age=24&country=FR&limit=100&min_version=$version"
if grep --quiet --fixed-strings "$id" "$answer"; then exit 1; fi

echo
echo "# Show it. The ETag names this version of it."
request 200 "$ADS/$id"
tag=$(field ETag)

echo
echo "# Change it, if nobody else has changed it since."
request 200 --request PATCH "$ADS/$id" --header "If-Match: $tag" \
    --header "Content-Type: application/merge-patch+json" --data '{"title":"Espresso for three"}'

echo
echo "# The same tag is out of date now."
request 412 --request PATCH "$ADS/$id" --header "If-Match: $tag" \
    --header "Content-Type: application/merge-patch+json" --data '{"title":"Espresso for four"}'

echo
echo "# An error names each field that is wrong."
request 400 "$ADS" --json '{"title":"tea","content":"","start_at":"now"}'
contains '"pointer":"/title"'

echo
echo "# Create several at once. Each is accepted or refused individually."
request 200 "$ADS/batch" --json "[$ad,{\"title\":\"x\"}]"
contains '"status":201'
contains '"status":400'
batched=$(first_id)

echo
echo "# Delete them."
request 200 --request DELETE "$ADS/$id"
request 200 --request DELETE "$ADS/$batched"
request 404 "$ADS/$id"
