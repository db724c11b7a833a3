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
POOLS=$TARGET/api/v1/pool
RESERVATIONS=$TARGET/api/v1/reservation
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
echo "# Create a pool: a capacity that can be used up, here a slot of a delivery van."
request 201 "$POOLS" --json '{"name":"Saturday, 10 to 12","capacity":10,"country":["TW"]}'
pool=$(first_id)

echo
echo "# Reserve some of it for 15 minutes."
request 201 "$RESERVATIONS" --json "{\"pool\":\"$pool\",\"amount\":4,\"expires_in\":900}"
reservation=$(first_id)

echo
echo "# Who asks for more than there is learns how much there is, and gets nothing."
request 409 "$RESERVATIONS" --json "{\"pool\":\"$pool\",\"amount\":7}"
contains '"available":6'

echo
echo "# Confirm the reservation: it does not lapse any more."
request 200 --request PATCH "$RESERVATIONS/$reservation" --json '{"expires_at":null}'
version=$(field Placard-Version)

echo
echo "# Availability is read from memory, on a server that has at least the version of the write."
request 200 "$POOLS?country=TW&available=6&limit=100&min_version=$version"
contains "$pool"

echo
echo "# Close it: three of its units were used, and one is available again."
request 200 --request DELETE "$RESERVATIONS/$reservation?used=3"
version=$(field Placard-Version)
request 200 "$POOLS/$pool?min_version=$version"
contains '"used":3'
contains '"available":7'

echo
echo "# Have an ad name the pool. A pool is deleted when it is paused and no ad names it."
request 200 --request PATCH "$ADS/$id" --json "{\"pool\":\"$pool\",\"link\":\"https://shop.example/espresso\"}"
request 200 --request PATCH "$POOLS/$pool" --json '{"paused":true}'
request 409 --request DELETE "$POOLS/$pool"
contains 'pool-named'

echo
echo "# Pause the ad: it is in no list until it is resumed."
request 200 --request PATCH "$ADS/$id" --json '{"paused":true,"pool":null}'
request 200 "$ADS/$id"
contains '"status":"paused"'
request 200 --request DELETE "$POOLS/$pool"

echo
echo "# Delete the ads."
request 200 --request DELETE "$ADS/$id"
request 200 --request DELETE "$ADS/$batched"
request 404 "$ADS/$id"
