#!/usr/bin/env bash
# The ladder of an agent that cannot send what is written: DATA, METADATA (which bytes changed is noted), BITMAP (which blocks), and
# back by itself; what the server is told of it, what it costs to read again, and that no death on the way loses anything.
# Usage: modes.sh BUILD_DIRECTORY; CAUSEWAY_SEED=N repeats a run.
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh
source tests/lib/fake_azure.sh

agent_mode() { agent_json | grep -o '"mode": *"[^"]*"' | tail -n 1 | sed 's/.*: *"//; s/"$//'; }  # Behind the disk's.
agent_mode_is() { [ "$(agent_mode)" = "$1" ]; }
agent_number() { agent_json | json_number "$1"; }
write_some() { ordered_ask "write $1"; }
# write_until SECONDS WHAT COMMAND…: in small steps ($step), so that little is written beyond.
write_until() {
    local deadline=$((SECONDS + $1)) what=$2; shift 2
    until "$@"; do
        [ $SECONDS -lt $deadline ] || die "gave up waiting for $what"
        write_some "${step:-25}"
    done
}
server_agent() { # CONDITION on what the server says of the machine's agent
    causeway --config "$demo/causeway.toml" --json status 2>/dev/null | python3 -c 'import json, sys
agent = json.load(sys.stdin)["machines"][0]["agent"]
sys.exit(not eval("(" + sys.argv[1] + ")"))' "$1" 2>/dev/null
}
server_lists_ranges() {
    server_agent 'agent["mode"] == "metadata" and "the queue is full" in agent["reason"] and
        agent["unread"][0]["ranges"] > 0 and agent["owed_bytes"] > 0 and agent["unread"][0]["bytes"] > 0'
}
server_hears_data() { server_agent 'agent["mode"] == "data" and not agent["unread"]'; }
mode_metric_is() { demo_metrics | says "^causeway_agent_mode{machine=\"$demo_machine\"} $1\$"; }
server_status_says() { causeway --config "$demo/causeway.toml" status 2>/dev/null | says "$1"; }
agent_status_says() { causeway-agent status --state "$demo/agent" 2>/dev/null | says "$1"; }
both_show_it() { server_lists_ranges && mode_metric_is 2 && server_status_says 'only notes what changes (metadata): it owes'; }
told_of_bitmap() { grep -q 'agent.mode .*mode=bitmap' "$demo/server.log"; }
no_point_now() { ! causeway-agent point --state "$demo/agent" --timeout 5s >"$demo/refused" 2>&1 && grep -q NOT_READY "$demo/refused"; }
whole_again() { agent_mode_is data && agent_protects; }
start_agent() { ordered_agent --memory 16MiB --extents "$1" --log-level info; wait_for 90 "protection" whole_again; }
kill_agent() { kill "-$1" "$demo_agent_pid"; wait "$demo_agent_pid" 2>/dev/null; }
# Modes that the log named since line $1, in order.
modes_since() { tail -n +$(($1 + 1)) "$demo/agent.log" | grep -o 'agent\.mode mode=[a-z]*' | sed 's/.*=//' | xargs; }
log_lines() { wc -l <"$demo/agent.log"; }
point() { note_point "$1" committed || die "no point $1: $(tail -n 1 "$demo/points.log")"; }

demo_begin
ordered_seed
fake_start --seed "$ordered_seed"
fake_quick_vault
# The smallest cache there is, of which a tenth is given away: it is full after some 30 MiB.
sed -i '/^\[cache\]/a throttle_free = 65\ncritical_free = 70\nwarn_free = 75' "$demo/causeway.toml"
demo_start_server
ordered_pin_port
ordered_image 64
start_agent 60000
ordered_writer 250
wait_for 90 "the agent's NBD socket" test -S "$demo/nbd.sock"
write_some 50
point start

# The vault takes nothing, the cache fills, credit ends: the session lives, and the server knows.
fake_faults '[{"action":"throttle"}]'
write_some 1300
write_until 120 "metadata at the agent" agent_mode_is metadata
# Not much more: half of the disk would be left to an order of the server.
step=4 write_until 120 "metadata in the server's status and metrics" both_show_it
pass "the server shows the mode, what is owed and why; so does a metric"
fake_faults '[]'
wait_for 120 "the agent to go back to data by itself" whole_again
wait_for 60 "the server to hear of it" server_hears_data
wait_for 60 "the metric to say so" mode_metric_is 1
pass "it goes back by itself, and the server hears of it"
point metadata

# A server that stands still takes nothing for certain: the same number of writes on either rung.
rung() { # EXTENTS MODES: one walk down and back; its cost in $cost
    kill_agent TERM
    start_agent "$1"
    local from before
    from=$(log_lines) before=$(agent_number fence_read_bytes)
    kill -STOP "$demo_server_pid"
    write_until 90 "the queue to be full" agent_mode_is metadata
    check "there is no point within the interval ($1 ranges)" no_point_now
    write_some 150
    check "150 writes later the agent is in ${2##* }" agent_mode_is "${2##* }"
    check "its status says so in words (${2##* })" agent_status_says "^mode  *${2##* }, [0-9]* bytes to be sent: the queue is full"
    owed=$(agent_number missed_bytes)
    kill -CONT "$demo_server_pid"
    wait_for 120 "the agent to go back to data by itself" whole_again
    cost=$(($(agent_number fence_read_bytes) - before))
    check "its way was $2 data" [ "$(modes_since "$from")" = "$2 data" ]
    check "what is owed is read again ($1 ranges)" [ "$cost" -ge "$owed" ]
    point "rung-$1"
}
rung 60000 metadata
exact=$cost
rung 60 'metadata bitmap'
echo "read again: $exact bytes in metadata, $cost bytes in bitmap"
check "metadata reads less than bitmap" [ "$exact" -lt "$cost" ]
wait_for 60 "the server to be told of the bitmap" told_of_bitmap

# Who dies in metadata: the agent, then the server.
kill -STOP "$demo_server_pid"
write_until 90 "the queue to be full" agent_mode_is metadata
kill_agent 9
kill -CONT "$demo_server_pid"
start_agent 60000
write_some 20
point agent-killed
kill -9 "$demo_server_pid"
wait "$demo_server_pid" 2>/dev/null
write_until 90 "the queue to be full" agent_mode_is metadata
write_some 20
demo_start_server
wait_for 120 "the agent to go back to data by itself" whole_again
point server-killed
no_new_history() { ! tail -n +2 <(grep 'agent.disk.welcome' "$demo/agent.log") | says ' action=[234]'; }
check "nothing was synchronised anew" no_new_history
check "no point is lost" all_committed
check "every point restores what the disk was at its moment" restore_all
cases_end
