#!/usr/bin/env bash
# Disks are resized while they are protected: an image beneath the NBD front end grows and is made smaller, and a disk of a
# running QEMU grows. Points before it restore the old size, points after it the new one. Usage: resize.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh
source tests/lib/guest.sh

cli() { causeway --config "$demo/causeway.toml" "$@"; }
exit_code_is() { local wanted=$1; shift; "$@" >"$demo/last.out" 2>&1; local got=$?; [ $got -eq "$wanted" ] || { cat "$demo/last.out"; echo "exit code $got"; false; }; }
# point TAG IMAGE: a point of a disk that nobody writes at the moment.
point() {
    cp --sparse=always "$2" "$demo/$1.truth"
    causeway-agent point --state "$demo/agent" --tag "$1" --wait committed --timeout 120s >>"$demo/points.log" 2>&1 ||
        die "no point $1: $(tail -n 1 "$demo/points.log")"
}
# failed_over_is TAG DISK: what a failover of the point brings back is the disk in its size of then, byte for byte.
failed_over_is() {
    local id
    id=$(vault_points | awk -v tag="$1" '$1 == tag { print $2 }')
    [ -n "$id" ] || { echo "point $1 is not in the vault"; return 1; }
    rm -rf "$demo/out" && mkdir "$demo/out"
    cli failover "$demo_machine" --point "$id" --output-dir "$demo/out" >>"$demo/cli.log" 2>&1 || { tail -n 3 "$demo/cli.log"; return 1; }
    cmp "$demo/$1.truth" "$demo/out/$2.img"
}
reason_is() { grep -q "agent.disk.welcome.*resize: the size changed from $1 to $2 bytes" "$demo/agent.log"; }

# --- an image beneath the front end ---
put() { qemu-io -f raw -c "write -P $1 $2 $3" -c flush "nbd+unix:///disk?socket=$demo/nbd.sock" >>"$demo/io.log" 2>&1 || die "the front end takes no write (see $demo/io.log)"; }
# What a client that connects now is told.
told_size() { [ "$(qemu-img info --output=json "nbd+unix:///disk?socket=$demo/nbd.sock" 2>/dev/null | grep -o '"virtual-size": *[0-9]*' | tr -dc 0-9)" = "$1" ]; }

demo_begin
guest_site
ordered_image 24
ordered_agent
wait_for 120 "protection" agent_protects
put 0x11 20M 64k
point small "$demo_image"
before=$(stat -c %s "$demo_image")
for step in grown:40 smaller:16; do
    tag=${step%:*} size=$((${step#*:} * 1048576))
    truncate -s $size "$demo_image"
    wait_for 120 "the front end to tell the new size" told_size $size
    wait_for 120 "protection in the new size" agent_protects
    check "$tag: the reason is told" reason_is "$before" $size
    put 0x22 $((size - 131072)) 64k
    point $tag "$demo_image"
    before=$size
done
for tag in small grown smaller; do
    check "$tag: a point restores the disk in its size of then" failed_over_is $tag disk
done
demo_stop_agent

# --- a disk of a running QEMU ---
# qmp COMMAND [ARGUMENTS]: through a monitor of our own.
qmp() {
    python3 - "$demo/vm.hand" "$@" <<'P'
import json, socket, sys
link = socket.socket(socket.AF_UNIX)
link.settimeout(120)
link.connect(sys.argv[1])
lines = link.makefile("rw")
lines.readline()
for command in ({"execute": "qmp_capabilities"}, {"execute": sys.argv[2], "arguments": json.loads(sys.argv[3])}):
    lines.write(json.dumps(command) + "\n")
    lines.flush()
    answer = {}
    while not {"return", "error"} & set(answer):
        answer = json.loads(lines.readline())
print(json.dumps(answer))
sys.exit("error" in answer)
P
}
# guest_put PATTERN OFFSET LENGTH: as the guest's own device writes.
guest_put() {
    local said
    said=$(qmp human-monitor-command "{\"command-line\": \"qemu-io -d /machine/peripheral/vd0/virtio-backend \\\"write -P $1 $2 $3\\\"\"}") &&
        [ "$said" = '{"return": ""}' ] || says 'wrote' <<<"$said" || die "the machine does not write: $said"
}
vm_json() { agent_json | python3 -c 'import json, sys
for disk in json.load(sys.stdin)["disks"]: print(disk["name"], disk["phase"].replace(" ", "-"), disk["generation"])' 2>/dev/null; }
vm_resized() { vm_json | says '^vd0 protected [2-9]' && vm_json | says '^vd1 protected'; }

demo_machine=$(cat /proc/sys/kernel/random/uuid)
rm -rf "$demo/pki/machine"* "$demo/agent"
causeway pki issue "$demo/pki" --role machine --id "$demo_machine" --name demo-machine --out "$demo/pki/machine" >/dev/null
head -c 6M /dev/urandom > "$demo/vm.img" && truncate -s 24M "$demo/vm.img"
truncate -s 4M "$demo/second.img"
# It does not run: what the devices write is told by hand.
qemu-system-x86_64 -accel tcg -S -m 32 -nodefaults -no-user-config -display none -qmp "unix:$demo/vm.qmp,server=on,wait=off" \
    -qmp "unix:$demo/vm.hand,server=on,wait=off" -device virtio-blk-pci,drive=first,id=vd0 \
    -blockdev "driver=raw,node-name=first,file.driver=file,file.filename=$demo/vm.img" -device virtio-blk-pci,drive=other,id=vd1 \
    -blockdev "driver=raw,node-name=other,file.driver=file,file.filename=$demo/second.img" >>"$demo/vm.log" 2>&1 &
demo_pids+=($!)
wait_for 120 "QEMU" test -S "$demo/vm.hand"
guest_protect --interval 3600s
wait_for 120 "protection of the machine" guest_protected
guest_put 0x33 20M 64k
point vm-small "$demo/vm.img"
resize() { causeway-agent resize --state "$demo/agent" --timeout 120s "$@"; }
check "a size that loses something is refused" exit_code_is 3 resize --disk vd0 --size 16MiB
check "a disk that is not protected is not found" exit_code_is 4 resize --disk vd7 --size 40MiB
check "a disk of a running machine is resized" exit_code_is 0 resize --disk vd0 --size 40MiB
guest_put 0x44 36M 64k  # Whoever sees it: mirror, bitmap or comparison.
wait_for 120 "protection of the machine in its new size" vm_resized
check "vm: the reason is told" reason_is $((24 * 1048576)) $((40 * 1048576))
check "vm: the other disk keeps its history" eval "vm_json | says '^vd1 protected 1\$'"
guest_put 0x55 38M 64k
point vm-grown "$demo/vm.img"
for tag in vm-small vm-grown; do
    check "$tag: a point restores the disk in its size of then" failed_over_is $tag vd0
done
cases_end
