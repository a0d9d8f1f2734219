#!/usr/bin/env bash
# A block device under a mounted file system: the file system writes past the device's page cache, so a scan must read past
# it too, or its points hold what an earlier scan saw. Needs root and a loop device. Usage: device.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh

demo_begin
skip() { echo "SKIP $1: $2"; }
device=
release() {
    local status=$?
    kill -CONT "${demo_agent_pid:-$$}" 2>/dev/null
    [ -z "${demo_agent_pid:-}" ] || demo_stop_agent # It thaws what it froze.
    fsfreeze -u "$demo/mnt" 2>/dev/null # Whatever became of it: nothing stays frozen here.
    umount "$demo/mnt" 2>/dev/null
    [ -z "$device" ] || losetup -d "$device"
    (exit $status)
    demo_end
}
trap release EXIT
mkdir "$demo/mnt"
truncate -s 64M "$demo/device.img"
mke2fs -q -t ext4 -F "$demo/device.img" || die "mke2fs"
device=$(losetup -f --show "$demo/device.img" 2>/dev/null) && mount "$device" "$demo/mnt" 2>/dev/null || {
    echo "SKIP device: needs root, a loop device and the right to mount"
    exit 0
}

demo_listen_port=0
demo_config "url = \"dir://$demo/vault\""
causeway --config "$demo/causeway.toml" vault create >/dev/null || die "vault create"
demo_start_server
head -c 8M /dev/urandom > "$demo/mnt/file" && sync -f "$demo/mnt"
protect() {
    causeway-agent protect --server "127.0.0.1:$demo_port" --ca "$demo/pki/ca.crt" --cert "$demo/pki/machine.crt" \
        --key "$demo/pki/machine.key" --state "$demo/agent" --disk "$device" --mount "$demo/mnt" --disk-name disk \
        --machine-name demo-machine --interval 3600s 2>>"$demo/agent.log" &
    demo_agent_pid=$!
    demo_pids+=($demo_agent_pid)
}
protect
point() { causeway-agent point --state "$demo/agent" --tag "$1" --wait committed --timeout 60s >>"$demo/points.log" 2>&1; }
restored_file() { # What the newest point holds of it, read without mounting anything.
    rm -f "$demo/restored" "$demo/file"
    causeway --config "$demo/causeway.toml" export "$demo_machine" --point latest --output "$demo/restored" >>"$demo/cli.log" 2>&1 &&
        debugfs -R "dump /file $demo/file" "$demo/restored" >/dev/null 2>&1 && cmp "$demo/file" "$demo/mnt/file"
}

wait_for 120 "the first point" point first
check "the first point of a mounted device is what the file system holds" restored_file
head -c 4M /dev/urandom | dd of="$demo/mnt/file" bs=1M conv=notrunc status=none
check "a point after a file was overwritten in place is made" point second
check "it holds what was written, not what the first scan saw" restored_file

# The agent stands still while the file system is frozen: helper is who holds it, probe a writer who waits for it. Once the
# agent is stopped nobody tells the helper anything: when it sleeps the file system is frozen, and when it has ended it is not.
helper_sleeps() {
    local deadline=$((SECONDS + 60)) state
    while [ $SECONDS -lt $deadline ]; do
        state=$(sed 's/.*) //' "/proc/$helper/stat" 2>/dev/null)
        case ${state%% *} in S) return ;; '' | Z) return 1 ;; esac
        sleep 0.02
    done
    return 1
}
catch_frozen() {
    local try point
    for try in $(seq 30); do
        causeway-agent point --state "$demo/agent" --timeout 100s >>"$demo/points.log" 2>&1 &
        point=$!
        helper=
        while [ -z "$helper" ] && kill -0 $point 2>/dev/null; do read -r helper _ < "/proc/$demo_agent_pid/task/$demo_agent_pid/children"; done
        kill -STOP "$demo_agent_pid"
        if [ -n "$helper" ] && helper_sleeps; then
            (: > "$demo/mnt/probe") &
            probe=$!
            return
        fi
        kill -CONT "$demo_agent_pid"
        wait $point
    done
    return 1
}
probe_ended() { ! kill -0 "$probe" 2>/dev/null; }
if catch_frozen; then
    kill -9 "$helper"
    kill -CONT "$demo_agent_pid"
    check "whoever holds the file system is killed: the agent thaws it" wait_for 60 "the writer" probe_ended
    check "and goes on to make points" wait_for 100 "the next point" point third
    check "which are whole" restored_file
else
    skip "whoever holds the file system is killed" "it was never seen frozen"
fi
if catch_frozen; then
    kill -9 "$helper" "$demo_agent_pid"
    wait "$demo_agent_pid" 2>/dev/null
    check "both are killed: it stays frozen" kill -0 "$probe"
    protect
    check "and the next agent thaws it" wait_for 60 "the writer" probe_ended
    check "and says so" wait_for 60 "the log" grep -q agent.freeze.forgotten "$demo/agent.log"
    check "and goes on to make points" wait_for 100 "the next point" point fourth
else
    skip "both are killed" "it was never seen frozen"
fi
demo_stop_agent
cases_end
