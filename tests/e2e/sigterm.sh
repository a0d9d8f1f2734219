#!/usr/bin/env bash
# A5: a server that is asked to end makes durable and acknowledges what it has and is gone with status 0; asked once more it
# leaves out what may wait. Nothing is lost either way. Usage: sigterm.sh BUILD_DIRECTORY; CAUSEWAY_SIGTERMS=N asks it N times
# (50).
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh
source tests/lib/fake_azure.sh
source tests/lib/blob_job.sh
rounds=${CAUSEWAY_SIGTERMS:-50}

runs() { grep -qs '^State:[[:space:]]*[^ZX]' "/proc/$demo_server_pid/status"; }
ended() { ! runs; }
# ends_well: the server is gone within its time (and what a busy machine adds), with status 0.
ends_well() {
    wait_for 240 "the server to end" ended
    wait "$demo_server_pid"
}
back() {
    demo_start_server
    wait_for 180 "the agent to come back" agent_live
}

asked_once() (
    demo_begin
    ordered_seed
    job "url = \"dir://$demo/vault\""
    ordered_pin_port
    for ((round = 1; round <= rounds; round++)); do
        points "$round" "$round" durable
        writer_go  # It is asked while the machine writes.
        sleep "0.$((RANDOM % 9))"
        kill "$demo_server_pid"
        ends_well || die "round $round: the server ended with $?"
        back
    done
    points $((rounds + 1)) $((rounds + 1)) committed
    all_restored
)

# A request to the vault hangs, so that there is something to wait for; a signal that comes before the one before it was
# taken is the same one.
lane_is_busy() { causeway --config "$demo/causeway.toml" --json status 2>>"$demo/cli.log" | says '"active": *[1-9]'; }
stopping() { says 'appliance.stopping' < "$demo/server.log"; }
asked_twice() (
    demo_begin
    ordered_seed
    fake_start
    secret_file "$demo/credential" <<<"$fake_key"
    demo_listen_port=0
    demo_config "url = \"$fake_url/site\"
auth = \"shared-key\"
key_file = \"$demo/credential\""
    sed -i 's/^\[server\]$/[server]\ndrain_timeout = "1000s"/' "$demo/causeway.toml"
    causeway --config "$demo/causeway.toml" vault create >/dev/null || die "the vault cannot be created"
    demo_start_server
    ordered_pin_port
    ordered_image 16
    ordered_agent
    ordered_writer 100
    ordered_protect
    points 1 1
    cut_short=0
    for try in 2 3 4; do  # Such a request is given up after a minute: a machine that stalls for so long tries again.
        fake_faults '[{"action":"hang","op":"put_blob"}]'
        points $try $try durable
        wait_for 180 "a request that hangs" lane_is_busy
        : > "$demo/server.log"
        kill "$demo_server_pid"
        wait_for 180 "the server to hear it" stopping
        kill "$demo_server_pid"
        ends_well || die "the server ended with $?"
        says 'appliance.drained .*uploads=false' < "$demo/server.log" && cut_short=1
        fake_faults '[]'
        back
        [ $cut_short = 0 ] || break
    done
    [ $cut_short = 1 ] || die "the second signal changed nothing"
    points $((rounds + 1)) $((rounds + 1)) committed
    all_restored
)

check "asked to end while the machine writes, $rounds times: status 0 and every point is whole" asked_once
check "asked twice, it does not wait for the vault: status 0 and every point is whole" asked_twice
cases_end
