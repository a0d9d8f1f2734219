#!/usr/bin/env bash
# A file system of this host is protected while it is written, every write in order: it is mounted over a volume that
# qemu-storage-daemon exports and the agent writes. The server is killed, the agent is killed, and in the end it is unmounted
# for a last point. Usage: volume.sh BUILD_DIRECTORY
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
protect_volume() {
    causeway-agent protect --server "127.0.0.1:$demo_port" --ca "$demo/pki/ca.crt" --cert "$demo/pki/machine.crt" \
        --key "$demo/pki/machine.key" --state "$demo/agent" --machine-name demo-machine --image "$demo/volume.img" \
        --disk-name vol --nbd-socket "$demo/nbd.sock" --interval 3600s --mount "$demo/mnt" \
        --pre-hook "sh -c 'echo pre >> $demo/hooks; test ! -e $demo/refuse'" --post-hook "sh -c 'echo post >> $demo/hooks'" \
        --app-hooks 2>>"$demo/agent.log" &
    demo_agent_pid=$!
    demo_pids+=($demo_agent_pid)
}
volume_is_there() { [ "$(stat -c %s "$demo/volume" 2>/dev/null)" = $((volume_mib << 20)) ]; }
# What the guest of tests/lib/guest.sh does, on this host: the console says what was promised.
write_for_ever() {
    local i=0
    while :; do
        i=$((i + 1))
        echo "line $i" >> "$demo/mnt/log" && sync -f "$demo/mnt/log" || exit 1
        if ((i % 5 == 0)); then
            yes $i | head -c $(((i % 40 + 1) * 4096)) > "$demo/mnt/files/$i"
            rm -f "$demo/mnt/files/$((i - 40))"
        fi
        echo "LINE $i ." >> "$demo/vm.console"
    done
}
generations() { agent_json | grep -o '"generation": *[0-9]*' | tr -dc '0-9\n' | sort -u | paste -sd ' '; }
# What was read beneath fences since that line of the agent's log.
fenced_bytes() { tail -n "+$1" "$demo/agent.log" | grep -o 'agent.fence.open.* bytes=[0-9]*' | sed 's/.*bytes=//' | awk '{ n += $1 } END { print n + 0 }'; }
little_was_read() { [ "$(generations)" = 1 ] && [ "$missed" -lt $((volume_mib << 18)) ]; }
planned_is_exact() {
    local planned
    planned=$(guest_points | awk '$3 == "planned" { print $2 }')
    [ -n "$planned" ] && guest_restore "$planned" vol "$demo/restored" && cmp "$demo/restored" "$demo/volume.img"
}
frozen_point() { # TAG
    local promised
    promised=$(guest_line vm)
    causeway-agent point --state "$demo/agent" --tag "$1" --frozen --wait committed --timeout 300s >>"$demo/points.log" 2>&1 ||
        die "no point $1: $(tail -n 1 "$demo/points.log")"
    echo "$1 $promised" >> "$demo/noted"
}
is_kind() { [ "$(guest_points | awk -v tag="$1" '$1 == tag { print $3 }')" = "$2" ]; }
needs_journal() { # TAG yes|no
    guest_restore "$(guest_points | awk -v tag="$1" '$1 == tag { print $2 }')" vol "$demo/restored" &&
        guest_check_image "$demo/restored" 1 && [ "$guest_needs_recovery" = "$2" ]
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

demo_begin
loop_begin volume
command -v qemu-storage-daemon >/dev/null || loop_skip "needs qemu-storage-daemon"
[[ $(qemu-storage-daemon --help) = *fuse,id=* ]] || loop_skip "needs a qemu-storage-daemon that can FUSE"
[ -w /dev/fuse ] || loop_skip "needs /dev/fuse"
guest_site
truncate -s ${volume_mib}M "$demo/volume.img"
mke2fs -q -t ext4 -F "$demo/volume.img" || die "no file system"
mkdir "$demo/mnt" && : > "$demo/volume"
loop_undo+=("umount -l $demo/volume")  # Last, if the daemon left it behind.
protect_volume
wait_for 180 "the agent's NBD socket" test -S "$demo/nbd.sock"
qemu-storage-daemon \
    --blockdev "driver=nbd,node-name=vol,server.type=unix,server.path=$demo/nbd.sock,export=vol,reconnect-delay=86400" \
    --export "type=fuse,id=vol,node-name=vol,mountpoint=$demo/volume,writable=on" 2>>"$demo/daemon.log" &
daemon_pid=$!
demo_pids+=($daemon_pid)
deadline=$((SECONDS + 180))
until volume_is_there; do
    [ $SECONDS -lt $deadline ] || die "the volume does not appear (see $demo/daemon.log)"
    kill -0 $daemon_pid 2>/dev/null || loop_skip "FUSE cannot be mounted here: $(tail -n 1 "$demo/daemon.log")"
    sleep 0.05
done
loop_attach "$demo/volume" || loop_skip "no loop device over FUSE"
loop_mount -t ext4 "$loop_device" "$demo/mnt" || loop_skip "cannot mount"
mkdir "$demo/mnt/files" && : > "$demo/vm.console"
write_for_ever &
writer_pid=$!
demo_pids+=($writer_pid)
guest_wrote vm 5
wait_for 180 "protection" guest_protected
for tag in p1 p2 p3 p4; do
    guest_wrote vm 5
    guest_point $tag || die "no point $tag: $(tail -n 1 "$demo/points.log")"
done
pass "a mounted volume is protected while it is written"

# The same volume, its file system frozen for the cut, with hooks around that.
: > "$demo/hooks"
guest_wrote vm 3
frozen_point f1
check "a frozen point: the hooks ran, each once" [ "$(paste -sd ' ' "$demo/hooks")" = "pre post" ]
check "the writers go on" guest_wrote vm 5
check "it is called application-consistent" is_kind f1 app
check "it does not need its journal" needs_journal f1 no
check "a crash point does" needs_journal p4 yes
: > "$demo/refuse"
frozen_point f2
check "a pre-hook that fails makes it a crash point" is_kind f2 crash
check "and the agent says why" eval 'grep agent.point.unfrozen "$demo/agent.log" | says HOOK_FAILED'
check "and the writers go on" guest_wrote vm 5
rm "$demo/refuse"

kill -9 "$demo_server_pid"
wait "$demo_server_pid" 2>/dev/null
check "kill -9 of the server: writers go on" guest_wrote vm 10
demo_start_server
wait_for 180 "protection after a kill of the server" guest_protected
guest_point p5 || die "no point p5"

# The volume is the agent's to write: who writes to it waits until there is an agent again, and sees no error.
mark=$(($(wc -l < "$demo/agent.log") + 1))
kill -9 "$demo_agent_pid"
wait "$demo_agent_pid" 2>/dev/null
protect_volume
check "kill -9 of the agent: writers go on when it is back" guest_wrote vm 10
wait_for 180 "protection after a kill of the agent" guest_protected
missed=$(fenced_bytes "$mark")
guest_point p6 || die "no point p6"
check "only what may be missing is read again ($((missed >> 10)) KiB)" little_was_read

kill "$writer_pid"
wait "$writer_pid" 2>/dev/null
unmounted() { loop_undone umount "$demo/mnt" 2>/dev/null; }
check "unmounted" wait_for 60 "what still holds it" unmounted  # The last command of a writer that was told to end.
check "and let go of" loop_undone losetup -d "$loop_device"
kill $daemon_pid  # Before the agent that it writes to: else it would wait for another one.
check "its daemon ends in order" wait $daemon_pid
check "the agent is stopped with a last point" causeway-agent stop --state "$demo/agent" --final --timeout 300s
check "the planned point is the volume, byte for byte" planned_is_exact
check "every point is a state a power cut could have left" points_are_right
cases_end
