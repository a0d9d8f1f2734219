#!/usr/bin/env bash
# A running machine's disk becomes a disk at another site: only blocks that differ travel; the daemon is killed before
# and after the switch; the target is as it was, or the point, and nothing else. Usage: master_target.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh

mb=64
target() { causeway --config "$demo/causeway.toml" target "$@"; }
is_old() { [ "$(sum_of "$demo/target.img")" = "$old" ]; }
is_point() { [ "$(sum_of "$demo/target.img")" = "$truth" ]; }
target_number() { causeway --config "$demo/causeway.toml" --json target list 2>/dev/null | json_number "$1"; }
held_point() { target list 2>/dev/null | sed -n 's/.*holds point \([0-9a-f-]*\) .*/\1/p'; }
kept_has() { causeway --config "$demo/causeway.toml" --json target list | sed -n '/earlier_points/,/]/p' | says "\"$1\""; }
phase_is() { target list 2>/dev/null | says "target.img  $1\$"; }
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
# The target is an old copy of the disk: 1 % of its 64 KiB blocks are other ones.
ordered_image $mb
head -c ${mb}M /dev/urandom > "$demo_image"
cp "$demo_image" "$demo/target.img"
blocks=$((mb * 16))
for ((i = 0; i < (blocks + 99) / 100; i++)); do
    head -c 512 /dev/urandom | dd of="$demo/target.img" bs=512 seek=$((i * 100 * 128 + RANDOM % 128)) conv=notrunc status=none
done
old=$(sum_of "$demo/target.img")

demo_start_server
ordered_pin_port
ordered_agent
wait_for 180 "the agent's NBD socket" test -S "$demo/nbd.sock"
ordered_writer 200
wait_for 180 "the initial synchronisation" agent_protects
sent=$(agent_json | json_number sent_bytes) digests=$((blocks * 16))
echo "disk $((mb << 20)) bytes, $(((blocks + 99) / 100)) of $blocks blocks differ: the agent sent $sent bytes," \
    "$(target_number blocks_compared) digests were made for it"
# Once in a summary of 4 MiB, and again alone where the summaries differ.
check "every block was compared by digest" test "$(target_number blocks_compared)" -ge $blocks
# What is sent counts tables and control frames too: 4 KiB for each of these few frames.
check "at most 2 % of the disk and its digests travelled" test "$sent" -gt 0 -a "$sent" -le $(((mb << 20) / 50 + digests + 65536))
check "the target took at most 2 %" test "$(target_number taken_bytes)" -gt 0 -a "$(target_number taken_bytes)" -le $(((mb << 20) / 50))
writer_go
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
wait_for 180 "the agent's session" agent_live
check "a point after the restart is committed" note_point two committed
truth=$ordered_truth
second=$(held_point)
check "it is another point" test "$second" != "$first"
check "the point before it is kept" kept_has "$first"
check "a point that it never held is refused" exit_code_is 4 target switch "$demo_machine" disk --point "$demo_machine"
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
wait_for 180 "a point of the new history" new_point
truth=$ordered_truth
second=$(held_point)
check "the new history has a point" test -n "$second"

# A later point is held; what is wanted is the one before it. Killed right after the word was given.
writer_go
check "a later point is committed" note_point later committed
later=$(held_point)
check "it is held, and the one before it is kept" kept_has "$second"
writer_go
kill_server
CAUSEWAY_CRASH_POINT=target.switched:1 demo_start_server
check "the held point survives" test "$(held_point)" = "$later"
target switch "$demo_machine" disk --point "$second" >>"$demo/cli.log" 2>&1
wait "$demo_server_pid" 2>/dev/null
check "killed after the switch, before anything is applied" is_old
CAUSEWAY_CRASH_POINT=volume.piece_copied:1 demo_try_server  # It may be gone before it can be asked.
wait "$demo_server_pid" 2>/dev/null
demo_start_server
wait_for 180 "the switch" phase_is done
check "the target is byte-identical to the source at the earlier point" is_point
check "a done target is not switched again" exit_code_is 3 target switch "$demo_machine" disk --point "$second"
check "it stays the point while the machine runs on" is_point
cases_end
