#!/usr/bin/env bash
# A server is killed while it rewrites sparse segments and while it deletes: before and after it stores a new object, around the
# manifest that names it, between the order to delete and the deletes, and between these. After each death the vault is whole,
# and a server that lives brings everything to its end: no object is left that nobody needs. Nobody writes meanwhile.
# Usage: gc_crash.sh BUILD_DIRECTORY; CAUSEWAY_NIGHTLY=1 takes the first, second and fifth hit of each place with both back ends of
# the cache, where CI takes the first hit with the one or the other. CAUSEWAY_SEED=N repeats a run.
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh
hits=(1) turn=posix
history=325  # Manifests, five checkpoints' worth: so that the oldest may go.
[ -z "${CAUSEWAY_NIGHTLY:-}" ] || hits=(1 2 5)
stretches=$((${#hits[@]} * 2))

use_backend() { sed -i "s/^io_uring = .*/io_uring = $([ "$1" = uring ] && echo true || echo false)/" "$demo/causeway.toml"; }
places() { causewayd --list-crash-points | grep -E '^(gc|compact)\.' | grep "^$1\."; }
# dies_at NAME HIT: a server that is killed there.
dies_at() {
    local deadline=$((SECONDS + 60)) status=0
    CAUSEWAY_CRASH_POINT=$1:$2 causewayd --config "$demo/causeway.toml" 2>>"$demo/server.log" &
    demo_server_pid=$!
    demo_pids+=($demo_server_pid)
    {
        while kill -0 "$demo_server_pid"; do
            [ $SECONDS -lt $deadline ] || { kill -9 "$demo_server_pid"; return 1; }
            sleep 0.05
        done
        wait "$demo_server_pid" || status=$?
    } 2>/dev/null
    [ $status -eq 137 ] && echo "$1 $2 $backend" >> "$demo/deaths"
}
# walk NAME HIT…: with the back end whose turn it is; a night takes both, but where the first death leaves nothing to a second.
walk() {
    local name=$1 hit; shift
    for hit in "$@"; do
        [ $turn = uring ] && turn=posix || turn=uring
        for backend in $([ -n "${CAUSEWAY_NIGHTLY:-}" ] && [ "$name" != upload.after_manifest_create ] && echo uring posix || echo $turn); do
            use_backend $backend
            echo "$name $hit $backend" >> "$demo/wanted"
            check "a server dies at $name, hit $hit, $backend" dies_at "$name" "$hit"
            check "the vault is whole after it" is_whole
        done
    done
}
is_whole() { cli verify "$demo_machine" --level full | tail -n 1 | says ^intact; }
data_objects() { find "$demo/vault/data" -type f ! -name '.*' | wc -l; }
has_objects() { [ "$(data_objects)" -ge "$1" ]; }
manifests() { find "$demo/vault/manifest" -type f ! -name '.*' | wc -l; }
rewritten() { tail -n "+$mark" "$demo/server.log" | says 'upkeep.decided.* rewritten=[1-9]'; }
gc_report() { cli --json gc "$demo_machine" 2>>"$demo/cli.log"; }
nothing_left_over() {
    [ "$(vault_points | wc -l)" -le 1 ] && [ "$(gc_report | json_number unnamed_segments)" = 0 ] &&
        [ "$(data_objects)" = "$(gc_report | json_number live_segments)" ]
}
# The collector writes down what it has seen after each round.
last_round() { stat -c %y "$demo/state/gc-$demo_machine"; }
another_round() { [ "$(last_round)" != "$round" ]; }
# noted_restore N: at least that many of the points that were noted are listed, and each is what the disk was.
noted_restore() {
    local tag id truth count=0
    vault_points > "$demo/listed"
    while read -r tag id; do
        truth=$(awk -v tag="$tag" '$1 == tag { print $2 }' "$demo/noted")
        [ -n "$truth" ] || continue
        cli failover "$demo_machine" --point "$id" --output "$demo/now.img" --force >>"$demo/cli.log" 2>&1 || { echo "$tag cannot be restored"; return 1; }
        [ "$(sum_of "$demo/now.img")" = "$truth" ] || { echo "point $tag differs"; return 1; }
        count=$((count + 1))
    done < "$demo/listed"
    echo "$count points restored, each byte-identical to the disk at its moment"
    [ $count -ge "$1" ]
}

demo_begin
ordered_seed
demo_config "url = \"dir://$demo/vault\"" '[gc]
auth = "none"
interval = "3600s"
grace = "0s"
[egress]
commit_interval = "100ms"
segment_deadline = "100ms"'
sed -i 's/^interval = "5s"$/&\nretention = "1000h"/; /^\[cache\]/a io_uring = true' "$demo/causeway.toml"
cli vault create >/dev/null || die "no vault"
demo_start_server
ordered_image 8
ordered_agent
ordered_writer 300
ordered_protect
# Eight small segments between two points are worth one object.
for ((i = 1; i <= stretches; i++)); do
    writer_go
    wait_for 60 "segments" has_objects $(($(data_objects) + 10))
    note_point "p$i" committed || die "no point p$i: $(tail -n 1 "$demo/points.log")"
done
writer_go
while [ "$(manifests)" -lt $history ]; do
    causeway-agent point --state "$demo/agent" --tag many --wait sent --timeout 60s >>"$demo/points.log" 2>&1 || die "no further point"
done
note_point last committed || die "no last point"
demo_stop_agent
kill -9 "$demo_server_pid"
wait "$demo_server_pid" 2>/dev/null
echo "$(manifests) manifests, $(data_objects) segments"

: > "$demo/deaths"
sed -i 's/^interval = "3600s"$/interval = "1s"/' "$demo/causeway.toml"
for name in $(places compact); do walk "$name" "${hits[@]}"; done
mark=$(($(wc -l < "$demo/server.log") + 1))
walk upload.before_manifest_create 1
check "the manifest was one that names what was rewritten" rewritten
walk upload.after_manifest_create 1
check "every noted point is as it was" noted_restore $((stretches + 1))

sed -i 's/^auth = "none"/auth = "emulator"/; s/^retention = .*/retention = "1s"/' "$demo/causeway.toml"
# Manifests go in the first round; what nobody names goes in the second that sees it; what was left of it is there to be ordered.
for name in $(places gc | sort -r); do walk "$name" "${hits[@]}"; done
echo "died at (point, hit, back end):"
cat "$demo/deaths"
check "death came wherever it should" diff "$demo/wanted" "$demo/deaths"
check "it should at every place that has a name" diff <(places '.*' | sort) <(grep -v ^upload "$demo/wanted" | cut -d' ' -f1 | sort -u)
check "both back ends had their deaths" [ "$(cut -d' ' -f3 "$demo/deaths" | sort -u | wc -l)" -eq 2 ]

demo_start_server
wait_for 120 "the end of it" nothing_left_over && pass "a server that lives brings it to its end: nothing is left that nobody needs"
for _ in 1 2; do  # Nor does it go on beyond the end.
    round=$(last_round)
    wait_for 60 "another round of it" another_round
done
kill -9 "$demo_server_pid"
wait "$demo_server_pid" 2>/dev/null
check "the newest point is as it was" noted_restore 1
check "the vault proves itself" is_whole
check "old manifests are gone" [ "$(manifests)" -lt $history ]
cases_end
