#!/usr/bin/env bash
# Scans of a block device that is mostly idle read what the kernel saw written, and nothing else; what they make is the device,
# byte for byte. Everything is read again after a loss, after a kill, every so often, and where there is no privilege for
# hints at all. Needs root and a loop device. Usage: hints.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/loop.sh

device_mib=64
# start_agent CAPABILITIES OPTION…: with these and no others, and with tracefs where the machine has not mounted it.
start_agent() {
    local capabilities=$1; shift
    unshare --mount sh -c '[ -d /sys/kernel/tracing/events ] || mount -t tracefs nodev /sys/kernel/tracing
        bounds=$1; shift; exec setpriv --inh-caps=-all --bounding-set="$bounds" "$@"' sh "$capabilities" \
        causeway-agent protect --server "127.0.0.1:$demo_port" --ca "$demo/pki/ca.crt" --cert "$demo/pki/machine.crt" \
        --key "$demo/pki/machine.key" --state "$demo/agent" --disk "$loop_device" --disk-name disk --machine-name demo-machine \
        --interval 3600s --pre-hook "$demo/pre-hook" --hook-timeout 300s --hints auto "$@" 2>>"$demo/agent.log" &
    demo_agent_pid=$!
    demo_pids+=($demo_agent_pid)
}
# hint FIELD: of the running agent's status.
hint() { causeway-agent status --state "$demo/agent" --json 2>/dev/null | python3 -c 'import json, sys; print(json.load(sys.stdin)["hints"][0][sys.argv[1]])' "$1" 2>/dev/null; }
point() { causeway-agent point --state "$demo/agent" --tag "$1" --wait committed --timeout 300s >>"$demo/points.log" 2>&1; }
# The newest point is what the device was at its hook.
is_exact() {
    rm -f "$demo/restored"
    causeway --config "$demo/causeway.toml" export "$demo_machine" --point latest --output "$demo/restored" >>"$demo/cli.log" 2>&1 &&
        cmp "$demo/restored" "$demo/truth"
}
# scan_was narrow|full TAG: a point, made by one more scan of that kind.
scan_was() {
    local before after
    before=$(hint "$1_scans")
    point "$2" || { echo "no point $2: $(tail -n 1 "$demo/points.log")"; return 1; }
    after=$(hint "$1_scans")
    echo "scan $2 has read $(($(hint last_scan_bytes) >> 10)) KiB; $1 scans: $before, $after"
    [ "$after" = $((before + 1)) ]
}
narrow_and_small() { scan_was narrow "$1" && [ "$(hint last_scan_bytes)" -le "$2" ]; }
# write KIB-FROM KIB: through the page cache, which is not told to write it.
write() { head -c "$2K" /dev/urandom | dd of="$loop_device" bs=64K seek="$1K" oflag=seek_bytes iflag=fullblock conv=notrunc status=none; }

demo_begin
loop_begin hints
demo_listen_port=0
demo_quick_vault
demo_start_server
truncate -s ${device_mib}M "$demo/device.img"
head -c 8M /dev/urandom | dd of="$demo/device.img" conv=notrunc status=none
loop_attach "$demo/device.img" || loop_skip "no loop device"
printf '#!/bin/sh\ncat %s > %s/truth\n' "$loop_device" "$demo" > "$demo/pre-hook"
chmod +x "$demo/pre-hook"

start_agent -all
wait_for 180 "the first point" point first
check "without a privilege the agent says what it lacks" eval '[ "$(hint on)" = False ] && hint reason | says CAP_BPF'
write 1000 64
check "and everything is read" scan_was full bare
check "the point is the device" is_exact
demo_stop_agent

start_agent -all,+bpf,+perfmon
wait_for 180 "a point" point hinted
if [ "$(hint on)" != True ]; then
    skip "hints" "$(hint reason)"
    cases_end
    exit
fi
check "the first scan reads everything" [ "$(hint full_scans)" -ge 1 ]
check "of a device that is idle the next one reads next to nothing" narrow_and_small idle $((1 << 20))
write 20000 64 && write 40001 3 && write $((device_mib * 1024 - 4)) 4
check "after three writes it reads what they touched" narrow_and_small writes $((1 << 20))
check "the point is the device, with what the page cache had not written yet" is_exact
goes_on() {
    local i
    for i in 1 2 3; do
        write $((i * 7919)) $((i * 40)) && narrow_and_small "more$i" $((1 << 20)) && is_exact || return 1
    done
}
check "so it goes on" goes_on
discard_is_read() { point discard && [ "$(hint last_scan_bytes)" = $((device_mib << 20)) ]; }
if blkdiscard "$loop_device" 2>>"$demo/cli.log"; then
    check "after a request beyond what hints can say everything is read" discard_is_read
    check "the point is the device that was discarded" is_exact
else
    skip "a request beyond what hints can say" "the device cannot discard"
fi
write 5000 100
check "and then only what was written" narrow_and_small again $((1 << 20))

kill -9 "$demo_agent_pid"
wait "$demo_agent_pid" 2>/dev/null
write 30000 64
start_agent -all,+bpf,+perfmon
wait_for 180 "a point after the kill" point killed
check "after a kill everything is read" [ "$(hint full_scans)" -ge 1 ]
check "the point has what was written without an agent" is_exact
demo_stop_agent

start_agent -all,+bpf,+perfmon --full-scan-every 0
wait_for 180 "a point" point every
write 33000 64
check "when its time has come, a scan reads everything" scan_was full due
check "and finds no change that hints had not named" [ "$(hint on)" = True ]
check "the point is the device still" is_exact
demo_stop_agent
cases_end
