#!/usr/bin/env bash
# No secret leaves its file: keys and credentials are looked for, in every form, in everything that was printed, served or
# stored; and another user of the host finds every door closed. Usage: secrets.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh
source tests/lib/fake_azure.sh

random_text() { head -c 48 /dev/urandom | base64 -w 0; }
emit() { "$@" >"$demo/emitted/$((++emitted)).txt" 2>&1; }
# What a server says that may not enter its vault, with the credential that it was given.
refused_with() {  # AUTH SETTING FILE [MORE]
    local state=$demo/refused-$1
    sed "/^\[vault\]/,\$d" "$demo/causeway.toml" | sed "s|$demo/state|$state|; s|$demo/cache|$state-cache|" > "$demo/$1.toml"
    printf '[vault]\nurl = "%s/site"\nauth = "%s"\n%s = "%s"\n%s\n[log]\nlevel = "trace"\n' "$fake_url" "$1" "$2" "$3" "${4:-}" >> "$demo/$1.toml"
    ! timeout "${patience:-120}" causewayd --config "$demo/$1.toml" >"$demo/emitted/refused-$1.txt" 2>&1
    local ended=$?
    causeway --config "$demo/$1.toml" config explain >>"$demo/emitted/refused-$1.txt" 2>&1
    timeout "${patience:-60}" causeway --config "$demo/$1.toml" points "$demo_machine" >>"$demo/emitted/refused-$1.txt" 2>&1
    return $ended
}

demo_begin
ordered_seed
chmod 755 "$demo"  # Nothing may depend on the directory above.
mkdir "$demo/emitted" "$demo/secret"
emitted=0
ulimit -c unlimited
fake_start --seed "$ordered_seed"
secret_file "$demo/secret/shared-key" <<<"$fake_key"
secret_file "$demo/secret/sas" <<<"sv=2023-11-03&ss=b&srt=sco&sp=rwdlac&se=2099-01-01T00%3A00%3A00Z&sig=$(random_text | python3 -c 'import sys, urllib.parse; print(urllib.parse.quote(sys.stdin.read().strip(), safe=""))')"
random_text | secret_file "$demo/secret/token"
random_text | secret_file "$demo/secret/client-secret"
demo_config "url = \"$fake_url/site\"
auth = \"shared-key\"
key_file = \"$demo/secret/shared-key\"" '[control]
listen = "127.0.0.1:0"
[log]
level = "trace"'
sed -i "s|^\[security\]$|&\nenrol_ca = \"$demo/pki\"|" "$demo/causeway.toml"
emit causeway --config "$demo/causeway.toml" vault create
(cd "$demo" && exec causewayd --config "$demo/causeway.toml" 2>>"$demo/emitted/server.log") & demo_server_pid=$!
demo_pids+=($demo_server_pid)
wait_for 180 "causewayd" demo_server_up
ordered_image 8
ordered_agent --log-level trace
ordered_writer 100
wait_for 180 "the agent's NBD socket" test -S "$demo/nbd.sock"
writer_go
wait_for 180 "protection" agent_protects
check "a point is committed" note_point one committed

# A machine enrols: neither its token nor its key may be seen anywhere.
emit causeway --config "$demo/causeway.toml" enrol-token --out "$demo/secret/enrol"
control_port=$(causeway --config "$demo/causeway.toml" --json status | json_number control_port)
emit causeway-agent enrol --server "127.0.0.1:$control_port" --token-file "$demo/secret/enrol" --state "$demo/enrolled"
check "a machine is enrolled" test -s "$demo/enrolled/machine.pem"
emit causeway-agent enrol --server "127.0.0.1:$control_port" --token-file "$demo/secret/enrol" --state "$demo/refused"
emit causeway-agent enrol --renew --state "$demo/enrolled"
emit causeway --config "$demo/causeway.toml" --json enrol-token --list
cut -d- -f2 "$demo/secret/enrol" | tr -d '\n' | secret_file "$demo/secret/enrol-secret"
openssl pkey -in "$demo/enrolled/machine.pem" -out "$demo/secret/enrolled.key"

for command in status "points $demo_machine" machines events "config explain" "config check" "config reload" "verify $demo_machine"; do
    emit causeway --config "$demo/causeway.toml" $command
    emit causeway --config "$demo/causeway.toml" --json $command
done
emit causeway --config "$demo/causeway.toml" failover "$demo_machine" --point latest --output "$demo/restored.img"
emit causeway-agent status --state "$demo/agent" --json
emit causeway-restore --vault "$fake_url/site" --kek "$demo/secret/token" list
emit curl -s --unix-socket "$demo/state/control.sock" http://causeway/metrics
emit curl -s --unix-socket "$demo/state/control.sock" http://causeway/v1/status
emit curl -s -X POST --unix-socket "$demo/state/control.sock" http://causeway/v1/reload
for pid in $demo_server_pid $demo_agent_pid; do
    emit cat "/proc/$pid/cmdline"
    emit cat "/proc/$pid/environ"
    emit cat "/proc/$pid/status"
done
check "a wrong SAS is refused" refused_with sas sas_file "$demo/secret/sas"
check "a wrong token is refused" refused_with fixed-token token_file "$demo/secret/token"
# Nobody answers there: both programs go on asking.
patience=8 check "a client secret that nobody vouches for opens nothing" refused_with client-secret client_secret_file "$demo/secret/client-secret" "tenant_id = \"t\"
client_id = \"c\"
identity_endpoint = \"http://127.0.0.1:9\""
chmod 644 "$demo/secret/sas"
check "a credential that others may read is refused" refused_with sas sas_file "$demo/secret/sas"
check "and the refusal says so" grep -q 'mode 0600' "$demo/emitted/refused-sas.txt"
chmod 600 "$demo/secret/sas"

# Another user of this host. Everything below is the product's; what holds no secret may be read.
if [ "$(id -u)" -eq 0 ]; then
    as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
    closed() { ! as_nobody head -c 1 "$1" >/dev/null 2>&1 && ! as_nobody test -w "$1"; }
    for file in "$demo"/pki/*.key "$demo/kek" "$demo"/secret/* "$demo/state/control.sock" "$demo/nbd.sock" $(find "$demo/agent" "$demo/cache" "$demo/state" "$demo/enrolled" \( -type f -o -type s \) ! -name ca.crt) \
        /proc/$demo_server_pid/{environ,maps,mem} /proc/$demo_agent_pid/{environ,maps,mem}; do
        check "nobody can open ${file#"$demo"/}" closed "$file"
    done
    check "nobody can list the state" bash -c "! setpriv --reuid=65534 --regid=65534 --clear-groups ls '$demo/state' 2>/dev/null"
    for socket in "$demo/state/control.sock" "$demo"/agent/*.sock "$demo/nbd.sock"; do
        [ -S "$socket" ] || continue
        check "nobody can connect to ${socket#"$demo"/}" bash -c "! setpriv --reuid=65534 --regid=65534 --clear-groups python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])' '$socket' 2>/dev/null"
    done
    check "nobody can signal the server" bash -c "! setpriv --reuid=65534 --regid=65534 --clear-groups kill -0 $demo_server_pid 2>/dev/null"
    check "nothing of ours is writable by others" test -z "$(find "$demo/state" "$demo/agent" "$demo/cache" "$demo/pki" "$demo/enrolled" -perm /022 ! -type l)"
fi

demo_stop_agent
kill -ABRT "$demo_server_pid"
wait "$demo_server_pid" 2>/dev/null
check "a crash leaves no core file" test -z "$(find "$demo" "$PWD" -maxdepth 1 -name 'core*' -newer "$demo/kek")"
cp "$demo"/*.log "$demo/emitted/" 2>/dev/null
secrets=("kek=$demo/kek" "shared-key=$demo/secret/shared-key" "sas=$demo/secret/sas" "token=$demo/secret/token" "client-secret=$demo/secret/client-secret"
    "ca-key=$demo/pki/ca.key" "server-key=$demo/pki/server.key" "machine-key=$demo/pki/machine.key"
    "enrolment-token=$demo/secret/enrol-secret" "enrolled-key=$demo/secret/enrolled.key")
cp "$demo/secret/token" "$demo/planted.txt"
check "a planted secret would be found" bash -c "! python3 tests/e2e/secret_scan.py token='$demo/secret/token' -- '$demo/planted.txt' >/dev/null"
while read -r line; do
    echo "$line"
    [[ $line == PASS* ]] || cases_failed=$((cases_failed + 1))
done < <(python3 tests/e2e/secret_scan.py "${secrets[@]}" -- "$demo/emitted" "$demo/state" "$demo/agent" "$demo/cache")
cases_end
