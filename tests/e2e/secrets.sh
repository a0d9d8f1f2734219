#!/usr/bin/env bash
# No secret leaves its file: keys and credentials are looked for, in every form, in everything that was printed, served or
# stored; and another user of the host finds every door closed. Usage: secrets.sh BUILD_DIRECTORY
set -uo pipefail
# Arc's agent puts its challenges in one place of a host, for which a program cannot be told another: there this script has a
# view of its own.
if [ "$(id -u)" -eq 0 ] && [ -z "${secrets_own_mounts:-}" ] && unshare -m mount -t tmpfs none /var/opt 2>/dev/null; then
    secrets_own_mounts=yes exec unshare -m bash "$0" "$@"
fi
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh
source tests/lib/fake_azure.sh
source tests/lib/nobody.sh
source tests/lib/secret_sites.sh

demo_begin
first=$demo
ordered_seed
chmod 755 "$demo"  # Nothing may depend on the directory above.
mkdir "$demo/emitted" "$demo/secret"
emitted=0
ulimit -c unlimited
fake_start --seed "$ordered_seed" --received-file "$demo/emitted/received"
secret_file "$demo/secret/shared-key" <<<"$fake_key"
secret_file "$demo/secret/sas" <<<"sv=2023-11-03&ss=b&srt=sco&sp=rwdlac&se=2099-01-01T00%3A00%3A00Z&sig=$(random_text | python3 -c 'import sys, urllib.parse; print(urllib.parse.quote(sys.stdin.read().strip(), safe=""))')"
random_text | secret_file "$demo/secret/token"
random_text | secret_file "$demo/secret/client-secret"
for name in gc-key gc-client-secret restore-key restore-token restore-client-secret; do random_text | secret_file "$demo/secret/$name"; done
fake_sas rwdl | secret_file "$demo/secret/gc-sas"
fake_sas rl | secret_file "$demo/secret/restore-sas"
demo_config "url = \"$fake_url/site\"
auth = \"shared-key\"
key_file = \"$demo/secret/shared-key\"" "[gc]
auth = \"sas\"
sas_file = \"$demo/secret/gc-sas\"
interval = \"1s\"
"'[control]
listen = "127.0.0.1:0"
[log]
level = "trace"'
sed -i "s|^\[security\]$|&\nenrol_ca = \"$demo/pki\"|" "$demo/causeway.toml"
emit causeway --config "$demo/causeway.toml" vault create
(cd "$demo" && exec causewayd --config "$demo/causeway.toml" 2>>"$demo/emitted/server.log") & demo_server_pid=$!
demo_pids+=($demo_server_pid)
wait_for 180 "causewayd" demo_server_up
ordered_image 8
chmod 600 "$demo_image"  # A disk is its owner's.
ordered_agent --log-level trace
ordered_writer 100
ordered_protect
check "a point is committed" note_point one committed

# An operator looks from elsewhere.
emit causeway pki issue "$demo/pki" --role operator --name operator --out "$demo/pki/operator"
demo_find_control_port
for path in / /metrics /v1/events /v1/status; do
    emit curl -s --cacert "$demo/pki/ca.crt" --cert "$demo/pki/operator.crt" --key "$demo/pki/operator.key" "https://127.0.0.1:$control_port$path"
done
check "an operator was told" grep -q '"machines"' "$demo/emitted/$emitted.txt"

# A machine enrols: neither its token nor its key may be seen anywhere.
emit causeway --config "$demo/causeway.toml" enrol-token --out "$demo/secret/enrol"
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
for what in "shared-key key_file gc-key" "client-secret client_secret_file gc-client-secret"; do
    read -r auth setting file <<<"$what"
    check "a wrong $file collects nothing" collected_with "$auth" "$setting" "$demo/secret/$file"
done
# The program for the bad day has credentials of its own: one that opens the vault, and some that do not.
restore_with() { emit timeout "${patience:-60}" causeway-restore --vault "$fake_url/site" --kek "$demo/kek" "$@" list; }
check "the vault opens by a signature" restore_with --auth sas --sas-file "$demo/secret/restore-sas"
check "not by a wrong key" eval '! restore_with --auth shared-key --key-file "$demo/secret/restore-key"'
check "nor by a wrong token" eval '! restore_with --auth fixed-token --token-file "$demo/secret/restore-token"'
patience=8 check "nor by an app that nobody vouches for" eval '! restore_with --auth client-secret --tenant t --client-id c \
    --client-secret-file "$demo/secret/restore-client-secret" --proxy http://127.0.0.1:9'
# Nobody answers there: both programs go on asking.
patience=8 check "a client secret that nobody vouches for opens nothing" refused_with client-secret client_secret_file "$demo/secret/client-secret" "tenant_id = \"t\"
client_id = \"c\"
identity_endpoint = \"http://127.0.0.1:9\""
# The key on paper, and a managed disk that its SAS alone opens: first one that is not there, then one that is.
emit causeway --config "$demo/causeway.toml" keys kit --out "$demo/secret/kit"
check "a kit is written" test -s "$demo/secret/kit"
sed -n 's/^key [0-9]*  \(.*\)  .*/\1/p' "$demo/secret/kit" > "$demo/secret/kit-lines" && chmod 400 "$demo/secret/kit-lines"
disk_sas=$(fake_sas)
secret_file "$demo/secret/disk.sas" <<<"$fake_url/disks/new?$disk_sas"
into_disk() { causeway --config "$demo/causeway.toml" "$@" failover "$demo_machine" --point latest --format managed-disk --output "$demo/secret/disk.sas"; }
emit into_disk
emit into_disk --json
disks() { fake_call -X PUT -H 'x-ms-version: 2023-11-03' "$@" >>"$demo/curl.out"; }
disks "$fake_url/disks?restype=container&$disk_sas" -H 'Content-Length: 0' &&
    disks "$fake_url/disks/new?$disk_sas" -H 'x-ms-blob-type: PageBlob' -H "x-ms-blob-content-length: $((8388608 + 512))" -H 'Content-Length: 0' ||
    die "no managed disk"
check "a machine fails over into a managed disk" emit into_disk --json
emit causeway --config "$demo/causeway.toml" --json jobs
emit causeway --config "$demo/causeway.toml" doctor
emit causeway --config "$demo/causeway.toml" support-bundle --output "$demo/emitted/bundle.json"
second_site
check "a vault is entered with a managed identity" by_identity managed-identity
if [ -n "${secrets_own_mounts:-}" ]; then
    mount -t tmpfs none /var/opt && mkdir -p /var/opt/azcmagent/tokens
    check "and with Arc's" by_identity arc /metadata/identity/oauth2/token
    secret_file "$demo/secret/arc-challenge" < /var/opt/azcmagent/tokens/fake.key
    identities=("arc-tokens=$demo/secret/arc-tokens" "arc-challenge=$demo/secret/arc-challenge")
else
    echo "SKIP secrets: the tokens of Azure Arc (needs root, and the right to mount)"
    identities=()
fi
chmod 644 "$demo/secret/sas"
check "a credential that others may read is refused" refused_with sas sas_file "$demo/secret/sas"
check "and the refusal says so" grep -q 'mode 0600' "$demo/emitted/refused-sas.txt"
chmod 600 "$demo/secret/sas"

# Another user of this host: whatever file there is and whatever socket waits, found by looking and not by a list.
ours() {  # Every file of the product's, of what it holds open too: all but what this script made or keeps public.
    find "$demo" \( -type f -o -type s -o -type p \) ! -path "$demo/emitted/*" ! -name '*.crt' ! -name '*.toml' ! -name '*.log' \
        ! -name 'fake*' ! -path "$demo/noted" ! -path "$demo/curl.out"
    held_files "${our_pids[@]}"
    printf '%s\n' /proc/{"$demo_server_pid","$demo_agent_pid","$second_pid","$second_agent_pid"}/{environ,maps,mem}
}
if [ "$(id -u)" -eq 0 ]; then
    mounted private
    our_pids=("$demo_server_pid" "$demo_agent_pid" "$second_pid" "$second_agent_pid" "$mount_pid")
    ours | sort -u > "$demo/emitted/ours.txt"
    for path in kek state/control.sock nbd.sock second/state/records.kek restored.img enrolled/machine.pem; do
        check "$path was among the files that nobody tried" grep -qx "$demo/$path" "$demo/emitted/ours.txt"
    done
    none_of "nobody can open one of our $(wc -l < "$demo/emitted/ours.txt") files" < <(open_to_nobody < "$demo/emitted/ours.txt")
    find "$demo"/{state,agent,cache,enrolled,second/state,second/agent,second/cache} "$(dirname "$mount_socket")" -type d > "$demo/emitted/directories.txt"
    none_of "nobody can list one of our $(wc -l < "$demo/emitted/directories.txt") directories" < <(listed_by_nobody < "$demo/emitted/directories.txt")
    check "a mount answers" eval 'nbdinfo --size "nbd+unix:///?socket=$mount_socket" >/dev/null'
    nobody_knocks "${our_pids[@]}"
    check "both control sockets, both agents', NBD's and the mount's were among them" test "${knocked[unix]:-0}" -ge 6
    check "both replication ports and the control port, too" test "${knocked[tcp]:-0}" -ge 3
    check "the mount's directory is none of ours to begin with" test "$(dirname "$mount_socket")" != "$demo"
    kill $mount_pid; wait $mount_pid
    check "it is gone with the mount" test ! -e "$(dirname "$mount_socket")"
    mkdir -m 755 "$demo/public"
    mounted public --socket "$demo/public/mount.sock" --writable
    check "a mount at a socket of one's choice answers" eval 'nbdinfo --size "nbd+unix:///?socket=$mount_socket" >/dev/null'
    check "nobody can connect to it either" no_way_in "$mount_socket"
    chmod 777 "$mount_socket"
    check "where nobody may, nobody could" eval '! no_way_in "$mount_socket"'
    kill $mount_pid; wait $mount_pid
    unset 'our_pids[4]'
    # The search itself: doors that somebody left open are found, and go open.
    : > "$demo/left-open" && chmod 644 "$demo/left-open"
    check "a file that was left open would be found" test "$(ours | open_to_nobody)" = "$demo/left-open"
    rm "$demo/left-open"
    python3 -c 'import socket, time
door = socket.socket(socket.AF_UNIX)
door.bind("\0causeway-left-open-'$$'")
door.listen()
time.sleep(600)' & door_pid=$!
    demo_pids+=($door_pid)
    wait_for 60 "an abstract socket" eval 'python3 tests/lib/open_doors.py $door_pid | says -x "abstract causeway-left-open-$$"'
    check "an abstract socket would be found, and let nobody in" eval '! no_way_into_abstract "causeway-left-open-$$"'
    kill $door_pid; wait $door_pid
    check "nobody can signal the server" bash -c "! setpriv --reuid=65534 --regid=65534 --clear-groups kill -0 $demo_server_pid 2>/dev/null"
    check "nothing of ours is writable by others" test -z "$(find "$demo/state" "$demo/agent" "$demo/cache" "$demo/pki" "$demo/enrolled" "$demo"/second/{state,agent,cache,pki} -perm /022 ! -type l)"
else
    echo "SKIP secrets: another user of the host tries every file and socket (needs root)"
fi

demo_stop_agent
kill $second_agent_pid $second_pid; wait $second_agent_pid $second_pid 2>/dev/null
kill -ABRT "$demo_server_pid"
wait "$demo_server_pid" 2>/dev/null
check "a crash leaves no core file" test -z "$(find "$demo" "$PWD" -maxdepth 1 -name 'core*' -newer "$demo/kek")"

# The vault's key is changed: an attempt had got as far as the new one.
(umask 077; head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' > "$demo/kek.next")
cp -p "$demo/kek" "$demo/secret/first-kek"
cp -p "$demo/kek.next" "$demo/secret/next-kek"
told_of_keys() {
    for command in keys doctor "config explain" "points $demo_machine"; do
        emit causeway --config "$demo/causeway.toml" $command
        emit causeway --config "$demo/causeway.toml" --json $command
    done
}
told_of_keys
emit causeway --config "$demo/causeway.toml" keys rotate
told_of_keys
check "the vault's key was changed to the one that was begun" cmp -s "$demo/kek" "$demo/secret/next-kek"
emit causeway --config "$demo/causeway.toml" --json keys retire "$demo"/kek.until-*
emit causeway-restore --vault "$fake_url/site" --kek "$demo/secret/first-kek" list

cp "$demo"/{agent,cli,points,writer}.log "$demo/emitted/" 2>/dev/null
# Where the second site keeps its key is no place to look for it.
cp -r "$demo/second/state" "$demo/emitted/second-state" && mv "$demo/emitted/second-state/records.kek" "$demo/secret/records-kek"
secrets=("kek=$demo/secret/first-kek" "next-kek=$demo/secret/next-kek" "records-kek=$demo/secret/records-kek" "kit=$demo/secret/kit-lines"
    "shared-key=$demo/secret/shared-key" "sas=$demo/secret/sas" "disk-sas=$demo/secret/disk.sas" "token=$demo/secret/token"
    "client-secret=$demo/secret/client-secret" "ca-key=$demo/pki/ca.key" "server-key=$demo/pki/server.key" "machine-key=$demo/pki/machine.key"
    "second-ca-key=$demo/second/pki/ca.key" "second-server-key=$demo/second/pki/mt.key" "second-machine-key=$demo/second/pki/machine.key"
    "gc-key=$demo/secret/gc-key" "gc-sas=$demo/secret/gc-sas" "gc-client-secret=$demo/secret/gc-client-secret"
    "restore-key=$demo/secret/restore-key" "restore-sas=$demo/secret/restore-sas" "restore-token=$demo/secret/restore-token"
    "restore-client-secret=$demo/secret/restore-client-secret" "identity-tokens=$demo/secret/managed-identity-tokens"
    "${identities[@]}" "operator-key=$demo/pki/operator.key"
    "enrolment-token=$demo/secret/enrol-secret" "enrolled-key=$demo/secret/enrolled.key")
cp "$demo/secret/token" "$demo/planted.txt"
check "everything emitted is there" test "$(find "$demo/emitted" -name '[0-9]*.txt' | wc -l)" -eq $emitted -a $emitted -gt 60
# What the store was sent: the objects' names, their content, every header and parameter.
for container in data manifest keys; do
    check "the fake of Azure received objects of $container" test "$(grep -ac "^PUT /$fake_account/site-$container/" "$demo/emitted/received")" -ge 1
done
check "nothing was sent that goes by unseen" eval '! grep -aiq "^authorization\|[?&]sig=" "$demo/emitted/received"'
check "a planted secret would be found" bash -c "! python3 tests/e2e/secret_scan.py token='$demo/secret/token' -- '$demo/planted.txt' >/dev/null"
grep -o 'sig=[^&]*' "$demo/secret/disk.sas" > "$demo/planted.txt"
check "so would a signature" bash -c "! python3 tests/e2e/secret_scan.py sas='$demo/secret/disk.sas' -- '$demo/planted.txt' >/dev/null"
tail -n 1 "$demo/secret/kit-lines" > "$demo/planted.txt"
check "and a line of the kit" bash -c "! python3 tests/e2e/secret_scan.py kit='$demo/secret/kit-lines' -- '$demo/planted.txt' >/dev/null"
while read -r line; do
    echo "$line"
    [[ $line == PASS* ]] || cases_failed=$((cases_failed + 1))
done < <(python3 tests/e2e/secret_scan.py "${secrets[@]}" -- "$demo/emitted" "$demo"/{state,agent,cache} "$demo"/second/{agent,cache,target.img} "$demo"/{restored,disk}.img)
# In the name of an object and in one of its headers, as the fake received them.
disks "$fake_url/disks/$(tr -d '+/=' < "$demo/secret/token" | head -c 40)?$disk_sas" -H 'x-ms-blob-type: PageBlob' -H 'x-ms-blob-content-length: 512' \
    -H 'Content-Length: 0' -H "x-ms-meta-planted: $(cat "$demo/secret/gc-key")"
tr -d '+/=\n' < "$demo/secret/token" | head -c 40 > "$demo/secret/named"
for planted in named gc-key; do
    check "what the store is sent is looked at: $planted" bash -c "! python3 tests/e2e/secret_scan.py $planted='$demo/secret/$planted' -- '$demo/emitted/received' >/dev/null"
done
cases_end
