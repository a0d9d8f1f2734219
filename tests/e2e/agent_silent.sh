#!/usr/bin/env bash
# A machine whose agent died is not "ok": it is told within the limit, and forgotten when the agent is back.
# Usage: agent_silent.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh

status() { causeway --config "$demo/causeway.toml" --json status 2>>"$demo/cli.log"; }
health_is() { status | python3 -c 'import json, sys
health = json.load(sys.stdin)["health"]; sys.exit(health["level"] != sys.argv[1])' "$1"; }
silent() { status | python3 -c 'import json, sys
sys.exit(not any(c["code"] == "AGENT_SILENT" and c["subject"] == "demo-machine" for c in json.load(sys.stdin)["conditions"]))'; }
heard() { ! silent; }
connected_is() { status | python3 -c 'import json, sys
sys.exit(str(json.load(sys.stdin)["machines"][0]["agent"]["connected"]) != sys.argv[1])' "$1"; }
is_shown_to_people() { causeway --config "$demo/causeway.toml" status | says 'no agent for'; }
ended_with_the_server() { causeway --config "$demo/causeway.toml" --json events --since 1h | python3 -c 'import json, sys
seen = [(e["event"], e["detail"][:16]) for e in json.load(sys.stdin) if e["code"] == "AGENT_SILENT"]
sys.exit([e for e, _ in seen[:4]] != ["raised", "cleared"] * 2 or seen[3][1] != "the server ended")'; }
event_damage_is_shown() { causeway --config "$demo/causeway.toml" events | says 'raised  RECORD_CORRUPT  events: 1 lines of .*events are damaged'; }
# How often AGENT_SILENT began or ended by what is on the disk: written a second after it was told.
written() { [ "$(grep -c " $1 7009 " "$demo/state/events")" -ge "$2" ]; }
begun_and_ended() { causeway --config "$demo/causeway.toml" --json events | python3 -c 'import json, sys
seen = [e["event"] for e in json.load(sys.stdin) if e["code"] == "AGENT_SILENT"]
sys.exit(seen[:2] != ["raised", "cleared"])'; }

demo_begin
head -c 1M /dev/urandom > "$demo/given.img"
demo_image_from "$demo/given.img"
demo_config "url = \"dir://$demo/vault\""
sed -i 's/^\[ingest\]$/[ingest]\nagent_silent = "2s"/' "$demo/causeway.toml"
causeway --config "$demo/causeway.toml" vault create >/dev/null
demo_start_server
demo_interval=1s demo_agent
demo_wait_points 1
check "an agent that is there is shown" connected_is True
check "and all is well" health_is ok
kill -9 "$demo_agent_pid"; wait "$demo_agent_pid" 2>/dev/null
wait_for 60 "AGENT_SILENT after a kill of the agent" silent
check "an agent that is gone is shown" connected_is False
check "the machine is not well" health_is warning
check "people are told" is_shown_to_people
demo_agent
wait_for 60 "the condition to end when the agent is back" heard
wait_for 60 "the machine to be well again" health_is ok
check "the history keeps both" begun_and_ended
wait_for 60 "both to be written" written cleared 1
kill -9 $demo_server_pid; wait $demo_server_pid 2>/dev/null
demo_stop_agent
demo_start_server
check "the history outlasts the death of the server" begun_and_ended
wait_for 60 "AGENT_SILENT of a machine that is not heard after a start" silent
pass "a server that never heard the agent says so too"
wait_for 60 "that to be written" written raised 2
kill -9 $demo_server_pid; wait $demo_server_pid 2>/dev/null
demo_start_server
check "so does what stood when it died" ended_with_the_server
refuses_nonsense() { causeway --config "$demo/causeway.toml" events --since yesterday 2>>"$demo/cli.log"; [ $? -eq 2 ]; }
check "a time that is none is refused" refuses_nonsense
kill -9 $demo_server_pid; wait $demo_server_pid 2>/dev/null
printf '#' | dd of="$demo/state/events" bs=1 seek=12 conv=notrunc status=none
demo_start_server
wait_for 60 "damage of the history to be shown" event_damage_is_shown
pass "a server starts with a damaged history and says what is wrong with it"
cases_end
