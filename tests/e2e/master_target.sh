#!/usr/bin/env bash
# A running machine's disk becomes a disk at another site: the daemon is killed before and after the switch; the target
# is as it was, or the point, and nothing else. Usage: master_target.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh

mb=16
target() { causeway --config "$demo/causeway.toml" target "$@"; }
sum_of() { sha256sum < "$1" | cut -d' ' -f1; }
is_old() { [ "$(sum_of "$demo/target.img")" = "$old" ]; }
is_point() { [ "$(sum_of "$demo/target.img")" = "$truth" ]; }
exit_code_is() { local wanted=$1; shift; "$@" >>"$demo/cli.log" 2>&1; [ $? -eq "$wanted" ]; }
held_point() { target list 2>/dev/null | sed -n 's/.*holds point \([0-9a-f-]*\) .*/\1/p'; }
phase_is() { target list 2>/dev/null | grep -q "target.img  $1\$"; }
kill_server() { kill -9 "$demo_server_pid"; wait "$demo_server_pid" 2>/dev/null || true; }

demo_begin
ordered_seed
demo_config "url = \"\""
causeway pki issue "$demo/pki" --role master-target --name second-site --host localhost,127.0.0.1 --out "$demo/pki/mt" >/dev/null
sed -i "s|pki/server\.|pki/mt.|; s|^name = .*|&\nrole = \"master-target\"|" "$demo/causeway.toml"
cat >> "$demo/causeway.toml" <<TOML
[[target]]
machine = "$demo_machine"
disk = "disk"
path = "$demo/target.img"
TOML
head -c ${mb}M /dev/urandom > "$demo/target.img"
old=$(sum_of "$demo/target.img")

demo_start_server
ordered_pin_port
ordered_image $mb
ordered_agent
wait_for 60 "the agent's NBD socket" test -S "$demo/nbd.sock"
ordered_writer 200
writer_go
wait_for 120 "the initial synchronisation" agent_protects
check "a first point is committed" note_point one committed
first=$(held_point)
check "the target holds a point" test -n "$first"
check "the target is untouched" is_old

# Killed while it takes: it resumes, and the stream goes on.
writer_go
sleep 1
kill_server
check "killed before the switch: the target is untouched" is_old
demo_start_server
wait_for 60 "the agent's session" agent_live
check "a point after the restart is committed" note_point two committed
truth=$ordered_truth
second=$(held_point)
check "it is another point" test "$second" != "$first"
check "another point than the held one is refused" exit_code_is 4 target switch "$demo_machine" disk --point "$first"
check "an unknown disk is refused" exit_code_is 4 target switch "$demo_machine" none --point "$second"
check "still untouched" is_old

# An operator forgets what was collected: the agent begins a new history by itself.
check "what was collected can be cancelled" exit_code_is 0 target cancel "$demo_machine" disk
check "then no point is held" test -z "$(held_point)"
writer_go
new_point() {  # The first may be made before the agent knows: it is never committed.
    writer_pause
    causeway-agent point --state "$demo/agent" --wait committed --timeout 3s >>"$demo/points.log" 2>&1 && [ -n "$(held_point)" ] && return
    writer_go
    false
}
wait_for 60 "a point of the new history" new_point
truth=$ordered_truth
second=$(held_point)
check "the new history has a point" test -n "$second"

# What is written after the point is not part of it. Killed right after the word was given.
writer_go
sleep 1
kill_server
CAUSEWAY_CRASH_POINT=target.switched:1 demo_start_server
check "the held point survives" test "$(held_point)" = "$second"
target switch "$demo_machine" disk --point "$second" >>"$demo/cli.log" 2>&1
wait "$demo_server_pid" 2>/dev/null
check "killed after the switch, before anything is applied" is_old
demo_start_server
wait_for 30 "the switch" phase_is done
check "the target is byte-identical to the source at the point" is_point
check "a done target is not switched again" exit_code_is 3 target switch "$demo_machine" disk --point "$second"
check "it stays the point while the machine runs on" is_point
cases_end
