#!/usr/bin/env bash
# ./quickstart as a newcomer runs it: by default, with an image of their own and the port taken, refused, interrupted.
# Usage: quickstart.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
source tests/lib/cases.sh
work=$(mktemp -d "${TMPDIR:-/tmp}/causeway-e2e.XXXXXX")
listener=
cleanup() {
    [ -z "$listener" ] || kill "$listener" 2>/dev/null
    rm -rf "$work"
}
trap cleanup EXIT

# Everything started has this in its environment's TMPDIR, so that what is left behind is found.
mkdir -m 1777 "$work/tmp"
left_over() { pgrep -f "$work/tmp" || find "$work/tmp" -mindepth 1 | grep .; }
# A child that was told to end may still be about it.
nothing_left() {
    local deadline=$((SECONDS + 60))
    while left_over >"$work/left" 2>&1; do
        [ $SECONDS -lt $deadline ] || { cat "$work/left"; return 1; }
        sleep 0.1
    done
}
quickstart() { TMPDIR=$work/tmp ./quickstart --programs "$build" "$@"; }

refused() {  # EXIT_CODE ARGUMENT…
    local expected=$1 status=0; shift
    ./quickstart "$@" >"$work/refused.log" 2>&1 || status=$?
    [ $status -eq "$expected" ] && [ -s "$work/refused.log" ]
}
check "help" refused 0 --help
check "an unknown option is refused" refused 2 --frobnicate
check "--points without a number is refused" refused 2 --points
check "--points 1 is refused" refused 2 --points 1
check "--points 08x is refused" refused 2 --points 08x
check "two images are refused" refused 2 README.md LICENSE
check "an image that is not there is refused" refused 4 "$work/none.img"
check "a directory as image is refused" refused 4 "$work"

full_disk() {  # As df shows one: nothing is begun there.
    mkdir "$work/bin"
    printf '#!/bin/sh\necho Avail; echo 100\n' > "$work/bin/df"
    chmod +x "$work/bin/df"
    ! PATH=$work/bin:$PATH quickstart >"$work/full.log" 2>&1 && grep -q '100 MiB free, and 1536 MiB are needed' "$work/full.log"
}
check "a disk without room is told before anything is begun" full_disk
check "and is left as it was" nothing_left

usage_error() { "$@" >"$work/usage.log" 2>&1; [ $? -eq 2 ] || { cat "$work/usage.log"; return 1; }; }
check "causewayd refuses a role that does not exist as every program refuses its words" usage_error "$build/causewayd" --role nobody
explained() {
    printf '[vault]\nurl = "dir:///nowhere"\n' > "$work/small.toml"
    "$build/causeway" --config "$work/small.toml" --json config explain | python3 -c '
import json, sys
known = {row["setting"]: row for row in json.load(sys.stdin)}
assert known["vault.url"] == {"setting": "vault.url", "value": "dir:///nowhere", "default": False}, known["vault.url"]
assert known["cache.path"]["default"] is True'
}
check "config explain is JSON with --json" explained

by_default() {
    quickstart --points 2 >"$work/default.log" 2>&1 || { tail -n 40 "$work/default.log"; return 1; }
    [ "$(grep -c 'both images are byte-identical' "$work/default.log")" = 2 ] &&
        grep -q 'sent .*stored .*ETA .*RPO' "$work/default.log" && grep -q '^intact:' "$work/default.log" && return
    cat "$work/default.log"; return 1
}
check "two points of a disk that is being written come back byte-identical" by_default
check "it leaves nothing behind" nothing_left

# Whoever has the port keeps it; root is not needed, where the tree may be read by somebody else. Another test may have
# 9443 now and not in a moment: a port that is surely taken stands in for it.
python3 -c 'import socket, time
s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen()
print(s.getsockname()[1], flush=True); time.sleep(3600)' >"$work/port" &
listener=$!
for _ in $(seq 1200); do [ ! -s "$work/port" ] || break; sleep 0.05; done
port=$(cat "$work/port")
head -c 5000001 /dev/urandom > "$work/own.img"
chmod 755 "$work" && chmod 444 "$work/own.img"
own=$(sha256sum < "$work/own.img")
as=()
[ "$(id -u)" != 0 ] || ! setpriv --reuid=65534 --regid=65534 --clear-groups test -x "$build/causewayd" -a -r README.md ||
    as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
with_image() {
    CAUSEWAY_DEMO_PORT=$port TMPDIR=$work/tmp timeout 600 "${as[@]}" ./quickstart --programs "$build" --points 2 "$work/own.img" >"$work/image.log" 2>&1 ||
        { tail -n 40 "$work/image.log"; return 1; }
    [ "$(grep -c 'both images are byte-identical' "$work/image.log")" = 2 ] &&
        grep -q "port $port is taken" "$work/image.log" && ! grep -q "listens on 127.0.0.1:$port " "$work/image.log" && [ "$(sha256sum < "$work/own.img")" = "$own" ]
}
check "an image of one's own comes back, with its port taken${as:+, without root}" with_image
check "it leaves nothing behind then either" nothing_left

interrupted() {
    TMPDIR=$work/tmp setsid env --default-signal=INT ./quickstart --programs "$build" --points 100 >"$work/int.log" 2>&1 &
    local leader=$! status=0
    for _ in $(seq 1200); do grep -q 'points | sent' "$work/int.log" && break; sleep 0.1; done
    kill -INT -- "-$leader"
    local started=$SECONDS
    wait "$leader" || status=$?
    [ $status -eq 130 ] && [ $((SECONDS - started)) -le 60 ] && return
    echo "status $status after $((SECONDS - started)) s"; tail -n 30 "$work/int.log"; return 1
}
check "Ctrl-C ends all of it" interrupted
check "and leaves nothing behind" nothing_left
cases_end
