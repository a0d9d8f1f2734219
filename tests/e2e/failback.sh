#!/usr/bin/env bash
# An old disk becomes the machine's disk at a point: killed at random moments it stays as it was or is completed by the
# next run, and only what differs moves. Usage: failback.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh

RANDOM=${CAUSEWAY_SEED:-$$}
mb=64 kills=10

failback() { causeway --config "$demo/causeway.toml" --json failback "$demo_machine" --point "$point" --target "$demo/old.img" "$@"; }
# `pid` is the program's own: killed and waited for, it is gone, and not a child that nobody has waited for.
failback_in_background() {
    causeway --config "$demo/causeway.toml" --json failback "$demo_machine" --point "$point" --target "$demo/old.img" >/dev/null 2>&1 &
    pid=$!
}
# The on-premises disk as the disaster left it: 1 % of its blocks are other ones.
old_disk() { cp "$demo/old.saved" "$demo/old.img"; }
is_old() { [ "$(sum_of "$demo/old.img")" = "$old" ]; }
is_point() { [ "$(sum_of "$demo/old.img")" = "$truth" ]; }

demo_begin
demo_interval=1s
# Half of it random, half of it empty.
head -c $((mb / 2))M /dev/urandom > "$demo/given.img" && truncate -s ${mb}M "$demo/given.img"
demo_image_from "$demo/given.img"
demo_server
demo_agent
demo_wait_points 2
demo_stop_agent
point=$(demo_point_ids | tail -n 1)
truth=$(demo_truth_of "$point")

causeway --config "$demo/causeway.toml" export "$demo_machine" --point "$point" --output "$demo/old.saved" >/dev/null || die "no restore"
[ "$(sum_of "$demo/old.saved")" = "$truth" ] || die "the restore differs from the source"
bytes=$(stat -c %s "$demo/old.saved") blocks=$(($(stat -c %s "$demo/old.saved") / 65536))
for ((i = 0; i < blocks / 100; i++)); do
    head -c 512 /dev/urandom | dd of="$demo/old.saved" bs=512 seek=$((i * 100 * 128 + RANDOM % 128)) conv=notrunc status=none
done
old=$(sum_of "$demo/old.saved")

# Refusals: nothing is touched.
old_disk
check "a disk with another identity is refused" exit_code_is 3 failback --identity "device of-another"
truncate -s +1M "$demo/old.img"
check "a disk of another size is refused" exit_code_is 3 failback
old_disk
check "a target that is not there is not found" exit_code_is 4 \
    causeway --config "$demo/causeway.toml" failback "$demo_machine" --target "$demo/none.img"
check "refused disks are as they were" is_old
check "nothing to cancel is fine" exit_code_is 0 failback --cancel

# No room for what differs: it is said where there is none, and what to look at.
mkdir "$demo/small"
names_full_disk() {
    unshare --user --map-root-user --mount sh -c 'mount -t tmpfs -o size=128k small "$0" && exec "$@"' "$demo/small" \
        causeway --config "$demo/causeway.toml" failback "$demo_machine" --point "$point" --target "$demo/old.img" --work-dir "$demo/small/work" \
        >"$demo/last.out" 2>&1 && return 1
    said "DISK_FULL.*that of $demo/small/work, where.*next: df -h $demo/small; "
}
check "a work directory without room is named" names_full_disk
check "and the disk is as it was" is_old

# Once in peace: what moves, and how long it takes.
started=$(date +%s%N)
report=$(failback)
took_us=$((($(date +%s%N) - started) / 1000))
moved=$(json_number moved_bytes <<<"$report")
echo "disk $bytes bytes, moved $moved, chunks fetched $(json_number fetched_bytes <<<"$report"), indexes fetched" \
    "$(json_number index_bytes <<<"$report"), blocks without fingerprint $(json_number blocks_unknown <<<"$report"), $((took_us / 1000)) ms"
check "the old disk is the point" is_point
check "at most 2 % of the disk moved" test "$moved" -gt 0 -a "$moved" -le $((bytes / 50))
# A chunk of at most 1 MiB is what can be fetched: for each block one, however many of its blocks are wanted.
wanted=$(($(json_number blocks_different <<<"$report") + $(json_number blocks_unknown <<<"$report")))
chunk=$((1048576 + 65536)) # And a gap that was fetched along.
fetched=$(json_number fetched_bytes <<<"$report")
check "at most a chunk for each block was fetched" test "$fetched" -gt 0 -a "$fetched" -le $((wanted * chunk))
check "what was fetched beside chunks are digests" test "$(json_number index_bytes <<<"$report")" -le $((blocks * 64 + 1048576))
unknown=$(json_number blocks_unknown <<<"$report")
report=$(failback)
check "a second failback moves nothing" test "$(json_number moved_bytes <<<"$report")" -eq 0
check "and leaves the disk alone" is_point

# Differences that lie together cost what they are, and the chunks they begin and end in.
head -c $((blocks / 100 * 65536)) /dev/urandom | dd of="$demo/old.img" bs=65536 seek=100 conv=notrunc status=none
report=$(failback)
moved=$(json_number moved_bytes <<<"$report") fetched=$(json_number fetched_bytes <<<"$report")
echo "1 % in one piece: moved $moved, chunks fetched $fetched"
check "differences in one piece are fetched as such" test "$moved" -eq $((blocks / 100 * 65536)) -a "$fetched" -le $((moved + (2 + unknown) * chunk))
check "and the disk is the point" is_point

before=0 after=0 wrong=0
for ((i = 0; i < kills; i++)); do
    old_disk
    failback_in_background
    sleep "$(awk -v n=$((i * took_us / kills + RANDOM * took_us / kills / 32768)) 'BEGIN { printf "%.6f", n / 1e6 }')"
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    if is_old; then before=$((before + 1)); else after=$((after + 1)); fi
    if ((i % 2)) && failback --cancel >/dev/null 2>&1; then
        is_old || is_point || { wrong=$((wrong + 1)); echo "round $i: cancelled, but the disk has changed"; }
    fi
    failback >/dev/null || { wrong=$((wrong + 1)); echo "round $i: the next run failed"; }
    is_point || { wrong=$((wrong + 1)); echo "round $i: the next run did not make it the point"; }
    [ ! -e "$demo/old.img.failback" ] || { wrong=$((wrong + 1)); echo "round $i: work files are left"; }
done
echo "killed $before times with the disk as it was, $after times with the switch begun or done"
check "killed $kills times: as it was, or completed by the next run" test $wrong -eq 0

# Killed at every place that has a name: before the switch the disk is as it was, and stays so after a cancel; after it
# the next run completes what was begun.
killed_at() {  # PLACE: by SIGKILL, which nobody but the place sent.
    local status=0
    CAUSEWAY_CRASH_POINT=$1 failback >/dev/null 2>&1 || status=$?
    [ $status -eq 137 ]
}
before_places=(failback.opened:1 volume.redo_written:{1..4} failback.block_taken:{1..6} failback.collected:1
    volume.point_taken:1 volume.extent_merged:{1..6} volume.merged:1 volume.point_held:1 volume.before_switch:1)
after_places=(volume.switched:1 volume.piece_copied:{1..8} volume.copied:1 volume.done:1 failback.applied:1)
wrong=0
for place in "${before_places[@]}"; do
    old_disk
    killed_at $place || { wrong=$((wrong + 1)); echo "$place is never reached"; }
    is_old || { wrong=$((wrong + 1)); echo "$place: the disk has changed"; }
    failback --cancel >/dev/null || { wrong=$((wrong + 1)); echo "$place: cannot be cancelled"; }
    is_old || { wrong=$((wrong + 1)); echo "$place: the disk has changed by the cancel"; }
done
check "killed at ${#before_places[@]} places before the switch: the disk is as it was" test $wrong -eq 0
failback >/dev/null
check "and the next failback makes it the point" is_point
wrong=0
for place in "${after_places[@]}"; do
    old_disk
    killed_at $place || { wrong=$((wrong + 1)); echo "$place is never reached"; }
    failback --cancel >/dev/null 2>&1 && ! is_point && { wrong=$((wrong + 1)); echo "$place: cancelled after the switch"; }
    failback >/dev/null || { wrong=$((wrong + 1)); echo "$place: the next run failed"; }
    is_point || { wrong=$((wrong + 1)); echo "$place: the disk is not the point"; }
done
check "killed at ${#after_places[@]} places after the switch: completed by the next run" test $wrong -eq 0

# A hint made by hand, which somebody vouches for: it names the blocks that differ; a wrong one is refuted.
old_disk
for ((i = 0; i < blocks / 100; i++)); do echo "$((i * 100 * 65536)) 65536"; done > "$demo/hint"
report=$(failback --hint "$demo/hint" --trust-hint)
check "with a hint only $((blocks / 100)) blocks and a sample are compared" test "$(json_number blocks_skipped <<<"$report")" -gt $((blocks * 9 / 10)) -a \
    "$(json_number blocks_different <<<"$report")" -eq $((blocks / 100))
check "and the disk is the point" is_point
head -c "$bytes" /dev/urandom > "$demo/old.img"
echo '[{"offset": 0, "length": 65536, "type": 1}, {"offset": 65536, "length": 65536, "type": 0}]' > "$demo/hint"
report=$(failback --hint "$demo/hint" --trust-hint)
check "a wrong hint is refuted, and everything compared" grep -q '"hint_refuted": true' <<<"$report"
check "and the disk is the point nevertheless" is_point

old_disk
failback_in_background
sleep 0.02
kill -INT $pid 2>/dev/null
wait $pid
case $? in
    0) check "interrupted after its switch, it is completed" is_point ;;
    *) check "interrupted before its switch, it is as it was" is_old ;;
esac
cases_end
