# Sites full of secrets, and all that they say. Source it after tests/lib/demo.sh, ordered.sh and fake_azure.sh; $first is the
# directory of the first site, what was said is kept in $first/emitted, and $emitted counts it.

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
    chmod 600 "$demo/target.img"
    (cd "$demo" && exec causewayd --config "$demo/causeway.toml" 2>>"$first/emitted/second-server.log") & second_pid=$!
    demo_pids+=($second_pid)
    wait_for 180 "the second site" demo_server_up
    demo_image=$demo/disk.img
    head -c 8M /dev/urandom | secret_file "$demo_image"
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

# The same with what gc alone has; it is asked by hand.
collected_with() {  # AUTH SETTING FILE
    local config=$demo/gc-$1.toml
    sed '/^\[gc\]/,/^interval/d' "$demo/causeway.toml" > "$config"
    printf '[gc]\nauth = "%s"\n%s = "%s"\n' "$1" "$2" "$3" >> "$config"
    sed -i 's|^auth = "shared-key"|&\ntenant_id = "t"\nclient_id = "c"\nidentity_endpoint = "http://127.0.0.1:9"|;t' "$config"
    emit causeway --config "$config" config explain
    ! emit timeout 8 causeway --config "$config" gc
}
# A vault that is entered with tokens, which a service beside it gives at run time: they are kept in $demo/secret.
by_identity() {  # AUTH [PATH]
    local tokens=$demo/secret/$1-tokens demo=$demo/$1 demo_machine demo_port fake_port fake_account fake_key fake_url fake_origin
    mkdir "$demo"
    secret_file "$tokens" </dev/null
    fake_start --self-signed "$demo" --token-file "$tokens" --received-file "$first/emitted/$1-received" \
        --arc-key-file /var/opt/azcmagent/tokens/fake.key
    demo_config "url = \"$fake_url/site\"
auth = \"$1\"
identity_endpoint = \"$fake_origin${2:-}\"
ca_file = \"$(ls "$demo"/*.crt "$demo"/*.pem 2>/dev/null | head -n 1)\"" '[log]
level = "trace"'
    emit causeway --config "$demo/causeway.toml" vault create || return 1
    causewayd --config "$demo/causeway.toml" 2>"$first/emitted/$1-server.log" &
    local pid=$!
    demo_pids+=($pid)
    wait_for 180 "a server with $1" demo_server_up
    fake_revoke_tokens
    for command in status "points $demo_machine" doctor keys "config explain" events; do emit causeway --config "$demo/causeway.toml" --json $command; done
    fake_faults '[{"op": "token", "action": "error", "status": 400}]'
    fake_revoke_tokens
    emit timeout 8 causeway --config "$demo/causeway.toml" keys
    emit causeway --config "$demo/causeway.toml" support-bundle --output "$first/emitted/$1-bundle.json"
    emit curl -s --unix-socket "$demo/state/control.sock" http://causeway/metrics
    kill $pid; wait $pid
    cp -r "$demo/state" "$first/emitted/$1-state"
    [ "$(wc -l < "$tokens")" -ge 2 ]
}
