#!/usr/bin/env bash
# Orders to process servers: a disk is compared with the vault again, and a machine moves to another server of the vault
# and back, without a resync. Every newest point restores what the disk was. Usage: orders.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh

other() { causeway --config "$demo/other.toml" "$@"; }
field() { python3 -c 'import json, sys
value = json.load(sys.stdin)
for key in sys.argv[1:]: value = value[int(key) if key.isdigit() else key]
print(value)' "$@" 2>/dev/null; }

start_other() {
    causeway pki issue "$demo/pki" --role process-server --name other --host localhost,127.0.0.1 --out "$demo/pki/other" >/dev/null
    sed -e "s|$demo/state|$demo/state-1|; s|$demo/cache|$demo/cache-1|; s|pki/server\.|pki/other.|; s|name = \"demo\"|name = \"other\"|" \
        "$demo/causeway.toml" > "$demo/other.toml"
    causewayd --config "$demo/other.toml" 2>>"$demo/other.log" &
    demo_pids+=($!)
    wait_for 60 "the other server" other_up
}
other_up() { other_port=$(other --json status | field server replication_port) && [ -n "$other_port" ]; }
start_agent() {  # SERVER_OPTION…
    causeway-agent protect "$@" --ca "$demo/pki/ca.crt" \
        --cert "$demo/pki/machine.crt" --key "$demo/pki/machine.key" --state "$demo/agent" --image "$demo_image" \
        --machine-name demo-machine --interval 1s --pre-hook "$demo/pre-hook" --post-hook "$demo/post-hook" 2>>"$demo/agent.log" &
    demo_agent_pid=$!
    demo_pids+=($!)
}
owner_is() { [ "$(cli --json servers | field 0 server)" = "$1" ]; }
generation() { cli --json disks "$demo_machine" | field 0 generation; }
resynced() { [ "$(generation)" -gt "$1" ] && [ "$(cli --json disks "$demo_machine" | field 0 syncing)" = False ]; }
newest() { demo_point_ids | tail -n 1; }
newer_than() { [ "$(newest)" != "$1" ]; }
# A point that was begun after this moment is right.
next_point_is_right() {
    local before
    before=$(newest)
    wait_for 120 "another point" newer_than "$before"
    before=$(newest)
    wait_for 120 "one more point" newer_than "$before"
    demo_restore_and_compare "$(newest)"
}

demo_begin
head -c 8M /dev/urandom > "$demo/given.img" && truncate -s 24M "$demo/given.img"
demo_image_from "$demo/given.img"
demo_config "url = \"dir://$demo/vault\""
cli vault create >/dev/null || die "no vault"
demo_start_server
start_other
start_agent --server "127.0.0.1:$demo_port"
demo_wait_points 2
first_server=$(cli --json status | field server id) second_server=$(other --json status | field server id)

check "the vault tells who has the machine" owner_is "$first_server"
check "an unknown disk is not found" exit_code_is 4 cli resync 00000000-0000-4000-8000-000000000000
check "a time that is none is refused" exit_code_is 2 cli resync "$demo_machine" --at tomorrow

# As on every machine that was failed over and protected again, its agent has begun without a state.
demo_stop_agent
mv "$demo/agent" "$demo/agent.older"
start_agent --server "127.0.0.1:$demo_port"
check "an agent without a state is taken" next_point_is_right
before=$(generation)
check "a resync is ordered" exit_code_is 0 cli resync "$demo_machine"
wait_for 120 "the resync" resynced "$before"
pass "the disk has a new history"
check "its reason is told" grep -q "server.resync_begun" "$demo/server.log"
check "points after the resync are right" next_point_is_right
before=$(generation)

# From here on the agent knows both servers.
demo_stop_agent
start_agent --server "127.0.0.1:$demo_port" --server "127.0.0.1:$other_port"
check "the agent goes on at its first server" next_point_is_right
check "a server without a name is refused" exit_code_is 2 cli move "$demo_machine" --to "two words"
check "a machine that is not here cannot be moved" exit_code_is 4 other move "$demo_machine" --to demo
check "the machine is moved" exit_code_is 0 cli move "$demo_machine" --to other
wait_for 120 "the other server to have it" owner_is "$second_server"
check "points at the other server are right" next_point_is_right
check "moving back: this server takes it again" exit_code_is 0 cli move "$demo_machine" --to demo
check "the other lets it go" exit_code_is 0 other move "$demo_machine" --to demo
wait_for 120 "the first server to have it again" owner_is "$first_server"
check "points at the first server are right" next_point_is_right
check "no move began a new history" test "$(generation)" = "$before"

# The older state comes back: that it was refused stands at the server that it asked, for as long as the machine is that one's.
standing() { cli --json status | says '"STATE_SUPERSEDED"'; }
ended() { ! standing; }
waits_for_people() { exit_code_is 3 causeway-agent status --state "$demo/agent"; }
older_is_refused() {
    demo_stop_agent
    mv "$demo/agent" "$demo/agent.newer" && mv "$demo/agent.older" "$demo/agent"
    start_agent --server "127.0.0.1:$demo_port"
    wait_for 60 "the older state to be refused" standing
    wait_for 60 "its agent to say so to a monitor" waits_for_people
    demo_stop_agent
    mv "$demo/agent" "$demo/agent.older" && mv "$demo/agent.newer" "$demo/agent"
}
check "an agent that is well is 0 to a monitor" exit_code_is 0 causeway-agent status --state "$demo/agent"
older_is_refused
check "nobody answers for an agent that was stopped" exit_code_is 5 causeway-agent status --state "$demo/agent"
check "the machine is forgiven" exit_code_is 0 cli servers forgive "$demo_machine"
check "and nothing stands any more" ended
check "the other server takes the machine again" exit_code_is 0 other move "$demo_machine" --to other
older_is_refused
start_agent --server "127.0.0.1:$other_port"
wait_for 120 "the other server to have it" owner_is "$second_server"
check "it stands while the server that lost the machine has not looked" standing
check "a manifest of its own is what it finds that by" exit_code_is 0 cli keys rotate --data --machine "$demo_machine"
wait_for 60 "the refusal to end where the machine is not any more" ended
pass "it ends when the machine has moved on to another server"
older_is_refused
check "the machine is moved away" exit_code_is 0 cli move "$demo_machine" --to other
check "that ends it, too" ended
cases_end
