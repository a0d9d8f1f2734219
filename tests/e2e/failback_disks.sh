#!/usr/bin/env bash
# The old disks of a machine of two come back at one and the same point: in one run or one by one, killed between the two
# switches and at other places; until both are back the machine has not failed back.
# Usage: failback_disks.sh BUILD_DIRECTORY [second-site]
set -uo pipefail
build=$(realpath "${1:?build directory}")
site=${2:-vault}
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/pair.sh

are_point() { [ "$(pair_truth_of "$1")" = "$(sum_of "$demo/old.root") $(sum_of "$demo/old.data")" ] || { echo "the old disks are not of point $1"; false; }; }
# Other than at any point: what a disaster left.
old_disks() { cp "$demo/root.saved" "$demo/old.root"; cp "$demo/data.saved" "$demo/old.data"; }
is_old() { cmp -s "$demo/$1.saved" "$demo/old.$1" || { echo "old.$1 has changed"; false; }; }
one_is_old() {
    local old=0 name
    for name in root data; do cmp -s "$demo/$name.saved" "$demo/old.$name" && old=$((old + 1)); done
    [ $old -eq 1 ] || { echo "$old of 2 old disks are as they were"; false; }
}
state_is() { cli machines "$demo_machine" > "$demo/last.out" && grep -q "  state $1," "$demo/last.out" || { cat "$demo/last.out"; false; }; }
both() { cli failback "$demo_machine" --target "root=$demo/old.root" --target "data=$demo/old.data" "$@"; }
one() { local disk=$1; shift; cli failback "$demo_machine" --disk "$disk" --target "$demo/old.$disk" "$@"; }
cancel() { both --cancel; }
refused() { exit_code_is 3 "$@" && said TRANSITION_REFUSED; }
# killed_at PLACE COMMAND…: by SIGKILL, which nobody but the place sent.
killed_at() {
    local place=$1 status=0; shift
    (export CAUSEWAY_CRASH_POINT=$place; "$@") >"$demo/last.out" 2>&1 || status=$?
    [ $status -eq 137 ] || { echo "exit code $status at $place"; cat "$demo/last.out"; false; }
}
nothing_left() { [ -z "$(find "$demo" -maxdepth 2 -name '*.failback')" ] || { find "$demo" -name '*.failback'; false; }; }

demo_begin
if [ "$site" = second-site ]; then
    demo_config "url = \"\""
    causeway pki issue "$demo/pki" --role master-target --name second-site --host localhost,127.0.0.1 --out "$demo/pki/mt" >/dev/null
    sed -i "s|pki/server\.|pki/mt.|; s|^name = .*|&\nrole = \"master-target\"|" "$demo/causeway.toml"
    for name in root data; do
        truncate -s ${pair_mib}M "$demo/target.$name"
        printf '[[target]]\nmachine = "%s"\ndisk = "%s"\npath = "%s"\n' "$demo_machine" $name "$demo/target.$name" >> "$demo/causeway.toml"
    done
else
    demo_quick_vault
fi
demo_start_server
pair_disks
pair_agent
demo_wait_points 4
demo_stop_agent
mapfile -t points < <(demo_point_ids)
point=${points[-2]} last=${points[-1]}
for name in root data; do
    cp "$demo/$name.img" "$demo/$name.saved"
    head -c 64k /dev/urandom | dd of="$demo/$name.saved" bs=64k seek=60 conv=notrunc status=none
done
old_disks
mkdir "$demo/there"
cli failover "$demo_machine" --point "$point" --output-dir "$demo/there" >>"$demo/cli.log" 2>&1 || die "no failover"
cli commit "$demo_machine" >>"$demo/cli.log" 2>&1 || die "no commit"

# Every disk, or a refusal before the first byte.
check "a disk without a target is a refusal" exit_code_is 2 cli failback "$demo_machine" --target "root=$demo/old.root"
check "it names the disk and both ways" eval "said 'no --target for disk data' && said '--disk DISK --target PATH'"
check "a path without its disk is a refusal" exit_code_is 2 cli failback "$demo_machine" --target "$demo/old.root"
check "one disk for two is a refusal" exit_code_is 2 cli failback "$demo_machine" --target "root=$demo/old.root" --target "data=$demo/old.root"
truncate -s +1M "$demo/old.data"
check "a second disk of a wrong size is a refusal" exit_code_is 3 both
check "and the first is as it was" is_old root
old_disks
check "refusals move no state" state_is committed

# Killed between the two switches: the next run goes on with what is left, at that point.
check "killed between the two switches" killed_at failback.disk_back:1 both --point "$point"
check "one is back, the other as it was" one_is_old
check "the machine has not failed back" state_is failing-back
check "its state says what is missing" said "1 of 2 disks are back at point $point; missing: "
check "a commit is refused" refused cli commit "$demo_machine"
check "with the reason and the way on" eval 'said "1 of 2 disks are back at point $point; missing: " && said "causeway failback MACHINE --disk DISK --target PATH"'
check "so is a reprotection" refused cli reprotect "$demo_machine"
check "another point is refused" refused both --point "$last"
check "it says how to choose one nevertheless" said '--cancel'
check "the same command goes on" exit_code_is 0 both
check "both are the point of the first run, which is not the newest" are_point "$point"
check "the machine has failed back" state_is failed-back
check "nothing is left beside the disks" nothing_left

# Disk by disk; and another point for all, given up in the middle.
check "one disk alone, at another point" exit_code_is 0 one root --point "$last"
check "says what is missing, and the command" eval 'said "missing: data" && said "causeway failback $demo_machine --disk"'
check "the machine has not failed back" state_is failing-back
check "a commit is refused" refused cli commit "$demo_machine"
check "it is given up" exit_code_is 0 cancel
check "what was switched is told" eval 'said "point $last already is root" && ! said data'
check "the state is that of before the failback" state_is committed
old_disks
check "one disk" exit_code_is 0 one data --point "$last"
check "the other without a word about the point" exit_code_is 0 one root
check "both are that point" are_point "$last"
check "the machine has failed back" state_is failed-back

# Killed anywhere: no byte before the first switch, and after it both at one point.
wrong=0
for place in failback.collected:1 failback.collected:2 failback.noted:1; do
    old_disks
    killed_at $place both --point "$point" || wrong=$((wrong + 1))
    is_old root && is_old data || { wrong=$((wrong + 1)); echo "at $place"; }
    exit_code_is 0 cancel || wrong=$((wrong + 1))
    is_old root && is_old data && nothing_left || { wrong=$((wrong + 1)); echo "cancelled after $place"; }
done
check "killed before the first switch both are as they were, also after a cancel" test $wrong -eq 0
wrong=0
for place in failback.noted:1 volume.switched:1 volume.piece_copied:1 failback.applied:1 failback.switched:1 \
    failback.noted:2 volume.switched:2 failback.applied:2 failback.switched:2 failback.disk_back:2; do
    old_disks
    killed_at $place both --point "$point" || wrong=$((wrong + 1))
    same=()
    case $place in
        failback.disk_back:2) same=(--point "$point") ;;  # Only its job's end was lost: a failback of today is another one.
        *) refused cli commit "$demo_machine" || { wrong=$((wrong + 1)); echo "committed after $place"; } ;;
    esac
    exit_code_is 0 both "${same[@]}" || wrong=$((wrong + 1))
    are_point "$point" && state_is failed-back && nothing_left || { wrong=$((wrong + 1)); echo "after $place"; }
done
check "killed at ten places from the first switch on: completed at that point by the next run" test $wrong -eq 0
old_disks
killed_at volume.switched:1 both --point "$point" || die "not killed"
check "a switch that had begun is not cancelled" exit_code_is 3 cancel
check "it says what completes it" said 'without --cancel'
check "that does" exit_code_is 0 both
check "both are the point" are_point "$point"

# One directory for the differences of all, as devices need it.
old_disks
check "killed in the second switch, with a work directory" killed_at volume.switched:2 both --point "$last" --work-dir "$demo/work"
check "completed by a run for what is left" exit_code_is 0 both --work-dir "$demo/work"
check "both are the point" are_point "$last"
check "the work directory is gone" test ! -e "$demo/work"
check "in JSON: the state, and each disk" eval 'both --json --point "$last" > "$demo/last.out" && python3 -c "import json, sys
o = json.load(open(sys.argv[1]))
assert o[\"state\"] == \"failed-back\" and o[\"point\"] == sys.argv[2], o
assert sorted(d[\"name\"] for d in o[\"disks\"]) == [\"data\", \"root\"] and sum(d[\"moved_bytes\"] for d in o[\"disks\"]) == 0, o
assert [d[\"state\"] for d in o[\"returned\"][\"disks\"]] == [\"back\", \"back\"], o" "$demo/last.out" "$last"'
check "commit" exit_code_is 0 cli commit "$demo_machine"
check "the machine is protected" state_is protected

# A point of the machine there that has not all disks: the other would stay as it was before.
if [ "$site" = vault ]; then
    cli failover "$demo_machine" --output-dir "$demo/there" --force >>"$demo/cli.log" 2>&1 || die "no failover"
    cli commit "$demo_machine" >>"$demo/cli.log" 2>&1 || die "no commit"
    known=$(demo_point_ids | wc -l)
    causeway-agent protect --server "127.0.0.1:$demo_port" --ca "$demo/pki/ca.crt" --cert "$demo/pki/machine.crt" \
        --key "$demo/pki/machine.key" --state "$demo/agent-2" --image "$demo/there/root.img" --disk-name root \
        --machine-name pair --interval 1s --pre-hook true --post-hook true 2>>"$demo/agent.log" &
    demo_agent_pid=$!
    demo_pids+=($demo_agent_pid)
    demo_wait_points $((known + 1))
    demo_stop_agent
    check "a point without a disk that the failover brought back is refused" exit_code_is 2 cli failback "$demo_machine" --target "$demo/old.root"
    check "it names the disk and what to do" eval 'said "has not disk data" && said "--without"'
    check "unless the machine goes on without it" exit_code_is 0 cli failback "$demo_machine" --target "$demo/old.root" --without data
    check "which is then all of it" state_is failed-back
fi
cases_end
