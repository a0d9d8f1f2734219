#!/usr/bin/env bash
# A running virtual machine is protected from outside by epochs: what changed between two cuts. Raw and qcow2, two disks;
# kill -9 of the agent, the server and QEMU in between. Usage: qemu_epoch.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/guest.sh

start_machine() {  # FORMAT
    guest_start vm "$demo/vm.$1" "$1" -device virtio-blk-pci,drive=second,id=vd1 \
        -blockdev "driver=$1,node-name=second,file.driver=file,file.filename=$demo/second.$1"
    vm_pid=$guest_pid
}
generations() { agent_json | grep -o '"generation": *[0-9]*' | tr -dc '0-9\n' | sort -u | paste -sd ' '; }
# points FORMAT FIRST COUNT: of a machine that writes.
points() {
    local i
    for ((i = $2; i < $2 + $3; i++)); do
        guest_wrote vm 3
        guest_point "$1-$i" || die "no point $1-$i: $(tail -n 1 "$demo/points.log")"
    done
}
few_blocks() { [ "$(grep -o 'agent.epoch.cut.*bytes=[0-9]*' "$demo/agent.log" | tail -n 1 | sed 's/.*=//')" -lt $((32 * 1048576)) ]; }
# pauses_are_told POINTS: each is counted, and one that took longer than 300 ms is named in the log.
pauses_are_told() {
    agent_json | python3 -c 'import json, sys
told = json.load(sys.stdin)["pauses"]
slow = told["longest_us"] > 300000
sys.exit(not (told["points"] >= int(sys.argv[1]) and 0 < told["last_us"] <= told["longest_us"] and slow == (told["over_limit"] > 0)))' "$1" &&
        [ "$(grep -c 'agent.point.cut.*within_limit=false' "$demo/agent.log")" -ge "$(agent_json | json_number over_limit)" ]
}
# Points that nobody asked for.
own_points() { guest_points | awk '$1 == "-" { print $2 }'; }
# own_points_came COUNT: since there were $own_before of them.
own_points_came() { [ "$(own_points | wc -l)" -ge $((own_before + $1)) ]; }
# Of $own_seconds, with one at the very beginning and one that was under way.
own_points_are_few() { [ "$(own_points | wc -l)" -le $((own_before + own_seconds / 2 + 2)) ]; }
own_point_is_right() { guest_restore latest vd0 "$demo/restored" && guest_check_image "$demo/restored" "$own_promised"; }
no_leftovers() {
    ! ls "$demo"/agent/overlay-* >/dev/null 2>&1
}

demo_begin
guest_site
guest_image "$demo/base.raw" || die "no guest image"
truncate -s 4M "$demo/base2.raw"
for format in raw qcow2; do
    # Each format is a machine of its own.
    demo_machine=$(cat /proc/sys/kernel/random/uuid)
    rm -rf "$demo/pki/machine"* "$demo/agent"
    causeway pki issue "$demo/pki" --role machine --id "$demo_machine" --name demo-machine --out "$demo/pki/machine" >/dev/null
    qemu-img convert -O $format "$demo/base.raw" "$demo/vm.$format"
    qemu-img convert -O $format "$demo/base2.raw" "$demo/second.$format"
    : > "$demo/noted"
    start_machine $format
    guest_wrote vm 3
    guest_protect --mode epoch --interval 3600s
    wait_for 300 "protection ($format)" guest_protected
    points $format 1 4
    check "$format: an epoch carries only what changed" few_blocks
    check "$format: nothing is left beside the machine after an epoch" no_leftovers
    # The transaction is QEMU's, and its time too: it is measured and judged, and told if it was too long.
    check "$format: what each cut cost the guest is told ($(guest_pauses))" pauses_are_told 4

    kill -9 "$demo_agent_pid"
    wait "$demo_agent_pid" 2>/dev/null
    guest_wrote vm 3
    guest_protect --mode epoch --interval 3600s
    wait_for 300 "protection after a kill of the agent ($format)" guest_protected
    points $format 5 1
    kill -9 "$demo_server_pid"
    wait "$demo_server_pid" 2>/dev/null
    guest_wrote vm 3
    demo_start_server
    wait_for 300 "protection after a kill of the server ($format)" guest_protected
    points $format 6 1
    check "$format: tracking outlives kill -9 of agent and server" [ "$(generations)" = 1 ]

    guest_kill "$vm_pid"
    start_machine $format
    guest_wrote vm 3
    wait_for 300 "a new comparison ($format)" guest_compared_again
    wait_for 300 "protection of the machine that is back ($format)" guest_protected
    points $format 7 1
    pass "$format: kill -9 of QEMU loses its bitmaps, and the disks are compared"
    check "$format: every point restores both disks as they were at one moment" guest_check_points 2
    causeway-agent stop --state "$demo/agent" >>"$demo/cli.log" 2>&1
    wait "$demo_agent_pid" 2>/dev/null
    if [ $format = raw ]; then
        own_before=$(own_points | wc -l) own_promised=$(guest_line vm) own_seconds=$SECONDS
        guest_protect --mode epoch --interval 2s
        check "$format: points by the agent's own clock, without asking" wait_for 300 "four points" own_points_came 4
        causeway-agent stop --state "$demo/agent" >>"$demo/cli.log" 2>&1
        wait "$demo_agent_pid" 2>/dev/null
        own_seconds=$((SECONDS - own_seconds + 1))
        check "$format: every 2 s and not more often ($own_seconds s)" own_points_are_few
        check "$format: the last of them is right" own_point_is_right
    fi
    guest_kill "$vm_pid"
done
check "what an epoch made boots" guest_boots latest "$(tail -n 1 "$demo/noted" | cut -d' ' -f2)"
cases_end
