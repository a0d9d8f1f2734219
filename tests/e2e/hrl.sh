#!/usr/bin/env bash
# Replica logs that are dropped into a directory become recovery points, each the image that the log was made from; a log
# that is missing holds up what follows it until it comes. What lies between two points of the vault is written as such logs,
# and another machine's agent applies them. Usage: hrl.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh

protect() { # CERTIFICATE STATE IMAGE DIRECTORY LAST_LOG
    causeway-agent protect --server "127.0.0.1:$demo_port" --ca "$demo/pki/ca.crt" --cert "$demo/pki/$1.crt" \
        --key "$demo/pki/$1.key" --state "$demo/$2" --machine-name "$1" --image "$3" --disk-name disk --hrl "$4" \
        --hrl-after "$5" 2>>"$demo/$2.log" &
    demo_pids+=($!)
}
agent_start() {
    protect machine agent "$demo/replica.img" "$demo/drop" 00000000-0000-0000-0000-000000000000
    demo_agent_pid=$!
}
status() { causeway-agent status --state "$demo/agent" --json 2>/dev/null || true; }
protected() { status | says '"phase": *"protected"'; }
broken() { status | says HRL_BROKEN; }
# change N: the next state of the disk, and the log that leads to it, outside of the directory.
change() {
    local n=$1 before=$(($1 - 1)) options=()
    cp "$demo/state.$before" "$demo/state.$n"
    for _ in 1 2 3 4; do
        head -c $((RANDOM % 16 * 4096 + 512)) /dev/urandom |
            dd of="$demo/state.$n" bs=512 seek=$((RANDOM % 16000)) conv=notrunc status=none
    done
    [ "$before" = 0 ] || options=(--after "$demo/made/$before.hrl")
    causeway-agent hrl-diff --from "$demo/state.$before" --to "$demo/state.$n" --output "$demo/made/$n.hrl" "${options[@]}" >/dev/null
}
point_of() {
    causeway --config "$demo/causeway.toml" --json points "$demo_machine" 2>>"$demo/cli.log" |
        python3 -c 'import json, sys
print(next((p["id"] for p in json.load(sys.stdin) if p["tag"] == sys.argv[1]), ""))' "$1.hrl" || true
}
in_vault() { [ -n "$(point_of "$1")" ]; }
is_state() { # N…: the point of each log is the disk as it was then.
    local n
    for n in "$@"; do
        wait_for 90 "the point of log $n" in_vault "$n"
        rm -f "$demo/restored"
        causeway --config "$demo/causeway.toml" failover "$demo_machine" --point "$(point_of "$n")" --disk disk \
            --output "$demo/restored" >>"$demo/cli.log" 2>&1 && cmp "$demo/restored" "$demo/state.$n" || return 1
    done
}

demo_begin
demo_quick_vault
demo_start_server
mkdir "$demo/drop" "$demo/made"
head -c 3M /dev/urandom > "$demo/state.0"
truncate -s 8M "$demo/state.0"
cp "$demo/state.0" "$demo/replica.img"
for n in 1 2 3 4 5; do change $n || die "no log $n"; done
agent_start
wait_for 90 "protection" protected
cp "$demo/made/1.hrl" "$demo/made/2.hrl" "$demo/drop/"
check "each log that arrives is a point with exactly its writes" is_state 1 2
cp "$demo/made/4.hrl" "$demo/drop/"
wait_for 90 "the agent to miss log 3" broken
check "a log whose predecessor is missing is not applied" cmp "$demo/replica.img" "$demo/state.2"
cp "$demo/made/3.hrl" "$demo/drop/"
check "when that one comes the chain goes on" is_state 3 4
kill -9 "$demo_agent_pid"
wait "$demo_agent_pid" 2>/dev/null
cp "$demo/made/5.hrl" "$demo/drop/"
agent_start
check "an agent that was killed goes on where it was" is_state 5

# between N M: what lies between the points of two logs, from the vault.
between() {
    causeway --config "$demo/causeway.toml" --json hrl "$demo_machine" --disk disk --from "$(point_of "$1")" --to "$(point_of "$2")" \
        --output "$demo/vault.$1.$2.hrl" > "$demo/between.$1.$2"
}
field() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$@"; }
small() { # What was fetched is of the size of what changed, not of the disk.
    between 1 3 && between 3 5 && between 5 2 || return 1
    [ "$(field "$demo/between.3.5" previous)" = "$(field "$demo/between.1.3" id)" ] || return 1
    [ "$(field "$demo/between.1.3" fetched_bytes)" -lt 1500000 ] && [ "$(field "$demo/between.1.3" bytes)" -gt 4096 ]
}
check "logs between points of the vault continue each other and fetch what differs" small
same_point() { causeway --config "$demo/causeway.toml" hrl "$demo_machine" --from "$(point_of 1)" --to "$(point_of 1)" --output "$demo/none.hrl"; }
refused() { ! "$1" >"$demo/said" 2>"$demo/refused" && says "$2" < "$demo/refused" && [ ! -e "$demo/none.hrl" ] && [ ! -e "$demo/none.hrl.part" ]; }
check "a log between a point and itself is refused" refused same_point USAGE
again() { causeway --config "$demo/causeway.toml" hrl "$demo_machine" --from "$(point_of 1)" --output "$demo/vault.1.3.hrl"; }
check "a log that is there is not replaced" refused again FILE_EXISTS
mkdir "$demo/small"
on_small_disk() {
    unshare --user --map-root-user --mount sh -c 'mount -t tmpfs -o size=8k small "$0" && exec "$@"' "$demo/small" \
        causeway --config "$demo/causeway.toml" hrl "$demo_machine" --disk disk --from "$(point_of 1)" --to "$(point_of 3)" --output "$demo/small/log.hrl"
}
names_full_disk() { refused on_small_disk "DISK_FULL.*that of $demo/small, where.*next: df -h $demo/small; "; }
check "a log for which there is no room says where there is none" names_full_disk
other=$(cat /proc/sys/kernel/random/uuid)
causeway pki issue "$demo/pki" --role machine --id "$other" --name other --out "$demo/pki/other" >/dev/null
cp "$demo/state.1" "$demo/other.img"
mkdir "$demo/other.drop"
protect other other.state "$demo/other.img" "$demo/other.drop" "$(field "$demo/between.1.3" previous)"
other_is() { cmp -s "$demo/other.img" "$demo/state.$1"; }
becomes() { wait_for 90 "the image of log $1" other_is "$1"; }
cp "$demo/vault.3.5.hrl" "$demo/vault.1.3.hrl" "$demo/other.drop/"
check "applied to the older point's image they give the newer's, byte for byte" becomes 5
cp "$demo/vault.5.2.hrl" "$demo/other.drop/"
check "a log can lead back to an older point" becomes 2
cases_end
