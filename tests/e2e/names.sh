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
source tests/lib/shown.sh

weapon=$(printf '\342\200\256gnp\r\n2026-01-01T00:00:00.000Z error \033]0;owned\007 "x" ../../owned \302\205')
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
other_machine=$(cat /proc/sys/kernel/random/uuid)
causeway pki issue "$demo/pki" --role machine --id "$other_machine" --name other --out "$demo/pki/other" >/dev/null
demo_start_server
demo_find_control_port

while read -r line; do
    echo "$line"
    [[ $line == PASS* ]] || cases_failed=$((cases_failed + 1))
done < <(hostile_peer names --port "$demo_port" --pki "$demo/pki" 2>"$demo/hostile.log" || echo "FAIL the hostile peer ends in order")
check "what they say became a condition" raised RESYNC_REQUIRED

# Enrolment as no agent writes it; what the request calls itself is of no interest to who signs it.
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$demo/raw.key" -utf8 \
    -subj "/CN=$(printf '\342\200\256gnp\033]0;owned\007')" -out "$demo/raw.csr" 2>>"$demo/cli.log" || die "no request for a certificate"
while read -r line; do
    echo "$line"
    [[ $line == PASS* ]] || cases_failed=$((cases_failed + 1))
done < <(python3 tests/e2e/raw_enrolment.py "$control_port" "$demo/raw.csr" || echo "FAIL enrolment by hand")

# A machine of an honest agent whose people chose badly: its own words come back to it, too.
ordered_image 4
causeway-agent protect --server "127.0.0.1:$demo_port" --ca "$demo/pki/ca.crt" --cert "$demo/pki/machine.crt" \
    --key "$demo/pki/machine.key" --state "$demo/agent" --image "$demo_image" --disk-name "$weapon" --machine-name "$weapon" \
    --nbd-socket "$demo/nbd.sock" --interval 3600s --pre-hook true --post-hook true --group-listen 127.0.0.1:0 --group-coordinator "$other_machine" 2>>"$demo/agent.log" &
demo_agent_pid=$!
demo_pids+=($demo_agent_pid)
wait_for 180 "protection" agent_protects
check "a point may be called so" causeway-agent point --state "$demo/agent" --tag "$weapon" --wait committed --timeout 150s
# And what another agent calls a point of both comes to it through the barrier.
other() { causeway-agent "$@" --state "$demo/other"; }
other_has_it() { [ "$(other status --json | json_number connected)" = 1 ] && other status --json | says '"phase": *"protected"'; }
head -c 1M /dev/urandom > "$demo/other.disk"
group_port=$(agent_json | grep -o '"port": *[0-9]*' | tr -dc 0-9)
causeway-agent protect --server "127.0.0.1:$demo_port" --ca "$demo/pki/ca.crt" --cert "$demo/pki/other.crt" --key "$demo/pki/other.key" \
    --state "$demo/other" --image "$demo/other.disk" --nbd-socket "$demo/other.nbd" --disk-name "$weapon" --machine-name "$weapon" --interval 3600s \
    --group-member "$demo_machine@127.0.0.1:$group_port" --group-hold 20s 2>>"$demo/other.log" &
demo_pids+=($!)
wait_for 180 "the other agent to reach this one" other_has_it
check "so may a point of a group" other point --group --tag "group $weapon" --wait committed --timeout 150s
of_a_group() { demo_points_json | python3 -c 'import json, sys; sys.exit(not any(p["tag"] == sys.argv[1] for p in json.load(sys.stdin)))' "group $weapon"; }
check "and the other machine's part has the very name" wait_for 120 "its part" of_a_group
shows "agent status after the group" causeway-agent status --state "$demo/agent"
parses "agent status --json after the group" causeway-agent status --state "$demo/agent" --json
shows "the other's status" other status
parses "the other's status --json" other status --json
cli enrol-token --out "$demo/token" >/dev/null 2>&1
for name in "$weapon" '../../owned' "$(head -c 10000 /dev/zero | tr '\0' n)"; do
    shows "enrol ${#name}" causeway-agent enrol --server "127.0.0.1:$control_port" --token-file "$demo/token" --state "$demo/enrolled-${#name}" --name "$name"
done
shows "agent status" causeway-agent status --state "$demo/agent"
parses "agent status --json" causeway-agent status --state "$demo/agent" --json

# Whoever carries a medium may have written its manifest, and whoever drops a replica log has named it.
causeway pki issue "$demo/pki" --role machine --id "$(cat /proc/sys/kernel/random/uuid)" --name third --out "$demo/pki/third" >/dev/null
third=(--ca "$demo/pki/ca.crt" --cert "$demo/pki/third.crt" --key "$demo/pki/third.key")
head -c 1M /dev/urandom > "$demo/third.0" && cp "$demo/third.0" "$demo/third.disk"
seed() { local verb=$1; shift; causeway-agent seed "$verb" "$@"; }
export_seed() { seed export "${third[@]}" --state "$demo/third-seed" --image "$demo/third.disk" --format raw --disk-name "$1" --output "$demo/medium-$2"; }
import_seed() { seed import "${third[@]}" --server "127.0.0.1:$demo_port" --state "$demo/third-import" --image "$demo/medium-weapon" "$@"; }
shows "seed export" export_seed "$weapon" weapon
check "a disk of 10,000 bytes of name is not exported" eval '! export_seed "$(head -c 10000 /dev/zero | tr "\0" n)" long >>"$demo/cli.log" 2>&1 && [ ! -e "$demo/medium-long" ]'
shows "seed check" seed check --image "$demo/medium-weapon"
parses "seed check --json" seed check --image "$demo/medium-weapon" --json
for name in "$(printf '%s' "$weapon" | od -An -v -tx1 | tr -d ' \n')" 2e2e2f2e2e2f6f776e656400e280aeff; do
    python3 tests/e2e/seed_rename.py "$demo/medium-weapon.seed" "$name"
    shows "seed check ${name:0:8}" seed check --image "$demo/medium-weapon"
    parses "seed check ${name:0:8} --json" seed check --image "$demo/medium-weapon" --json
    shows "seed import ${name:0:8}" import_seed --disk-name disk
    parses "seed import ${name:0:8} --json" import_seed --disk-name disk --json
done
python3 tests/e2e/seed_rename.py "$demo/medium-weapon.seed" "$(head -c 10000 /dev/zero | tr '\0' n | od -An -v -tx1 | tr -d ' \n')"
check "a manifest with 10,000 bytes of name is none" eval '! seed check --image "$demo/medium-weapon" >"$demo/said" 2>&1 && grep -q RECORD_CORRUPT "$demo/said"'

log_name=${weapon//\//-}
mkdir "$demo/drop"
cp "$demo/third.0" "$demo/third.1" && printf x | dd of="$demo/third.1" conv=notrunc status=none
causeway-agent hrl-diff --from "$demo/third.0" --to "$demo/third.1" --output "$demo/drop/$log_name.hrl" >>"$demo/cli.log" 2>&1 || die "no replica log"
causeway-agent protect --server "127.0.0.1:$demo_port" "${third[@]}" --state "$demo/third" --machine-name third --image "$demo/third.disk" --disk-name disk \
    --hrl "$demo/drop" --hrl-after 00000000-0000-0000-0000-000000000000 2>>"$demo/third.log" &
third_pid=$!
demo_pids+=($third_pid)
third_has() { causeway-agent status --state "$demo/third" --json 2>/dev/null | says "$1"; }
wait_for 120 "a replica log of that name" grep -q 'agent.hrl.applied.*owned' "$demo/third.log"
check "it was applied" cmp "$demo/third.disk" "$demo/third.1"
cp "$demo/third.1" "$demo/third.2" && printf y | dd of="$demo/third.2" conv=notrunc status=none
causeway-agent hrl-diff --from "$demo/third.0" --to "$demo/third.2" --output "$demo/drop/$(printf 'b\303-%s' "$log_name").hrl" >>"$demo/cli.log" 2>&1 || die "no second log"
wait_for 120 "one that continues nothing" third_has HRL_BROKEN
shows "status of who applies logs" causeway-agent status --state "$demo/third"
parses "status of who applies logs --json" causeway-agent status --state "$demo/third" --json
kill $third_pid
wait $third_pid 2>/dev/null
shows "log of who applies logs" cat "$demo/third.log"
rm -r "$demo/drop"  # Its names are no agent's doing.

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
# Files that people write: a plan with such names wherever it has one, and tables of the configuration.
weapon_toml=$(python3 -c 'import json, sys; print(json.dumps(sys.argv[1]))' "$weapon")
plan() { printf 'name = %s\n[[group]]\nname = %s\n%s\n' "$weapon_toml" "${plan_group:-$weapon_toml}" "$1" > "$demo/plan.toml"; }
plan "[[group.step]]
name = $weapon_toml
script = [\"/bin/sh\", \"-c\", \"echo \\\"\$0\\\"; exit 3\", $weapon_toml]
[[group.step]]
name = \"by hand\"
manual = $weapon_toml"
both "plan show" plan show "$demo/plan.toml"
shows "plan run" cli plan run "$demo/plan.toml"
shows "plan run --json" cli --json plan run "$demo/plan.toml"  # Its progress is for people.
both "plan show after it" plan show "$demo/plan.toml"
both "plan, jobs" jobs
# wrong_plan NAME STEP: what is told of a mistake beside such a name.
wrong_plan() { plan "$2"; both "plan, $1" plan show "$demo/plan.toml"; }
wrong_plan "unnamed step" '[[group.step]]
manual = "x"'
wrong_plan "no kind of step" "[[group.step]]
name = $weapon_toml"
wrong_plan "unknown key" "[[group.step]]
name = \"x\"
manual = \"x\"
$weapon_toml = 1"
wrong_plan "wrong machine" "[[group.step]]
name = \"x\"
machine = $weapon_toml"
wrong_plan "wrong time" "[[group.step]]
name = \"x\"
manual = \"x\"
timeout = $weapon_toml"
wrong_plan "no step" ''
wrong_plan "two steps of a name" "$(for _ in 1 2; do printf '[[group.step]]\nname = %s\nmanual = "x"\n' "$weapon_toml"; done)"
# wrong_config NAME TABLE: the same of the configuration.
wrong_config() {
    { cat "$demo/causeway.toml"; printf '%s\n' "$2"; } > "$demo/wrong.toml"
    shows "config, $1" causeway --config "$demo/wrong.toml" config check
    parses "config, $1 --json" causeway --config "$demo/wrong.toml" --json config check
    shows "config explain, $1" causeway --config "$demo/wrong.toml" config explain
}
wrong_config "target's machine" "[[target]]
machine = $weapon_toml
disk = \"disk\"
path = \"/x\""
wrong_config "target's disk" "[[target]]
machine = \"$demo_machine\"
disk = $weapon_toml
path = $weapon_toml"
wrong_config "target's key" "[[target]]
$weapon_toml = 1"
wrong_config "policy's machine" "[[policy]]
machine = $weapon_toml
interval = \"7s\""
wrong_config "policy's interval" "[[policy]]
machine = \"$demo_machine\"
interval = $weapon_toml"
wrong_config "policy's key" "[[policy]]
$weapon_toml = 1"
wrong_config "table" "[$weapon_toml]
x = 1"
shows "no such file" causeway --config "$demo/$weapon" status
shows metrics demo_metrics
shows socket curl -s --unix-socket "$demo/state/control.sock" http://causeway/v1/status
shows "socket events" curl -s --unix-socket "$demo/state/control.sock" http://causeway/v1/events
shows restore causeway-restore --vault "dir://$demo/vault" --kek "$demo/kek" list
parses "restore --json" causeway-restore --vault "dir://$demo/vault" --kek "$demo/kek" list --json
shows "server's log" cat "$demo/server.log"
shows "agent's log" cat "$demo/agent.log"
shows "the other agent's log" cat "$demo/other.log"
check "the writing direction is shown as bytes" has status '\xe2\x80\xaegnp'
check "in JSON it is the same name" eval 'python3 -c "import json, sys; sys.exit(not any(chr(0x202e) in m[\"name\"] for m in json.load(open(sys.argv[1]))[\"machines\"]))" "$shown/status --json"'
check "events name the disk" has events '\xe2\x80\xaegnp.exe/'
check "no text became a file" no_name_became_a_file
cases_end
