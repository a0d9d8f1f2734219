#!/usr/bin/env bash
# Names and texts that are weapons: control characters, line ends, writing directions, markup, `../`, in every place where
# an agent or a person can put one; nothing that is shown afterwards carries them raw, and everything that is meant for
# programs can be parsed. Usage: names.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh

weapon=$(printf '\342\200\256gnp\r\n2026-01-01T00:00:00.000Z error \033]0;owned\007 "x" ../../owned \302\205')
# shows NAME COMMAND…: what it says is kept as a file of that name, and carries nothing raw.
shows() {
    local name=$1; shift
    "$@" >"$shown/$name" 2>&1
    [ -s "$shown/$name" ] || fail "$name says something"
    check "$name shows nothing raw" python3 tests/e2e/unprintable.py "$shown/$name"
}
# parses NAME COMMAND…: and is JSON, too.
parses() {
    shows "$@"
    check "$1 is JSON" python3 -c 'import json, sys; json.load(open(sys.argv[1]))' "$shown/$1"
}
both() {  # NAME WORD…: of the operator's program, as text and as JSON.
    local name=$1; shift
    shows "$name" cli "$@"
    parses "$name --json" cli --json "$@"
}
has() { grep -qF -- "$2" "$shown/$1" || { echo "$1 has no $2"; false; }; }
# The codes are met by what the peer says: conditions and events have texts of its own.
raised() { logged "condition.raised code=$1"; }

demo_begin
ordered_seed
shown=$demo/shown
mkdir "$shown"
demo_config "url = \"dir://$demo/vault\"" '[egress]
commit_interval = "200ms"
segment_deadline = "500ms"
[control]
listen = "127.0.0.1:0"'
sed -i "s|^\[security\]$|&\nenrol_ca = \"$demo/pki\"|" "$demo/causeway.toml"
cli vault create >/dev/null
demo_start_server
demo_find_control_port

while read -r line; do
    echo "$line"
    [[ $line == PASS* ]] || cases_failed=$((cases_failed + 1))
done < <(hostile_peer names --port "$demo_port" --pki "$demo/pki" 2>"$demo/hostile.log")
check "what they say became a condition" raised RESYNC_REQUIRED

# A machine of an honest agent whose people chose badly: its own words come back to it, too.
ordered_image 4
causeway-agent protect --server "127.0.0.1:$demo_port" --ca "$demo/pki/ca.crt" --cert "$demo/pki/machine.crt" \
    --key "$demo/pki/machine.key" --state "$demo/agent" --image "$demo_image" --disk-name "$weapon" --machine-name "$weapon" \
    --interval 3600s --pre-hook true --post-hook true 2>>"$demo/agent.log" &
demo_agent_pid=$!
demo_pids+=($demo_agent_pid)
wait_for 180 "protection" agent_protects
check "a point may be called so" causeway-agent point --state "$demo/agent" --tag "$weapon" --wait committed --timeout 150s
cli enrol-token --out "$demo/token" >/dev/null 2>&1
for name in "$weapon" '../../owned' "$(head -c 10000 /dev/zero | tr '\0' n)"; do
    shows "enrol ${#name}" causeway-agent enrol --server "127.0.0.1:$control_port" --token-file "$demo/token" --state "$demo/enrolled-${#name}" --name "$name"
done
shows "agent status" causeway-agent status --state "$demo/agent"
parses "agent status --json" causeway-agent status --state "$demo/agent" --json

both status status
shows "status --line" cli status --line
both events events
both points points "$demo_machine"
both verify verify "$demo_machine"
both disks disks "$demo_machine"
both cost cost
both machines machines
both machine machines "$demo_machine"
both servers servers
both jobs jobs
both doctor doctor
both export export "$demo_machine" --output "$demo/out-$RANDOM.img" --disk "$weapon"
both unknown failover "$demo_machine" --output "$weapon=$demo/other.img"
both "no point" failover "$demo_machine" --point "$weapon" --output "$demo/none.img"
both "no machine" points "$weapon"
mapfile -t machines < <(python3 -c 'import json, sys
for machine in json.load(sys.stdin)["machines"]: print(machine["id"])' < "$shown/status --json")
check "every machine of the hostile peer is there" [ ${#machines[@]} -gt 15 ]
for machine in "${machines[@]}"; do both "points ${machine:0:8}" points "$machine"; done
shows metrics demo_metrics
shows socket curl -s --unix-socket "$demo/state/control.sock" http://causeway/v1/status
shows "socket events" curl -s --unix-socket "$demo/state/control.sock" http://causeway/v1/events
shows restore causeway-restore --vault "dir://$demo/vault" --kek "$demo/kek" list
parses "restore --json" causeway-restore --vault "dir://$demo/vault" --kek "$demo/kek" list --json
shows "server's log" cat "$demo/server.log"
shows "agent's log" cat "$demo/agent.log"
check "the writing direction is shown as bytes" has status '\xe2\x80\xaegnp'
check "in JSON it is the same name" eval 'python3 -c "import json, sys; sys.exit(not any(chr(0x202e) in m[\"name\"] for m in json.load(open(sys.argv[1]))[\"machines\"]))" "$shown/status --json"'
check "events name the disk" has events '\xe2\x80\xaegnp.exe/'
check "no text became a file" test -z "$(find "$demo" /tmp/owned -maxdepth 6 \( -name '*passwd*' -o -name '*owned*' -o -name '*gnp*' \) 2>/dev/null)"
cases_end
