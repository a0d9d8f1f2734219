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

# A master target with a disk of its machine on it; what follows is about the first site again.
second_site() {
    local demo=$demo/second demo_machine demo_port demo_image
    mkdir "$demo"
    demo_config "url = \"\"" '[log]
level = "trace"'
    causeway pki issue "$demo/pki" --role master-target --name second --host localhost,127.0.0.1 --out "$demo/pki/mt" >/dev/null
    sed -i "s|pki/server\.|pki/mt.|; s|^name = .*|&\nrole = \"master-target\"|" "$demo/causeway.toml"
    printf '[[target]]\nmachine = "%s"\ndisk = "disk"\npath = "%s"\n' "$demo_machine" "$demo/target.img" >> "$demo/causeway.toml"
    truncate -s 8M "$demo/target.img"
    (cd "$demo" && exec causewayd --config "$demo/causeway.toml" 2>>"$first/emitted/second-server.log") & second_pid=$!
    demo_pids+=($second_pid)
    wait_for 180 "the second site" demo_server_up
    demo_image=$demo/disk.img
    head -c 8M /dev/urandom > "$demo_image"
    causeway-agent protect --server "127.0.0.1:$demo_port" --ca "$demo/pki/ca.crt" --cert "$demo/pki/machine.crt" \
        --key "$demo/pki/machine.key" --state "$demo/agent" --image "$demo_image" --disk-name disk --machine-name second \
        --interval 3600s --pre-hook true --post-hook true --log-level trace 2>>"$first/emitted/second-agent.log" &
    second_agent_pid=$!
    demo_pids+=($second_agent_pid)
    wait_for 180 "protection at the second site" agent_protects
    check "the second site has a point" eval 'emit causeway-agent point --state "$demo/agent" --wait committed --timeout 150s'
    for command in status "target list" "points $demo_machine" "verify $demo_machine" "jobs" "machines" "keys" "doctor" "config explain" events; do
        emit causeway --config "$demo/causeway.toml" $command
        emit causeway --config "$demo/causeway.toml" --json $command
    done
    emit causeway --config "$demo/causeway.toml" keys kit --out "$demo/kit"
    emit causeway --config "$demo/causeway.toml" support-bundle --output "$first/emitted/second-bundle.json"
    emit curl -s --unix-socket "$demo/state/control.sock" http://causeway/metrics
    for pid in $second_pid $second_agent_pid; do
        emit cat "/proc/$pid/cmdline"
        emit cat "/proc/$pid/environ"
    done
}
# A point of the machine as an export that others of this host might try; its socket is in $mount_socket.
mounted() {  # NAME OPTION…
    local name=$1; shift
    # What the program makes is its owner's, whatever the shell it was started from allows.
    (umask 000; exec causeway --config "$demo/causeway.toml" --json mount "$demo_machine" latest "$@") >"$demo/emitted/mount-$name" 2>&1 &
    mount_pid=$!
    demo_pids+=($mount_pid)
    wait_for 60 "the mount $name" grep -qs '"socket"' "$demo/emitted/mount-$name"
    mount_socket=$(sed -n 's/.*"socket": *"\([^"]*\)".*/\1/p' "$demo/emitted/mount-$name")
    emit cat "/proc/$mount_pid/cmdline"
    emit cat /proc/"$mount_pid"/task/*/children
    for child in $(cat /proc/"$mount_pid"/task/*/children); do emit cat "/proc/$child/cmdline"; emit cat "/proc/$child/environ"; done
}

random_text() { head -c 48 /dev/urandom | base64 -w 0; }
emit() {
    emitted=$((emitted + 1))  # Not within the redirection: that is a child's for a program.
    "$@" >"$first/emitted/$emitted.txt" 2>&1
}
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
first=$demo
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
ordered_protect
check "a point is committed" note_point one committed

# A machine enrols: neither its token nor its key may be seen anywhere.
emit causeway --config "$demo/causeway.toml" enrol-token --out "$demo/secret/enrol"
demo_find_control_port
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
chmod 644 "$demo/secret/sas"
check "a credential that others may read is refused" refused_with sas sas_file "$demo/secret/sas"
check "and the refusal says so" grep -q 'mode 0600' "$demo/emitted/refused-sas.txt"
chmod 600 "$demo/secret/sas"

# Another user of this host. Everything below is the product's; what holds no secret may be read.
if [ "$(id -u)" -eq 0 ]; then
    as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
    closed() { ! as_nobody head -c 1 "$1" >/dev/null 2>&1 && ! as_nobody test -w "$1"; }
    for file in "$demo"/pki/*.key "$demo"/second/pki/*.key "$demo/second/kit" "$demo/kek" "$demo"/secret/* "$demo/state/control.sock" "$demo/nbd.sock" $(find "$demo/agent" "$demo/cache" "$demo/state" "$demo/enrolled" "$demo/second"/{agent,cache,state} \( -type f -o -type s \) ! -name ca.crt) \
        /proc/{$demo_server_pid,$demo_agent_pid,$second_pid,$second_agent_pid}/{environ,maps,mem}; do
        check "nobody can open ${file#"$demo"/}" closed "$file"
    done
    check "the files of the master target were among them" test -s "$demo/second/state/records.kek" -a -d "$demo/second/state/records"
    for directory in "$demo/state" "$demo/second/state" "$demo/agent"; do
        check "nobody can list ${directory#"$demo"/}" eval '! as_nobody ls "$directory" >/dev/null 2>&1'
    done
    # 7 is curl's word for a connection that was not made; python may live where nobody may not go.
    no_way_in() { as_nobody curl -s -o /dev/null --max-time 5 --unix-socket "$1" http://causeway/; [ $? -eq 7 ]; }
    for socket in "$demo"/{,second/}state/control.sock "$demo"/{,second/}agent/*.sock "$demo/nbd.sock"; do
        check "nobody can connect to ${socket#"$demo"/}" no_way_in "$socket"
    done
    mounted private
    check "a mount answers" eval 'nbdinfo --size "nbd+unix:///?socket=$mount_socket" >/dev/null'
    check "nobody can connect to it" no_way_in "$mount_socket"
    check "nor list its directory" eval '! as_nobody ls "$(dirname "$mount_socket")" >/dev/null 2>&1'
    check "the directory is none of ours to begin with" test "$(dirname "$mount_socket")" != "$demo"
    kill $mount_pid; wait $mount_pid
    check "it is gone with the mount" test ! -e "$(dirname "$mount_socket")"
    mkdir -m 755 "$demo/public"
    mounted public --socket "$demo/public/mount.sock" --writable
    check "a mount at a socket of one's choice answers" eval 'nbdinfo --size "nbd+unix:///?socket=$mount_socket" >/dev/null'
    check "nobody can connect to it either" no_way_in "$mount_socket"
    chmod 777 "$mount_socket"
    check "where nobody may, nobody could" eval '! no_way_in "$mount_socket"'
    kill $mount_pid; wait $mount_pid
    check "nobody can signal the server" bash -c "! setpriv --reuid=65534 --regid=65534 --clear-groups kill -0 $demo_server_pid 2>/dev/null"
    check "nothing of ours is writable by others" test -z "$(find "$demo/state" "$demo/agent" "$demo/cache" "$demo/pki" "$demo/enrolled" "$demo"/second/{state,agent,cache,pki} -perm /022 ! -type l)"
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
    "enrolment-token=$demo/secret/enrol-secret" "enrolled-key=$demo/secret/enrolled.key")
cp "$demo/secret/token" "$demo/planted.txt"
check "everything emitted is there" test "$(find "$demo/emitted" -name '[0-9]*.txt' | wc -l)" -eq $emitted -a $emitted -gt 60
check "a planted secret would be found" bash -c "! python3 tests/e2e/secret_scan.py token='$demo/secret/token' -- '$demo/planted.txt' >/dev/null"
grep -o 'sig=[^&]*' "$demo/secret/disk.sas" > "$demo/planted.txt"
check "so would a signature" bash -c "! python3 tests/e2e/secret_scan.py sas='$demo/secret/disk.sas' -- '$demo/planted.txt' >/dev/null"
tail -n 1 "$demo/secret/kit-lines" > "$demo/planted.txt"
check "and a line of the kit" bash -c "! python3 tests/e2e/secret_scan.py kit='$demo/secret/kit-lines' -- '$demo/planted.txt' >/dev/null"
while read -r line; do
    echo "$line"
    [[ $line == PASS* ]] || cases_failed=$((cases_failed + 1))
done < <(python3 tests/e2e/secret_scan.py "${secrets[@]}" -- "$demo/emitted" "$demo"/{state,agent,cache} "$demo"/second/{agent,cache})
cases_end
