#!/usr/bin/env bash
# Failover and failback with nothing written in between: no disk changes, nothing but digests travels, nobody asks for a
# resync, and the machine goes on where it was. Directly, and by way of the other site. Usage: no_writes.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh

mb=32
quiet() { "$@" >>"$demo/cli.log" 2>&1; }
# Also when it was last written, and that it is the same file.
identity_of() { echo "$(stat -c '%d %i %y %s' "$1") $(sum_of "$1")"; }
is_as_before() { [ "$(identity_of "$demo/disk.img")" = "$before" ]; }
state_is() { cli machines "$demo_machine" 2>/dev/null | says -w "$1"; }
conditions_are_none() { ! cli --json status | sed '1,/"conditions"/d' | says '"code"'; }
resyncs() { grep -c 'agent.fence.open' "$demo/agent.log"; }
stop_planned() {
    causeway-agent stop --state "$1" --final --timeout 150s >>"$demo/points.log" 2>&1
    local status=$?
    wait "$demo_agent_pid" 2>/dev/null
    return $status
}

demo_begin
demo_interval=1s demo_listen_port=0
head -c $((mb / 2))M /dev/urandom > "$demo/given.img" && truncate -s ${mb}M "$demo/given.img"
demo_image_from "$demo/given.img"
demo_config "url = \"dir://$demo/vault\""
cli vault create >/dev/null || die "vault create"
demo_start_server
demo_agent
demo_wait_points 2
check "the source is stopped with a last point" stop_planned "$demo/agent"
before=$(identity_of "$demo/disk.img")

# 1. There and back.
check "planned failover" quiet cli failover "$demo_machine" --planned --output "$demo/site.raw"
check "the other site's disk is the source" test "$(sum_of "$demo/site.raw")" = "$(sum_of "$demo/disk.img")"
check "commit" quiet cli commit "$demo_machine"
report=$(cli --json failback "$demo_machine" --target "$demo/disk.img")
echo "failback without writes: $(json_number blocks_compared <<<"$report") blocks compared, moved" \
    "$(json_number moved_bytes <<<"$report"), chunks fetched $(json_number fetched_bytes <<<"$report")," \
    "indexes fetched $(json_number index_bytes <<<"$report")"
check "failback" test "$(json_number blocks_compared <<<"$report")" -gt 0
check "nothing moved" test "$(json_number moved_bytes <<<"$report")" -eq 0
check "the disk has not been written" is_as_before
check "commit of the failback" quiet cli commit "$demo_machine"
check "the machine is protected" state_is protected
fences=$(resyncs) points=$(demo_point_ids | wc -l)
demo_agent
demo_wait_points $((points + 1))
check "the agent goes on where it was: no resync" test "$(resyncs)" -eq "$fences"
check "the server told it to continue" \
    eval 'grep "agent.disk.welcome" "$demo/agent.log" | tail -n 1 | says "action=1 "'
check "no conflict, no trouble" wait_for 120 "a status without conditions" conditions_are_none
check "the source is stopped with a last point again" stop_planned "$demo/agent"
before=$(identity_of "$demo/disk.img")

# 2. By way of the other site, which is protected in reverse and does not write either.
rm -f "$demo/site.raw"
check "planned failover again" quiet cli failover "$demo_machine" --planned --output "$demo/site.raw"
check "commit again" quiet cli commit "$demo_machine"
quiet cli reprotect "$demo_machine"
cp "$demo/agent.log" "$demo/first-agent.log"
causeway-agent protect --server "127.0.0.1:$demo_port" --ca "$demo/pki/ca.crt" --cert "$demo/pki/machine.crt" \
    --key "$demo/pki/machine.key" --state "$demo/agent-2" --image "$demo/site.raw" --disk-name disk.img \
    --machine-name demo-machine --interval 3600s --pre-hook true --post-hook true --hook-timeout 300s 2>>"$demo/agent.log" &
demo_agent_pid=$!
demo_pids+=($demo_agent_pid)
point() { causeway-agent point --state "$demo/agent-2" --wait committed --timeout 100s >>"$demo/points.log" 2>&1; }
wait_for 180 "a point of the other site" point
sent=$(causeway-agent status --state "$demo/agent-2" --json | json_number sent_bytes)
echo "reverse protection without writes: $sent bytes sent"
check "only digests travelled" test "$sent" -le 65536
reprotected() { quiet cli reprotect "$demo_machine"; state_is reprotected; }
check "the machine is protected in reverse" wait_for 180 "the reverse protection" reprotected
check "the other site is stopped with a last point" stop_planned "$demo/agent-2"
report=$(cli --json failback "$demo_machine" --target "$demo/disk.img")
check "failback from the other site moves nothing" test "$(json_number moved_bytes <<<"$report")" -eq 0 -a \
    "$(json_number blocks_compared <<<"$report")" -gt 0
check "the disk has not been written" is_as_before
check "commit of the second failback" quiet cli commit "$demo_machine"
check "the machine is protected again" state_is protected
check "no conflict, no trouble at the end" wait_for 120 "a status without conditions" conditions_are_none
cases_end
