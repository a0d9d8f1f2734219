#!/usr/bin/env bash
# A server that dies just before and just after it stores an index run: the objects that hold what its checkpoints would
# repeat. They are written when that is more than half a MiB; a point of 200 disks has 14 KiB, so a few dozen points do it.
# Usage: index_runs.sh BUILD_DIRECTORY; CAUSEWAY_NIGHTLY=1 also takes the second hit, and each with both back ends of the cache, which
# otherwise take turns. (The fifth hit would need five times as many points: it is left out.) CAUSEWAY_SEED=N repeats a run.
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh
hits=(1) turn=false
[ -z "${CAUSEWAY_NIGHTLY:-}" ] || hits=(1 2)

point=0
make_point() {  # WAIT
    point=$((point + 1))
    note_point "p$point" "$1" || die "no point p$point: $(tail -n 1 "$demo/points.log")"
    writer_go
}
armed_server() {  # NAME HIT
    CAUSEWAY_CRASH_POINT=$1:$2 causewayd --config "$demo/causeway.toml" 2>>"$demo/server.log" &
    demo_server_pid=$!
    demo_pids+=($demo_server_pid)
}
server_is_dead() { ! kill -0 "$demo_server_pid" 2>/dev/null; }
# dies_at NAME HIT: a server that is killed there, sooner or later; a checkpoint comes every 64 manifests.
dies_at() {
    local deadline=$((SECONDS + 600)) status=0 wanted=$((point + 100 + 100 * $2))
    armed_server "$@"
    until demo_server_up && agent_live; do
        server_is_dead && break
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.1
    done
    until server_is_dead; do
        [ $SECONDS -lt $deadline ] && [ $point -lt $wanted ] || return 1
        make_point sent
    done
    wait "$demo_server_pid" 2>/dev/null || status=$?
    [ $status -eq 137 ]
}
all_protected() { [ "$(agent_json | grep -o '"phase": *"protected"' | wc -l)" -eq 200 ]; }
# Objects of no disk and of generation 0 are index runs.
index_runs() { find "$demo/vault" -type f | grep -c "/00000000-0000-0000-0000-000000000000/" || true; }
exports() {
    local tag id truth count=0
    vault_points > "$demo/in-vault"
    while read -r tag id; do
        truth=$(awk -v tag="$tag" '$1 == tag { print $2 }' "$demo/noted")
        [ -n "$truth" ] || { echo "point $tag ($id) is in the vault, but nobody made it"; return 1; }
        rm -f "$demo/restored"
        cli export "$demo_machine" --point "$id" --disk disk --output "$demo/restored" >>"$demo/cli.log" 2>&1 ||
            { echo "point $tag ($id) cannot be restored"; tail -n 3 "$demo/cli.log"; return 1; }
        [ "$(sha256sum < "$demo/restored" | cut -d' ' -f1)" = "$truth" ] || { echo "point $tag ($id) differs"; return 1; }
        count=$((count + 1))
    done < "$demo/in-vault"
    rm -f "$demo/restored"
    echo "$count of $point points restored, each byte-identical to the disk at its moment"
    [ $count -eq $point ]
}

demo_begin
ordered_seed
demo_config "url = \"dir://$demo/vault\"" '[egress]
commit_interval = "100ms"
segment_deadline = "100ms"'
cli vault create >/dev/null
sed -i '/^\[cache\]/a io_uring = true' "$demo/causeway.toml"
demo_start_server
ordered_pin_port
ordered_image 4
still=()
for i in {1..199}; do
    truncate -s 64K "$demo/still-$i.img"
    still+=(--image "$demo/still-$i.img" --disk-name "still-$i")
done
ordered_agent --spool-size 1GiB "${still[@]}"
ordered_writer 50
wait_for 180 "the agent's NBD socket" test -S "$demo/nbd.sock"
writer_go
wait_for 300 "protection" all_protected
make_point durable
fences=$(fences_begun)

deaths=()
for name in $(causewayd --list-crash-points | grep '_run_put$'); do
    for hit in "${hits[@]}"; do
        if [ $turn = true ]; then turn=false; else turn=true; fi
        for io_uring in $([ -n "${CAUSEWAY_NIGHTLY:-}" ] && echo true false || echo $turn); do
            kill -9 "$demo_server_pid" 2>/dev/null
            wait "$demo_server_pid" 2>/dev/null
            sed -i "s/^io_uring = .*/io_uring = $io_uring/" "$demo/causeway.toml"
            before=$(index_runs)
            check "a server dies at $name, hit $hit, io_uring $io_uring" dies_at "$name" "$hit"
            deaths+=("$name:$hit:$io_uring")
            echo "$point points, index runs: $before before, $(index_runs) after"
        done
    done
done
echo "died at (point, hit, io_uring): ${deaths[*]}"
check "both back ends had their deaths" [ "$(printf '%s\n' "${deaths[@]##*:}" | sort -u | wc -l)" -eq 2 ]
orphans=$(index_runs)
check "a run that no manifest names was left behind" [ "$orphans" -gt 0 ]
demo_start_server
wait_for 600 "the agent to come back" agent_live
make_point durable
wait_for 180 "all points in the vault" all_committed && pass "death at an index run: no point is lost"
check "nor is the stream begun again" no_resync
check "a server that lives stores one that is named" wait_for 60 "an index run" eval '[ "$(index_runs)" -gt "$orphans" ]'
check "every point restores what the disk was at its moment" exports
check "the vault proves itself" eval 'cli verify "$demo_machine" --level full | tail -n 1 | says ^intact'
cases_end
