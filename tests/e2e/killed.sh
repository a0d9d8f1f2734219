#!/usr/bin/env bash
# An operator's command that is ended by a signal tidies up, says so and proves nothing; one that is killed takes with it
# what it had started, and what it leaves on the disk is removed by the next of its kind. Usage: killed.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh

ended() {
    kill -0 "$1" 2>/dev/null || return 0
    grep -qs '^State:[[:space:]]*[XZ]' "/proc/$1/status"
}
# begin NAME ARGUMENT…: the program itself in the background, until NAME has said who it is, and who its child.
begin() {
    local name=$1; shift
    rm -f "$demo/$name.pids"
    causeway --config "$demo/causeway.toml" "$@" >"$demo/last.out" 2>&1 &
    command_pid=$!
    demo_pids+=($command_pid)
    wait_for 120 "$name to run" test -s "$demo/$name.pids"
    read -r tool child < "$demo/$name.pids"
}
# ends_with SIGNAL: the command's exit code is $ended_with.
ends_with() {
    kill "-$1" "$command_pid"
    wait "$command_pid" 2>/dev/null; ended_with=$?
}
ends_soon() { (wait_for 30 "the end of process $1" ended "$1"); }
gone() {  # WHAT
    check "$1 is gone" ends_soon "$tool"
    check "with what it had started" ends_soon "$child"
    kill -9 "$tool" "$child" 2>/dev/null || true  # As it should have been.
}
newest_job() { cli --json jobs | python3 -c 'import json, sys; print(json.load(sys.stdin)[-1])'; }
# tool_that_hangs NAME: it says who it is and that of its child, unless it is mended; then it is the real one.
tool_that_hangs() {
    printf '#!/bin/sh\n[ ! -e %s ] || exec %s "$@"\nfor last; do :; done\n[ "${1:-}" != convert ] || echo secret > "$last"\nsleep 3600 &\necho $$ $! > %s.new\nmv %s.new %s\nwait\n' \
        "$demo/mended" "$(command -v "$1" || echo false)" "$demo/$1.pids" "$demo/$1.pids" "$demo/$1.pids" > "$demo/bin/$1"
    chmod +x "$demo/bin/$1"
}

demo_begin
demo_interval=1s
mkdir "$demo/bin" "$demo/scratch" "$demo/tmp"
head -c 8M /dev/urandom > "$demo/given.img"
demo_image_from "$demo/given.img"
demo_server
demo_agent
demo_wait_points 1
demo_stop_agent
tool_that_hangs qemu-system-x86_64
tool_that_hangs qemu-img
export PATH=$demo/bin:$PATH TMPDIR=$demo/tmp
is_empty() { [ -z "$(ls -A "$1")" ] || { find "$1"; false; }; }

# A drill.
drill=(drill "$demo_machine" --scratch "$demo/scratch" --receipt "$demo/receipt.json")
hanging_drill=("${drill[@]}" --boot --expect "never said" --boot-timeout 1000s)
for signal in TERM INT HUP; do
    begin qemu-system-x86_64 "${hanging_drill[@]}"
    check "the drill has disks to lose" test -n "$(find "$demo/scratch" -name '*.raw')"
    ends_with $signal
    check "a drill that gets SIG$signal fails" test $ended_with -eq 1
    check "by its code" said CANCELLED
    gone "the booted machine"
    check "its disks are removed" is_empty "$demo/scratch"
    check "there is no receipt" test ! -e "$demo/receipt.json"
    check "its job says so" eval 'newest_job | says CANCELLED'
done
begin qemu-system-x86_64 "${hanging_drill[@]}"
ends_with KILL
gone "the machine booted by a killed drill"
check "a killed drill leaves its disks" test -n "$(find "$demo/scratch" -name '*.raw')"
check "its job is told as interrupted" eval 'newest_job | says interrupted'
check "with the command that begins it again" eval 'cli jobs | says "next: causeway drill $demo_machine"'
check "the next drill looks at all of the point, which holds no file system" exit_code_is 3 cli "${drill[@]}"
check "and removes what was left" is_empty "$demo/scratch"
# A failover that lets qemu-img convert a mount.
failover=(failover "$demo_machine" --format qcow2 --output "$demo/out.qcow2")
begin qemu-img "${failover[@]}"
check "the failover has written something" test -s "$demo/out.qcow2.partial"
for format in qcow2 raw; do
    check "another command that would write the same file as $format is refused" exit_code_is 3 \
        timeout 60 causeway --config "$demo/causeway.toml" export "$demo_machine" --format $format --output "$demo/out.qcow2"
    check "by its code" said IN_USE
    check "the first one's work is untouched" grep -qx secret "$demo/out.qcow2.partial"
done
check "so is causeway-restore, which shares no configuration with it" exit_code_is 3 \
    timeout 60 causeway-restore --vault "dir://$demo/vault" --kek "$demo/kek" restore --machine "$demo_machine" --output "$demo/out.qcow2"
check "by its code" said IN_USE
check "the first one's work is untouched" grep -qx secret "$demo/out.qcow2.partial"
ends_with TERM
check "a failover that gets SIGTERM fails" test $ended_with -eq 1
check "by its code" said CANCELLED
gone "its qemu-img"
check "nothing is left of it" eval 'is_empty "$demo/tmp" && [ ! -e "$demo/out.qcow2.partial" ] && [ ! -e "$demo/out.qcow2.partial.lock" ]'
check "the machine is protected as before" eval 'cli --json machines "$demo_machine" | says "\"state\": \"protected\""'
begin qemu-img "${failover[@]}"
mount_pids=$(pgrep -f "nbdkit.*$demo" || true)
check "a mount serves it" test -n "$mount_pids"
ends_with KILL
gone "the qemu-img of a killed failover"
for pid in $mount_pids; do check "its mount is gone" ends_soon "$pid"; done
touch "$demo/mended"
check "the next failover ends well" exit_code_is 0 cli "${failover[@]}"
check "and leaves nothing but the disk" eval 'is_empty "$demo/tmp" && [ ! -e "$demo/out.qcow2.partial" ] && [ ! -e "$demo/out.qcow2.partial.lock" ]'
: > "$demo/left.raw.partial"
check "so does one to a raw file whose predecessor was killed" exit_code_is 0 \
    cli failover "$demo_machine" --output "$demo/left.raw"
check "nothing of that one is left" test ! -e "$demo/left.raw.partial"
rm "$demo/mended"

# A mount with a command.
printf '#!/bin/sh\nsleep 3600 &\necho $$ $! > %s.new\nmv %s.new %s\nwait\n' "$demo/run.pids" "$demo/run.pids" "$demo/run.pids" > "$demo/bin/run"
chmod +x "$demo/bin/run"
begin run mount "$demo_machine" --run run
ends_with KILL
gone "the command of a killed mount"
check "the next mount removes what is left" exit_code_is 0 cli mount "$demo_machine" --run true
check "all of it" is_empty "$demo/tmp"
mkdir "$demo/sockets"
begin run mount "$demo_machine" --socket "$demo/sockets/nbd.sock" --run 'timeout 3600 run'  # A process group of its own.
check "a second mount at a socket in use is refused" exit_code_is 3 cli mount "$demo_machine" --socket "$demo/sockets/nbd.sock" --run true
check "by its code" said IN_USE
ends_with KILL
gone "the command of a killed mount at a chosen socket"
check "which leaves its socket" test -S "$demo/sockets/nbd.sock"
check "the next mount takes it over" exit_code_is 0 cli mount "$demo_machine" --socket "$demo/sockets/nbd.sock" --run 'test "$(nbdinfo --size "$uri")" -gt 0'
check "and leaves nothing there" is_empty "$demo/sockets"

# A plan with a script.
cat > "$demo/bin/script" <<S
#!/bin/sh
echo script >> $demo/order
[ ! -e $demo/mended ] || exit 0
exec run
S
chmod +x "$demo/bin/script"
cat > "$demo/plan.toml" <<P
name = "killed"
[[group]]
name = "all"
[[group.step]]
name = "before"
script = ["/bin/sh", "-c", "echo before >> $demo/order"]
[[group.step]]
name = "hangs"
script = ["$demo/bin/script"]
[[group.step]]
name = "after"
script = ["/bin/sh", "-c", "echo after >> $demo/order"]
P
: > "$demo/order"
begin run plan run "$demo/plan.toml"
ends_with TERM
check "a plan that gets SIGTERM fails" test $ended_with -eq 1
check "by its code, naming the step" said 'CANCELLED.*hangs'
gone "its script"
check "its job is told as interrupted" eval 'newest_job | says interrupted'
begin run plan run "$demo/plan.toml"
check "the next run says that it begins the step again" said 'hangs: running: again'
ends_with KILL
gone "the script of a killed plan"
check "its job is told as interrupted too" eval 'newest_job | says interrupted'
check "with the command that goes on" eval 'cli jobs | says "next: causeway plan run"'
check "the plan says the same of itself" exit_code_is 0 cli plan show "$demo/plan.toml"
check "and of the step" eval 'said "plan killed: interrupted" && said "  interrupted .* hangs"'
check "with the same command" said "next: causeway plan run $demo/plan.toml"
check "also to programs" eval 'cli --json plan show "$demo/plan.toml" | says "\"state\": \"interrupted\""'
touch "$demo/mended"
check "the plan goes on to its end" exit_code_is 0 cli plan run "$demo/plan.toml"
check "finished steps ran once, the interrupted one from its beginning each time" \
    test "$(tr '\n' ' ' < "$demo/order")" = "before script script script after "
cases_end
