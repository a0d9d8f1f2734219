#!/usr/bin/env bash
# Server and agent are killed at random and chosen moments while a disk is written; nothing that was promised is lost. The
# server's cache uses io_uring and plain system calls in turn. (Two servers on one machine: takeover.sh.)
# Usage: crash.sh BUILD_DIRECTORY; CAUSEWAY_KILLS=N kills each of the two N times, CAUSEWAY_NIGHTLY=1 more of everything:
# each crash point at its first, second and fifth hit with both back ends, where CI takes the first hit with the one or the other in
# turn. CAUSEWAY_CRASH_POINTS=PATTERN walks over those that match alone. CAUSEWAY_SEED=N repeats a run.
#
# What was killed where, and with which back end, is printed and held against the list of what should have been. Not in it:
# - cache.create.*, cache.recovery.*, cache.close.* and *_claim after their first hit: a life of a server has one of each;
# - upload.after_manifest_found: no manifest is stored without an answer here (found_manifest.sh, with both back ends);
# - *_run_put: index runs need more points than are made here, and have index_runs.sh (with both back ends, up to the second hit);
# - target.*, volume.*: not of this server; master_target_kills.sh takes them, with both back ends, too;
# - gc.*, compact.* (gc_crash.sh, with both back ends): nothing is deleted or written again here;
# - failback.* (failback.sh), keys.* (keys_kills.sh): of commands, which have the one back end that there is;
# - agent.* (agent_crash.sh): an agent has no such setting, its spool uses io_uring where the kernel has it, its state never.
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh
kills=50 hits=(1) asleep=5
[ -z "${CAUSEWAY_NIGHTLY:-}" ] || kills=500 hits=(1 2 5) asleep=90
kills=${CAUSEWAY_KILLS:-$kills}

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

# Each start with the other back end of the cache, except while one is wanted.
backend=uring pinned=
use_backend() {  # uring|posix
    backend=$1
    sed -i "s/^io_uring = .*/io_uring = $([ "$backend" = uring ] && echo true || echo false)/" "$demo/causeway.toml"
}
other_of() { [ "$1" = uring ] && echo posix || echo uring; }
other_backend() { [ -n "$pinned" ] || use_backend "$(other_of "$backend")"; }
start_server() { other_backend; demo_start_server; }
rings() { find "/proc/$demo_server_pid/fd" -lname 'anon_inode:*io_uring*' 2>/dev/null | wc -l; }

# Starts causewayd with a crash point armed. True: it died there; false: it is up, or ended otherwise.
armed_server() {  # NAME HIT
    other_backend
    CAUSEWAY_CRASH_POINT=$1:$2 causewayd --config "$demo/causeway.toml" 2>>"$demo/server.log" &
    demo_server_pid=$!
    demo_pids+=($demo_server_pid)
    until demo_server_up; do
        kill -0 $demo_server_pid 2>/dev/null || break
        sleep 0.02
    done
    kill -0 $demo_server_pid 2>/dev/null && return 1
    died_within 1 && return
    # Its port may have been lent to somebody's connection while it was dead.
    tail -n 3 "$demo/server.log" | says 'Address already in use' && sleep 1 && armed_server "$@"
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
# What disks were told since they were protected: to go on (1), to catch up from the agent's maps (5); initial and resync (2, 3)
# would begin a new history, of which the points would be too.
no_new_history() {
    local told generations
    told=$(grep 'agent.disk.welcome' "$demo/agent.log" | tail -n +$((welcomes + 1)) | grep -o ' action=[0-9]*' | sort | uniq -c | xargs)
    generations=$(causeway --config "$demo/causeway.toml" --json points "$demo_machine" | grep -o '"generation": *[0-9]*' | sed 's/.*: *//' | sort -u | xargs)
    echo "disks were told:$(sed 's/\([0-9]*\) action=\([0-9]*\)/ \2 \1 times/g' <<<" $told"); points are of generation $generations"
    [ -n "$told" ] && ! grep -q 'action=[^15]' <<<"$told" && [ "$generations" = 1 ]
}

demo_begin
ordered_seed
demo_quick_vault
sed -i '/^\[cache\]/a io_uring = true' "$demo/causeway.toml"
reached=0 unreached=
: > "$demo/deaths"
turn=posix
# backends: of the next death. A night takes both.
backends() { if [ -n "${CAUSEWAY_NIGHTLY:-}" ]; then echo uring posix; else echo "$turn"; fi; }
# die_of NAME HIT COMMAND…: with each back end whose turn it is.
die_of() {
    local name=$1 hit=$2; shift 2
    turn=$(other_of "$turn")
    for pinned in $(backends); do
        use_backend "$pinned"
        if "$@"; then
            reached=$((reached + 1))
            echo "$name $hit $pinned" >> "$demo/deaths"
        else
            unreached+=" $name:$hit:$pinned"
            kill_server
        fi
    done
    pinned=
}
create() { rm -rf "$demo/cache"; armed_server "$1" 1 || died_within 60; }
for name in cache.create.before_id cache.create.after_id; do die_of $name 1 create $name; done
# The setting is not all: the kernel may forbid it. Some files, which are not the cache's, use a ring either way.
use_backend posix
start_server
with_ring=$(rings)
kill_server
start_server
check "with io_uring a server has more rings ($with_ring) than without ($(rings))" [ "$with_ring" -gt "$(rings)" ]
ordered_pin_port
ordered_image 8
ordered_agent --spool-size 1GiB  # An outage is kept in order on disk: no degrading to maps.
ordered_writer 200
ordered_protect
fences=$(fences_begun) welcomes=$(grep -c 'agent.disk.welcome' "$demo/agent.log")

started=$SECONDS
while [ $killed -lt "$kills" ]; do
    nap 250
    make_point sent
    nap 150
    [ $((RANDOM % 3)) -ne 0 ] || make_point sent
    kill_server
    nap 200
    start_server
    # Every fourth server dies again while it recovers or while the agent comes back.
    if [ $((killed % 4)) -eq 3 ]; then nap 300; kill_server; start_server; fi
    wait_for 600 "the agent to come back" agent_live
done
make_point sent
echo "$killed kills of the server, $point points, $((SECONDS - started)) s"
wait_for 180 "all points in the vault" all_committed && pass "kill -9 of the server, $killed times: no point is lost"
check "the server's death makes no initial sync, resync or catch-up" no_resync

# A2: ten servers in a row die of their own recovery; none of them makes it worse.
make_point durable
kill_server
recoveries=0
for ((i = 0; i < 10; i++)); do
    places=(before_confirm after_sync before_confirm after_confirm)
    armed_server "cache.recovery.${places[i % 4]}" 1 && recoveries=$((recoveries + 1))
done
start_server
wait_for 600 "the agent to come back" agent_live
make_point sent
wait_for 180 "all points in the vault" all_committed && pass "ten recoveries are killed: no point is lost"
check "each of the ten died" [ $recoveries -eq 10 ]

# Each death is recovered from by a server that dies at the next point.
# reach NAME HIT: starts a server that dies there.
reach() {
    local deadline
    if [[ $1 = cache.close.* ]]; then reach_while_closing "$1" "$2"; return; fi
    if [[ $1 = cache.recovery.* ]]; then reach_while_recovering "$1" "$2"; return; fi
    armed_server "$1" "$2" && return 0
    # The agent has to come back before there is anything to die of, and after several sessions that died at once it waits
    # for minutes. The writer does not: it would fill what the agent may keep, and then there are no points.
    deadline=$((SECONDS + 600))
    while [ $SECONDS -lt $deadline ]; do
        make_point sent
        nap 100
        writer_pause
        died_within 1 && return 0
    done
    return 1
}
# Some need a batch that no checkpoint knows; one may have been due by itself just before the death.
reach_while_recovering() {  # NAME HIT
    local try
    for try in {1..20}; do
        demo_start_server
        make_point durable
        kill_server
        armed_server "$1" "$2" && return 0
        kill_server
    done
    return 1
}
# A server that ends in order passes there, however little its cache has to say.
reach_while_closing() {  # NAME HIT
    armed_server "$1" "$2" && return 0
    make_point durable
    kill "$demo_server_pid"
    died_within 120
}
# cache.create.* were taken above. Recovery, the end of a program and the claim of its one machine have one hit each. Not of this server: target.*,
# volume.* (failback.sh, master_target.sh), gc.*, compact.* (gc_crash.sh), keys.* (keys_kills.sh). Index runs need more points than are made here: index_runs.sh.
walked() { causewayd --list-crash-points | grep -vE '^(cache\.create|target|volume|failback|gc|compact|keys)\.|_run_put$|_found$' | grep -E "${CAUSEWAY_CRASH_POINTS:-.}"; }
# once NAME: there is no second hit of it in the life of a server.
once() { [[ $1 =~ ^cache\.(create|recovery|close)\.|_claim$ ]]; }
started=$SECONDS
kill_server
for name in $(walked); do
    for hit in "${hits[@]}"; do
        [ "$hit" = 1 ] || ! once "$name" || continue
        die_of "$name" "$hit" reach "$name" "$hit"
    done
done
# What should have been: {point, hit, back end} of a night; by day each point once, and the back ends in turn.
wanted() {
    local name hit end
    for name in cache.create.before_id cache.create.after_id $(walked); do
        for hit in "${hits[@]}"; do
            [ "$hit" = 1 ] || ! once "$name" || continue
            for end in uring posix; do echo "$name $hit $end"; done
        done
    done | sort
}
each_with_both() { diff <(wanted) <(sort "$demo/deaths"); }
each_once_in_turn() {
    local uring posix
    uring=$(grep -c ' uring$' "$demo/deaths") posix=$(grep -c ' posix$' "$demo/deaths")
    echo "$uring with io_uring, $posix without"
    diff <(wanted | cut -d' ' -f1,2 | uniq) <(cut -d' ' -f1,2 "$demo/deaths" | sort) && [ $((uring - posix)) -ge -1 ] && [ $((uring - posix)) -le 1 ]
}
echo "died at (point, hit, back end):"
sort "$demo/deaths"
if [ -n "${CAUSEWAY_NIGHTLY:-}" ]; then
    check "death came at every point, at each hit, with both back ends" each_with_both
else
    check "death came once at every point, with the back ends in turn" each_once_in_turn
fi
start_server
wait_for 600 "the agent to come back" agent_live
make_point sent
echo "$reached crash points reached, not reached:${unreached:- none}; $((SECONDS - started)) s"
wait_for 180 "all points in the vault" all_committed && pass "death at each crash point: no point is lost"
check "death at a crash point makes no resync either" no_resync
case " $unreached " in
    '  ') pass "every crash point is reached" ;;
    *) fail "every crash point is reached (not:$unreached)" ;;
esac

# A6: the server sleeps while the world goes on, as a paused virtual machine does.
make_point durable
kill -STOP "$demo_server_pid"
sleep "$asleep"
make_point sent
kill -CONT "$demo_server_pid"
wait_for 600 "the agent to come back" agent_live
make_point sent
wait_for 180 "all points in the vault" all_committed && pass "a server that slept for $asleep s goes on: no point is lost"
check "its sleep makes no resync" no_resync

started=$SECONDS
for ((i = 0; i < kills; i++)); do
    nap 200
    # What is only sent may die with the agent.
    [ $((i % 2)) -eq 0 ] || make_point durable
    nap 100
    kill -9 "$demo_agent_pid"
    wait "$demo_agent_pid" 2>/dev/null
    nap 100
    ordered_agent --spool-size 1GiB
    wait_for 180 "protection after a kill of the agent" agent_protects
done
make_point durable
echo "$kills kills of the agent, $((SECONDS - started)) s"
wait_for 180 "all points in the vault" all_committed && pass "kill -9 of the agent, $kills times: no durable point is lost"
check "no death of server or agent makes a resync or a new generation" no_new_history
check "every point restores what the disk was at its moment" restore_all
check "the vault proves itself" eval 'causeway --config "$demo/causeway.toml" verify "$demo_machine" --level full | tail -n 1 | says ^intact'
cases_end
