#!/usr/bin/env bash
# A file system of this host is protected while it is written, and whatever becomes of the agent the writers go on: the volume
# belongs to qemu-storage-daemon, the agent attaches to it as to a virtual machine. Agents are killed, stand still and are
# replaced while the file system is written. Usage: splitter.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/guest.sh
source tests/lib/loop.sh

volume_mib=64
guest_root_mib=0  # The file system is the whole disk.
volume_is_there() { [ "$(stat -c %s "$demo/$1" 2>/dev/null)" = $((volume_mib << 20)) ]; }
start_agent() {
    mark=$(($(wc -l < "$demo/agent.log") + 1))
    guest_protect --disk vol --qemu-nbd "$demo/vol.nbd" --interval 3600s --mount "$demo/mnt"
    wait_for 180 "protection" guest_protected
}
kill_agent() {
    kill -9 "$demo_agent_pid"
    wait "$demo_agent_pid" 2>/dev/null
}
generations() { agent_json | grep -o '"generation": *[0-9]*' | tr -dc '0-9\n' | sort -u | paste -sd ' '; }
# What was read beneath fences since the last agent was started.
fenced_bytes() { tail -n "+$mark" "$demo/agent.log" | grep -o 'agent.fence.open.* bytes=[0-9]*' | sed 's/.*bytes=//' | awk '{ n += $1 } END { print n + 0 }'; }
resumed() {
    local bytes
    bytes=$(fenced_bytes)
    echo "read again: $((bytes >> 10)) KiB of $((volume_mib << 10))"
    [ "$(generations)" = 1 ] && [ "$bytes" -gt 0 ] && [ "$bytes" -lt $((volume_mib << 19)) ]
}
# reattached PATTERN: since it was started the agent has said that, and then that it is attached.
reattached() { [ -n "$(tail -n "+$mark" "$demo/agent.log" | awk -v said="$1" '$0 ~ said { s = 1 } s && /agent.mode mode=DATA/ { print }')" ]; }

# What the machine itself costs is measured beside it: the same steps on a volume of the same make that nobody protects.
stalls_begin() { stalls_since=$(date +%s.%N); }
worst_of() { awk -v since="$stalls_since" '$1 >= since && $2 > worst { worst = $2 } END { print worst + 0 }' "$demo/$1"; }
has_steps() { [ "$(wc -l < "$demo/$1")" -ge "$2" ]; }
more_steps() { wait_for 300 "a step of $1" has_steps "$1" $(($(wc -l < "$demo/$1") + 2)); }
# stalls_check WHAT: no step took a second. Where the machine itself is late by more than a tenth of one, five times that is
# no fault of ours: the guard looks so often before it cuts.
stalls_check() {
    local worst late allowed=1000
    more_steps times && more_steps late  # Whoever is late says so afterwards.
    worst=$(worst_of times) late=$(worst_of late)
    [ "$late" -le 100 ] || allowed=$((1000 + 5 * late))
    check "$1 ($worst ms at most; $late ms on a volume that is not protected)" [ "$worst" -lt $allowed ]
}
points_are_right() {
    local tag promised id count=0
    guest_points > "$demo/in-vault"
    while read -r tag promised; do
        id=$(awk -v tag="$tag" '$1 == tag { print $2 }' "$demo/in-vault")
        [ -n "$id" ] && guest_restore "$id" vol "$demo/restored" || { echo "point $tag cannot be restored"; return 1; }
        guest_check_image "$demo/restored" "$promised" || { echo "(point $tag)"; return 1; }
        count=$((count + 1))
    done < "$demo/noted"
    echo "$count points restored: file systems whole, logs without a gap"
}
is_point() { guest_restore "$(guest_points | awk -v tag="$1" '$1 == tag { print $2 }')" vol "$demo/restored"; }
# is_exactly TAG|latest FILE: that point, byte for byte.
is_exactly() {
    local id=latest
    [ "$1" = latest ] || id=$(guest_points | awk -v tag="$1" '$1 == tag { print $2 }')
    [ -n "$id" ] && guest_restore "$id" vol "$demo/restored" && cmp "$demo/restored" "$2"
}

demo_begin
loop_begin splitter
command -v qemu-storage-daemon >/dev/null || loop_skip "needs qemu-storage-daemon"
[[ $(qemu-storage-daemon --help) = *fuse,id=* ]] || loop_skip "needs a qemu-storage-daemon that can FUSE"
[ -w /dev/fuse ] || loop_skip "needs /dev/fuse"
guest_site
# start_daemon NAME MONITOR
start_daemon() {
    qemu-storage-daemon \
        --chardev "socket,id=qmp,path=$demo/$2,server=on,wait=off" --monitor chardev=qmp \
        --blockdev "driver=raw,node-name=$1,file.driver=file,file.filename=$demo/$1.img,discard=unmap,file.discard=unmap" \
        --nbd-server "addr.type=unix,addr.path=$demo/$1.nbd" --export "type=nbd,id=$1,node-name=$1,writable=on" 2>>"$demo/daemon.log" &
    daemon_pid=$!
    demo_pids+=($daemon_pid)
    wait_for 180 "the daemon of $1" test -S "$demo/$1.nbd"
}
# mount_volume NAME DIRECTORY MONITOR: a new file system, in the end mounted; daemon_pid, file_pid and loop_device are its.
mount_volume() {
    local deadline=$((SECONDS + 180))
    truncate -s ${volume_mib}M "$demo/$1.img"
    mke2fs -q -t ext4 -F "$demo/$1.img" || die "no file system"
    mkdir "$2" && : > "$demo/$1"
    loop_undo+=("umount -l $demo/$1")  # Last, if the daemon left it behind.
    start_daemon "$1" "$3"
    qemu-storage-daemon \
        --blockdev "driver=nbd,node-name=$1,server.type=unix,server.path=$demo/$1.nbd,export=$1,reconnect-delay=600" \
        --export "type=fuse,id=$1,node-name=$1,mountpoint=$demo/$1,writable=on" 2>>"$demo/daemon.log" &
    file_pid=$!
    demo_pids+=($file_pid)
    until volume_is_there "$1"; do
        [ $SECONDS -lt $deadline ] || die "the volume does not appear (see $demo/daemon.log)"
        kill -0 $file_pid 2>/dev/null || loop_skip "FUSE cannot be mounted here: $(tail -n 1 "$demo/daemon.log")"
        sleep 0.05
    done
    loop_attach "$demo/$1" || loop_skip "no loop device over FUSE"
    loop_mount -t ext4 "$loop_device" "$2" || loop_skip "cannot mount"
    mkdir "$2/files"
}
: > "$demo/times" && : > "$demo/late" && : > "$demo/vm.console" && : > "$demo/agent.log"
mount_volume beside "$demo/unprotected" beside.qmp
python3 tests/e2e/volume_writer.py "$demo/unprotected" /dev/null "$demo/late" 2>>"$demo/writer.log" &
beside_pid=$!
demo_pids+=($beside_pid)
mount_volume vol "$demo/mnt" vm.qmp
python3 tests/e2e/volume_writer.py "$demo/mnt" "$demo/vm.console" "$demo/times" 2>>"$demo/writer.log" &
writer_pid=$!
demo_pids+=($writer_pid)
guest_wrote vm 5

stalls_begin
start_agent
for tag in p1 p2; do
    guest_wrote vm 10
    guest_point $tag || die "no point $tag: $(tail -n 1 "$demo/points.log")"
done
pass "a file system that is mounted and written is protected without being unmounted"
stalls_check "its writers do not stall while it is read for the first time"

stalls_begin
for round in 1 2 3; do
    kill_agent
    guest_wrote vm 10
    start_agent
    check "kill -9 of the agent ($round): only what was written without it is read again" resumed
    guest_point "k$round" || die "no point k$round: $(tail -n 1 "$demo/points.log")"
done
stalls_check "kill -9 of the agent does not stall the writers, and neither does its return"

# An agent that stands still answers nothing and closes nothing: its guard does.
stalls_begin
kill -STOP "$demo_agent_pid"
guest_wrote vm 10
stalls_check "an agent that stands still (SIGSTOP) stalls the writers for less than a second"
kill -CONT "$demo_agent_pid"
wait_for 300 "the agent to attach anew" reattached agent.qemu.restart
wait_for 300 "protection after the agent stood still" guest_protected
guest_point s1 || die "no point s1"

stalls_begin
causeway-agent stop --state "$demo/agent" || die "the agent does not stop"
wait "$demo_agent_pid" 2>/dev/null
guest_wrote vm 10
start_agent
check "an agent that replaces another one: only what was written between them is read again" resumed
guest_point u1 || die "no point u1"
stalls_check "stopping an agent and starting another one does not stall the writers"

# Nothing can pause who writes here: a planned failover is refused if there were writes after the last point, which a server
# that stands still holds back until there are.
refused() {
    local stop_pid refusal=0
    kill -STOP "$demo_server_pid"
    causeway-agent stop --state "$demo/agent" --final --timeout 300s 2>"$demo/refused" &
    stop_pid=$!
    wait_for 180 "the agent to let go" test ! -S "$demo/agent/capture.sock"
    guest_wrote vm 3
    kill -CONT "$demo_server_pid"
    wait $stop_pid || refusal=$?
    [ $refusal -ne 0 ] && grep -q TARGET_UNSAFE "$demo/refused"
}
check "a planned stop of a volume that is still written is refused" refused
wait "$demo_agent_pid" 2>/dev/null
start_agent

# Its writers wait for the volume's daemon, as for a disk that is reset; what it had been told it has.
{ kill -9 "$daemon_pid"; wait "$daemon_pid"; } 2>/dev/null
start_daemon vol vm.qmp
guest_wrote vm 10
wait_for 300 "the agent to see the volume again" reattached provable=false
wait_for 300 "protection of the volume that is back" guest_protected
check "kill -9 of the volume's daemon: when it is back, all is compared, because its bitmap is lost" guest_compared_again
guest_point d1 || die "no point d1"

# The agent freezes it for the cut.
needs_no_journal() { guest_check_image "$demo/restored" 1 && [ "$guest_needs_recovery" = no ]; }
is_filesystem_point() { [ "$(guest_points | awk '$1 == "quiet" { print $3 }')" = filesystem ] && is_point quiet && needs_no_journal; }
causeway-agent point --state "$demo/agent" --tag quiet --frozen --wait committed --timeout 300s >>"$demo/points.log" 2>&1 ||
    die "no point quiet: $(tail -n 1 "$demo/points.log")"
check "a point for which the agent froze it needs no journal" is_filesystem_point
check "and the writers go on" guest_wrote vm 5

# The file system stands still: what the point holds is what the volume is.
if fsfreeze -f "$demo/mnt" 2>>"$demo/cli.log"; then
    loop_undo+=("fsfreeze -u $demo/mnt")
    guest_point frozen || fail "a point of the frozen file system"
    cp --sparse=always "$demo/vol.img" "$demo/frozen.img"
    loop_undone fsfreeze -u "$demo/mnt"
    check "a point made while it was frozen is the volume, byte for byte" is_exactly frozen "$demo/frozen.img"
else
    skip "a point of the frozen file system" "it cannot be frozen here"
fi

guest_wrote vm 10
kill "$writer_pid" "$beside_pid"
wait "$writer_pid" "$beside_pid" 2>/dev/null
check "no writer ever saw an error" test ! -s "$demo/writer.log"
unmounted() { loop_undone umount "$demo/mnt" 2>/dev/null; }
check "unmounted" wait_for 60 "what still holds it" unmounted
check "and let go of" loop_undone losetup -d "$loop_device"
check "the agent is stopped with a last point" causeway-agent stop --state "$demo/agent" --final --timeout 300s
check "the last point is the volume, byte for byte" is_exactly latest "$demo/vol.img"
kill $file_pid
check "the file's daemon ends in order" wait $file_pid
kill $daemon_pid
check "the volume's daemon ends in order" wait $daemon_pid
check "every point is a state a power cut could have left" points_are_right
cases_end
