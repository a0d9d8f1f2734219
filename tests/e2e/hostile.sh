#!/usr/bin/env bash
# Everything that a hostile peer can do, at a server that protects an honest machine's disk all the while: each refusal has
# its code, points go on, memory stays within the budget, and what is restored is what was written. Usage: hostile.sh BUILD
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh

# The cases of one group of hostile_peer, counted as ours. One that ends before its cases did is a failure of its own.
attack() {
    local line status=0 cases="$demo/cases.$1"
    hostile_peer "$@" --port "$demo_port" --control-port "$control_port" --pki "$demo/pki" --victim-disk "$victim" \
        --revoked "$demo/pki/revoked" >"$cases" 2>>"$demo/hostile.log" || status=$?
    [ $status -le 1 ] || echo "FAIL the peer of the cases $1 ends in order (status $status)" >>"$cases"
    while read -r line; do
        case $line in
            PASS*) echo "$line" ;;
            FAIL*) echo "$line"; cases_failed=$((cases_failed + 1)) ;;
        esac
    done <"$cases"
}
# The honest machine: a point at a known moment, with the writer going on afterwards.
honest() {
    if note_point "after-${1// /-}" committed; then pass "an honest point after: $1"; else fail "an honest point after: $1"; fi
    writer_go
}
control_port_of() { causeway --config "$demo/causeway.toml" --json status 2>/dev/null | json_number control_port; }
metric() { demo_metrics | awk -v name="$1" '$1 ~ "^" name "([{]|$)" { sum += $2 } END { printf "%d\n", sum }'; }
has_metric() { [ "$(metric "$1")" -ge "$2" ]; }
resident_peak() { awk '/^VmHWM/ { print $2 * 1024 }' "/proc/$demo_server_pid/status"; }
budget() { causeway --config "$demo/causeway.toml" --json status 2>/dev/null | json_number memory_budget_bytes; }
one_of() { local wanted=" $1 "; shift; "$@" >>"$demo/cli.log" 2>&1; [[ $wanted == *" $? "* ]]; }
revoked_is_named() {  # Strangers may cause only so many lines at a time: it comes again until it is written.
    timeout 10 openssl s_client -connect "127.0.0.1:$demo_port" -alpn causeway-replication/1 -cert "$demo/pki/revoked.crt" \
        -key "$demo/pki/revoked.key" -CAfile "$demo/pki/ca.crt" </dev/null >/dev/null 2>&1
    logged 'ingest.tls.refused.*CERTIFICATE_REVOKED'
}
http_status() { [ "$(curl -s --path-as-is -o /dev/null -w '%{http_code}' --unix-socket "$demo/state/control.sock" "http://causeway$2")" = "$1" ]; }
refused_start() {  # CERTIFICATE: a server that shows it does not start.
    sed "s|pki/server\.|pki/$1.|; s|$demo/state|$demo/state-$1|; s|$demo/cache|$demo/cache-$1|" "$demo/causeway.toml" > "$demo/$1.toml"
    timeout 60 causewayd --config "$demo/$1.toml" >"$demo/$1.log" 2>&1
    [ $? -eq 3 ] && grep -q "$2" "$demo/$1.log"
}
# A server for old agents, which may speak TLS 1.2; everything else of it is as it is of the other.
old_port() { causeway --config "$demo/old.toml" --json status 2>/dev/null | json_number replication_port; }
old_is_up() { [ "$(old_port)" -gt 0 ]; }
# tls12 COMMAND…: what is said to the client that has shaken hands; it is no end of file that ends it.
tls12() {
    printf '%s\n' "$@" >&8
    timeout 20 openssl s_client -connect "127.0.0.1:$(old_port)" -tls1_2 -alpn causeway-replication/1 -cert "$demo/pki/machine.crt" \
        -key "$demo/pki/machine.key" -CAfile "$demo/pki/ca.crt" <&8 >"$demo/tls12.out" 2>&1
}
# Nobody but the server ends it: with an alert, before a second handshake.
is_not_renegotiated() {
    local status=0
    tls12 R || status=$?
    [ $status -ne 124 ] && grep -q '^RENEGOTIATING' "$demo/tls12.out" && grep -q 'no renegotiation' "$demo/tls12.out" && return
    tail -n 5 "$demo/tls12.out"
    echo "the client ended with $status"
    return 1
}
speaks_tls12() { tls12 Q && grep -q '^New, TLSv1.2, Cipher is ECDHE' "$demo/tls12.out"; }

# A thousand connections here and there.
[ "$(ulimit -Sn)" = unlimited ] || [ "$(ulimit -Sn)" -ge 4096 ] || ulimit -Sn 4096 || die "1000 connections need more open files than $(ulimit -Hn)"
demo_begin
ordered_seed
demo_config "url = \"dir://$demo/vault\"" '[egress]
commit_interval = "200ms"
segment_deadline = "500ms"
[control]
listen = "127.0.0.1:0"'
sed -i 's/^\[ingest\]$/&\nmax_connections = 1100\nhandshake_timeout = "20s"/; s|^\[security\]$|&\nenrol_ca = "'"$demo"'/pki"\nrevoked_file = "'"$demo"'/pki/revoked.list"|' "$demo/causeway.toml"
causeway pki issue "$demo/pki" --role machine --name lost --out "$demo/pki/revoked" >/dev/null
causeway pki revoke "$demo/pki/revoked.crt" --list "$demo/pki/revoked.list" >/dev/null
causeway pki issue "$demo/pki" --role operator --name olga --out "$demo/pki/operator" >/dev/null
causeway --config "$demo/causeway.toml" vault create >/dev/null
demo_start_server
control_port=$(control_port_of)
ordered_image 16
ordered_agent
ordered_writer 100
ordered_protect
victim=$(agent_json | grep -o '"id": *"[0-9a-f-]*"' | head -n 1 | grep -o '[0-9a-f-]\{36\}')
[ -n "$victim" ] || die "the honest disk has no id"
session_ends() { grep -c 'agent.session.lost' "$demo/agent.log"; }
ends=$(session_ends)

attack slow > "$demo/slow.out" & slow_pid=$!
demo_pids+=($slow_pid)
attack tls
attack control
attack enrol
check "30 ways and more to come without right are refused" test "$(cat "$demo/cases.tls" "$demo/cases.control" | grep -c '^PASS')" -ge 30
check "the log names why a handshake was refused" wait_for 180 "a line of the log" revoked_is_named
honest "TLS and the control port"
attack stream
check "another machine's disk raises AUTHZ_DENIED" logged 'condition.raised code=AUTHZ_DENIED'
check "and ends it by asking for its own" logged 'condition.cleared code=AUTHZ_DENIED'
check "other content raises SEQ_CONFLICT" logged 'condition.raised code=SEQ_CONFLICT'
honest "replayed and lying streams"
attack frames
honest "frames out of range"
attack names
check "no name became a line of the log" test "$(grep -c '^2026-01-01T00:00:00' "$demo/server.log")" -eq 0
check "no name brought a control character into the log" test "$(LC_ALL=C grep -c "$(printf '[\001-\010\013-\037]')" "$demo/server.log")" -eq 0
check "no name turned the writing direction of the log" test "$(grep -c "$(printf '\342\200\256')" "$demo/server.log")" -eq 0
check "no name became a file" no_name_became_a_file
check "the status is JSON with all those names in it" python3 -c 'import json, subprocess, sys; json.loads(subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, check=True).stdout)' causeway --config "$demo/causeway.toml" --json status
for name in '../../etc/passwd' 'x%2e%2e' "$(printf 'a\r\nb')" "$(printf '\342\200\256gnp')" "$(head -c 10000 /dev/zero | tr '\0' n)" ''; do
    shown=$(head -c 20 <<<"$name" | tr -c 'a-zA-Z0-9./%\n' '?' | tr '\n' ' ')
    check "a machine called $shown is refused by the command line" one_of "2 4" causeway --config "$demo/causeway.toml" points "$name"
    check "a point called $shown is refused by the command line" one_of "2 4" causeway --config "$demo/causeway.toml" failover "$demo_machine" --point "$name" --output "$demo/none"
done
for path in /v1/../../etc/passwd /v1/%2e%2e/%2e%2e/etc/passwd /v1/status%00 "/v1/$(head -c 4000 /dev/zero | tr '\0' a)"; do
    check "the socket's path ${path:0:30} leads nowhere" http_status 404 "$path"
done
check "an unknown command of the command line is a usage error" exit_code_is 2 causeway nonsense
honest "names"

for who in machine operator; do
    check "a server does not start with the certificate of $who" refused_start $who IDENTITY_REFUSED
done

sed "s|$demo/state|$demo/state-old|; s|$demo/cache|$demo/cache-old|; s|^\[security\]$|&\nallow_tls12 = true|" "$demo/causeway.toml" > "$demo/old.toml"
causewayd --config "$demo/old.toml" 2>>"$demo/old.log" &
old_pid=$!
demo_pids+=($old_pid)
wait_for 120 "the server for old agents" old_is_up
mkfifo "$demo/keys"
exec 8<> "$demo/keys"
check "with the switch TLS 1.2 is spoken" speaks_tls12
check "what was agreed on is not negotiated again" is_not_renegotiated
check "and others are let in after it" speaks_tls12
exec 8>&-
kill $old_pid
wait $old_pid 2>/dev/null

# A thousand connections that do nothing, held while the honest machine works.
mkfifo "$demo/hold"
attack crowd --count 1000 < "$demo/hold" > "$demo/crowd.out" & crowd_pid=$!
demo_pids+=($crowd_pid)
exec 7> "$demo/hold"
wait_for 180 "a thousand connections" has_metric causeway_ingest_connections 1000
honest "a thousand idle connections"
exec 7>&-
wait $crowd_pid 2>/dev/null
cat "$demo/crowd.out"

# What is taken while the storm lasts, by its own clock: an honest machine works beside it, and longer.
storm=3000
storm() {
    local before began
    before=$(metric causeway_ingest_accepted_total) began=$(date +%s%N)
    attack storm --count $storm > "$demo/storm.out"
    echo "$(($(metric causeway_ingest_accepted_total) - before)) $((($(date +%s%N) - began) / 1000000))" > "$demo/storm.taken"
    [ $cases_failed -eq 0 ]
}
(cases_failed=0; storm) & storm_pid=$!
demo_pids+=($storm_pid)
honest "a storm of handshakes"
wait $storm_pid 2>/dev/null || cases_failed=$((cases_failed + 1))
cat "$demo/storm.out"
read -r taken ms < "$demo/storm.taken"
may=$((200 * ms / 1000 + 400))
echo "storm: $taken of $storm handshakes taken in $ms ms, in which $may may be"
if [ $may -lt $storm ]; then
    check "handshakes are taken at the rate of the tokens" test "$taken" -le $may
    check "and some are taken" test "$taken" -ge 1
else
    echo "SKIP hostile: the rate of the tokens (this machine took $ms ms for a storm of $storm, in which all of them may be taken)"
fi

wait $slow_pid 2>/dev/null
cat "$demo/slow.out"
cases_failed=$((cases_failed + $(grep -c '^FAIL' "$demo/slow.out" "$demo/crowd.out" "$demo/storm.out" | awk -F: '{ n += $2 } END { print n }')))
honest "slow peers"
peak=$(resident_peak) limit=$(budget)
echo "memory: peak $((peak / 1048576)) MiB of the printed $((limit / 1048576)) MiB"
check "memory stayed within the printed budget under all of it" test "$peak" -le "$limit"

# Its own certificate is revoked at last: the session ends while it is live.
causeway pki revoke "$demo/pki/machine.crt" --list "$demo/pki/revoked.list" >/dev/null
writer_pause
check "the honest session was never disturbed" test "$(session_ends)" -eq "$ends"
check "every honest point is in the vault" test -z "$(missing_points)"
check "every point is byte-identical" restore_all
check "the list is taken while running" exit_code_is 0 causeway --config "$demo/causeway.toml" config reload
revoked_live() { logged 'ingest.session.error.*CERTIFICATE_REVOKED'; }
check "a revoked machine's live session is ended" wait_for 180 "the end of the session" revoked_live
check "the server is alive and says so" demo_server_up

# What contradicted itself is refused for good: the next server says so before anybody has come.
quarantined() { causeway --config "$demo/causeway.toml" --json status | says SEQ_CONFLICT; }
check "a quarantine is kept" wait_for 60 "the file of quarantines" test -s "$demo/state/quarantine"
kill -9 "$demo_server_pid"
wait "$demo_server_pid" 2>/dev/null || true
demo_start_server
check "a quarantine outlives kill -9 of the server" quarantined
cases_end
