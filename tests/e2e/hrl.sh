#!/usr/bin/env bash
# Replica logs that are dropped into a directory become recovery points, each the image that the log was made from; a log
# that is missing holds up what follows it until it comes. Usage: hrl.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh

agent_start() {
    causeway-agent protect --server "127.0.0.1:$demo_port" --ca "$demo/pki/ca.crt" --cert "$demo/pki/machine.crt" \
        --key "$demo/pki/machine.key" --state "$demo/agent" --machine-name replica --image "$demo/replica.img" \
        --disk-name disk --hrl "$demo/drop" --hrl-after 00000000-0000-0000-0000-000000000000 2>>"$demo/agent.log" &
    demo_agent_pid=$!
    demo_pids+=($demo_agent_pid)
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
demo_config "url = \"dir://$demo/vault\"" '[egress]
commit_interval = "200ms"
segment_deadline = "500ms"'
causeway --config "$demo/causeway.toml" vault create >/dev/null
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
cases_end
