#!/usr/bin/env bash
# Real block devices (loop devices) as targets: failback and failover from the vault and a master target write a device that
# is free, and refuse one that is mounted, held, swapped on, behind another loop device, of another size or another identity,
# which stays as it is. What the kernel's cache holds of a device is not believed. Needs root.
# Usage: block_device.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh
source tests/lib/loop.sh

mb=32
is_old() { [ "$(sum_of "$demo/old.img")" = "$old" ]; }
is_point() { [ "$(sum_of "$demo/old.img")" = "$truth" ]; }
failback() { cli --json failback "$demo_machine" --point "$point" --target "$device" --work-dir "$demo/work" "$@"; }
# The number of a device's first partition, as the kernel has it.
partition_of() {
    local name=${1##*/}
    partx -u "$1" 2>/dev/null || partx -a "$1" 2>/dev/null
    cat "/sys/block/$name/${name}p1/dev" 2>/dev/null
}
refused() { exit_code_is 3 failback && is_old; }
# The device as the disaster left it. Written as a disk of its own is by another host: beneath the device.
old_disk() { dd if="$demo/old.saved" of="$demo/old.img" bs=1M conv=notrunc,fsync status=none; }

demo_begin
loop_begin "block_device"
demo_interval=1s demo_listen_port=0
head -c $((mb / 2))M /dev/urandom > "$demo/given.img" && truncate -s ${mb}M "$demo/given.img"
demo_image_from "$demo/given.img" # One MiB more, of which each point has changed 4 KiB.
demo_config "url = \"dir://$demo/vault\""
cli vault create >/dev/null || die "vault create"
demo_start_server
demo_agent
demo_wait_points 2
demo_stop_agent
point=$(demo_point_ids | tail -n 1)
truth=$(demo_truth_of "$point")

# Of the old disk some blocks are other ones than the point's, and it can be mounted.
cli export "$demo_machine" --point "$point" --output "$demo/point.img" >/dev/null || die "no restore"
[ "$(sum_of "$demo/point.img")" = "$truth" ] || die "the restore differs from the source"
cp "$demo/point.img" "$demo/old.saved"
for i in 9 77 201 400; do
    head -c 512 /dev/urandom | dd of="$demo/old.saved" bs=65536 seek=$i conv=notrunc status=none
done
mke2fs -q -t ext4 -F "$demo/old.saved" 8M || die "mke2fs"
cp "$demo/old.saved" "$demo/old.img"
old=$(sum_of "$demo/old.img")
[ "$old" != "$truth" ] || die "the old disk is the point already"
loop_attach "$demo/old.img" && device=$loop_device || loop_skip "no free loop device"

# 1. Refusals: the device stays as it is.
check "another identity is refused" exit_code_is 3 failback --identity "device of-another"
check "it is untouched" is_old
check "a work directory must be named for a device" exit_code_is 2 \
    cli failback "$demo_machine" --point "$point" --target "$device"
truncate -s $((mb + 2))M "$demo/longer.img"
longer=$(sum_of "$demo/longer.img")
loop_attach "$demo/longer.img" || die "no second loop device"
longer_device=$loop_device
check "a device of another size is refused" exit_code_is 3 \
    cli failback "$demo_machine" --point "$point" --target "$loop_device" --work-dir "$demo/work"
check "it is untouched" test "$(sum_of "$demo/longer.img")" = "$longer"
blockdev --setro "$device"
check "a device that takes no writes is refused, and not at the switch" refused
check "with the reason" said 'TARGET_UNSAFE.*cannot be written.*Read-only'
blockdev --setrw "$device"
mkdir "$demo/mnt"
if loop_mount -o ro,noload "$device" "$demo/mnt"; then
    check "a mounted device is refused" refused
    check "and named so" said 'is mounted'
    loop_undone umount "$demo/mnt"
else
    skip "a mounted device is refused" "mounting is not allowed here"
fi
python3 -c 'import os, signal, sys; os.open(sys.argv[1], os.O_RDONLY | os.O_EXCL); print("held", flush=True); signal.pause()' \
    "$device" > "$demo/holder" & holder=$!
demo_pids+=($holder)
wait_for 60 "the device's holder" grep -q held "$demo/holder"
check "a device that a program holds exclusively is refused" refused
kill $holder; wait $holder 2>/dev/null
loop_attach "$device" || die "no third loop device"
check "a device behind another loop device is refused" refused
check "and named so" said 'lies behind'
loop_undone losetup -d "$loop_device"
cp "$demo/old.saved" "$demo/swap.img"
loop_attach "$demo/swap.img" || die "no third loop device"
swap=$loop_device
if loop_swapon "$swap"; then
    check "swap space is refused" exit_code_is 3 \
        cli failback "$demo_machine" --point "$point" --target "$swap" --work-dir "$demo/work"
    check "and named so" said 'is swap space'
    loop_undone swapoff "$swap"
else
    skip "swap space is refused" "swapon is not allowed here"
fi

# 2. What the kernel's cache holds of the device is stale: somebody reads it all, keeps it open, and it is written beneath.
dd if="$demo/point.img" of="$demo/old.img" bs=1M conv=notrunc,fsync status=none # It is the point…
exec 8< "$device"
blockdev --flushbufs "$device" # Somebody who looks at new devices may have kept it open, and cached what was there.
cached=$(sha256sum <&8 | cut -d' ' -f1)
old_disk # …and now it is not, but whoever reads the device as a file is told that it is.
echo "the cache of the device is $([ "$(sum_of "$device")" = "$old" ] && echo right: not provoked || echo stale)"
check "the cache held the point" test "$cached" = "$truth"
started=$(date +%s%N)
report=$(failback)
echo "failback of a device of $((mb + 1)) MiB: moved $(json_number moved_bytes <<<"$report") bytes," \
    "$((($(date +%s%N) - started) / 1000000)) ms"
check "the device's own content is compared, not the cache's" test "$(json_number moved_bytes <<<"$report")" -gt 0
check "the device is the point" is_point
exec 8<&-
check "also for those who read it through the kernel" test "$(sum_of "$device")" = "$truth"
report=$(failback)
check "a second failback moves nothing" test "$(json_number moved_bytes <<<"$report")" -eq 0

# 3. Killed before and after the switch.
killed_at() {  # PLACE: by SIGKILL, which nobody but the place sent.
    local status=0
    CAUSEWAY_CRASH_POINT=$1 failback >/dev/null 2>&1 || status=$?
    [ $status -eq 137 ]
}
wrong=0
for place in failback.block_taken:1 volume.extent_merged:2 volume.before_switch:1; do
    old_disk
    killed_at $place || { wrong=$((wrong + 1)); echo "$place is never reached"; }
    is_old || { wrong=$((wrong + 1)); echo "$place: the device has changed"; }
    failback --cancel >/dev/null || { wrong=$((wrong + 1)); echo "$place: cannot be cancelled"; }
done
check "killed before the switch, the device is as it was" test $wrong -eq 0
wrong=0
for place in volume.switched:1 volume.piece_copied:2 volume.copied:1; do
    old_disk
    killed_at $place || { wrong=$((wrong + 1)); echo "$place is never reached"; }
    failback >/dev/null || { wrong=$((wrong + 1)); echo "$place: the next run failed"; }
    is_point || { wrong=$((wrong + 1)); echo "$place: the device is not the point"; }
done
check "killed after the switch, the next run completes the device" test $wrong -eq 0

# 4. Failover from the vault: the device becomes the point, zeros too, whatever it held.
failover() { cli failover "$demo_machine" --point "$point" --output "$@"; }
failover_refused() { exit_code_is 3 failover "$device" --force && is_old; }
old_disk
check "failover writes no device unasked" exit_code_is 3 failover "$device"
check "it is untouched" is_old
if loop_mount -o ro,noload "$device" "$demo/mnt"; then
    check "failover to a mounted device is refused" failover_refused
    check "and named so" said 'is mounted'
    loop_undone umount "$demo/mnt"
else
    skip "failover to a mounted device is refused" "mounting is not allowed here"
fi
loop_attach "$device" || die "no third loop device"
check "failover to a device behind another loop device is refused" failover_refused
check "and named so" said 'lies behind'
loop_undone losetup -d "$loop_device"
# A disk of which one partition is mounted. Where nobody makes nodes for partitions, it is done by hand.
cp "$demo/old.saved" "$demo/parted.img"
truncate -s +8M "$demo/parted.img"
printf 'start=2048, size=32768, type=83\n' | sfdisk -q --no-reread --no-tell-kernel "$demo/parted.img" || die "sfdisk"
mke2fs -q -t ext4 -E offset=1048576 -F "$demo/parted.img" 16M || die "mke2fs of a partition"
parted=$(sum_of "$demo/parted.img")
partition=$demo/partition
if loop_attach "$demo/parted.img" && number=$(partition_of "$loop_device") && mknod "$partition" b ${number/:/ } &&
    loop_mount -o ro,noload "$partition" "$demo/mnt"; then
    check "failover to a disk with a mounted partition is refused" exit_code_is 3 failover "$loop_device" --force
    check "and named so" said 'is mounted'
    check "it is untouched" test "$(sum_of "$demo/parted.img")" = "$parted"
    loop_undone umount "$demo/mnt"
else
    skip "failover to a disk with a mounted partition is refused" "no partitions of loop devices here"
fi
truncate -s ${mb}M "$demo/shorter.img"
loop_attach "$demo/shorter.img" || die "no loop device for a smaller one"
check "failover to a smaller device is refused" exit_code_is 3 failover "$loop_device" --force
check "and named so" said 'the disk needs'
check "it is untouched" cmp "$demo/shorter.img" <(head -c ${mb}M /dev/zero)
noise() { head -c "$(stat -c %s "$1")" /dev/urandom | dd of="$1" bs=1M iflag=fullblock conv=notrunc,fsync status=none; }
noise "$demo/old.img"
check "failover to a free device" exit_code_is 0 failover "$device" --force --verify
check "the device is the point, and nothing of what it held" is_point
check "also for those who read it through the kernel" test "$(sum_of "$device")" = "$truth"
# The same by a recovery plan: it says so of the step, or the device stays as it is, however often the plan is run.
plan_says() {
    printf 'name = "%s"\n[[group]]\nname = "g"\n[[group.step]]\nname = "disk"\nmachine = "%s"\npoint = "%s"\noutput = "%s"\n%s\n' \
        "$1" "$demo_machine" "$point" "$device" "$2" > "$demo/$1.toml"
}
old_disk
plan_says unasked ""
check "a plan that does not say so is told beforehand" exit_code_is 1 cli plan check "$demo/unasked.toml"
check "by what it lacks" said 'FILE_EXISTS.*force = true'
check "it writes no device" exit_code_is 1 cli plan run "$demo/unasked.toml"
check "run again neither" exit_code_is 1 cli plan run "$demo/unasked.toml"
check "the device is untouched" is_old
plan_says asked "force = true"
if loop_mount -o ro,noload "$device" "$demo/mnt"; then
    check "a mounted device is seen beforehand" exit_code_is 1 cli plan check "$demo/asked.toml"
    check "a plan does not write it" exit_code_is 1 cli plan run "$demo/asked.toml"
    check "and names why" said 'is mounted'
    check "it is untouched" is_old
    loop_undone umount "$demo/mnt"
else
    skip "a plan does not write a mounted device" "mounting is not allowed here"
fi
check "a plan that says so is right beforehand" exit_code_is 0 cli plan check "$demo/asked.toml"
check "it writes the device" exit_code_is 0 cli plan run "$demo/asked.toml"
check "which is the point" is_point
noise "$demo/longer.img"
behind=$(tail -c 1M "$demo/longer.img" | sha256sum)
blockdev --flushbufs "$longer_device" # Written beneath: what is cached of it is stale.
check "a larger device is taken" exit_code_is 0 failover "$longer_device" --force
check "with a note" said "its last 1048576 bytes stay"
check "it begins with the point" test "$(head -c $((mb + 1))M "$demo/longer.img" | sha256sum | cut -d' ' -f1)" = "$truth"
check "what is behind it is as it was" test "$(tail -c 1M "$demo/longer.img" | sha256sum)" = "$behind"

# 5. A master target writes the device, and holds it from the first byte on.
kill "$demo_server_pid"; wait "$demo_server_pid" 2>/dev/null
old_disk
home=$demo demo=$demo/second
mkdir "$demo"
ordered_seed
demo_image=$demo/disk.img
cp "$home/point.img" "$demo_image"
demo_config "url = \"\""
causeway pki issue "$demo/pki" --role master-target --name second --host localhost,127.0.0.1 --out "$demo/pki/mt" >/dev/null
sed -i "s|pki/server\.|pki/mt.|; s|^name = .*|&\nrole = \"master-target\"|" "$demo/causeway.toml"
target_says() { cli --json target list 2>/dev/null | says "$1"; }
target_toml() { printf '[[target]]\nmachine = "%s"\ndisk = "disk"\npath = "%s"\nidentity = "%s"\n' "$demo_machine" "$device" "$1"; }
cp "$demo/causeway.toml" "$demo/without.toml"
target_toml "device of-another" >> "$demo/causeway.toml"
demo_start_server
ordered_agent # The target is opened when its machine says which disk it is.
check "a master target refuses another device, and says so" \
    wait_for 180 "the target's trouble" target_says "of-another"
check "it is not touched" test "$(sum_of "$home/old.img")" = "$old"
demo_stop_agent
kill "$demo_server_pid"; wait "$demo_server_pid" 2>/dev/null
cp "$demo/without.toml" "$demo/causeway.toml"
target_toml "$(stat -c 'device %Hr:%Lr' "$device")" >> "$demo/causeway.toml"
demo_start_server
ordered_agent
wait_for 180 "the agent's NBD socket" test -S "$demo/nbd.sock"
ordered_writer 200
wait_for 180 "the synchronisation" agent_protects
writer_go
note_two() { writer_pause; causeway-agent point --state "$demo/agent" --wait committed --timeout 150s >>"$demo/points.log" 2>&1; }
check "a point is committed" note_two
check "the device is untouched" test "$(sum_of "$home/old.img")" = "$old"
check "nobody mounts it meanwhile" eval '! mount -o ro "$device" "$home/mnt" 2>/dev/null'
demo_stop_agent
check "failover to the device" cli failover "$demo_machine" --point latest
check "the device is the point" test "$(sum_of "$home/old.img")" = "$ordered_truth"
demo=$home
cases_end
