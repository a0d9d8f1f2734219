#!/usr/bin/env bash
# One machine, two process servers, one vault: the machine moves back and forth while the server it leaves is stopped and
# woken again as a zombie. Every point restores what the disk was, and nothing is synchronised anew. On a directory and on
# the fake of Azure. Usage: takeover.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh
source tests/lib/fake_azure.sh
moves=${CAUSEWAY_MOVES:-5}

# Server n has a configuration, state, cache, identity and log of its own; the vault and its key are shared.
declare -A server_pid server_port
server_config() { echo "$demo/server-$1.toml"; }
second_server() {
    causeway pki issue "$demo/pki" --role process-server --name other --host localhost,127.0.0.1 --out "$demo/pki/other" >/dev/null
    cp "$demo/causeway.toml" "$(server_config 0)"
    sed -e "s|$demo/state|$demo/state-1|; s|$demo/cache|$demo/cache-1|; s|pki/server\.|pki/other.|; s|name = \"demo\"|name = \"other\"|" \
        "$demo/causeway.toml" > "$(server_config 1)"
}
port_of() { causeway --config "$(server_config "$1")" --json status 2>/dev/null | sed -n 's/.*"replication_port": *\([0-9]*\).*/\1/p' | head -n 1; }
server_up() { server_port[$1]=$(port_of "$1") && [ -n "${server_port[$1]}" ]; }
start_server() {
    causewayd --config "$(server_config "$1")" 2>>"$demo/server-$1.log" &
    server_pid[$1]=$!
    demo_pids+=($!)
    wait_for 180 "server $1" server_up "$1"
}
# An agent that is told to end gives a server that does not answer 20 s to take the rest: that is seen once. Most leave
# as they do in a disaster, without a word.
leave() {  # MOVE
    if [ "$1" = 1 ] && [ -z "${fake_url:-}" ]; then demo_stop_agent; return; fi
    kill -9 "$demo_agent_pid"
    wait "$demo_agent_pid" 2>/dev/null
}
# The agent's program is started again with the other address; its state goes with it.
agent_to() {
    demo_port=${server_port[$1]}
    ordered_agent --spool-size 1GiB
    wait_for 180 "the agent at server $1" agent_live
    wait_for 180 "protection at server $1" agent_protects
}
status_of() { causeway --config "$(server_config "$1")" --json status >"$demo/status-$1.json" 2>/dev/null; }
says_fenced() { status_of "$1" && grep -q FENCED "$demo/status-$1.json"; }
is_not_fenced() { status_of "$1" && ! grep -q FENCED "$demo/status-$1.json"; }
fencings() { grep -c 'upload.machine.fenced' "$demo/server-$1.log"; }
fenced_again() { [ "$(fencings "$1")" -gt "$2" ]; }  # SERVER BEFORE
# Says the newest manifest of the server, if that has all that the agent has, and part of it is in no manifest.
holds_unpublished() {
    local last
    last=$(($(agent_json | json_number next_sequence) - 1))
    causeway --config "$(server_config "$1")" --json status 2>/dev/null | python3 -c 'import json, sys
last = int(sys.argv[1])
for machine in json.load(sys.stdin)["machines"]:
    if any(disk["assembled_seq"] == last > disk["committed_seq"] for disk in machine["disks"]):
        sys.exit(print(machine["manifest"]))
sys.exit(1)' "$last"
}
in_the_vault() { owners 0 | json_number manifest; }
# A segment is open for three seconds before it goes to the vault: whoever is stopped with what was just written wakes with it.
# Where that took longer than these, it is done again.
stop_with_unpublished() {  # SERVER
    local deadline=$((SECONDS + 120)) newest
    while [ $SECONDS -lt $deadline ]; do
        ordered_ask "write 20"
        newest=$(holds_unpublished "$1") || continue
        kill -STOP "${server_pid[$1]}"
        [ "$(in_the_vault)" != "$newest" ] || return 0
        kill -CONT "${server_pid[$1]}"
    done
    die "server $1 never holds what is not published"
}
# Objects that no manifest names: what zombies could still store.
orphans() { causeway --config "$(server_config 0)" --json gc "$demo_machine" 2>>"$demo/cli.log" | json_number unnamed_segments; }
manifest_files() { find "$demo/vault/manifest" -type f ! -name '.*'; }
fetch_manifests() {
    local sas name
    sas=$(fake_sas) || return 1
    mkdir -p "$demo/manifests"
    for name in $(fake_call "$fake_url/site-manifest?restype=container&comp=list&$sas" | grep -o '<Name>[^<]*' | cut -c7-); do
        fake_call -o "$demo/manifests/${name##*/}" "$fake_url/site-manifest/$name?$sas" || return 1
    done
}
epochs_in_order() {
    if [ -n "${fake_url:-}" ]; then
        fetch_manifests && python3 tests/e2e/chain_epochs.py "$demo"/manifests/*
    else
        manifest_files | xargs python3 tests/e2e/chain_epochs.py
    fi
}
# Answers to HELLO after the first that begin again: 2 initial, 3 resync.
began_again() { cat "$demo"/server-?.log | grep 'upload.disk.welcome' | grep -Ec 'action=(2|3)|"action":(2|3)'; }

back_and_forth() {  # VAULT_TOML GC_AUTH
    demo_config "$1" '[gc]
auth = "'"$2"'"
[egress]
commit_interval = "200ms"
segment_deadline = "3s"'
    causeway --config "$demo/causeway.toml" vault create >/dev/null || die "no vault"
    second_server
    start_server 0
    start_server 1
    ordered_image 8
    demo_port=${server_port[0]}
    ordered_agent --spool-size 1GiB
    ordered_writer 200
    ordered_protect
    local here=0 i began before
    note_point start committed || die "no first point"
    began=$(began_again)
    for ((i = 1; i <= moves; i++)); do
        writer_go
        sleep 0.3
        note_point "before-$i" durable || die "no point before-$i"  # Perhaps not committed yet.
        stop_with_unpublished $here
        before=$(fencings $here)
        writer_go
        leave $i
        agent_to $((1 - here))
        note_point "after-$i" committed || die "no point after-$i: $(tail -n 1 "$demo/points.log")"
        wait_for 180 "server $((1 - here)) to say no more that it is fenced" is_not_fenced $((1 - here))
        [ "$(fencings $here)" = "$before" ] || die "server $here was fenced while it slept"
        kill -CONT "${server_pid[$here]}"  # The zombie wakes with what it still holds.
        writer_go
        sleep 0.2
        note_point "beside-$i" committed || die "no point beside-$i: $(tail -n 1 "$demo/points.log")"
        wait_for 60 "zombie $here to be fenced in move $i" fenced_again $here "$before"
        wait_for 180 "zombie $here to say so" says_fenced $here
        here=$((1 - here))
    done
    echo "moved $moves times; each zombie was fenced, and left $(orphans) objects that nobody names"
    [ "$(orphans)" -ge 1 ] || die "no zombie stored anything: nothing was tried"
    epochs_in_order || die "a zombie has written into the chain"
    [ "$(began_again)" = "$began" ] || die "a move began the disk anew"
    demo_points_there || die "committed points are missing: $(missing_points | tr '\n' ' ')"
    restore_all || die "a point differs"
    causeway --config "$demo/causeway.toml" verify "$demo_machine" --level full | tail -n 1 | says ^intact || die "the vault is not whole"
}
# Points that were only durable at the server that was left may have been told as dropped; committed ones never.
demo_points_there() { ! missing_points | says -v '^before-'; }

on_a_directory() (
    demo_begin
    ordered_seed
    back_and_forth "url = \"dir://$demo/vault\"" emulator
)
on_azure() (
    demo_begin
    ordered_seed
    fake_start --seed "$ordered_seed"
    secret_file "$demo/credential" <<<"$fake_key"
    back_and_forth "url = \"$fake_url/site\"
auth = \"shared-key\"
key_file = \"$demo/credential\"" shared-key
)
# A server that lost an idle machine has nothing to write and so does not meet the other one's manifests by itself.
claims() { grep -c 'upload.chain.claimed' "$demo/server-$1.log"; }
claimed_again() { [ "$(claims 0)" -ge 2 ]; }
owners() { causeway --config "$(server_config "$1")" --json servers; }
refused_with() {  # CODE COMMAND...
    local code=$1 said
    shift
    said=$("$@" 2>&1) && die "not refused: $*"
    grep -q "$code" <<<"$said" || die "$* says: $said"
}
a_stale_owner() (
    demo_begin
    ordered_seed
    demo_config "url = \"dir://$demo/vault\"" '[egress]
commit_interval = "200ms"
segment_deadline = "1s"'
    causeway --config "$demo/causeway.toml" vault create >/dev/null || die "no vault"
    second_server
    start_server 0
    start_server 1
    ordered_image 8
    demo_port=${server_port[0]}
    ordered_agent --spool-size 1GiB
    ordered_writer 200
    ordered_protect
    note_point first committed || die "no first point"  # The writer rests from here on.
    kill -9 "$demo_agent_pid"
    wait "$demo_agent_pid" 2>/dev/null
    agent_to 1
    [ "$(claims 1)" = 1 ] || die "the other server has not claimed the machine"
    [ "$(claims 0)" = 1 ] || die "the first server claimed it twice"
    demo_stop_agent  # It remembers what it has seen of the vault.
    agent_to 0
    wait_for 180 "a new epoch of the server that had lost the machine" claimed_again
    writer_go
    note_point second committed || die "no point after the return: $(tail -n 1 "$demo/points.log")"
    # Both name the same owner, in the newest epoch, although the other server does not know yet.
    owners 0 > "$demo/owners-0" && owners 1 > "$demo/owners-1" || die "no owners"
    cmp -s "$demo/owners-0" "$demo/owners-1" || die "two opinions of who has the machine"
    grep -Eq '"epoch": *3' "$demo/owners-0" || die "not the newest epoch: $(cat "$demo/owners-0")"
    [ "$(grep -c '"server"' "$demo/owners-0")" = 1 ] || die "several owners: $(cat "$demo/owners-0")"
    local cli=(causeway --config "$(server_config 0)" servers)
    refused_with USAGE "${cli[@]}" discard "$demo_machine"
    refused_with TRANSITION_REFUSED "${cli[@]}" discard "$demo_machine" --yes
    "${cli[@]}" forgive "$demo_machine" >/dev/null || die "not forgiven"
    restore_all || die "a point differs"
)
check "E1 a server that lost an idle machine claims it anew before it answers, and one owner is named" a_stale_owner
check "E1 $moves moves between two servers on one directory: every point is right, no resync" on_a_directory
check "E1 $moves moves between two servers on one Azure account: every point is right, no resync" on_azure
cases_end
