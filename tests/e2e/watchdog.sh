#!/usr/bin/env bash
# A9: a thread of the process server hangs. The log and the status name it, the service manager hears no sign of life any
# more and kills the process, and the next one goes on with everything that was acknowledged. Usage: watchdog.sh BUILD
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh

# What the service manager hears, on its socket: one line per message.
listen_as_manager() {
    python3 -u -c 'import os, socket, sys
channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
channel.bind(sys.argv[1])
while True: print(channel.recv(4096).decode())' "$demo/notify.sock" > "$demo/heard" 2>>"$demo/manager.log" &
    demo_pids+=($!)
    wait_for 60 "the service manager's socket" test -S "$demo/notify.sock"
}
signs_of_life() { grep -c '^WATCHDOG=1' "$demo/heard" || true; }
heard() { grep -q "^$1" "$demo/heard"; }
stalls() { logged "appliance.stage_stalled stage=$1"; }
shown() { causeway --config "$demo/causeway.toml" --json status | says "$1"; }
stall_is_shown() { causeway --config "$demo/causeway.toml" --json status | python3 -c 'import json, sys
sys.exit(not any(c["code"] == "INTERNAL" and c["subject"] == sys.argv[1] for c in json.load(sys.stdin)["conditions"]))' "stage $1"; }
make_point() { point=$((point + 1)); note_point "p$point" sent || die "no point p$point"; writer_go; }

back_or_stalled() { agent_live || stalls "$1"; }
# hang_at CRASH_POINT:HIT STAGE: a server whose thread hangs there is seen, killed by the watchdog, and replaced.
hang_at() {
    : > "$demo/heard"; : > "$demo/server.log"
    export NOTIFY_SOCKET=$demo/notify.sock WATCHDOG_USEC=10000000 CAUSEWAY_CRASH_POINT=$1:stall
    demo_start_server
    unset NOTIFY_SOCKET WATCHDOG_USEC CAUSEWAY_CRASH_POINT
    wait_for 120 "READY" heard READY=1
    wait_for 120 "a sign of life" heard WATCHDOG=1
    # What the cache holds goes on without the agent, which is not welcomed by a server that hangs before.
    wait_for 180 "the agent to come back, or the hang" back_or_stalled "$2"
    stalls "$2" || make_point
    check "A9: $2: the hang is logged" wait_for 180 "the line of the log" stalls "$2"
    # Said before the line was written: nothing comes after it, however slow this machine is.
    wait_for 60 "the condition" stall_is_shown "$2"
    pass "A9: $2: the status says so"
    check "A9: $2: health is critical" shown '"level": "critical"'
    [ "$2" != spool ] || hears_nothing
    kill -ABRT "$demo_server_pid"
    wait "$demo_server_pid" 2>/dev/null
}
hears_nothing() {
    local before
    before=$(signs_of_life)
    sleep 10  # WATCHDOG_USEC: what the service manager waits for.
    check "A9: the service manager hears no more signs of life" test "$(signs_of_life)" -eq "$before"
}

demo_begin
ordered_seed
demo_quick_vault
listen_as_manager
point=0
demo_start_server
ordered_pin_port
ordered_image 8
ordered_agent --spool-size 1GiB
ordered_writer 200
ordered_protect
fences=$(fences_begun)
make_point
kill "$demo_server_pid"
wait "$demo_server_pid" 2>/dev/null

hang_at cache.before_write:3 spool
hang_at upload.segment_built:3 assembly
hang_at upload.before_segment_put:1 upload
hang_at upload.before_manifest_create:1 publish
hang_at upload.before_claim:1 open

demo_start_server
wait_for 180 "the agent to come back" agent_live
make_point
check "A9: every point reaches the vault" wait_for 180 "all points" all_committed
check "A9: no hang makes a resync" no_resync
writer_pause
check "A9: every point restores what the disk was at its moment" restore_all
cases_end
