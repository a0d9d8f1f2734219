#!/usr/bin/env bash
# A scan of a mounted logical volume reads an LVM snapshot of it: its writers are held for the moment in which it is made.
# The tools of LVM are stood in for by tests/lib/lvm_tool.sh (see docs/decisions/0020); devices and file systems are real.
# Needs root and loop devices. Usage: lvm.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/loop.sh

demo_begin
loop_begin lvm
mkdir "$demo/mnt" "$demo/tools" "$demo/tools/vg0"
group=$demo/tools/vg0
truncate -s 48M "$demo/volume.img"
mke2fs -q -t ext4 -F "$demo/volume.img" || die "mke2fs"
loop_attach "$demo/volume.img" || loop_skip "no free loop device"
loop_mount "$loop_device" "$demo/mnt" || loop_skip "cannot mount"
for tool in lvs lvcreate lvremove; do cp tests/lib/lvm_tool.sh "$demo/tools/$tool" && chmod +x "$demo/tools/$tool"; done
echo "$loop_device" > "$group/ORIGIN.path"
echo "$demo/mnt" > "$group/mount"
snapshots() { ls "$group" | grep '^causeway-.*path$'; }
no_snapshot_left() { [ -z "$(snapshots)" ]; }
release_snapshots() { for each in "$group"/causeway-*.path; do [ ! -e "$each" ] || losetup -d "$(<"$each")"; done; }
loop_undo+=("release_snapshots")

demo_listen_port=0
demo_config "url = \"dir://$demo/vault\""
causeway --config "$demo/causeway.toml" vault create >/dev/null || die "vault create"
demo_start_server
protect() {
    causeway-agent protect --server "127.0.0.1:$demo_port" --ca "$demo/pki/ca.crt" --cert "$demo/pki/machine.crt" \
        --key "$demo/pki/machine.key" --state "$demo/agent" --disk "$loop_device" --mount "$demo/mnt" --disk-name disk \
        --machine-name demo-machine --interval 3600s --snapshot always --snapshot-size 20MiB --lvm-tools "$demo/tools" \
        --pre-hook "sh -c 'echo pre >> $group/calls'" \
        --post-hook "sh -c 'echo post >> $group/calls'" \
        --app-hooks 2>>"$demo/agent.log" &
    demo_agent_pid=$!
    demo_pids+=($demo_agent_pid)
}
point() { causeway-agent point --state "$demo/agent" --tag "$1" --wait committed --timeout 100s >"$demo/point" 2>&1; }
refused() { ! point "$1" && cat "$demo/point" && says "SNAPSHOT_FAILED.*$2" < "$demo/point"; }
restore() {
    rm -f "$demo/restored"
    causeway --config "$demo/causeway.toml" export "$demo_machine" --point latest --output "$demo/restored" >>"$demo/cli.log" 2>&1
}
file_is_whole() {
    rm -f "$demo/file"
    debugfs -R "dump /file $demo/file" "$demo/restored" >/dev/null 2>&1 && cmp "$demo/file" "$demo/mnt/file"
}
needs_no_recovery() { ! dumpe2fs -h "$demo/restored" 2>/dev/null | says needs_recovery && e2fsck -fn "$demo/restored" >>"$demo/cli.log" 2>&1; }
can_write() { timeout 60 touch "$demo/mnt/probe"; }

head -c 8M /dev/urandom > "$demo/mnt/file" && sync -f "$demo/mnt"
python3 -c 'import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with open(sys.argv[1], "a") as log:
    for n in range(10**12):
        print(n, file=log, flush=True)
        if n % 100000 == 99999:
            log.truncate(0)' "$demo/mnt/log" & counter=$!
demo_pids+=($counter)
protect
wait_for 180 "the first point" point first
wait_for 60 "its post-hook" grep -qx post "$group/calls"
: > "$group/calls"
head -c 4M /dev/urandom | dd of="$demo/mnt/file" bs=1M conv=notrunc status=none && sync -f "$demo/mnt"
check "a point of a volume that is mounted and written" point second
# The post-hook runs beside the tools: only what it comes after is sure.
calls_are() { [ "$(cut -d' ' -f1 "$group/calls" | grep -v "$1" | paste -sd ' ')" = "$2" ]; }
check "the tools are called in their order" calls_are post "lvs lvs pre lvcreate lvs lvs lvremove"
check "the hooks ran around the snapshot, not around the scan" wait_for 60 "the post-hook" calls_are "lvs\|lvremove" "pre lvcreate post"
check "the snapshot had the room that was asked for" grep -q -- "--size 20971520b vg0/data" "$group/calls"
check "it is restored" restore
check "it needs no recovery and is clean" needs_no_recovery
check "it holds the file" file_is_whole
check "no snapshot is left" no_snapshot_left

: > "$group/no-space"
check "a group without space: no point, in LVM's own words" refused third "insufficient free space"
check "and the writers go on" can_write
rm "$group/no-space"
: > "$group/full"
check "a snapshot that runs full: no point" refused fourth "ran full"
check "and it is removed" no_snapshot_left
rm "$group/full"
printf 'busy\nbusy\n' > "$group/busy"
check "a snapshot that is busy for a moment: a point" point fifth
check "and it is removed all the same" no_snapshot_left

# Killed when the snapshot stands.
: > "$group/stay"
causeway-agent point --state "$demo/agent" --timeout 100s >>"$demo/points.log" 2>&1 &
asked=$!
snapshot_stands() { [ -n "$(snapshots)" ]; }
wait_for 100 "the snapshot" snapshot_stands
kill -9 "$demo_agent_pid"
wait "$demo_agent_pid" "$asked" 2>/dev/null
check "an agent is killed while a snapshot stands" snapshot_stands
rm "$group/stay"
protect
check "the next agent removes it" wait_for 100 "the removal" no_snapshot_left
check "and goes on" wait_for 180 "the next point" point sixth
check "with what the volume holds" eval 'restore && needs_no_recovery && file_is_whole'
kill $counter; wait $counter 2>/dev/null
demo_stop_agent
check "no snapshot is left at the end" no_snapshot_left
cases_end
