#!/usr/bin/env bash
# A machine without a certificate gets one by a token, and keeps it: enrol, protect, renew, lose everything, enrol again.
# Tokens that are used, expired, wrong, of another CA, or come in floods are refused. Usage: enrol.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh

config() { causeway --config "$demo/causeway.toml" "$@"; }
control_port_of() { config --json status 2>/dev/null | json_number control_port; }
token_into() { local file=$1; shift; config enrol-token --out "$file" "$@" 2>>"$demo/cli.log"; }
enrol() { local file=$1 state=$2; shift 2; causeway-agent enrol --server "127.0.0.1:$control_port" --token-file "$file" --state "$state" "$@" >"$demo/enrol.out" 2>&1; }
enrol_says() { cat "$demo/enrol.out" >>"$demo/cli.log"; grep -q "$1" "$demo/enrol.out"; }
refused() {  # CODE FILE STATE [MORE]: the agent ends badly and names the code.
    local code=$1; shift
    ! enrol "$@" && enrol_says "$code"
}
serial() { openssl x509 -noout -serial -in "$demo/agent/machine.pem"; }
serial_is_not() { [ "$(serial)" != "$1" ]; }
private() { [ "$(stat -c %a "$1")" = 600 ]; }
shown_event() { config --json events | says "$1"; }
protect() {
    causeway-agent protect --state "$demo/agent" --image "$demo_image" --disk-name disk --machine-name demo-machine \
        --nbd-socket "$demo/nbd.sock" --interval 3600s "$@" 2>>"$demo/agent.log" &
    demo_agent_pid=$!
    demo_pids+=($demo_agent_pid)
}
# The same key with a certificate whose time is over, as after a long outage.
expire_certificate() {
    local work=$demo/expire
    mkdir "$work" && : > "$work/index" && echo 01 > "$work/serial"
    cat > "$work/ca.cnf" <<C
[ca]
default_ca = d
[d]
database = $work/index
serial = $work/serial
new_certs_dir = $work
default_md = sha256
policy = p
x509_extensions = x
[p]
commonName = supplied
[x]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = clientAuth
subjectAltName = URI:urn:causeway:machine:$demo_machine
C
    openssl pkey -in "$demo/agent/machine.pem" -out "$work/key" 2>/dev/null &&
        openssl req -new -key "$work/key" -subj /CN=old -out "$work/csr" 2>/dev/null &&
        openssl ca -batch -notext -config "$work/ca.cnf" -cert "$demo/pki/ca.crt" -keyfile "$demo/pki/ca.key" -in "$work/csr" \
            -startdate 20200101000000Z -enddate 20200201000000Z -out "$work/crt" 2>>"$demo/cli.log" &&
        cat "$work/key" "$work/crt" > "$demo/agent/machine.pem"
}

demo_begin
ordered_seed
demo_config "url = \"dir://$demo/vault\"" '[egress]
commit_interval = "200ms"
segment_deadline = "500ms"
[control]
listen = "127.0.0.1:0"'
sed -i "s|^\[security\]$|&\nenrol_ca = \"$demo/pki\"|" "$demo/causeway.toml"
config vault create >/dev/null
sed '/^\[control\]$/,$d' "$demo/causeway.toml" > "$demo/no-port.toml"
timeout 60 causewayd --config "$demo/no-port.toml" >"$demo/no-port.out" 2>&1
check "enrolment without a port for it is an error of the configuration" grep -q 'CONFIG_INVALID.*control.listen' "$demo/no-port.out"
demo_start_server
ordered_pin_port
control_port=$(control_port_of)
sed -i "/^\[control\]$/,\$s/^listen = .*/listen = \"127.0.0.1:$control_port\"/" "$demo/causeway.toml"
rm "$demo/pki/machine.key" "$demo/pki/machine.crt"  # Nobody carries keys about here.

check "a token is made" token_into "$demo/token"
check "its file is for its owner alone" private "$demo/token"
chmod 644 "$demo/token"
check "a token that others may read is refused" refused 'chmod 0600' "$demo/token" "$demo/agent"
chmod 600 "$demo/token"
sed 's/^cwenrol1-..../cwenrol1-0000/' "$demo/token" > "$demo/wrong" && chmod 600 "$demo/wrong"
check "a wrong token is refused" refused TOKEN_REFUSED "$demo/wrong" "$demo/agent"
check "a refusal is an event" shown_event TOKEN_REFUSED
check "a machine enrols" enrol "$demo/token" "$demo/agent"
check "what it got is for its owner alone" private "$demo/agent/machine.pem"
demo_machine=$(sed -n 's/^machine \([0-9a-f-]*\),.*/\1/p' "$demo/enrol.out")
check "the server's log names the machine" wait_for 60 "a line of the log" logged "enrolment.granted machine=$demo_machine"
check "a used token is refused" refused TOKEN_REFUSED "$demo/token" "$demo/second"
check "it is in the list with whom it enrolled" bash -c "causeway --config '$demo/causeway.toml' --json enrol-token --list | grep -q '$demo_machine'"

# The machine protects its disk with nothing but its state directory.
ordered_image 16
protect
ordered_writer 100
ordered_protect
check "a point of an enrolled machine is committed" note_point enrolled committed
writer_go

# Renewal: asked for, and by itself.
before=$(serial)
check "a certificate is renewed with itself" causeway-agent enrol --renew --state "$demo/agent" >>"$demo/cli.log" 2>&1
check "the renewed one is another" serial_is_not "$before"
writer_pause
demo_stop_agent
before=$(serial)
protect --renew-before 960h
check "a running agent renews by itself" wait_for 180 "another serial number" serial_is_not "$before"
wait_for 180 "the agent's NBD socket" test -S "$demo/nbd.sock"
wait_for 180 "protection" agent_protects
wait_for 180 "a session" agent_live
writer_go
check "a point after renewals is committed" note_point renewed committed

# Somebody else's server, which has a CA of its own: it hears nothing but a handshake.
causeway pki init "$demo/foreign" >/dev/null
causeway pki issue "$demo/foreign" --role process-server --host localhost,127.0.0.1 --out "$demo/foreign/server" >/dev/null
check "another token is made" token_into "$demo/token2" --uses 2
mkfifo "$demo/open"
openssl s_server -accept 127.0.0.1:0 -cert "$demo/foreign/server.crt" -key "$demo/foreign/server.key" -cert_chain "$demo/foreign/ca.crt" \
    -alpn causeway-enrolment/1 < "$demo/open" > "$demo/foreign.out" 2>&1 & foreign_pid=$!
demo_pids+=($foreign_pid)
exec 8> "$demo/open"
foreign_port() { sed -n 's/^ACCEPT .*:\([0-9]*\)$/\1/p' "$demo/foreign.out" | head -n 1; }
wait_for 60 "the foreign server" grep -qs '^ACCEPT ' "$demo/foreign.out"
right_port=$control_port control_port=$(foreign_port)
check "another CA's server is refused" refused 'TLS_FAILED.*nothing was sent' "$demo/token2" "$demo/second" --timeout 0s
control_port=$right_port
exec 8>&-
kill $foreign_pid 2>/dev/null
wait $foreign_pid 2>/dev/null
check "and heard nothing" bash -c "! grep -q 'POST\|csr\|cwenrol' '$demo/foreign.out'"

# Tokens are kept, and their time ends.
check "a token to revoke is made" token_into "$demo/token3"
revoke_last() { config enrol-token --revoke "$(config --json enrol-token --list | python3 -c 'import json, sys; print(json.load(sys.stdin)[-1]["id"])')" 2>>"$demo/cli.log"; }
check "it is revoked" revoke_last
check "a revoked token is refused" refused TOKEN_REFUSED "$demo/token3" "$demo/third"
check "a token that will expire is made" token_into "$demo/token4"
check "the server keeps no token, only what tells it" bash -c "! grep -qF -e \"\$(cut -d- -f2 '$demo/token2')\" '$demo/state/enrolment' && grep -q . '$demo/state/enrolment'"
writer_pause
kill -9 $demo_server_pid; wait $demo_server_pid 2>/dev/null
sed -i '$s/^\([0-9a-f]*\) [0-9]* /\1 1600000000 /' "$demo/state/enrolment"
demo_start_server
check "an expired token is refused" refused TOKEN_REFUSED "$demo/token4" "$demo/third"
check "a token outlives kill -9 of the server" enrol "$demo/token2" "$demo/second"

# G2: every certificate has expired. Only an operator's token for this very machine helps.
wait_for 180 "protection" agent_protects
demo_stop_agent
check "G2: the certificate is made to have expired" expire_certificate
renew_fails() { ! causeway-agent enrol --renew --state "$demo/agent" >"$demo/enrol.out" 2>&1 && enrol_says CERTIFICATE_EXPIRED; }
check "G2: an expired certificate does not renew itself" renew_fails
check "G2: a token for anybody does not make another machine of this one" refused TOKEN_REFUSED "$demo/token2" "$demo/agent"
check "G2: a token for this machine is made" token_into "$demo/token5" --machine "$demo_machine"
check "G2: it is of no use to another machine" refused TOKEN_REFUSED "$demo/token5" "$demo/second"
same_machine() { enrol - "$demo/agent" < "$demo/token5" && enrol_says "^machine $demo_machine,"; }
check "G2: the machine is enrolled again as what it was" same_machine
protect
wait_for 180 "the agent's NBD socket" test -S "$demo/nbd.sock"
wait_for 180 "protection" agent_protects
wait_for 180 "a session" agent_live
writer_go
check "G2: its history goes on" note_point again committed
check "G2: every point is byte-identical" restore_all

# H7: whoever guesses is locked out, and the server says so.
guesses() {
    local i
    for i in $(seq 60); do
        refused SERVER_BUSY "$demo/wrong" "$demo/third" --timeout 0s && return 0
        enrol_says TOKEN_REFUSED || return 1
    done
    return 1
}
check "a flood of wrong tokens is told to wait" guesses
busy_shown() { config --json status | says SERVER_BUSY; }
check "the condition stands" busy_shown
check "a good token has to wait too" refused SERVER_BUSY "$demo/token2" "$demo/fourth" --timeout 0s
check "replication is not disturbed" note_point flooded committed
for file in token token2 token3 token4 token5; do
    check "the secret of $file is nowhere else" bash -c "! grep -rqF -e \"\$(cut -d- -f2 '$demo/$file')\" '$demo/state' '$demo/agent' '$demo/second' $demo/*.log $demo/*.out"
done
cases_end
