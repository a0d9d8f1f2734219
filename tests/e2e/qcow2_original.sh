#!/usr/bin/env bash
# Home onto a qcow2 image: a machine ran from one; its disk, shown as a raw file, takes the differences of a failback from the
# vault, also when that and what shows it are killed in the middle, and those of a master target. Each time the original
# boots from its image. These are the steps of docs/operations.md, "A qcow2 original". Usage: qcow2_original.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/guest.sh
source tests/lib/loop.sh

quiet() { "$@" >>"$demo/cli.log" 2>&1; }
home() { causeway --config "$demo/home.toml" "$@"; }
home_port() { home --json status 2>/dev/null | json_number replication_port; }
home_is_up() { [ "$(home_port)" -gt 0 ]; }
start_home() {
    causewayd --config "$demo/home.toml" 2>>"$demo/home.log" &
    home_pid=$!
    demo_pids+=($home_pid)
    wait_for 120 "the master target at home" home_is_up
}
stop_home() { kill "$home_pid"; wait "$home_pid" 2>/dev/null; }
home_refuses() { home status 2>/dev/null | says 'TARGET_UNSAFE.*is a qcow2 image'; }
home_takes_it() { home target list 2>/dev/null | says ' collecting' && ! home status 2>/dev/null | says TARGET_UNSAFE; }
is_shown() { [ "$(stat -c %s "$1")" = "$2" ]; }
# show IMAGE FILE: its disk as that file; show_pid.
show() {
    local size deadline=$((SECONDS + 120))
    size=$(qemu-img info -U --output json "$1" | json_number virtual-size)
    : >> "$2"
    qemu-storage-daemon --blockdev "driver=qcow2,node-name=disk,file.driver=file,file.filename=$1" \
        --export "type=fuse,id=disk,node-name=disk,mountpoint=$2,writable=on" 2>>"$demo/show.log" &
    show_pid=$!
    demo_pids+=($show_pid)
    until is_shown "$2" "$size"; do
        [ $SECONDS -lt $deadline ] || die "the disk does not appear (see $demo/show.log)"
        kill -0 $show_pid 2>/dev/null || loop_skip "FUSE cannot be mounted here: $(tail -n 1 "$demo/show.log")"
        sleep 0.05
    done
}
show_end() { kill "$show_pid"; wait "$show_pid" 2>/dev/null; ! says " $1 " < /proc/self/mountinfo; }
protected() {
    local phases
    phases=$(causeway-agent status --state "$demo/$1" --json 2>/dev/null | grep -o '"phase": *"[^"]*"') && ! grep -qv '"protected"' <<<"$phases"
}
# protect NAME STATE PORT: the machine that runs as NAME, by an agent of its own.
protect() {
    causeway-agent protect --server "127.0.0.1:$3" --ca "$demo/pki/ca.crt" --cert "$demo/pki/machine.crt" \
        --key "$demo/pki/machine.key" --state "$demo/$2" --machine-name demo-machine --qmp "$demo/$1.qmp" \
        --disk vd0 --interval 3600s 2>>"$demo/agent.log" &
    demo_agent_pid=$!
    demo_pids+=($demo_agent_pid)
    wait_for 300 "protection of $1" protected "$2"
}
failback() { cli --json failback "$demo_machine" --target "$1" "${@:2}"; }
# A machine that is killed while it allocates leaves clusters that nobody uses: no harm, and not of what is shown here.
kill_original() {
    guest_kill "$vm_pid"
    qemu-img check -q -r leaks "$demo/vm.qcow2" >/dev/null 2>&1
}
is_clean() { qemu-img check -q "$demo/vm.qcow2"; }
is_point() { qemu-img compare -q "$demo/vm.qcow2" "$1"; }
# The original runs from its image, and found what was promised.
boots() {
    guest_start vm "$demo/vm.qcow2" qcow2
    vm_pid=$guest_pid
    wait_for 300 "the original to find its log" guest_said_found vm
    [ "$(guest_found vm)" -ge "$1" ] || { guest_found vm; false; }
}

demo_begin
loop_begin qcow2_original
command -v qemu-storage-daemon >/dev/null || loop_skip "needs qemu-storage-daemon"
[[ $(qemu-storage-daemon --help) = *fuse,id=* ]] || loop_skip "needs a qemu-storage-daemon that can FUSE"
[ -w /dev/fuse ] || loop_skip "needs /dev/fuse"
loop_undo+=("umount -l $demo/vm.raw")  # Last, if a daemon left it behind.
guest_site
guest_image "$demo/vm.img" || die "no guest image"
qemu-img convert -O qcow2 "$demo/vm.img" "$demo/vm.qcow2"
guest_start vm "$demo/vm.qcow2" qcow2
vm_pid=$guest_pid
guest_wrote vm 2
protect vm agent "$demo_port"
guest_wrote vm 5
promised=$(guest_line vm)
quiet causeway-agent point --state "$demo/agent" --wait committed --timeout 300s || die "no point"
kill -9 "$demo_agent_pid"; wait "$demo_agent_pid" 2>/dev/null
guest_wrote vm 10  # What the point has not.
kill_original
quiet cli export "$demo_machine" --output "$demo/point.raw" || die "no export"

# 1. The image itself is no target: it is said why, and what to do.
before=$(sum_of "$demo/vm.qcow2")
check "the image itself is refused" exit_code_is 3 failback "$demo/vm.qcow2"
check "with what to do" said 'is a qcow2 image of a disk of .*A qcow2 original'
qemu-img create -q -f qcow2 -F qcow2 -b "$demo/vm.qcow2" "$demo/overlay.qcow2"
check "one with a backing file is refused" exit_code_is 3 failback "$demo/overlay.qcow2"
check "with another thing to do" said 'backing file.*qemu-img rebase'
qemu-img create -q -f qcow2 -o lazy_refcounts=on "$demo/dirty.qcow2" "$(stat -c %s "$demo/vm.img")"
qemu-io -f qcow2 -c 'write 0 64k' -c 'sigraise 9' "$demo/dirty.qcow2" >/dev/null 2>&1
check "one that was not closed is refused" exit_code_is 3 failback "$demo/dirty.qcow2"
check "with what mends it" said 'not closed in peace.*qemu-img check -r all'
qemu-img check -q -r all "$demo/dirty.qcow2" >/dev/null 2>&1
check "which it does" exit_code_is 3 failback "$demo/dirty.qcow2"
check "as it is said then" said 'A qcow2 original'
check "no work files are left by that" eval '! ls -d "$demo"/*.failback >/dev/null 2>&1'
check "none of that touched the original" test "$(sum_of "$demo/vm.qcow2")" = "$before"

# 2. What it holds, shown as a raw file, is one. Killed in its switch with what shows it, it is completed.
show "$demo/vm.qcow2" "$demo/vm.raw"
check "while it is shown no machine can start from it" eval '! qemu-io -f qcow2 -c "write 0 512" "$demo/vm.qcow2" >/dev/null 2>&1'
status=0
CAUSEWAY_CRASH_POINT=volume.piece_copied:1 failback "$demo/vm.raw" >/dev/null 2>&1 || status=$?
check "killed in its switch" test $status -eq 137
kill -9 "$show_pid"; wait "$show_pid" 2>/dev/null
umount -l "$demo/vm.raw"
check "without what shows it, it waits" eval '! failback "$demo/vm.raw" >/dev/null 2>&1'
qemu-img create -q -f qcow2 "$demo/other.qcow2" 1M
loop_undo+=("umount -l $demo/other.raw")
show "$demo/other.qcow2" "$demo/other.raw"  # So that the kernel gives the next one another number.
show "$demo/vm.qcow2" "$demo/vm.raw"
check "shown again, at the same place, it is completed" quiet failback "$demo/vm.raw"
check "no work files are left" test ! -e "$demo/vm.raw.failback"
report=$(failback "$demo/vm.raw")
check "a second failback moves nothing" test "$(json_number moved_bytes <<<"$report")" -eq 0
check "it is let go" show_end "$demo/vm.raw"
check "the image is whole" is_clean
check "and byte for byte the point" is_point "$demo/point.raw"
qemu-img convert -O raw "$demo/vm.qcow2" "$demo/check.raw"
check "its file system is whole, its log without a gap" guest_check_image "$demo/check.raw" "$promised"
check "the original boots from it (line $promised)" boots "$promised"
guest_wrote vm 2
kill_original

# 3. The machine runs elsewhere, and comes home by a master target.
causeway pki issue "$demo/pki" --role master-target --name home --host localhost,127.0.0.1 --out "$demo/pki/mt" >/dev/null
mkdir "$demo/home"
sed "s|pki/server\.|pki/mt.|; s|^name = .*|name = \"home\"\nrole = \"master-target\"|; s|$demo/state|$demo/home/state|
    s|$demo/cache|$demo/home/cache|; s|$demo/kek|$demo/home/kek|; s|^listen = .*|listen = \"127.0.0.1:0\"|
    s|^url = .*|url = \"\"|" "$demo/causeway.toml" > "$demo/home.toml"
printf '[[target]]\nmachine = "%s"\ndisk = "vd0"\npath = "%s"\n' "$demo_machine" "$demo/vm.qcow2" >> "$demo/home.toml"
start_home
check "a master target refuses the image, too" wait_for 60 "the refusal" home_refuses
stop_home
sed -i "s|vm\.qcow2|vm.raw|" "$demo/home.toml"
show "$demo/vm.qcow2" "$demo/vm.raw"
start_home
mv "$demo/point.raw" "$demo/there.img"
guest_start there "$demo/there.img" raw
there_pid=$guest_pid
wait_for 300 "the machine to run elsewhere" guest_said_found there
port=$(home_port)
protect there agent-home "$port"
sent=$(causeway-agent status --state "$demo/agent-home" --json | json_number sent_bytes)
check "it sends its differences ($((sent >> 10)) KiB)" test "$sent" -lt $(($(stat -c %s "$demo/there.img") / 4))
# Both are started again, as by a reboot.
stop_home
check "it is let go" show_end "$demo/vm.raw"
sed -i "s|^listen = .*|listen = \"127.0.0.1:$port\"|" "$demo/home.toml"
show "$demo/vm.qcow2" "$demo/vm.raw"
start_home
check "after both were started again it goes on" wait_for 120 "the target" home_takes_it
guest_wrote there 3
stopped() { quiet causeway-agent stop --state "$demo/agent-home" --final --timeout 300s; }
check "the machine is stopped there with a last point" stopped
wait "$demo_agent_pid" 2>/dev/null
promised=$(guest_line there)
guest_kill "$there_pid"
check "the original becomes that point" quiet home failover "$demo_machine" --planned
stop_home
check "it is let go" show_end "$demo/vm.raw"
check "the image is whole" is_clean
check "and byte for byte the other site's disk" is_point "$demo/there.img"
check "the original boots from it (line $promised)" boots "$promised"
kill_original
cases_end
