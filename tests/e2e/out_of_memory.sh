#!/usr/bin/env bash
# A8: memory runs out. Where the pools cannot be had the server says so and does not start; where the kernel kills it because
# its control group is full, that is a death like any other: the next one goes on with everything that was acknowledged,
# and nobody begins anew. Needs root and a controller of memory, else only the first is asked. Usage: out_of_memory.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh

# A control group with a limit of memory: $group. Where version 1 has the controller, its files have other names.
group_of_memory() {
    if [ -f /sys/fs/cgroup/memory/memory.limit_in_bytes ]; then
        group=/sys/fs/cgroup/memory/causeway-$$ limit_file=memory.limit_in_bytes kills_file=memory.oom_control
    else
        grep -qw memory /sys/fs/cgroup/cgroup.controllers 2>/dev/null && echo +memory > /sys/fs/cgroup/cgroup.subtree_control
        group=/sys/fs/cgroup/causeway-$$ limit_file=memory.max kills_file=memory.events
    fi
    mkdir "$group" 2>/dev/null && echo $((64 * 1048576)) > "$group/$limit_file" 2>/dev/null
}
leave_group() {
    local pid
    while read -r pid; do echo "$pid" > "$group/../cgroup.procs"; done 2>/dev/null < "$group/cgroup.procs"
    [ ! -d "$group" ] || rmdir "$group"
}
kernel_kills() { awk '$1 == "oom_kill" { print $2 }' "$group/$kills_file"; }
# The server shares 64 MiB with a process that wants more. The kernel takes whom it was told to take first.
run_out_of_memory() {
    local status=0 hog deadline=$((SECONDS + 120))
    echo "$demo_server_pid" > "$group/cgroup.procs"
    echo 1000 > "/proc/$demo_server_pid/oom_score_adj"
    (echo "$BASHPID" > "$group/cgroup.procs" && exec python3 -c 'import sys, time
taken = []
while len(taken) < 1024: taken.append(b"x" * (1 << 20)); time.sleep(0.002)') 2>>"$demo/hog.log" &
    hog=$!
    demo_pids+=($hog)
    while kill -0 "$demo_server_pid" 2>/dev/null && [ $SECONDS -lt $deadline ]; do sleep 0.05; done
    kill -9 $hog 2>/dev/null
    wait $hog 2>/dev/null
    kill -0 "$demo_server_pid" 2>/dev/null && return 1
    wait "$demo_server_pid" 2>/dev/null || status=$?
    [ $status -eq 137 ]
}
points_are_told_apart() { [ -z "$(vault_points | cut -d' ' -f1 | sort | uniq -d)" ]; }
refuses_to_start() {  # KIB of address space
    (ulimit -v "$1"; timeout 60 causewayd --config "$demo/causeway.toml") >"$demo/last.out" 2>&1
    [ $? -eq 1 ] && said OUT_OF_BUDGET
}

demo_begin
ordered_seed
demo_quick_vault
check "A8: a server without room for its pools says OUT_OF_BUDGET" refuses_to_start $((512 * 1024))
if ! group_of_memory; then
    leave_group
    echo "SKIP A8: the kernel kills the server: no control group with a limit of memory can be made here"
    cases_end
    exit
fi
trap 'status=$?; leave_group; (exit $status); demo_end' EXIT
demo_start_server
ordered_pin_port
ordered_image 8
ordered_agent --spool-size 1GiB
ordered_writer 200
ordered_protect
fences=$(fences_begun)
for round in 1 2 3; do
    note_point "p$round" durable || die "no point p$round"
    writer_go
    check "A8: the kernel kills the server, round $round" run_out_of_memory
    check "A8: because memory ran out" test "$(kernel_kills)" -ge "$round"
    demo_start_server
    wait_for 600 "the agent to come back" agent_live
done
check "A8: points go on" note_point last committed
check "A8: every point that was acknowledged is in the vault" wait_for 180 "all points" all_committed
check "A8: and each of them once" points_are_told_apart
check "A8: nobody began anew" no_resync
check "A8: every point restores what the disk was at its moment" restore_all
cases_end
