#!/usr/bin/env bash
# Server and agent are killed at random and chosen moments while a disk is written; nothing that was promised is lost.
# Usage: crash.sh BUILD_DIRECTORY; CAUSEWAY_NIGHTLY=1 kills more, CAUSEWAY_SEED=N repeats a run.
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh
server_kills=25 agent_kills=10
[ -z "${CAUSEWAY_NIGHTLY:-}" ] || server_kills=200 agent_kills=50

nap() { sleep "0.$(printf '%03d' $((RANDOM % ${1:-1000})))"; }
point=0 killed=0
make_point() {  # WAIT
    point=$((point + 1))
    note_point "p$point" "$1" || die "no point p$point: $(tail -n 1 "$demo/points.log")"
    writer_go
}
kill_server() {
    kill -9 "$demo_server_pid"
    wait "$demo_server_pid" 2>/dev/null
    killed=$((killed + 1))
}

# Starts causewayd with a crash point armed. True: it died there; false: it is up, or ended otherwise.
armed_server() {  # NAME HIT
    CAUSEWAY_CRASH_POINT=$1:$2 causewayd --config "$demo/causeway.toml" 2>>"$demo/server.log" &
    demo_server_pid=$!
    demo_pids+=($demo_server_pid)
    until demo_server_up; do
        kill -0 $demo_server_pid 2>/dev/null || return 0
        sleep 0.02
    done
    return 1
}
# died_within SECONDS: by SIGKILL, which nobody but the crash point sent.
died_within() {
    local deadline=$((SECONDS + $1)) status=0
    while kill -0 "$demo_server_pid" 2>/dev/null; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.05
    done
    wait "$demo_server_pid" 2>/dev/null || status=$?
    [ $status -eq 137 ]
}
all_committed() { [ -z "$(missing_points)" ]; }
no_resync() { [ "$(grep -c 'agent.fence.open' "$demo/agent.log")" = "$fences" ]; }

demo_begin
ordered_seed
demo_config "url = \"dir://$demo/vault\"" '[egress]
commit_interval = "200ms"
segment_deadline = "500ms"'
causeway --config "$demo/causeway.toml" vault create >/dev/null
reached=0 unreached=
for name in cache.create.before_id cache.create.after_id; do
    if armed_server $name 1 || died_within 1; then reached=$((reached + 1)); else unreached+=" $name"; kill_server; fi
done
demo_start_server
ordered_pin_port
ordered_image 16
ordered_agent --spool-size 1GiB  # An outage is kept in order on disk: no degrading to maps.
ordered_writer 200
wait_for 60 "the agent's NBD socket" test -S "$demo/nbd.sock"
writer_go
wait_for 60 "protection" agent_protects
fences=$(grep -c 'agent.fence.open' "$demo/agent.log")

started=$SECONDS
for ((i = 0; i < server_kills; i++)); do
    nap
    make_point sent
    nap 300
    [ $((RANDOM % 3)) -ne 0 ] || make_point sent
    kill_server
    nap 500
    demo_start_server
    # Every fourth server dies again while it recovers or while the agent comes back.
    if [ $((i % 4)) -eq 3 ]; then nap 400; kill_server; demo_start_server; fi
    wait_for 90 "the agent to come back" agent_live
done
make_point sent
echo "$killed kills of the server, $point points, $((SECONDS - started)) s"
wait_for 60 "all points in the vault" all_committed && pass "kill -9 of the server, $killed times: no point is lost"
check "the server's death makes no initial sync, resync or catch-up" no_resync

# Each death is recovered from by a server that dies at the next point.
killed_points=$SECONDS
kill_server
# cache.create.* were taken above; target.* belong to the master target (master_target.sh).
for name in $(causewayd --list-crash-points | grep -vE '^(cache\.create|target)\.'); do
    died=no
    if [[ $name = cache.recovery.* ]]; then  # A server with something in its cache that no checkpoint knows.
        demo_start_server
        make_point durable
        kill_server
    fi
    if armed_server "$name" 1; then
        died=yes
    elif [[ $name = cache.close.* ]]; then  # Passed when the server ends in order.
        make_point durable  # With something new in the cache.
        kill "$demo_server_pid"
        died_within 15 && died=yes
    else
        for _ in {1..12}; do
            make_point sent
            if died_within 1; then died=yes; break; fi
        done
    fi
    if [ $died = yes ]; then reached=$((reached + 1)); else unreached+=" $name"; kill_server; fi
done
demo_start_server
wait_for 90 "the agent to come back" agent_live
make_point sent
echo "$reached crash points reached, not reached:${unreached:- none}; $((SECONDS - killed_points)) s"
wait_for 60 "all points in the vault" all_committed && pass "death at each crash point: no point is lost"
check "death at a crash point makes no resync either" no_resync
case " $unreached " in
    '  ') pass "every crash point is reached" ;;
    *) fail "every crash point is reached (not:$unreached)" ;;
esac

started=$SECONDS
for ((i = 0; i < agent_kills; i++)); do
    nap
    make_point durable  # What is only sent may die with the agent.
    nap 300
    kill -9 "$demo_agent_pid"
    wait "$demo_agent_pid" 2>/dev/null
    nap 300
    ordered_agent --spool-size 1GiB
    wait_for 90 "protection after a kill of the agent" agent_protects
done
make_point durable
echo "$agent_kills kills of the agent, $((SECONDS - started)) s"
wait_for 60 "all points in the vault" all_committed && pass "kill -9 of the agent, $agent_kills times: no durable point is lost"
check "every point restores what the disk was at its moment" restore_all
check "the vault proves itself" eval 'causeway --config "$demo/causeway.toml" verify "$demo_machine" --level full | tail -n 1 | grep -q ^intact'
cases_end
