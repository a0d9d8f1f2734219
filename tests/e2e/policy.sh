#!/usr/bin/env bash
# The server says how often points are made, for all machines or for one, and a reload of its configuration counts at once; what a
# person told the agent goes before that. A disk that grows is compared in its new size. Usage: policy.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh

quiet() { "$@" >>"$demo/cli.log" 2>&1 || die "refused: $* (see $demo/cli.log)"; }
start_agent() { # OPTION…
    causeway-agent protect --server "127.0.0.1:$demo_port" --ca "$demo/pki/ca.crt" --cert "$demo/pki/machine.crt" \
        --key "$demo/pki/machine.key" --state "$demo/agent" --image "$demo_image" --disk-name disk --machine-name demo-machine \
        --pre-hook "$demo/pre-hook" --post-hook "$demo/post-hook" "$@" 2>>"$demo/agent.log" &
    demo_agent_pid=$!
    demo_pids+=($!)
}
agent_goes_by() { [ "$(causeway-agent status --state "$demo/agent" --json 2>/dev/null | json_number interval_ms)" = "$1" ]; }
all_make_points_every() { sed -i "s/^interval = .*/interval = \"$1\"/" "$demo/causeway.toml"; }
point() { causeway-agent point --state "$demo/agent" --wait committed --timeout 60s >>"$demo/points.log" 2>&1; }
count() { demo_point_ids | wc -l; }
newest() { demo_point_ids | tail -n 1; }
size_is() { [ "$(cli --json disks "$demo_machine" | json_number size_bytes)" = "$1" ]; }
protection_is() { cli --json status | says "\"state\": \"$1\""; }
newer_than() { local now; now=$(newest); [ -n "$now" ] && [ "$now" != "$1" ]; }

demo_begin
head -c 4M /dev/urandom > "$demo/given.img" && truncate -s 8M "$demo/given.img"
demo_image_from "$demo/given.img"
demo_config "url = \"dir://$demo/vault\"" '[egress]
commit_interval = "200ms"
segment_deadline = "500ms"'
all_make_points_every 3600s
cli vault create >/dev/null || die "no vault"
demo_start_server
start_agent
wait_for 90 "a first point" point
check "without a word from a person the agent goes by the server's interval" agent_goes_by 3600000
wait_for 60 "the machine to be shown as protected" protection_is protected

# The agent's own word for what a point holds is what the vault says of it.
same_hash() {
    causeway-agent point --state "$demo/agent" --json --wait committed --timeout 60s > "$demo/point.json" &&
        demo_points_json | python3 -c 'import json, sys
mine = json.load(open(sys.argv[1]))
kept = next(p for p in json.load(sys.stdin) if p["id"] == mine["id"])
assert [c["stream_hash"] for c in mine["cuts"]] == [d["stream_hash"] for d in kept["disks"]]
assert set(mine["cuts"][0]["stream_hash"]) != {"0"}' "$demo/point.json"
}
check "a point in the vault has the hash of its writes that the agent told" same_hash

before=$(count)
all_make_points_every 5s
quiet cli config reload
wait_for 90 "the agent to hear of another interval" agent_goes_by 5000
wait_for 90 "points that nobody asked for" demo_has_points $((before + 2))
pass "a reload of the server's configuration changes it while the agent runs"

printf '[[policy]]\nmachine = "%s"\ninterval = "7s"\n' "$demo_machine" >> "$demo/causeway.toml"
quiet cli config reload
wait_for 90 "the agent to hear of its own policy" agent_goes_by 7000

pass "a machine's own policy goes before that of all"

sed 's/^interval = "7s"/interval = "1s"/' "$demo/causeway.toml" > "$demo/wrong.toml"
refused() { ! causeway --config "$demo/wrong.toml" config check >>"$demo/cli.log" 2>&1; }
check "an interval out of range is refused" refused

size=$(($(stat -c %s "$demo_image") + 3 * 1048576))
before=$(newest)
truncate -s $size "$demo_image"
head -c 1M /dev/urandom | dd of="$demo_image" bs=1M seek=$((size / 1048576 - 1)) conv=notrunc status=none
wait_for 90 "the disk to have its new size" size_is $size
wait_for 90 "a point of it" point
wait_for 90 "that point in the vault" newer_than "$before"
check "a disk that has grown is compared, and the reason says so" grep -q 'agent.disk.welcome.*the size changed from' "$demo/agent.log"
restored() { (demo_restore_and_compare "$(newest)") && [ "$(stat -c %s "$demo/by-cli.img")" = $size ]; }
check "its points restore it whole" restored

demo_stop_agent
start_agent --interval 1800s --app-interval 900s
wait_for 90 "the agent to be heard of again" point
check "what a person told the agent goes before what the server says" agent_goes_by 1800000
cases_end
