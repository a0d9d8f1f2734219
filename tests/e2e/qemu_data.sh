#!/usr/bin/env bash
# A running virtual machine is protected from outside, every write in order: points while it writes, and kill -9 of the
# agent, the server and QEMU in between, and an agent that stands still. Usage: qemu_data.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/guest.sh
source tests/lib/stalls.sh

start_machine() {
    guest_start vm "$demo/vm.img" raw -device virtio-blk-pci,drive=second,id=vd1 \
        -blockdev "driver=raw,node-name=second,file.driver=file,file.filename=$demo/second.img" \
        -device virtio-blk-pci,drive=third,id=vd2 \
        -blockdev "driver=raw,node-name=third,file.driver=file,file.filename=$demo/third.img" \
        -qmp "unix:$demo/vm.counts,server=on,wait=off"
    vm_pid=$guest_pid
}
# fenced_bytes FIRST: what was read beneath fences since that line of the agent's log.
fenced_bytes() { tail -n "+$1" "$demo/agent.log" | grep -o 'agent.fence.open.* bytes=[0-9]*' | sed 's/.*bytes=//' | awk '{ n += $1 } END { print n + 0 }'; }
log_end() { echo $(($(wc -l < "$demo/agent.log") + 1)); }
generations() { agent_json | grep -o '"generation": *[0-9]*' | tr -dc '0-9\n' | sort -u | paste -sd ' '; }
reattached_after() { tail -n "+$1" "$demo/agent.log" | says agent.qemu.restart; }
back_after() { tail -n "+$1" "$demo/agent.log" | says 'reason="the machine is back"\|provable=false'; }

demo_begin
guest_site
guest_image "$demo/vm.img" || die "no guest image"
truncate -s 4M "$demo/second.img" "$demo/third.img"
lateness_begin
start_machine
guest_wrote vm 5
stalls_begin
guest_protect --disk vd0 --disk vd1 --interval 3600s
wait_for 300 "protection" guest_protected
for tag in p1 p2 p3; do
    guest_wrote vm 5
    guest_point $tag || die "no point $tag: $(tail -n 1 "$demo/points.log")"
done
pass "a machine that runs is protected without anything in it; it goes on writing"
# No point is made of which more is known: it is given up, asked for again, and counted.
check "the points of two disks that are written kept nobody waiting for 300 ms ($(guest_pauses))" guest_paused_at_most 3 300000
stalls_check "the guest does not stall while its disks are read for the first time"

stalls_begin
kill -9 "$demo_agent_pid"
wait "$demo_agent_pid" 2>/dev/null
guest_wrote vm 10
mark=$(log_end)
guest_protect --disk vd0 --disk vd1 --interval 3600s
wait_for 300 "protection after a kill of the agent" guest_protected
guest_point p4 || die "no point p4"
read_again=$(fenced_bytes "$mark")
little_was_read() { [ "$(generations)" = 1 ] && [ "$read_again" -gt 0 ] && [ "$read_again" -lt $((32 * 1048576)) ]; }
check "kill -9 of the agent: the guest goes on, and only what changed is read again ($((read_again >> 10)) KiB)" little_was_read
stalls_check "kill -9 of the agent does not stall the guest, and neither does its return"

stalls_begin
kill -9 "$demo_server_pid"
wait "$demo_server_pid" 2>/dev/null
guest_wrote vm 10
demo_start_server
wait_for 300 "protection after a kill of the server" guest_protected
guest_point p5 || die "no point p5"
check "kill -9 of the server: the guest goes on, nothing is compared again" [ "$(generations)" = 1 ]
stalls_check "kill -9 of the server does not stall the guest"

# A server that is there and says nothing is what a network is that swallows everything.
stalls_begin
kill -STOP "$demo_server_pid"
guest_wrote vm 10
stalls_check "a server that is silent (SIGSTOP) does not stall the guest"
kill -CONT "$demo_server_pid"
wait_for 300 "protection after the server was silent" guest_protected

# An agent that stands still answers nothing and closes nothing: its guard does.
mark=$(log_end)
stalls_begin
kill -STOP "$demo_agent_pid"
guest_wrote vm 10
stalls_check "an agent that stands still (SIGSTOP) stalls the guest for less than a second"
kill -CONT "$demo_agent_pid"
wait_for 300 "the agent to attach anew" reattached_after "$mark"
wait_for 300 "protection after the agent stood still" guest_protected
guest_point p5b || die "no point p5b"
check "when it goes on it reads only what it missed" [ "$(generations)" = 1 ]

guest_wrote vm 5
guest_kill "$vm_pid"
promised=$(guest_line vm)
guest_point last || die "no point after the machine's death"
check "kill -9 of QEMU: the last point has every line that was promised, and boots" guest_boots latest "$promised"

mark=$(log_end)
start_machine
guest_wrote vm 5
wait_for 300 "the agent to see the machine again" back_after "$mark"
wait_for 300 "protection of the machine that is back" guest_protected
guest_point p6 || die "no point p6"
check "a machine that is back is compared, because nobody saw what it wrote" guest_compared_again

check "planned failover pauses the guest and ends" causeway-agent stop --state "$demo/agent" --final --timeout 300s
promised=$(guest_line vm)

guest_points > "$demo/in-vault"
planned=$(awk '$3 == "planned" { print $2 }' "$demo/in-vault")

planned_is_exact() {
    [ -n "$planned" ] && guest_restore "$planned" vd0 "$demo/restored" && guest_check_image "$demo/restored" "$promised" &&
        guest_kill "$vm_pid" && rm -f "$demo/restored" && guest_restore "$planned" vd0 "$demo/restored" &&
        cmp "$demo/restored" "$demo/vm.img"
}
check "the planned point is the machine's disk, byte for byte" planned_is_exact
check "every point restores both disks as they were at one moment" guest_check_points 2
cases_end
