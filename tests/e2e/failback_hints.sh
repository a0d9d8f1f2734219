#!/usr/bin/env bash
# The way back with a bitmap of QEMU's: a failover leaves one in the image that it writes, `causeway changes` reads it, and the
# failback reads of the old disk only what it names. A hint that cannot be shown to be right, or that is wrong, costs time and
# never makes another image. Usage: failback_hints.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh

mb=64 blocks=1024
us_of() { stat -c %.6Y "$1" | tr -d .; }
# Nobody has written it for as long as the clocks of files and of points may differ.
is_still() { [ $(($(date +%s%N) / 1000 - $(us_of "$demo_image"))) -gt 500000 ]; }
some_writes() { ordered_ask "write 50"; } # Leaves the writer paused.
number() { json_number "$1" <<<"$report"; }
hint_is() { says "\"hint\": \"$1" <<<"$report" || { echo "$report"; false; }; }
# old_disk: as the machine left it when it was stopped, its time of modification too.
old_disk() { cp -p "$demo/old.saved" "$demo/old.img"; }
failback() { report=$(cli --json failback "$demo_machine" --target "$demo/old.img" "$@" 2>>"$demo/cli.log"); }
is_point() { [ "$(sum_of "$demo/old.img")" = "$truth" ]; }
changes() { cli changes "$demo_machine" --image "$@"; }
there_write() { qemu-io -f raw -c "$1" "nbd+unix:///disk?socket=$demo/there.nbd" >>"$demo/there.log" 2>&1 || die "no write there"; }
# there_begin: what stands for the failed-over machine: QEMU's block layer, with the image that the failover wrote.
there_begin() {
    rm -f "$demo/there.nbd"
    qemu-storage-daemon \
        --chardev "socket,id=qmp,path=$demo/there.qmp,server=on,wait=off" --monitor chardev=qmp \
        --blockdev "driver=qcow2,node-name=disk,file.driver=file,file.filename=$demo/there.qcow2" \
        --nbd-server "addr.type=unix,addr.path=$demo/there.nbd" --export "type=nbd,id=disk,node-name=disk,writable=on" \
        2>>"$demo/there.log" &
    there_pid=$!
    demo_pids+=($there_pid)
    wait_for 120 "the failed-over machine" test -S "$demo/there.nbd"
}
agent_there() { causeway-agent "$1" --state "$demo/agent-2" "${@:2}"; }
protected_there() { agent_there status --json 2>/dev/null | says '"phase": *"protected"'; }
reprotected() { cli reprotect "$demo_machine" >>"$demo/cli.log" 2>&1; cli machines "$demo_machine" 2>/dev/null | says -w reprotected; }

# 1. A machine that is stopped in peace, and failed over with its last point.
demo_begin
ordered_seed
demo_quick_vault
demo_start_server
ordered_pin_port
ordered_image $mb
ordered_agent
wait_for 180 "the agent's NBD socket" test -S "$demo/nbd.sock"
ordered_writer 200
wait_for 180 "the synchronisation" agent_protects
some_writes
wait_for 120 "a disk that is still" is_still
note_point first committed || die "no first point"
cp -p "$demo_image" "$demo/older.saved"
some_writes
wait_for 120 "the stopped machine's disk" is_still
note_point last committed || die "no last point"
demo_stop_agent
cp -p "$demo_image" "$demo/old.saved"
check "planned failover" exit_code_is 0 \
    cli failover "$demo_machine" --planned --format qcow2 --output "$demo/there.qcow2"
check "the image has a bitmap of its own, from before its first start" \
    eval 'qemu-img info --output=json "$demo/there.qcow2" | says "\"name\": \"since-"'
check "and nothing is in it" exit_code_is 0 changes "$demo/there.qcow2" --output "$demo/nothing.json"
check "by its own words" said '^.*: 0 B of '
cp "$demo/there.qcow2" "$demo/copy.qcow2"
check "the failover is committed" exit_code_is 0 cli commit "$demo_machine"

# 2. It runs there, writes before it is protected and after, and is stopped.
there_begin
there_write 'write -P 7 5M 192k'
there_write 'write -P 6 48M 1M'
causeway-agent protect --server "127.0.0.1:$demo_port" --ca "$demo/pki/ca.crt" --cert "$demo/pki/machine.crt" \
    --key "$demo/pki/machine.key" --state "$demo/agent-2" --machine-name demo-machine --qmp "$demo/there.qmp" --qemu-nbd "$demo/there.nbd" \
    --interval 3600s 2>>"$demo/agent.log" &
agent_there_pid=$!
demo_pids+=($agent_there_pid)
wait_for 180 "protection there" protected_there
there_write 'write -P 8 40M 64k'
there_write 'write -P 9 61441k 5k'
check "a point is made there" agent_there point --tag there --wait committed --timeout 300s
check "the machine is protected there" wait_for 180 "reprotection" reprotected
check "the bitmap of a machine that runs is refused" exit_code_is 1 changes "$demo/there.qcow2" --output "$demo/hint.json"
check "and why" said 'stop the machine'
check "it is stopped with a last point" agent_there stop --final --timeout 300s
wait "$agent_there_pid" 2>/dev/null
kill "$there_pid"; wait "$there_pid" 2>/dev/null
check "the bitmap is read" exit_code_is 0 changes "$demo/there.qcow2" --output "$demo/hint.json"
cat "$demo/last.out"
qemu-img convert -O raw "$demo/there.qcow2" "$demo/truth.img" || die "no raw image"
truth=$(sum_of "$demo/truth.img")

# 3. Back, without and with it.
old_disk
failback || die "no failback without a hint: $(tail -n 3 "$demo/cli.log")"
check "without a hint the old disk becomes the machine's" is_point
moved=$(number moved_bytes) read_all=$(($(number blocks_compared) + $(number blocks_unknown)))
echo "without a hint: $read_all blocks read, $moved bytes moved, $(number fetched_bytes) fetched, $(number index_bytes) of indexes"
check "all of it was read" test "$read_all" -eq $blocks
old_disk
failback --hint "$demo/hint.json" --trust-hint || die "no failback with a hint: $(tail -n 3 "$demo/cli.log")"
check "with the bitmap it does, too" is_point
check "the hint is used" hint_is used
read_some=$(($(number blocks_compared) + $(number blocks_unknown) + $(number blocks_sampled)))
echo "with a hint: $read_some blocks read, $(number moved_bytes) bytes moved, $(number fetched_bytes) fetched, $(number index_bytes) of indexes"
check "it is not refuted" grep -q '"hint_refuted": false' <<<"$report"
check "what moves is the same" test "$(number moved_bytes)" -eq "$moved"
check "of the disk $read_some blocks were read instead of $read_all" test $((read_some + $(number blocks_skipped))) -eq $blocks -a \
    "$(number blocks_skipped)" -gt $((blocks / 2))

# 4. A hint that nobody vouches for is not believed; one that is wrong is refuted; the disk is right each time.
old_disk
failback --hint "$demo/hint.json"
check "nobody vouches for the old disk: it is compared whole" hint_is 'ignored: only you can know'
check "and becomes the machine's" is_point
# A copy from between two points, its time of modification kept, looks as the old disk does.
old_disk
head -c 1048576 /dev/urandom | dd of="$demo/old.img" bs=1M seek=20 conv=notrunc status=none
touch -r "$demo/old.saved" "$demo/old.img"
failback --hint "$demo/hint.json"
check "and so is a copy that cannot be told from it, which becomes the machine's" is_point
old_disk
head -c 512 /dev/urandom | dd of="$demo/old.img" bs=512 seek=70001 conv=notrunc status=none
failback --hint "$demo/hint.json"
check "an old disk that was written since is compared whole" hint_is 'ignored: the old disk was written'
check "and becomes the machine's" is_point
cp -p "$demo/older.saved" "$demo/old.img"
failback --hint "$demo/hint.json"
check "an older copy of the old disk is compared whole" hint_is 'ignored: the old disk is an older copy'
check "and becomes the machine's" is_point
old_disk
sed 's/"until":{[^}]*}/"until":{"generation":1,"sequence":1}/' "$demo/hint.json" > "$demo/early.json"
failback --hint "$demo/early.json"
check "a hint from before the point is not believed" hint_is 'ignored: the chosen point was made after'
check "and the disk becomes the machine's" is_point
old_disk
changes "$demo/copy.qcow2" --output "$demo/copy.json" >/dev/null || die "no changes of a copy"
failback --hint "$demo/copy.json" --trust-hint
check "the bitmap of a copy that nobody wrote is refuted by the vault" grep -q '"hint_refuted": true' <<<"$report"
check "and the disk becomes the machine's" is_point
old_disk
echo "0 65536" > "$demo/hand"
failback --hint "$demo/hand"
check "a hint made by hand is not believed unasked" hint_is 'ignored: nobody can tell'
check "and the disk becomes the machine's" is_point
sed "s/$demo_machine/$(cat /proc/sys/kernel/random/uuid)/" "$demo/hint.json" > "$demo/foreign.json"
check "the hint of another machine is refused" exit_code_is 2 \
    cli failback "$demo_machine" --target "$demo/old.img" --hint "$demo/foreign.json"
head -c 200 "$demo/hint.json" > "$demo/cut.json"
check "a damaged one as well" exit_code_is 2 cli failback "$demo_machine" --target "$demo/old.img" --hint "$demo/cut.json"

# 5. QEMU that is killed could not store its bitmap: what it knew is lost, and nobody pretends otherwise.
there_begin
there_write 'write -P 3 20M 64k'
kill -9 "$there_pid"; wait "$there_pid" 2>/dev/null
check "after a kill of QEMU the bitmap is refused" exit_code_is 3 changes "$demo/there.qcow2" --output "$demo/hint.json"
check "by its code" said RESYNC_REQUIRED
cases_end
