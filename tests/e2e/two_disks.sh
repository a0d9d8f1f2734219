#!/usr/bin/env bash
# A machine of two disks comes back whole: both as of one point, or neither. Usage: two_disks.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh

sum_of() { sha256sum < "$1" | cut -d' ' -f1; }
# truth_of POINT: the sums of both disks when it was cut.
truth_of() {
    demo_points_json | python3 -c 'import json, sys
cut = next(p["source_time_us"] for p in json.load(sys.stdin) if p["id"] == sys.argv[1])
lines = [line.split() for line in open(sys.argv[2])]
print(*[line[1:] for line in lines if int(line[0]) <= cut][-1])' "$1" "$demo/truth"
}
# is_point POINT FILE FILE
is_point() { [ "$(truth_of "$1")" = "$(sum_of "$2") $(sum_of "$3")" ] || { echo "$2 and $3 are not of point $1"; false; }; }
point_is() { [ "$(cli --json machines "$demo_machine" | python3 -c 'import json, sys; print(json.load(sys.stdin)["point"])')" = "$1" ]; }
nothing_in() { [ -z "$(ls -A "$1")" ] || { ls -A "$1"; false; }; }

demo_begin
demo_config "url = \"dir://$demo/vault\"" '[egress]
commit_interval = "200ms"
segment_deadline = "500ms"'
cli vault create >/dev/null
demo_start_server
for name in root data; do
    head -c 2M /dev/urandom > "$demo/$name.img"
    truncate -s 8M "$demo/$name.img"
done
cat > "$demo/pre-hook" <<H
#!/usr/bin/env bash
# Both disks change before each point, and are what is noted here when it is cut.
head -c 4096 /dev/urandom | tee >(dd of="$demo/root.img" seek=5 bs=4096 conv=notrunc status=none) |
    dd of="$demo/data.img" seek=9 bs=4096 conv=notrunc status=none
wait
echo "\$(date +%s%6N) \$(sha256sum < "$demo/root.img" | cut -d' ' -f1) \$(sha256sum < "$demo/data.img" | cut -d' ' -f1)" >> "$demo/truth"
H
printf '#!/bin/sh\n' > "$demo/post-hook"
chmod +x "$demo/pre-hook" "$demo/post-hook"
causeway-agent protect --server "127.0.0.1:$demo_port" --ca "$demo/pki/ca.crt" --cert "$demo/pki/machine.crt" \
    --key "$demo/pki/machine.key" --state "$demo/agent" --image "$demo/root.img" --image "$demo/data.img" --disk-name root \
    --disk-name data --machine-name pair --interval 1s --pre-hook "$demo/pre-hook" --post-hook "$demo/post-hook" 2>>"$demo/agent.log" &
demo_agent_pid=$!
demo_pids+=($demo_agent_pid)
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
check "commit" exit_code_is 0 cli commit "$demo_machine"
check "a committed choice stays" exit_code_is 3 cli undo-failover "$demo_machine"

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
cases_end
