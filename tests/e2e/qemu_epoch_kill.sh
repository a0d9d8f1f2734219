#!/usr/bin/env bash
# An epoch is interrupted while its extents are copied: kill -9 of the agent, of the server and of QEMU, and a view that is
# taken away. What it should have carried is in the next point, nothing is compared again unless the bitmaps are gone, and
# the guest does not stall. One disk is raw, one qcow2. Usage: qemu_epoch_kill.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/guest.sh
source tests/lib/stalls.sh

noise_mib=24  # More than the agent's memory: with a server that stands still the epoch cannot come to its end.

start_machine() {
    guest_start vm "$demo/vm.img" raw -device virtio-blk-pci,drive=second,id=vd1 \
        -blockdev "driver=qcow2,node-name=second,file.driver=file,file.filename=$demo/second.qcow2" \
        -device virtio-blk-pci,drive=third,id=vd2 \
        -blockdev "driver=raw,node-name=third,file.driver=file,file.filename=$demo/third.img" \
        -qmp "unix:$demo/vm.counts,server=on,wait=off" >>"$demo/noise.log"
    vm_pid=$guest_pid
}
start_agent() { guest_protect --disk vd0 --disk vd1 --mode epoch --interval 3600s --memory 16MiB; }
generations() { agent_json | grep -o '"generation": *[0-9]*' | tr -dc '0-9\n' | sort -u | paste -sd ' '; }
log_end() { echo $(($(wc -l < "$demo/agent.log") + 1)); }
logged_after() { tail -n "+$1" "$demo/agent.log" | says "$2"; }
monitor() { python3 tests/e2e/qmp_do.py "$demo/vm.counts" "$@"; }
# noise BYTE: the second disk, as its device writes it, has that all over.
noise() {
    local line
    for line in "write -P $1 8M ${noise_mib}M" flush; do
        monitor human-monitor-command "{\"command-line\": \"qemu-io -d /machine/peripheral/vd1/virtio-backend \\\"$line\\\"\"}" \
            >>"$demo/noise.log" 2>&1 || die "the second disk cannot be written: $(tail -n 1 "$demo/noise.log")"
    done
}
# within_epoch BYTE: what is written is cut and being copied, and that goes on for as long as the server stands still.
within_epoch() {
    kill -STOP "$demo_server_pid"
    noise "$1"
    stalls_begin
    mark=$(log_end)
    causeway-agent point --state "$demo/agent" --tag "within-$1" --wait committed --timeout 120s >>"$demo/points.log" 2>&1 &
    asked=$!
    demo_pids+=($asked)
    wait_for 120 "the cut of an epoch" logged_after "$mark" agent.epoch.cut
    ! logged_after "$mark" agent.epoch.end || die "the epoch has ended already"
    guest_wrote vm 3  # What it overwrites is copied before.
}
answered() { wait "$asked"; }
has_noise() { # TAG BYTE
    local id
    guest_points > "$demo/in-vault"
    id=$(awk -v tag="$1" '$1 == tag { print $2 }' "$demo/in-vault")
    [ -n "$id" ] && guest_restore "$id" vd1 "$demo/second" &&
        cmp <(head -c ${noise_mib}M /dev/zero | tr '\0' "\\$2") <(dd if="$demo/second" bs=1M skip=8 count=$noise_mib status=none)
}
point() { guest_point "$1" || die "no point $1: $(tail -n 1 "$demo/points.log")"; }
no_leftovers() {
    ! ls "$demo"/agent/overlay-* >/dev/null 2>&1 &&
        ! monitor query-named-block-nodes '{"flat": true}' | says '"node-name": "causeway-view'
}
still_tracked() { [ "$(generations)" = 1 ]; }

demo_begin
guest_site
guest_image "$demo/vm.img" || die "no guest image"
qemu-img create -q -f qcow2 "$demo/second.qcow2" 64M
truncate -s 4M "$demo/third.img"
lateness_begin
start_machine
guest_wrote vm 3
start_agent
wait_for 300 "protection" guest_protected
point p1

within_epoch 17
kill -STOP "$demo_agent_pid"
guest_wrote vm 3
stalls_check "an agent that stands still within an epoch does not stall the guest"
kill -9 "$demo_agent_pid"
wait "$demo_agent_pid" 2>/dev/null
answered
guest_wrote vm 3
kill -CONT "$demo_server_pid"
start_agent
wait_for 300 "protection after a kill of the agent" guest_protected
stalls_check "kill -9 of the agent within an epoch does not stall the guest, nor does its return"
point p2
check "kill -9 of the agent within an epoch: the next point has what that one should have carried" has_noise p2 021
check "nothing was compared again" still_tracked
check "nothing is left beside the machine" no_leftovers

within_epoch 34
kill -9 "$demo_server_pid"
wait "$demo_server_pid" 2>/dev/null
guest_wrote vm 3
stalls_check "neither does a server that is silent, and dies, while an epoch is copied"
demo_start_server
wait_for 300 "protection after a kill of the server" guest_protected
answered
point p3
check "kill -9 of the server within an epoch: the next point has all of it" has_noise p3 042
check "nothing was compared again (server)" still_tracked

within_epoch 51
monitor block-export-del '{"id": "causeway-frozen-1", "mode": "hard"}' >/dev/null || die "the view cannot be taken away"
wait_for 120 "the epoch to fail" logged_after "$mark" agent.epoch.end
kill -CONT "$demo_server_pid"
check "an epoch whose view is taken away makes no point" eval '! answered'
wait_for 300 "protection after an epoch failed" guest_protected
point p4
check "its bitmap was merged back: the next point has what it did not copy" has_noise p4 063
check "nothing was compared again (failed epoch)" still_tracked
check "nothing is left beside the machine after it" no_leftovers

within_epoch 68
guest_kill "$vm_pid"
kill -CONT "$demo_server_pid"
check "a machine that dies within an epoch makes no point of it" eval '! answered'
start_machine
guest_wrote vm 3
wait_for 300 "a new comparison" guest_compared_again
wait_for 300 "protection of the machine that is back" guest_protected
point p5
check "kill -9 of QEMU within an epoch: the disks are compared, and the next point has all of it" has_noise p5 104
check "nothing is left beside the machine that is back" no_leftovers
check "every point restores both disks as they were at one moment" guest_check_points 2
cases_end
