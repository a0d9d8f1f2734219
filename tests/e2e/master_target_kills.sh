#!/usr/bin/env bash
# A master target is killed at every place that has a name, while it collects, is cancelled, returns to an earlier point and
# becomes it: its disk is as it was, or the point, byte by byte, and a point that was promised is told to the agent that waits.
# Its disks, as its cache, are read and written with io_uring or with plain system calls: at each place the one or the other, in turn.
# Usage: master_target_kills.sh BUILD_DIRECTORY; CAUSEWAY_NIGHTLY=1 takes both at each place, and the second and fifth hit, too, of those
# that have them: the others, as volume.cancelled, come once in what is decided once. CAUSEWAY_SEED=N repeats a run.
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh

mb=16
target() { causeway --config "$demo/causeway.toml" target "$@"; }
is_same() { [ "$(sha256sum < "$1" | cut -d' ' -f1)" = "$2" ]; }
held_point() { target list 2>/dev/null | sed -n 's/.*holds point \([0-9a-f-]*\) .*/\1/p'; }
phase_is() { target list 2>/dev/null | says "target.img  $1\$"; }
# Which back end is next. A place is taken with it, and what comes after it, too, until the next one.
backend=posix
use_backend() {  # uring|posix
    backend=$1
    sed -i "s/^io_uring = .*/io_uring = $([ "$backend" = uring ] && echo true || echo false)/" "$demo/causeway.toml"
}
# with_each PLACE…: "PLACE BACKEND" for each death; a night takes both.
next_end=posix
with_each() {
    local place
    ends=()
    for place in "$@"; do
        if [ -n "${CAUSEWAY_NIGHTLY:-}" ]; then
            ends+=("$place uring" "$place posix")
        else
            [ $next_end = posix ] && next_end=uring || next_end=posix
            ends+=("$place $next_end")
        fi
    done
}
stop_server() { kill -9 "$demo_server_pid"; wait "$demo_server_pid" 2>/dev/null || true; }

# died WHY: by SIGKILL, which nobody but the place sent.
died() {
    local deadline=$((SECONDS + 180)) status=0
    while kill -0 "$demo_server_pid" 2>/dev/null; do
        [ $SECONDS -lt $deadline ] || { echo "$1 is never reached"; return 1; }
        sleep 0.05
    done
    wait "$demo_server_pid" 2>/dev/null || status=$?
    [ $status -eq 137 ] || { echo "$1: exit code $status"; false; }
}
write_some() {
    writer_go
    sleep 0.3
    writer_pause
}
# The newest point as it is read without any daemon.
export_is() {
    rm -f "$demo/out.img"
    causeway --config "$demo/causeway.toml" export "$demo_machine" --output "$demo/out.img" >>"$demo/cli.log" 2>&1 && is_same "$demo/out.img" "$1"
}

demo_begin
ordered_seed
demo_config "url = \"\""
causeway pki issue "$demo/pki" --role master-target --name second-site --host localhost,127.0.0.1 --out "$demo/pki/mt" >/dev/null
sed -i "s|pki/server\.|pki/mt.|; s|^name = .*|&\nrole = \"master-target\"|" "$demo/causeway.toml"
printf '[[target]]\nmachine = "%s"\ndisk = "disk"\npath = "%s"\n' "$demo_machine" "$demo/target.img" >> "$demo/causeway.toml"
sed -i '/^\[cache\]/a io_uring = true' "$demo/causeway.toml"
ordered_image $mb
head -c ${mb}M /dev/urandom > "$demo/target.img"
old=$(sha256sum < "$demo/target.img" | cut -d' ' -f1)
demo_start_server
ordered_pin_port
ordered_agent
wait_for 180 "the agent's NBD socket" test -S "$demo/nbd.sock"
ordered_writer 200
wait_for 300 "the initial synchronisation" agent_protects
write_some
note_point first committed || die "no first point"
first=$(held_point) first_truth=$ordered_truth

# While it collects: the agent asks for a point and waits; whoever makes it, and whenever, it is told.
# die_while_collecting PLACE: of the first point that is asked for, or of a later one if the place is hit once by each.
die_while_collecting() {
    local hit
    for ((hit = 1; hit <= ${1#*:}; hit++)); do
        write_some
        truth=$ordered_truth
        causeway-agent point --state "$demo/agent" --tag "$1" --wait committed --timeout 150s >>"$demo/points.log" 2>&1 &
        asked=$!
        [ $hit -lt "${1#*:}" ] || break
        while kill -0 $asked 2>/dev/null && kill -0 "$demo_server_pid" 2>/dev/null; do sleep 0.05; done
        kill -0 "$demo_server_pid" 2>/dev/null || break
        wait $asked || { echo "$1: point $hit is not made"; return 1; }
    done
    died "$1"
}
while_collecting=(volume.redo_written:1 volume.point_taken:1 volume.extent_merged:{1..2} volume.undo_kept:1 volume.merged:1 volume.point_held:1)
[ -z "${CAUSEWAY_NIGHTLY:-}" ] || while_collecting+=(volume.{redo_written,point_taken,undo_kept,merged,point_held}:{2,5} volume.extent_merged:5)
wrong=0
with_each "${while_collecting[@]}"
for end in "${ends[@]}"; do
    place=${end% *}
    stop_server
    use_backend "${end#* }"
    CAUSEWAY_CRASH_POINT=$place demo_start_server
    wait_for 180 "the agent's session" agent_live
    die_while_collecting "$place" || { wrong=$((wrong + 1)); stop_server; }
    is_same "$demo/target.img" "$old" || { wrong=$((wrong + 1)); echo "$end: the disk has changed"; }
    demo_start_server
    wait $asked || { wrong=$((wrong + 1)); echo "$end: nobody tells the agent of its point: $(tail -n 1 "$demo/points.log")"; }
    export_is "$truth" || { wrong=$((wrong + 1)); echo "$end: the newest point is not the disk at its moment"; }
done
check "killed ${#ends[@]} times at ${#while_collecting[@]} places while it collects: the disk is as it was, and each point is made and told" test $wrong -eq 0

# What is killed from here on has no agent: each time from the same files.
write_some
note_point last committed || die "no last point"
last=$(held_point) last_truth=$ordered_truth
writer_end
demo_stop_agent
stop_server
cp -a "$demo/state" "$demo/state.saved"
cp -a "$demo/cache" "$demo/cache.saved"
# With its time of writing: a target that somebody wrote to meanwhile is not switched.
cp -p "$demo/target.img" "$demo/target.saved"
again() {
    rm -rf "$demo/state" "$demo/cache"
    cp -a "$demo/state.saved" "$demo/state"
    cp -a "$demo/cache.saved" "$demo/cache"
    cp -p "$demo/target.saved" "$demo/target.img"
}
# killed_at "PLACE BACKEND" WORDS…: the server dies there, of `causeway target WORDS…`.
killed_at() {
    local place=${1% *}
    use_backend "${1#* }"
    shift
    again
    CAUSEWAY_CRASH_POINT=$place demo_start_server
    target "$@" >>"$demo/cli.log" 2>&1  # Its answer may come before the server dies, or never.
    died "$place" || { stop_server; false; }
}
to_first=(switch "$demo_machine" disk --point "$first")
to_last=(switch "$demo_machine" disk --point "$last")

wrong=0
with_each volume.before_switch:1
for place in "${ends[@]}"; do
    killed_at "$place" "${to_first[@]}" || wrong=$((wrong + 1))
    is_same "$demo/target.img" "$old" || { wrong=$((wrong + 1)); echo "$place: the disk has changed"; }
    demo_start_server
    [ "$(held_point)" = "$last" ] && phase_is collecting || { wrong=$((wrong + 1)); echo "$place: something was decided"; }
    stop_server
    export_is "$last_truth" || { wrong=$((wrong + 1)); echo "$place: the point is not what it was"; }
done
check "killed before the switch: the disk is as it was, and nothing is decided" test $wrong -eq 0

# completed PLACE TRUTH: the next start does what was decided.
completed() {
    demo_start_server
    wait_for 180 "the switch after $1" phase_is done
    stop_server
    is_same "$demo/target.img" "$2" || { echo "$1: the disk is not the point"; false; }
}
before_copying=(volume.switched:1 target.switched:1 volume.undone:{1..3} volume.returned:1)
copying=(volume.piece_copied:{1..3} volume.copied:1 volume.done:1)
[ -z "${CAUSEWAY_NIGHTLY:-}" ] || before_copying+=(volume.undone:5) copying+=(volume.piece_copied:5)
wrong=0
with_each "${before_copying[@]}"
for place in "${ends[@]}"; do
    killed_at "$place" "${to_first[@]}" || wrong=$((wrong + 1))
    is_same "$demo/target.img" "$old" || { wrong=$((wrong + 1)); echo "$place: the disk has changed"; }
    completed "$place" "$first_truth" || wrong=$((wrong + 1))
done
check "killed ${#ends[@]} times at ${#before_copying[@]} places after the word, before the disk is written: as it was, then the earlier point" test $wrong -eq 0
wrong=0
with_each "${copying[@]}"
for place in "${ends[@]}"; do
    killed_at "$place" "${to_first[@]}" || wrong=$((wrong + 1))
    completed "$place" "$first_truth" || wrong=$((wrong + 1))
    killed_at "$place" "${to_last[@]}" || wrong=$((wrong + 1))
    completed "$place" "$last_truth" || wrong=$((wrong + 1))
done
check "killed $((2 * ${#ends[@]})) times at ${#copying[@]} places while the disk is written: the point, the earlier one as well as the last" test $wrong -eq 0

# Killed twice: where it returns, and again where the return goes on.
wrong=0
with_each volume.undone:1 volume.returned:1 volume.piece_copied:1
for place in "${ends[@]}"; do
    killed_at "volume.undone:2 ${place#* }" "${to_first[@]}" || wrong=$((wrong + 1))
    CAUSEWAY_CRASH_POINT=${place% *} demo_try_server  # It may be gone before it can be asked.
    died "$place, for the second time" || { wrong=$((wrong + 1)); stop_server; }
    completed "$place" "$first_truth" || wrong=$((wrong + 1))
done
check "killed twice on its way back: the earlier point" test $wrong -eq 0

wrong=0
with_each volume.cancelled:1
for place in "${ends[@]}"; do
    killed_at "$place" cancel "$demo_machine" disk || wrong=$((wrong + 1))
    is_same "$demo/target.img" "$old" || { wrong=$((wrong + 1)); echo "$place: the disk has changed"; }
    demo_start_server
    phase_is collecting && [ -z "$(held_point)" ] || { wrong=$((wrong + 1)); echo "$place: something is left"; }
    stop_server
    is_same "$demo/target.img" "$old" || { wrong=$((wrong + 1)); echo "$place: the disk has changed at the next start"; }
done
check "killed in the middle of a cancel: the disk is as it was, and nothing is held" test $wrong -eq 0
demo_start_server
rm -f "$demo/nbd.sock"
ordered_agent
new_point() {  # The first may be made before the agent knows: it is never committed.
    causeway-agent point --state "$demo/agent" --wait committed --timeout 5s >>"$demo/points.log" 2>&1 && [ -n "$(held_point)" ]
}
wait_for 300 "a point of the new history" new_point && pass "its agent begins a new history by itself"
check "of which the point is the disk" export_is "$last_truth"
check "the disk itself is as it was all the while" is_same "$demo/target.img" "$old"
cases_end
