#!/usr/bin/env bash
# Names and texts that are weapons, from the side of the object store: what it answers, and what others put into its
# containers. Nothing of it is shown raw, asked for, followed or kept; the vault's own goes on as before.
# Usage: store_names.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh
source tests/lib/fake_azure.sh
source tests/lib/shown.sh

# rules PROGRAM: fault rules as a Python list; the weapon, a NUL and a long name are at hand.
rules() {
    python3 -c 'import json, sys
weapon = "\u202egnp\r\n2026-01-01T00:00:00.000Z error \x1b]0;owned\x07 \"x\" ../../owned \x85"
long = "owned" + "n" * 10000
places = ["", "vault/", "plans/", "gc/", *(sys.argv[2] + end for end in ("/", "/head/", "/00000000000000000001"))]
names = [p + n for p in places for n in ("../owned", "..", weapon, "owned%00", "owned\x01", "owned\r\n", "\u202eowned", long)]
names += ["owned", sys.argv[2].upper(), sys.argv[2] + "/owned", "owned/" + sys.argv[2]]
print(json.dumps(eval(sys.argv[1])))' "$1" "$demo_machine"
}
faults() { fake_faults "$(rules "$1")"; }

# every NAME: what an operator can ask for, with whatever the store says to it.
every() {
    both "$1: machines" machines
    both "$1: machine" machines "$demo_machine"
    both "$1: points" points "$demo_machine"
    both "$1: verify" verify "$demo_machine"
    both "$1: disks" disks "$demo_machine"
    both "$1: servers" servers
    both "$1: cost" cost
    both "$1: keys" keys
    both "$1: gc" gc "$demo_machine"
    both "$1: doctor" doctor
    both "$1: jobs" jobs
    both "$1: status" status
    both "$1: events" events
    rm -f "$demo"/by-*.img
    both "$1: failover" failover "$demo_machine" --point "$point" --output "$demo/by-cli.img"
    shows "$1: restore list" tool list
    shows "$1: restore list --json" tool list --json  # Its errors are for people.
    shows "$1: restore verify" tool verify --machine "$demo_machine"
    shows "$1: restore" tool restore --machine "$demo_machine" --point "$point" --output "$demo/by-tool.img"
    shows "$1: metrics" demo_metrics
    shows "$1: server's log" cat "$demo/server.log"
}
tool() { causeway-restore --kek "$demo/kek" --vault "$fake_url/site" --auth shared-key --key-file "$demo/credential" "$@"; }
nothing_owned() { ! find "$demo" -name '*owned*' ! -path "$shown/*" | grep . && [ ! -e "$demo/../owned" ]; }
# whole: what lies in the vault is listed, proved and restored as before.
whole() {
    rm -f "$demo/whole.img"
    cli verify "$demo_machine" --level full | tail -n 1 | says ^intact || return
    cli failover "$demo_machine" --point "$point" --output "$demo/whole.img" --force >>"$demo/cli.log" 2>&1 || return
    cmp "$demo/whole.img" "$demo_image"
}

demo_begin
ordered_seed
shown=$demo/shown
mkdir "$shown"
fake_start
fake_quick_vault
demo_start_server
ordered_image 4
ordered_agent
wait_for 180 "protection" agent_protects
causeway-agent point --state "$demo/agent" --tag first --wait committed --timeout 150s >>"$demo/cli.log" 2>&1 || die "no point"
point=$(demo_point_ids | head -n 1)
[ -n "$point" ] || die "no point is listed"
check "the vault is whole" whole

faults '[{"op": "list_blobs", "action": "list_also", "names": names}]'
every "listed names"
check "the vault is whole beside names that others gave" whole
check "a point can be made beside them" causeway-agent point --state "$demo/agent" --tag second --wait committed --timeout 150s
faults '[{"op": "list_blobs", "action": "list_also", "names": [long], "repeat": 700}]'
both "listed at length: points" points "$demo_machine"
both "listed at length: gc" gc "$demo_machine"
faults '[{"op": "list_blobs", "action": "list_also", "marker": weapon}]'
both "a listing without end" machines
check "a listing without end is refused" has "a listing without end" BLOB_REJECTED
for op in get_blob put_blob list_blobs head_blob; do
    faults "[{\"op\": \"$op\", \"action\": \"error\", \"status\": 409, \"code\": \"Owned\\u202e\\x1b]0;owned\\x07\", \"message\": weapon + long}]"
    every "error of $op"
done
faults '[]'
check "the server lives" kill -0 "$demo_server_pid"
check "the vault is whole after all that" whole
check "nothing bears such a name" nothing_owned
cases_end
