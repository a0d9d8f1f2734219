#!/usr/bin/env bash
# An image on a file system with reflinks (xfs): a scan reads a clone of it, so that its point is one moment while the writer
# goes on; with a file system frozen for the clone it is thawed at once, and the point needs no recovery. Needs root and a
# loop device. Usage: reflink.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/loop.sh

mb=48
demo_begin
loop_begin "reflink"
demo_listen_port=0
truncate -s 400M "$demo/xfs.img"
mkfs.xfs -q -m reflink=1 "$demo/xfs.img" || loop_skip "mkfs.xfs cannot make a file system with reflinks"
mkdir "$demo/xfs" "$demo/inner"
loop_attach "$demo/xfs.img" || loop_skip "no free loop device"
loop_mount "$loop_device" "$demo/xfs" || loop_skip "the kernel does not mount xfs here"

# The writer writes its count into the first block, and then the same count into the last one, for ever: what it was at one
# moment has the same count in both, or one more in the first. Read from front to back while it goes on, it has many more
# in the last.
cat > "$demo/counter" <<'P'
import os, signal, sys
disk = os.open(sys.argv[1], os.O_WRONLY)
last = os.fstat(disk).st_size - 4096
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
count = 0
while True:
    count += 1
    content = count.to_bytes(8, "little")
    os.pwrite(disk, content, 0)
    os.pwrite(disk, content, last)
P
number_at() { od -A n -t u8 -j "$2" -N 8 "$1" | tr -d ' '; }
protect() { # protect STATE MORE…: the agent of one image, and its first point.
    agent_state=$1
    causeway-agent protect --server "127.0.0.1:$demo_port" --ca "$demo/pki/ca.crt" --cert "$demo/pki/machine.crt" \
        --key "$demo/pki/machine.key" --state "$agent_state" --disk-name disk --machine-name demo-machine --interval 3600s \
        "${@:2}" 2>>"$demo/agent.log" &
    demo_agent_pid=$!
    demo_pids+=($demo_agent_pid)
}
point() { causeway-agent point --state "$agent_state" --wait committed --timeout 100s >>"$demo/points.log" 2>&1; }
restore() {
    rm -f "$demo/restored"
    causeway --config "$demo/causeway.toml" export "$demo_machine" --point latest --output "$demo/restored" >>"$demo/cli.log" 2>&1
}
is_one_moment() {
    local first last
    restore || return 1
    first=$(number_at "$demo/restored" 0) last=$(number_at "$demo/restored" $((mb * 1048576 - 4096)))
    echo "first block $first, last block $last"
    [ "$last" -gt 0 ] && { [ "$first" -eq "$last" ] || [ "$first" -eq $((last + 1)) ]; }
}
writer_goes_on() { [ "$(number_at "$demo/xfs/disk.img" 0)" -gt "$1" ]; }

# 1. No hook, nothing frozen: the clone alone makes it one moment.
head -c ${mb}M /dev/urandom > "$demo/xfs/disk.img"
python3 "$demo/counter" "$demo/xfs/disk.img" & counter=$!
demo_pids+=($counter)
demo_config "url = \"dir://$demo/vault\""
causeway --config "$demo/causeway.toml" vault create >/dev/null || die "vault create"
demo_start_server
protect "$demo/agent" --image "$demo/xfs/disk.img"
wait_for 180 "the first point" point
check "the first point is one moment" is_one_moment
for i in 1 2 3; do
    before=$(number_at "$demo/xfs/disk.img" 0)
    check "point $i while the writer goes on is made" point
    check "it is one moment" is_one_moment
    check "the writer went on" wait_for 60 "the writer" writer_goes_on "$before"
done
check "no clone is left" test "$(ls "$demo/xfs")" = disk.img
demo_stop_agent
kill $counter; wait $counter 2>/dev/null

# The same where no reflink is: no point, and it says why.
cp "$demo/xfs/disk.img" "$demo/plain.img"
if cp --reflink=always "$demo/plain.img" "$demo/clone.img" 2>/dev/null; then
    skip "without reflinks a running writer gets no point" "this file system has reflinks"
else
    protect "$demo/agent-plain" --image "$demo/plain.img"
    answer() { [[ $(causeway-agent point --state "$agent_state" --wait sent --timeout 60s 2>&1) == *SOURCE_UNFROZEN* ]]; }
    check "without reflinks a running writer gets no point" wait_for 120 "the agent's refusal" answer
    demo_stop_agent
fi

# 2. A file system in the image, frozen for the clone only.
truncate -s ${mb}M "$demo/xfs/inner.img"
mke2fs -q -t ext4 -F "$demo/xfs/inner.img" || die "mke2fs"
if ! loop_attach "$demo/xfs/inner.img" || ! loop_mount "$loop_device" "$demo/inner"; then
    skip "a frozen file system" "no second loop device"
    cases_end
    exit
fi
head -c 8M /dev/urandom > "$demo/inner/file"
python3 -c 'import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with open(sys.argv[1], "a") as log:
    for n in range(10**12):
        print(n, file=log, flush=True)
        if n % 100000 == 99999:
            log.truncate(0)' "$demo/inner/log" & counter=$!
demo_pids+=($counter)
demo_machine_before=$demo_machine
demo_second=$(cat /proc/sys/kernel/random/uuid)
causeway pki issue "$demo/pki" --role machine --id "$demo_second" --name inner --out "$demo/pki/inner" >/dev/null
cp "$demo/pki/inner.crt" "$demo/pki/machine.crt" && cp "$demo/pki/inner.key" "$demo/pki/machine.key"
demo_machine=$demo_second
protect "$demo/agent-inner" --image "$demo/xfs/inner.img" --mount "$demo/inner"
wait_for 180 "the first point of the file system" point
needs_no_recovery() { restore && ! dumpe2fs -h "$demo/restored" 2>/dev/null | says needs_recovery; }
is_clean() { e2fsck -fn "$demo/restored" >>"$demo/cli.log" 2>&1; }
file_is_whole() {
    rm -f "$demo/file"
    debugfs -R "dump /file $demo/file" "$demo/restored" >/dev/null 2>&1 && cmp "$demo/file" "$demo/inner/file"
}
check "the live file system needs recovery" eval 'dumpe2fs -h "$demo/xfs/inner.img" 2>/dev/null | says needs_recovery'
check "a point while files are written is made" point
check "it needs no recovery" needs_no_recovery
check "it is clean" is_clean
check "it holds the file" file_is_whole
size=$(stat -c %Y%s "$demo/inner/log")
check "the file system is thawed: the writer goes on" \
    wait_for 60 "the writer" eval '[ "$(stat -c %Y%s "$demo/inner/log")" != "$size" ]'
demo_stop_agent
kill $counter; wait $counter 2>/dev/null
cases_end
