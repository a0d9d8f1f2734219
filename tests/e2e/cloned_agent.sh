#!/usr/bin/env bash
# A copy of an agent's state directory and of its disk, made while it runs, as of a container: each of the two goes on for
# itself, and no point may hold what both wrote, whichever is there when. Usage: cloned_agent.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh

# protect NAME: an agent that scans the disk in NAME/; its pid is in agent_pid.
protect() {
    causeway-agent protect --server "127.0.0.1:$demo_port" --ca "$demo/pki/ca.crt" --cert "$demo/pki/machine.crt" \
        --key "$demo/pki/machine.key" --state "$demo/$1/state" --image "$demo/$1/disk.img" --disk-name disk \
        --machine-name "$1" --interval 3600s --pre-hook true 2>>"$demo/$1.log" &
    agent_pid=$!
    demo_pids+=("$agent_pid")
}
point() { causeway-agent point --state "$demo/$1/state" --tag "$2" --wait committed --timeout 60s >>"$demo/points.log" 2>&1; }
put() { printf '%s' "$3" | dd of="$demo/$1/disk.img" bs=1M seek="$2" conv=notrunc status=none; }
has() { [ "$(dd if="$demo/out.img" bs=1M skip="$1" count=1 status=none | head -c "${#2}" | tr -d '\0')" = "$2" ]; }
restored() {
    local id
    id=$(awk -v tag="$1" '$1 == tag { print $2 }' <<<"$(vault_points)")
    rm -f "$demo/out.img"
    cli export "$demo_machine" --point "$id" --output "$demo/out.img" >>"$demo/cli.log" 2>&1
}

demo_begin
demo_quick_vault
demo_start_server
ordered_pin_port
mkdir "$demo/first"
head -c 8M /dev/urandom > "$demo/first/disk.img"
truncate -s 32M "$demo/first/disk.img"
protect first
first=$agent_pid
wait_for 180 "the first agent's first point" point first before
cp -a "$demo/first" "$demo/second"
rm -f "$demo/second/state/agent.sock"
put first 20 "written at the first"
check "the original goes on" point first first-only
kill -9 "$first"
wait "$first" 2>/dev/null
put second 28 "written at the second"
protect second
check "its copy is protected when the original is gone" wait_for 180 "the copy's point" point second second-only
check "what the original wrote is a point" restored first-only
check "with what it wrote" has 20 "written at the first"
check "what the copy wrote is a point" restored second-only
check "with what it wrote" has 28 "written at the second"
check "and nothing of what the original wrote" eval '! has 20 "written at the first"'
check "it is the copy's disk, byte for byte" cmp -s "$demo/out.img" "$demo/second/disk.img"
check "the vault proves itself" eval 'cli verify "$demo_machine" --level full | tail -n 1 | says ^intact'
cases_end
