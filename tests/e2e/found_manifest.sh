#!/usr/bin/env bash
# A server that dies where it has just found, by reading it, that a manifest was stored of which it got no answer. Azure stores each
# manifest and answers 500, and something on the way refuses HEAD, which would be asked first: the publisher itself has to look. The
# next server, too, must take what is there for its own, or publish behind it.
# Usage: found_manifest.sh BUILD_DIRECTORY; CAUSEWAY_NIGHTLY=1 takes the first, second and fifth hit with both back ends of the cache,
# where CI takes the first hit, once with each. CAUSEWAY_SEED=N repeats a run.
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh
source tests/lib/fake_azure.sh
places=(upload.after_manifest_found:1)
[ -z "${CAUSEWAY_NIGHTLY:-}" ] || places=(upload.after_manifest_found:{1,2,5})

point=0
make_point() {  # WAIT
    point=$((point + 1))
    note_point "p$point" "$1" || die "no point p$point: $(tail -n 1 "$demo/points.log")"
    writer_go
}
server_is_dead() { ! kill -0 "$demo_server_pid" 2>/dev/null; }
# dies_at NAME:HIT: a server that is killed there while points are made.
dies_at() {
    local deadline=$((SECONDS + 60)) status=0
    CAUSEWAY_CRASH_POINT=$1 causewayd --config "$demo/causeway.toml" 2>>"$demo/server.log" &
    demo_server_pid=$!
    demo_pids+=($demo_server_pid)
    until server_is_dead; do
        [ $SECONDS -lt $deadline ] || return 1
        if demo_server_up && agent_live; then make_point sent; sleep 0.1; else sleep 0.05; fi
    done
    wait "$demo_server_pid" 2>/dev/null || status=$?
    [ $status -eq 137 ]
}

demo_begin
ordered_seed
fake_start --seed "$ordered_seed"
fake_quick_vault
sed -i '/^\[cache\]/a io_uring = true' "$demo/causeway.toml"
demo_start_server
ordered_pin_port
ordered_image 4
ordered_agent --spool-size 1GiB
ordered_writer 50
ordered_protect
make_point committed
fences=$(fences_begun)

fake_faults '[{"op":"put_blob","name":"manifest/","action":"timeout_applied"},
    {"op":"head_blob","name":"manifest/","action":"error","status":400,"code":"UnsupportedHttpVerb"}]'
for place in "${places[@]}"; do
    for io_uring in true false; do
        kill -9 "$demo_server_pid" 2>/dev/null
        wait "$demo_server_pid" 2>/dev/null
        sed -i "s/^io_uring = .*/io_uring = $io_uring/" "$demo/causeway.toml"
        check "a server dies at $place, io_uring $io_uring" dies_at "$place"
        make_point sent  # The agent keeps it.
    done
done
demo_start_server
wait_for 300 "the agent to come back" agent_live
make_point sent
wait_for 120 "all points in the vault" all_committed && pass "A1: death between a manifest and the knowledge of it: no point is lost"
check "nor is the stream begun again" no_resync
fake_faults '[]'
make_point committed
check "every point restores what the disk was at its moment" restore_all
check "the vault proves itself" eval 'cli verify "$demo_machine" --level full | tail -n 1 | says ^intact'
cases_end
