#!/usr/bin/env bash
# Two machines play ping-pong while points of their group are made: at every group point B ≤ A ≤ B + 1. A member that is
# gone spoils a group point and nothing else; one whose part is lost later ends the group's point. Usage: group_points.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh

agent_start() { # NAME ID OPTION…
    local name=$1 id=$2; shift 2
    causeway-agent protect --server "127.0.0.1:$demo_port" --ca "$demo/pki/ca.crt" --cert "$demo/pki/$name.crt" \
        --key "$demo/pki/$name.key" --state "$demo/$name" --machine-name "$name" --image "$demo/$name.img" --disk-name disk \
        --nbd-socket "$demo/$name.nbd" --interval 3600s --group-hold 20s "$@" 2>>"$demo/$name.log" &
    agent_pid=$!
    demo_pids+=($agent_pid)
}
status_of() { causeway-agent status --state "$demo/$1" --json 2>/dev/null || true; }
protected() { status_of "$1" | says '"phase": *"protected"'; }
group_port() { status_of b | grep -o '"port": *[0-9]*' | tr -dc 0-9; }
listens() { [ -n "$(group_port)" ]; }
joined() { [ "$(status_of a | json_number connected)" = "$1" ]; }
count() { cat "$demo/count" 2>/dev/null || echo 0; }
counted() { [ "$(count)" -ge "$1" ]; }
played() { wait_for 90 "$1 more turns of ping-pong" counted $(($(count) + $1)); }
start_b() { agent_start b "$id_b" --group-listen "127.0.0.1:$1" --group-coordinator "$id_a"; pid_b=$agent_pid; }
# group_point TAG
group_point() { causeway-agent point --state "$demo/a" --group --tag "$1" --wait committed --timeout 120s >>"$demo/points.log" 2>&1; }
# point_of MACHINE TAG, once it is in the vault
point_of() {
    causeway --config "$demo/causeway.toml" --json points "$1" 2>>"$demo/cli.log" |
        python3 -c 'import json, sys
print(next((p["id"] for p in json.load(sys.stdin) if p["tag"] == sys.argv[1]), ""))' "$2" || true
}
in_vault() { [ -n "$(point_of "$1" "$2")" ]; }
# count_at MACHINE TAG: the counter on its disk at that point.
count_at() {
    rm -f "$demo/restored"
    causeway --config "$demo/causeway.toml" failover "$1" --point "$(point_of "$1" "$2")" --disk disk --output "$demo/restored" \
        >>"$demo/cli.log" 2>&1 || return 1
    head -c 16 "$demo/restored" | tr -dc 0-9
}
one_moment() {
    local tag a b shown=''
    for tag in "$@"; do
        wait_for 90 "point $tag of B in the vault" in_vault "$id_b" "$tag"
        a=$(count_at "$id_a" "$tag") && b=$(count_at "$id_b" "$tag") || { echo "point $tag cannot be restored"; return 1; }
        shown+=" A=$a,B=$b"
        [ "$b" -le "$a" ] && [ "$a" -le $((b + 1)) ] && [ "$a" -gt 0 ] || { echo "point $tag is not of one moment:$shown"; return 1; }
    done
    echo "at the group points:$shown"
}

demo_begin
demo_config "url = \"dir://$demo/vault\"" '[egress]
commit_interval = "200ms"
segment_deadline = "500ms"'
id_a=$(cat /proc/sys/kernel/random/uuid) id_b=$(cat /proc/sys/kernel/random/uuid)
for name in a b; do
    id=id_$name
    causeway pki issue "$demo/pki" --role machine --id "${!id}" --name "machine-$name" --out "$demo/pki/$name" >/dev/null
    truncate -s 1M "$demo/$name.img"
done
causeway --config "$demo/causeway.toml" vault create >/dev/null
demo_start_server
start_b 0
wait_for 90 "B to listen" listens
port=$(group_port)
agent_start a "$id_a" --group-member "$id_b@127.0.0.1:$port"
wait_for 90 "protection of A" protected a
wait_for 90 "protection of B" protected b
wait_for 90 "A to reach B" joined 1
python3 tests/e2e/ping_pong.py "$demo/a.nbd" "$demo/b.nbd" "$demo/count" 2>>"$demo/ping_pong.log" &
demo_pids+=($!)
played 20
for tag in g1 g2 g3 g4 g5; do
    group_point $tag || die "no group point $tag: $(tail -n 1 "$demo/points.log")"
    played 20
done
check "five group points while a counter goes back and forth: B ≤ A ≤ B + 1" one_moment g1 g2 g3 g4 g5

group_of() { causeway --config "$demo/causeway.toml" points "$1" | sed -n "s/.* $2  group //p"; }
same_group() { [ -n "$(group_of "$id_a" g1)" ] && [ "$(group_of "$id_a" g1)" = "$(group_of "$id_b" g1)" ] && [ "$(group_of "$id_a" g1)" != "$(group_of "$id_a" g2)" ]; }
check "the list of points says which ones belong together" same_group
# group_shows GROUP KEY [CONFIGURATION]: names of the machines under that key.
group_shows() {
    causeway --config "${3:-$demo/causeway.toml}" --json points --group "$1" 2>>"$demo/cli.log" |
        python3 -c 'import json, sys
print(*sorted(m["name"] for m in json.load(sys.stdin)[sys.argv[1]]))' "$2"
}
whole() { [ "$(group_shows "$(group_of "$id_a" g1)" points)" = "a b" ] && [ -z "$(group_shows "$(group_of "$id_a" g1)" without)" ]; }
check "a group point names the machines that have it" whole
# A copy of the vault in which B has lost its part: its newest manifests are gone, one after the other.
mkdir "$demo/partial"
cp -r "$demo/vault/manifest" "$demo/partial/" && cp -r "$demo/vault/data" "$demo/vault/keys" "$demo/partial/" || die "the vault cannot be copied"
sed -e "s|dir://$demo/vault|dir://$demo/partial|" -e "s|^state_dir = .*|state_dir = \"$demo/partial.state\"|" "$demo/causeway.toml" > "$demo/partial.toml"
named() {
    local group manifest
    group=$(group_of "$id_a" g5)
    for manifest in $(ls -r "$demo/partial/manifest/$id_b"); do
        [ "$(group_shows "$group" without "$demo/partial.toml")" = b ] && [ "$(group_shows "$group" points "$demo/partial.toml")" = a ] && return
        rm "$demo/partial/manifest/$id_b/$manifest"
    done
    return 1
}
check "a machine that lost its part of a group point is named" named
partial() { causeway --config "$demo/partial.toml" "$@"; }
plain() { partial points "$id_a" 2>>"$demo/cli.log" | says "g5  (its group's point is gone: machine $id_b (b) has none)"; }
check "the part that is left is shown as a point of its machine alone" plain
not_offered() {
    ! partial failover "$id_a" --point "group:$(group_of "$id_a" g5)" --output "$demo/none.img" 2>"$demo/refused" &&
        says POINT_NOT_FOUND < "$demo/refused" && says "$id_b" < "$demo/refused" && [ ! -e "$demo/none.img" ]
}
check "and is not failed over to as the group's" not_offered
# counts_at POINT [CONFIGURATION]: both machines' counters, at that point.
counts_at() {
    local name id
    for name in a b; do
        id=id_$name
        rm -f "$demo/exported"
        causeway --config "${2:-$demo/causeway.toml}" export "${!id}" --point "$1" --output "$demo/exported" >>"$demo/cli.log" 2>&1 || return 1
        head -c 16 "$demo/exported" | tr -dc 0-9
        echo
    done
}
near() { # A and B are counters of one moment.
    local a b
    { read -r a && read -r b; } && [ "$b" -le "$a" ] && [ "$a" -le $((b + 1)) ] && [ "$a" -gt 0 ]
}
check "the newest group point that is whole is offered instead" near < <(counts_at latest-group "$demo/partial.toml")
same_as_parts() { [ "$(counts_at "group:$(group_of "$id_a" g3)")" = "$(count_at "$id_a" g3; echo; count_at "$id_b" g3)" ]; }
check "a group point takes each machine's own part of it" same_as_parts
rm -rf "$demo/partial"

kill -9 "$pid_b"
wait "$pid_b" 2>/dev/null
wait_for 90 "A to see that B is gone" joined 0
refused() { ! group_point spoiled && tail -n 1 "$demo/points.log" | says GROUP_INCOMPLETE && tail -n 1 "$demo/points.log" | says "$id_b"; }
check "without a member there is no group point, and the error names it" refused
check "a machine alone still has its own points" causeway-agent point --state "$demo/a" --tag alone --wait committed --timeout 120s
start_b "$port"
wait_for 90 "protection of B" protected b
wait_for 90 "A to reach B again" joined 1
played 20
group_point g6 || die "no group point g6: $(tail -n 1 "$demo/points.log")"
check "when it is back the group goes on" one_moment g6
cases_end
