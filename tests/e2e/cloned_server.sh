#!/usr/bin/env bash
# A7: two servers on one machine's data. A second one in the same directories does not start; one that is a copy of the
# first, made while that ran, has its name, its cache and its machine: one of the two is fenced, and no point is lost or wrong.
# Usage: cloned_server.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh
source tests/lib/blob_job.sh

in_use() {
    local status=0
    sed 's/^listen = .*/listen = "127.0.0.1:0"/' "$demo/causeway.toml" > "$demo/same.toml"
    timeout 60 causewayd --config "$demo/same.toml" 2>"$demo/same.log" || status=$?
    [ $status -ne 0 ] && [ $status -ne 124 ] && grep -q IN_USE "$demo/same.log"
}
# Who is fenced may have the machine back when its agent comes again: what is shown then is over.
one_was_fenced() { grep -qs upload.machine.fenced "$demo/server.log" "$demo/copy.log"; }
copied() {
    demo_begin
    ordered_seed
    job "url = \"dir://$demo/vault\"" '[egress]
commit_interval = "200ms"
segment_deadline = "3s"'
    ordered_pin_port
    points 1 2
    check "a second server in the same directories does not start" in_use
    writer_go  # So that the caches hold something.
    kill -STOP "$demo_server_pid"
    mkdir "$demo/copy"
    cp -r "$demo/state" "$demo/copy/state"
    cp -r --sparse=always "$demo/cache" "$demo/copy/cache"
    rm -f "$demo/copy/state/"*.sock
    kill -CONT "$demo_server_pid"
    sed "s|$demo/state|$demo/copy/state|; s|$demo/cache|$demo/copy/cache|; s/^listen = .*/listen = \"127.0.0.1:0\"/" \
        "$demo/causeway.toml" > "$demo/copy.toml"
    points 3 4
    causewayd --config "$demo/copy.toml" 2>"$demo/copy.log" &
    demo_pids+=($!)
    wait_for 120 "the copy to serve" grep -qs 'appliance.ready' "$demo/copy.log"
    points 5 6
    wait_for 120 "one of the two to be fenced" one_was_fenced && pass "of a server and its copy one is fenced"
    points 7 7
    check "every point is whole" all_restored
}
copied
cases_end
