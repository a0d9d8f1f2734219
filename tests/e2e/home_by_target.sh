#!/usr/bin/env bash
# The way home without the vault: a machine of two disks was failed over from the vault and runs elsewhere; a master target
# at home writes its old disks from its stream; the original boots from them, and is protected into the vault again. These
# are the steps of docs/operations.md, "Home by a master target", with the state after each. Usage: home_by_target.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/guest.sh

quiet() { "$@" >>"$demo/cli.log" 2>&1; }
home() { causeway --config "$demo/home.toml" "$@"; }
state_is() { cli machines "$demo_machine" 2>/dev/null | says "  state $1,"; }
state_at_home_is() { home machines "$demo_machine" 2>/dev/null | says "  state $1,"; }
bytes_of() { stat -c %s "$1"; }
# start NAME DISK DISK: the machine, from these disks.
start() {
    guest_start "$1" "$2" raw -device virtio-blk-pci,drive=second,id=vd1 \
        -blockdev "driver=raw,node-name=second,file.driver=file,file.filename=$3,discard=unmap"
}
# protect NAME STATE PORT: the machine that runs as NAME, by an agent of its own.
protect() {
    causeway-agent protect --server "127.0.0.1:$3" --ca "$demo/pki/ca.crt" --cert "$demo/pki/machine.crt" \
        --key "$demo/pki/machine.key" --state "$demo/$2" --machine-name demo-machine --qmp "$demo/$1.qmp" \
        --disk vd0 --disk vd1 --interval 3600s 2>>"$demo/agent.log" &
    demo_agent_pid=$!
    demo_pids+=($demo_agent_pid)
    wait_for 300 "protection of $1" protected "$2"
}
protected() {
    local phases
    phases=$(causeway-agent status --state "$demo/$1" --json 2>/dev/null | grep -o '"phase": *"[^"]*"') && ! grep -qv '"protected"' <<<"$phases"
}
point() { quiet causeway-agent point --state "$demo/$1" --wait committed --timeout 300s; }
stop_for_good() { # STATE QEMU: with a last point, then the machine is off.
    causeway-agent stop --state "$demo/$1" --final --timeout 300s >>"$demo/points.log" 2>&1 || return 1
    wait "$demo_agent_pid" 2>/dev/null
    promised=$(guest_line there)
    guest_kill "$2"
}
found_at_least() { wait_for 300 "$1 to find its log" guest_said_found "$1"; [ "$(guest_found "$1")" -ge "$2" ] || { guest_found "$1"; false; }; }
same_disks() { cmp "$demo/there/vd0.img" "$demo/vm.img" && cmp "$demo/there/vd1.img" "$demo/vm.second"; }
reprotected() { quiet cli reprotect "$demo_machine"; state_is reprotected; }
reprotected_at_home() { quiet home reprotect "$demo_machine"; state_at_home_is reprotected; }

demo_begin
guest_site
guest_image "$demo/vm.img" || die "no guest image"
truncate -s 2M "$demo/vm.second"
start vm "$demo/vm.img" "$demo/vm.second"
vm_pid=$guest_pid
guest_wrote vm 2
protect vm agent "$demo_port"
guest_wrote vm 2
promised=$(guest_line vm)
point agent || die "no point"

# The site is lost; the machine runs elsewhere, from the vault's newest point.
kill -9 "$demo_agent_pid"; wait "$demo_agent_pid" 2>/dev/null
guest_wrote vm 2
guest_kill "$vm_pid"
mkdir "$demo/there"
check "1. failover from the vault, both disks" quiet cli failover "$demo_machine" --output-dir "$demo/there"
check "the vault says failed-over" state_is failed-over
start there "$demo/there/vd0.img" "$demo/there/vd1.img"
there_pid=$guest_pid
check "the machine boots there with what was promised (line $promised)" found_at_least there "$promised"
check "commit" quiet cli commit "$demo_machine"
check "the vault says committed" state_is committed
guest_wrote there 3

# At home again: a master target over the old disks, which nobody may have started meanwhile.
causeway pki issue "$demo/pki" --role master-target --name home --host localhost,127.0.0.1 --out "$demo/pki/mt" >/dev/null
mkdir "$demo/home"
sed "s|pki/server\.|pki/mt.|; s|^name = .*|name = \"home\"\nrole = \"master-target\"|; s|$demo/state|$demo/home/state|
    s|$demo/cache|$demo/home/cache|; s|$demo/kek|$demo/home/kek|; s|^listen = .*|listen = \"127.0.0.1:0\"|
    s|^url = .*|url = \"\"|" "$demo/causeway.toml" > "$demo/home.toml"
for disk in vd0:vm.img vd1:vm.second; do
    printf '[[target]]\nmachine = "%s"\ndisk = "%s"\npath = "%s"\n' "$demo_machine" "${disk%%:*}" "$demo/${disk#*:}" >> "$demo/home.toml"
done
causewayd --config "$demo/home.toml" 2>>"$demo/home.log" &
demo_pids+=($!)
home_port() { home --json status 2>/dev/null | json_number replication_port; }
home_is_up() { [ "$(home_port)" -gt 0 ]; }
wait_for 120 "the master target at home" home_is_up
check "2. a master target at home: it says protected" state_at_home_is protected
protect there agent-home "$(home_port)"
sent=$(causeway-agent status --state "$demo/agent-home" --json | json_number sent_bytes)
whole=$(($(bytes_of "$demo/vm.img") + $(bytes_of "$demo/vm.second")))
check "3. the machine is protected there by its differences ($((sent >> 10)) KiB of $((whole >> 20)) MiB)" [ "$sent" -lt $((whole / 4)) ]
guest_wrote there 3
check "4. the machine is stopped there with a last point" stop_for_good agent-home "$there_pid"
check "5. the old disks become that point" quiet home failover "$demo_machine" --planned
check "home says failed-over" state_at_home_is failed-over
check "they are the other site's, byte for byte" same_disks
check "its file system is whole, its log without a gap" guest_check_image "$demo/vm.img" "$promised"
start vm "$demo/vm.img" "$demo/vm.second"
vm_pid=$guest_pid
check "the original boots and has the last record (line $promised)" found_at_least vm "$promised"
check "6. commit at home" quiet home commit "$demo_machine"
check "home says committed" state_at_home_is committed
check "the vault still says committed: nothing went back through it" state_is committed
check "and gives up no failover" eval '! quiet cli undo-failover "$demo_machine"'

# The original is protected into the vault again, by an agent that begins with an empty state.
check "7. reprotect waits for it" eval 'quiet cli reprotect "$demo_machine"; state_is reprotecting'
protect vm agent-again "$demo_port"
point agent-again || die "no point of the original"
check "the vault says reprotected" wait_for 180 "reprotection" reprotected
check "8. commit: the machine stays where it runs now" quiet cli commit "$demo_machine"
check "the vault says protected" state_is protected
guest_wrote vm 2
promised=$(guest_line vm)
point agent-again || die "no last point"
guest_kill "$vm_pid"
check "and brings back what the original wrote at home" quiet cli export "$demo_machine" --disk vd0 --output "$demo/back.img"
check "line $promised and all before" guest_check_image "$demo/back.img" "$promised"

# The next disaster: the master target is used again, and the same way is open.
check "9. the old disks are targets again" eval 'quiet home target cancel "$demo_machine" vd0 && quiet home target cancel "$demo_machine" vd1'
start there "$demo/there/vd0.img" "$demo/there/vd1.img"
there_pid=$guest_pid
guest_wrote there 2
protect there agent-next "$(home_port)"
point agent-next || die "no point at home"
check "home says reprotected" wait_for 180 "reprotection at home" reprotected_at_home
check "10. commit at home: it takes the next failover" quiet home commit "$demo_machine"
check "home says protected" state_at_home_is protected
check "the machine is stopped there with a last point again" stop_for_good agent-next "$there_pid"
check "the old disks become that point" quiet home failover "$demo_machine" --planned
check "byte for byte" same_disks
cases_end
