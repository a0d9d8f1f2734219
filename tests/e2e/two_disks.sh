#!/usr/bin/env bash
# A machine of two disks comes back whole: both as of one point, or neither. Usage: two_disks.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/pair.sh

# is_point POINT FILE FILE
is_point() { [ "$(pair_truth_of "$1")" = "$(sum_of "$2") $(sum_of "$3")" ] || { echo "$2 and $3 are not of point $1"; false; }; }
machine_says() { cli --json machines "$demo_machine" | python3 -c "import json, sys; print(json.load(sys.stdin)$1)"; }
point_is() { [ "$(machine_says '["point"]')" = "$1" ]; }
state_is() { [ "$(machine_says '["state"]')" = "$1" ]; }
newest_job_is() { [ "$(machine_says '["jobs"][-1]["state"]')" = "$1" ]; }
nothing_in() { [ -z "$(ls -A "$1")" ] || { ls -A "$1"; false; }; }

demo_begin
demo_quick_vault
demo_start_server
pair_disks
pair_agent
demo_wait_points 3
demo_stop_agent
mapfile -t points < <(demo_point_ids)
first=${points[0]} last=${points[-1]}

mkdir "$demo/out"
check "one disk alone is no failover" exit_code_is 2 cli failover "$demo_machine" --disk root --output "$demo/out/root.img"
check "it says how" said 'causeway export'
check "a disk without a place is a refusal" exit_code_is 2 cli failover "$demo_machine" --output root="$demo/out/root.img"
check "it names the disk" said 'no --output for disk data'
check "nothing was written" nothing_in "$demo/out"
check "one disk alone is an export" exit_code_is 0 cli export "$demo_machine" --point "$first" --disk data --output "$demo/data.alone"

# What a killed one had brought back is its own, and nobody else's.
for place in failover.disk_named:{1,2} failover.disk_written:{1,2}; do
    rm -rf "$demo/cut"; mkdir "$demo/cut"
    again=(failover "$demo_machine" --point "$first" --output-dir "$demo/cut")
    CAUSEWAY_CRASH_POINT=$place causeway --config "$demo/causeway.toml" "${again[@]}" >>"$demo/cli.log" 2>&1
    check "killed at $place, it is interrupted" newest_job_is interrupted
    check "the machine is what it was" state_is protected
    check "said again as it was said, it ends well" exit_code_is 0 cli "${again[@]}"
    check "both are of the point" is_point "$first" "$demo/cut/root.img" "$demo/cut/data.img"
    check "it is failed over" state_is failed-over
    check "said once more, what is there has an owner" exit_code_is 3 cli "${again[@]}"
    check "undo" exit_code_is 0 cli undo-failover "$demo_machine"
done
# Also where their paths leave no room in the words of a job.
long=$demo/$(printf 'd%.0s' {1..240})/$(printf 'e%.0s' {1..240})/$(printf 'f%.0s' {1..240})
mkdir -p "$long"
again=(failover "$demo_machine" --point "$first" --output-dir "$long")
CAUSEWAY_CRASH_POINT=failover.disk_written:1 causeway --config "$demo/causeway.toml" "${again[@]}" >>"$demo/cli.log" 2>&1
check "with long paths, too, it is said again as it was said" exit_code_is 0 cli "${again[@]}"
check "both are of the point" is_point "$first" "$long/root.img" "$long/data.img"
check "undo" exit_code_is 0 cli undo-failover "$demo_machine"
check "a failover brings both back" exit_code_is 0 cli failover "$demo_machine" --point "$first" --output-dir "$demo/out"
check "both are of the point" is_point "$first" "$demo/out/root.img" "$demo/out/data.img"
check "the exported one is the same" cmp "$demo/data.alone" "$demo/out/data.img"
check "the machine's point is told" point_is "$first"
check "an image that exists stops it before the first byte" exit_code_is 3 cli failover "$demo_machine" \
    --output root="$demo/new.img" --output data="$demo/out/data.img"
check "nothing was begun" test ! -e "$demo/new.img"
check "the latest point, each disk to its place" exit_code_is 0 cli --json failover "$demo_machine" \
    --output data="$demo/d=1.img" --output root="$demo/r.img" --verify
mapfile -t order < <(python3 -c 'import json, sys
for disk in json.load(sys.stdin)["disks"]: print(disk["name"])' < "$demo/last.out")
check "both are of that point" is_point "$last" "$demo/r.img" "$demo/d=1.img"
check "a failover that cannot finish fails" exit_code_is 4 cli failover "$demo_machine" --point "$first" \
    --output "${order[0]}=$demo/first-of-two.img" --output "${order[1]}=$demo/no/such/second.img"
check "it says what is whole already" said "whole already: $demo/first-of-two.img"
check "it is not what the machine was brought back to" point_is "$last"

cat > "$demo/plan.toml" <<TOML
name = "pair"
[[group]]
name = "all"
[[group.step]]
name = "pair"
machine = "$demo_machine"
output = "$demo/plan.img"
TOML
check "a plan that forgets a disk is told on a quiet day" exit_code_is 1 cli plan check "$demo/plan.toml"
check "it names both" eval "said 'data (' && said 'root ('"
sed -i "s|^output = .*|outputs = { root = \"$demo/p1\", data = \"$demo/p2\" }|" "$demo/plan.toml"
check "a plan that places both is sound" exit_code_is 0 cli plan check "$demo/plan.toml"
check "commit" exit_code_is 0 cli commit "$demo_machine"
check "a committed choice stays" exit_code_is 3 cli undo-failover "$demo_machine"
check "and no plan of this machine is sound then" exit_code_is 1 cli plan check "$demo/plan.toml"
check "it says that the failover was committed" said 'step pair: TRANSITION_REFUSED.*is committed'
cases_end
