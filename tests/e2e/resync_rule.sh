#!/usr/bin/env bash
# A disk of which at least half changed while nothing could be sent is not read in the middle of the day: it waits for the
# window or for an order, and says why. Usage: resync_rule.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh

cli() { causeway --config "$demo/causeway.toml" "$@"; }
# protection: state and reason, as the server tells them.
protection() { cli --json status 2>/dev/null | python3 -c 'import json, sys
shown = json.load(sys.stdin)["machines"][0]["protection"]
print(shown["state"], shown.get("reason", ""))' 2>/dev/null; }
required() { protection | says '^resync-required at least half of the disk changed'; }
generation() { cli --json disks "$demo_machine" 2>/dev/null | grep -o '"generation": *[0-9]*' | head -n 1 | tr -dc 0-9; }
compared() { [ "$(generation)" = "$1" ] && agent_protects; }
events_say() { cli events 2>/dev/null | says "$1"; }
last_event_is() { cli events 2>/dev/null | grep RESYNC_REQUIRED | tail -n 1 | says " $1 "; }
# outage PATTERN: 60 of the disk's 64 MiB are written while there is no server; the queue takes a quarter of that.
outage() {
    local i commands=()
    kill -9 "$demo_server_pid"
    wait "$demo_server_pid" 2>/dev/null
    for ((i = 0; i < 60; i++)); do commands+=(-c "write -P $(($1 + i)) ${i}M 1M"); done
    qemu-io -f raw "${commands[@]}" "nbd+unix:///disk?socket=$demo/nbd.sock" >>"$demo/io.log" 2>&1 || die "the front end takes no writes (see $demo/io.log)"
}
point_is_the_disk() {
    local id
    causeway-agent point --state "$demo/agent" --tag "$1" --wait committed --timeout 150s >>"$demo/points.log" 2>&1 || { tail -n 1 "$demo/points.log"; return 1; }
    id=$(vault_points | awk -v tag="$1" '$1 == tag { print $2 }')
    rm -f "$demo/restored"
    cli failover "$demo_machine" --point "$id" --output "$demo/restored" >>"$demo/cli.log" 2>&1 && cmp "$demo/restored" "$demo_image"
}

demo_begin
hour=$(date +%-H)
closed=$(printf '%02d:00-%02d:00' $(((hour + 11) % 24)) $(((hour + 12) % 24)))
demo_config "url = \"dir://$demo/vault\"" "[egress]
commit_interval = \"200ms\"
segment_deadline = \"500ms\"
[resync]
window = \"$closed\""
cli vault create >/dev/null
demo_start_server
ordered_pin_port
ordered_image 64
ordered_agent --memory 16MiB
wait_for 120 "protection" agent_protects
check "a disk begins its first history" [ "$(generation)" = 1 ]

outage 1
demo_start_server
wait_for 180 "the machine to need a resync" required
pass "the machine is marked, with the reason"
phase_is() { [ "$(agent_phase)" = "$1" ]; }
check "its agent waits" phase_is "resync required"
check "the event tells when, and how at once" events_say "raised  RESYNC_REQUIRED  demo-machine/disk: at least half.*compared from .*causeway resync $demo_machine --now"
check "the order is kept" grep -q "^resync $demo_machine .* at least half of the disk" "$demo/state/orders"
check "nothing was begun outside the window" [ "$(generation)" = 1 ]
kill "$demo_server_pid"; wait "$demo_server_pid" 2>/dev/null
demo_start_server
wait_for 180 "the machine to need a resync after a restart of the server" required
# A server that has only just started may not know its machines yet.
by_hand() { cli resync "$demo_machine" --now >>"$demo/cli.log" 2>&1; }
wait_for 120 "the order to be taken" by_hand
pass "by hand it begins at once"
wait_for 180 "the comparison" compared 2
check "its end is an event" eval 'wait_for 60 "the event" last_event_is cleared'
check "the reason is told to the agent" grep -q 'agent.disk.welcome.*reason="ordered by an operator"' "$demo/agent.log"
check "a point afterwards is the disk" point_is_the_disk by-hand

sed -i '/^window = /d' "$demo/causeway.toml"
outage 101
demo_start_server
wait_for 180 "the comparison when the window is open" compared 3
check "when the window is open nobody needs to order it" grep -q 'agent.disk.welcome.*reason="at least half of the disk changed' "$demo/agent.log"
check "a point afterwards is the disk" point_is_the_disk in-the-window
cases_end
