#!/usr/bin/env bash
# The agent dies at each of its crash points and is started again: every point that was promised is in the vault, every point there
# is the disk at its moment, and no history begins anew. (The server's crash points: crash.sh.)
# Usage: agent_crash.sh BUILD_DIRECTORY; CAUSEWAY_NIGHTLY=1 takes the first, second and fifth hit of each, CAUSEWAY_CRASH_POINTS=PATTERN
# walks over those that match alone. CAUSEWAY_SEED=N repeats a run.
#
# Less often than at each hit: what hits_max says, of which a life of an agent has only so many. Not with both back ends: there is no
# setting for it; an agent's spool (cache.*, agent.spool.*) uses io_uring where the kernel has it, its state plain system calls.
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh
hits=(1)
[ -z "${CAUSEWAY_NIGHTLY:-}" ] || hits=(1 2 5)

# Every agent of this script is started by the function that is named here.
agent_of=
nbd_agent() {
    ordered_agent --spool-size 256MiB --memory 16MiB --pre-hook true --post-hook true --app-hooks --app-interval 0
}
protect() {  # ARGUMENT…
    causeway-agent protect --server "127.0.0.1:$demo_port" --ca "$demo/pki/ca.crt" --cert "$demo/pki/machine.crt" \
        --key "$demo/pki/machine.key" --state "$demo/agent" --machine-name demo-machine --interval 3600s "$@" 2>>"$demo/agent.log" &
    demo_agent_pid=$!
    demo_pids+=($demo_agent_pid)
}
scan_agent() { protect --image "$demo_image" --disk-name disk --pre-hook true --post-hook true; }

agent_ended() { ! kill -0 "$demo_agent_pid" 2>/dev/null; }
# What nobody but a crash point does to it.
agent_was_killed() {
    local status=0
    agent_ended || return 1
    wait "$demo_agent_pid" 2>/dev/null || status=$?
    [ $status -eq 137 ]
}
# A pause that may have to wait for the next agent: the writer finishes its write first, and sends it again until it is answered.
owed=no heard=
take_pause() {  # SECONDS
    local part=
    if ! IFS= read -t "$1" -r part <&"$writer_out"; then
        heard+=$part  # What came of the line before the time was over.
        return 1
    fi
    ordered_truth=${heard}$part heard= owed=no
    ordered_truth=${ordered_truth#paused } ordered_truth=${ordered_truth%% *}
}
try_pause() {
    [ $owed = yes ] || echo pause >&"$writer_in"
    owed=yes
    until take_pause 0.1; do
        ! agent_ended || return 1
    done
}
still() { try_pause; }
go_on() { writer_go; }
point=0
# try_point ARGUMENT…: what it should be is noted before it is made; that it is promised only when it is durable.
try_point() {
    still || return 1
    point=$((point + 1))
    echo "p$point $ordered_truth" >> "$demo/noted"
    if causeway-agent point --state "$demo/agent" --tag "p$point" --wait durable --timeout 60s "$@" >>"$demo/points.log" 2>&1; then
        echo "p$point" >> "$demo/promised"
    fi
    go_on
}
# What an armed agent lives through until it dies; what a point's kind needs comes at once.
live() {  # NAME
    try_point
    case $1 in
        agent.hook.*) try_point --frozen ;;
        agent.stop.* | agent.map.before_sync) agent_ended || kill "$demo_agent_pid" ;;
        agent.spool.* | cache.*)  # An outage that is longer than memory lasts, and its end.
            kill -STOP "$demo_server_pid"
            local outage=$((SECONDS + 3))
            until agent_ended || [ $SECONDS -ge $outage ]; do sleep 0.1; done
            kill -CONT "$demo_server_pid"
            ;;
    esac
}
reached=0 unreached= deaths=0
die_at() {  # NAME HIT
    local deadline=$((SECONDS + 60))
    CAUSEWAY_CRASH_POINT=$1:$2 $agent_of
    until agent_ended || [ $SECONDS -ge $deadline ]; do
        live "$1"
        sleep 0.05
    done
    if agent_was_killed; then
        reached=$((reached + 1))
        echo "$1 $2" >> "$demo/deaths"
    else
        unreached+=" $1:$2"
        kill -9 "$demo_agent_pid" 2>/dev/null
        wait "$demo_agent_pid" 2>/dev/null
    fi
}
promised_last() { [ "$(tail -n 1 "$demo/promised")" = "p$point" ]; }
# An agent that does not die, until it has made a point.
live_on() {
    local try
    $agent_of
    wait_for 180 "protection" agent_protects
    [ $owed = no ] || wait_for 100 "the writer" take_pause 1
    go_on
    for try in {1..20}; do
        try_point
        ! promised_last || return
    done
}
# hits_max NAME: some things happen once in the life of an agent, whose state is written twice before it ends.
hits_max() {
    case $1 in
        agent.stop.* | agent.map.create.* | agent.map.before_sync | agent.map.fence_* | agent.sequences.*) echo 1 ;;
        agent.state.*) echo 2 ;;
        *) echo 5 ;;
    esac
}
crash_points() { causeway-agent --list-crash-points | grep -E "${CAUSEWAY_CRASH_POINTS:-.}"; }
# walk PATTERN: each of them that was not walked yet; an agent that comes back has to recover from the death at the one before.
walk() {
    local name hit
    for name in $(crash_points | grep -E "$1" | grep -vxF -f <(tr ' ' '\n' <<<"$walked none" | grep .)); do
        walked+="$name "
        for hit in "${hits[@]}"; do
            [ "$hit" -le "$(hits_max "$name")" ] || continue
            die_at "$name" "$hit"
            # Now and then there is something to lose.
            if [ $((++deaths % 6)) -eq 0 ]; then
                live_on
                kill -9 "$demo_agent_pid"
                wait "$demo_agent_pid" 2>/dev/null
            fi
        done
    done
}
# After the last death of its kind: everything that was ever promised.
settle() {  # WHAT
    live_on
    check "$1: points are made after all that" promised_last
    wait_for 180 "all points in the vault ($1)" all_promised_committed && pass "$1: death at each crash point loses no durable point"
    check "$1: and begins no new history" one_generation
    check "$1: every point restores what the disk was at its moment" restore_all
    demo_stop_agent
}
all_promised_committed() { vault_points | cut -d' ' -f1 | sort > "$demo/tags"; [ -z "$(sort "$demo/promised" | comm -23 - "$demo/tags")" ]; }
one_generation() {
    local generations
    generations=$(causeway --config "$demo/causeway.toml" --json points "$demo_machine" | grep -o '"generation": *[0-9]*' | sed 's/.*: *//' | sort -u | xargs)
    echo "points are of generation $generations"
    [ "$generations" = 1 ]
}
# The next kind of source is another machine.
next_machine() {
    demo_machine=$(cat /proc/sys/kernel/random/uuid)
    rm -rf "$demo"/pki/machine.* "$demo/agent" "$demo/nbd.sock"
    causeway pki issue "$demo/pki" --role machine --id "$demo_machine" --name demo-machine --out "$demo/pki/machine" >/dev/null
    : > "$demo/promised"
}

demo_begin
ordered_seed
demo_quick_vault
demo_start_server
ordered_image 8
: > "$demo/promised"
: > "$demo/deaths"
walked=

started=$SECONDS
agent_of=nbd_agent
ordered_writer 400
writer_go
# Nothing was ever there: what is made first.
walk '^agent\.map\.create\.'
live_on  # From here on there is a history to lose.
kill -9 "$demo_agent_pid"
wait "$demo_agent_pid" 2>/dev/null
walk '^agent\.(state|sequences|map|image|point|record|hook|spool|stop)\.|^cache\.(after_append|before_write|after_write|after_sync)$'
settle nbd
echo "$((SECONDS - started)) s"

# A disk that others write, and the agent compares.
kill "$writer_pid"  # It waits for the agent.
wait "$writer_pid" 2>/dev/null
next_machine
ordered_image 8
agent_of=scan_agent
still() {
    dd if=/dev/urandom of="$demo_image" bs=64K seek=$((RANDOM % 128)) count=1 conv=notrunc status=none
    ordered_truth=$(sha256sum < "$demo_image" | cut -d' ' -f1)
}
go_on() { :; }
walk '^agent\.digests\.'
settle scan
echo "$((SECONDS - started)) s"
echo "died at (point, hit):"
sort "$demo/deaths"
# walked already says which points; of each the hits that it should have had.
wanted() {
    local name hit
    for name in $walked; do
        for hit in "${hits[@]}"; do [ "$hit" -gt "$(hits_max "$name")" ] || echo "$name $hit"; done
    done | sort
}
each_hit() { diff <(wanted) <(sort "$demo/deaths"); }
check "death came at every point, at each hit" each_hit
echo "$reached crash points reached, not reached:${unreached:- none}"
check "every crash point is reached" [ -z "$unreached" ]
all_walked() { [ -z "$(causeway-agent --list-crash-points | grep '^agent\.' | grep -E "${CAUSEWAY_CRASH_POINTS:-.}" | grep -vxF -f <(tr ' ' '\n' <<<"$walked" | grep .))" ]; }
check "and none is forgotten" all_walked
cases_end
