#!/usr/bin/env bash
# Retention, rewriting and garbage collection while a disk is written and restored: every point that is listed restores
# what the disk was, and in the end the vault holds nothing that nobody needs. Usage: gc.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh

gc_report() { causeway --config "$demo/causeway.toml" --json gc "$demo_machine" 2>>"$demo/cli.log"; }
# Points go on being pruned until only the newest is left.
nothing_left_over() {
    points_left 1 && [ "$(gc_report | json_number unnamed_segments)" = 0 ] &&
        [ "$(data_objects)" = "$(gc_report | json_number live_segments)" ]
}
points_left() { [ "$(vault_points | wc -l)" -le "$1" ]; }
data_objects() { find "$demo/vault/data" -type f ! -name '.*' | wc -l; }
decided() { grep -c 'upkeep.decided' "$demo/server.log"; }
# Every listed point, or with 1 the newest. One may be pruned while it is restored: then, and only then, it may fail.
listed_restore() {
    local tag id count=0
    vault_points | tail -n "${1:-1000}" > "$demo/listed"
    while read -r tag id; do
        if causeway --config "$demo/causeway.toml" failover "$demo_machine" --point "$id" --output "$demo/now.img" --force \
            >>"$demo/cli.log" 2>&1; then
            [ "$(sha256sum < "$demo/now.img" | cut -d' ' -f1)" = "$(awk -v tag="$tag" '$1 == tag { print $2 }' "$demo/noted")" ] ||
                { echo "point $tag differs"; return 1; }
            count=$((count + 1))
        elif vault_has_tag "$tag"; then
            echo "point $tag is listed and cannot be restored"
            return 1
        fi
    done < "$demo/listed"
    echo "$count points restored, each byte-identical to the disk at its moment"
}

demo_begin
ordered_seed
demo_config "url = \"dir://$demo/vault\"" '[gc]
auth = "emulator"
interval = "1s"
grace = "3s"
[egress]
commit_interval = "200ms"
segment_deadline = "300ms"'
sed -i 's/^interval = "5s"$/interval = "5s"\nretention = "4s"/' "$demo/causeway.toml"
causeway --config "$demo/causeway.toml" vault create >/dev/null || die "no vault"
demo_start_server
ordered_image 16
ordered_agent
ordered_writer 300
ordered_protect

wrong=0
for i in {1..10}; do
    writer_go
    sleep 0.6
    note_point "p$i" committed || die "no point p$i: $(tail -n 1 "$demo/points.log")"
    [ $((i % 3)) -ne 0 ] || listed_restore 1 || wrong=$((wrong + 1))
done
check "restores go on while points are pruned and objects deleted" test $wrong -eq 0
wait_for 180 "pruning" points_left 3
check "points beyond the retention are pruned" test "$(decided)" -ge 1
check "every point that is left restores what the disk was" listed_restore
writer_pause
demo_stop_agent
wait_for 300 "garbage collection" nothing_left_over && pass "the vault holds the live segments and nothing else"
check "objects were deleted" grep -q 'upkeep.collected' "$demo/server.log"
check "the points that are left are still whole" listed_restore
check "the vault proves itself" eval 'causeway --config "$demo/causeway.toml" verify "$demo_machine" --level full | tail -n 1 | says ^intact'
check "nothing went wrong in upkeep" eval '! grep -q "upkeep.failed" "$demo/server.log"'
cases_end
