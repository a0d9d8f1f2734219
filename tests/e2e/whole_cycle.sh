#!/usr/bin/env bash
# A running machine's whole way: protected, points, a drill that boots one, the site lost, failover that boots, the machine
# protected where it runs now, failback of what differs, and the original boots again. The time of each step is told.
# Usage: whole_cycle.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/guest.sh

quiet() { "$@" >>"$demo/cli.log" 2>&1; }
state_is() { cli machines "$demo_machine" 2>/dev/null | says -w "$1"; }
now_ms() { echo $(($(date +%s%N) / 1000000)); }
# What the CPUs have done: all of it, and what this script, its children and its servers did.
cpu_ms() { awk '$1 == "cpu" { print ($2 + $3 + $4 + $7 + $8 + $9) * 10 }' /proc/stat; }
our_cpu_ms() {
    local pid
    for pid in $$ "${demo_pids[@]}"; do cat "/proc/$pid/stat" 2>/dev/null; done |
        sed 's/.*) //' | awk '{ ticks += $12 + $13 + $14 + $15 } END { print ticks * 10 }'
}
# timed STEP: how long what came before it took.
timed() {
    local now
    now=$(now_ms)
    printf 'TIME %6d ms  %s\n' $((now - step_began)) "$1"
    step_began=$now
}
protected_elsewhere() {
    causeway-agent status --state "$demo/agent-2" --json 2>/dev/null | says '"phase": *"protected"'
}
point_elsewhere() { causeway-agent point --state "$demo/agent-2" --tag there --wait committed --timeout 300s >>"$demo/points.log" 2>&1; }
reprotected() { quiet cli reprotect "$demo_machine"; state_is reprotected; }
found_at_least() { wait_for 300 "$1 to find its log" guest_said_found "$1"; [ "$(guest_found "$1")" -ge "$2" ] || { guest_found "$1"; false; }; }
same_disk() { cmp "$demo/there/vd0.img" "$demo/vm.img"; }
bytes_of() { stat -c %s "$1"; }

demo_begin
guest_site
guest_image "$demo/vm.img" || die "no guest image"
began=$(now_ms) step_began=$began
all_began=$(cpu_ms) ours_began=$(our_cpu_ms)
guest_start vm "$demo/vm.img" raw
vm_pid=$guest_pid
guest_wrote vm 3
timed "the machine boots (BIOS, boot loader, kernel) and writes"
guest_protect --interval 3600s
wait_for 300 "protection" guest_protected
timed "protection, while it writes"
for tag in p1 p2 p3; do
    guest_wrote vm 3
    guest_point $tag || die "no point $tag: $(tail -n 1 "$demo/points.log")"
done
pass "a running machine is protected and has points"
timed "three points"

# A log that is found says that the disk was not empty: the machine is that of the point.
check "a drill boots the newest point and checks its file system" quiet cli drill "$demo_machine" --boot --expect "FOUND last=" \
    --boot-timeout 600s --receipt "$demo/receipt.json" --scratch "$demo"
check "its receipt is genuine" quiet cli drill --check "$demo/receipt.json"
timed "drill"

# The site is lost: machine and agent at once, with writes on the old disk that nobody has.
guest_wrote vm 3
guest_point last || die "no last point: $(tail -n 1 "$demo/points.log")"
promised=$(awk '$1 == "last" { print $2 }' "$demo/noted")
guest_wrote vm 2
kill -9 "$demo_agent_pid"
wait "$demo_agent_pid" 2>/dev/null
guest_wrote vm 2
guest_kill "$vm_pid"
mkdir "$demo/there"
check "unplanned failover" quiet cli failover "$demo_machine" --point latest --output-dir "$demo/there"
guest_start there "$demo/there/vd0.img" raw
there_pid=$guest_pid
check "it boots and has the last replicated record (line $promised)" found_at_least there "$promised"
check "the failover is committed" quiet cli commit "$demo_machine"
timed "unplanned failover, and the machine boots"

quiet cli reprotect "$demo_machine"
causeway-agent protect --server "127.0.0.1:$demo_port" --ca "$demo/pki/ca.crt" --cert "$demo/pki/machine.crt" \
    --key "$demo/pki/machine.key" --state "$demo/agent-2" --machine-name demo-machine --qmp "$demo/there.qmp" \
    --interval 3600s 2>>"$demo/agent.log" &
demo_pids+=($!)
there_agent=$!
wait_for 300 "protection where the machine runs now" protected_elsewhere
sent=$(causeway-agent status --state "$demo/agent-2" --json | json_number sent_bytes)
point_elsewhere || die "no point of the machine that runs now: $(tail -n 1 "$demo/points.log")"
check "it is protected where it runs now" wait_for 180 "reprotection" reprotected
check "by its differences ($((sent >> 10)) KiB of $(($(bytes_of "$demo/vm.img") >> 20)) MiB were sent)" \
    [ "$sent" -lt $(($(bytes_of "$demo/vm.img") / 4)) ]
timed "protection there"

guest_wrote there 3
check "the machine is stopped there with a last point" causeway-agent stop --state "$demo/agent-2" --final --timeout 300s
wait "$there_agent" 2>/dev/null
promised=$(guest_line there)
guest_kill "$there_pid"
report=$(cli --json failback "$demo_machine" --target "$demo/vm.img" 2>>"$demo/cli.log")
moved=$(json_number moved_bytes <<<"$report")
check "failback moves only what differs ($((moved >> 10)) KiB)" [ "$moved" -gt 0 -a "$moved" -lt $(($(bytes_of "$demo/vm.img") / 4)) ]
check "the original disk is the other one, byte for byte" same_disk
timed "failback"
check "its file system is whole, its log without a gap" guest_check_image "$demo/vm.img" "$promised"
guest_start vm "$demo/vm.img" raw
check "the original boots and has the last record (line $promised)" found_at_least vm "$promised"
check "the failback is committed" quiet cli commit "$demo_machine"
check "and the machine is protected" state_is protected
guest_kill "$guest_pid"
timed "the original boots"

total=$(($(now_ms) - began))
# From a machine that is switched on to the original that boots again; making its image is not part of it. On a quiet
# machine it is below 20 s. Where others use the CPUs too, each of the 90 s is worth as much less as they took.
allowed=$(awk -v all=$(($(cpu_ms) - all_began)) -v ours=$(($(our_cpu_ms) - ours_began)) \
    'BEGIN { share = ours > 0 && all > ours ? all / ours : 1; printf "%d", 90000 * share }')
check "the whole cycle took $((total / 1000)) s; 90 s are promised of a machine of its own, here that is $((allowed / 1000)) s" \
    [ $total -le "$allowed" ]
cases_end
