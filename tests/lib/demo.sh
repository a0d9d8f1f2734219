# A complete small site in one directory: used by ./quickstart and by the end-to-end tests, so that what a newcomer
# runs is what is tested. Source it; every function uses $demo (the directory) and stops what it started at exit.

PATH=$PATH:/usr/sbin:/sbin  # mke2fs and debugfs, also for whom they are not on the path.
unset "${!LC_@}"; export LANG=C.UTF-8  # Numbers have points, whatever the user speaks.

step() { printf '\n\033[1m%s\033[0m\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# wait_for SECONDS WHAT COMMAND…: polls a command until it succeeds; bounded.
wait_for() {
    local deadline=$((SECONDS + $1)) what=$2; shift 2
    until "$@"; do
        [ $SECONDS -lt $deadline ] || die "gave up waiting for $what"
        sleep 0.1
    done
}

# says [OPTION…] PATTERN: whether the input says it. It is read to its end: a reader that stops at the first match breaks
# the pipe of a program that has more to tell, and under pipefail that counts as a failure.
says() {
    local text
    text=$(cat)
    [ -n "$text" ] && grep -q "$@" <<<"$text"
}

# demo_find_control_port: sets $control_port. The daemon answers at its socket a moment before it listens there.
demo_find_control_port() {
    wait_for 60 "the control port" demo_control_listens
}
demo_control_listens() {
    control_port=$(causeway --config "$demo/causeway.toml" --json status 2>/dev/null | json_number control_port)
    [ "${control_port:-0}" -gt 0 ]
}

# The command line of the demonstration's server, and what the server said.
cli() { causeway --config "$demo/causeway.toml" "$@"; }
logged() { grep -q "$@" "$demo/server.log"; }
# What the demonstration's server measures.
demo_metrics() { curl -sf --max-time 10 --unix-socket "$demo/state/control.sock" http://causeway/metrics; }

# demo_needs_room MIB: refuses to begin where the demonstration would fill the disk.
demo_needs_room() {
    local place=${TMPDIR:-/tmp} free
    free=$(df --output=avail -B 1M -- "$place" | tail -n 1 | tr -d ' ') || die "there is no directory $place"
    [ "$free" -ge "$1" ] || die "$place has $free MiB free, and $1 MiB are needed: make room, or name another place with TMPDIR"
}

demo_begin() {
    demo=$(mktemp -d "${TMPDIR:-/tmp}/causeway-demo.XXXXXX")
    demo_pids=() demo_kept=no
    trap demo_end EXIT
    trap 'exit 130' INT TERM
}

demo_end() {
    local status=$? pid
    for pid in "${demo_pids[@]:-}"; do
        demo_is_ours "$pid" && kill "$pid" 2>/dev/null || true
    done
    for pid in "${demo_pids[@]:-}"; do demo_reap "$pid"; done
    if [ $status -ne 0 ] && [ $status -ne 130 ]; then
        echo "--- last lines of the logs in $demo" >&2
        tail -n 20 "$demo"/*.log "$demo"/*.console >&2 2>/dev/null || true
    fi
    [ $demo_kept = yes ] || rm -rf "$demo"
    exit $status
}

# Still a child of this (sub)shell: the number of one that ended long ago may be somebody else's by now.
demo_is_ours() { [ -n "$1" ] && grep -qs "^PPid:[[:space:]]*$BASHPID\$" "/proc/$1/status"; }

# Waits for a child that was told to end; one that does not within 20 s is killed.
demo_reap() {
    demo_is_ours "$1" || return 0
    local deadline=$((SECONDS + 20))
    while grep -qs '^State:[[:space:]]*[^ZX]' "/proc/$1/status"; do
        [ $SECONDS -lt $deadline ] || kill -9 "$1" 2>/dev/null || true
        sleep 0.05
    done
    wait "$1" 2>/dev/null || true
}

demo_keep() { demo_kept=yes; echo "Kept: $demo"; }

# demo_config VAULT_TOML [MORE_TOML]: certificates, keys and a configuration; the vault section is the argument.
demo_config() {
    causeway pki init "$demo/pki" >/dev/null
    causeway pki issue "$demo/pki" --role process-server --name demo-server --host localhost,127.0.0.1 --out "$demo/pki/server" >/dev/null
    demo_machine=$(cat /proc/sys/kernel/random/uuid)
    causeway pki issue "$demo/pki" --role machine --id "$demo_machine" --name demo-machine --out "$demo/pki/machine" >/dev/null
    cat > "$demo/causeway.toml" <<TOML
[server]
name = "demo"
state_dir = "$demo/state"
[ingest]
listen = "127.0.0.1:${demo_listen_port:-0}"
[cache]
path = "$demo/cache"
size = "${demo_cache_size:-512MiB}"
[points]
interval = "5s"
[security]
ca_file = "$demo/pki/ca.crt"
cert_file = "$demo/pki/server.crt"
key_file = "$demo/pki/server.key"
kek_file = "$demo/kek"
[vault]
$1
${2:-}
TOML
}

# demo_quick_vault: a configuration whose vault is a directory and gets a manifest every 200 ms; and that vault.
demo_quick_egress='[egress]
commit_interval = "200ms"
segment_deadline = "500ms"'
demo_quick_vault() {
    demo_config "url = \"dir://$demo/vault\"" "$demo_quick_egress"
    cli vault create >/dev/null || die "no vault"
}

demo_port_of() { causeway --config "$demo/causeway.toml" --json status 2>/dev/null | sed -n 's/.*"replication_port": *\([0-9]*\).*/\1/p' | head -n 1; }
demo_server_up() { demo_port=$(demo_port_of) && [ -n "$demo_port" ]; }

# Starts (or, after a kill, starts again) causewayd; demo_server_pid is its pid. While it was dead its port may have been
# lent to a connection of somebody else's: that one ends.
demo_start_server() {
    local try
    for try in 1 2 3 4 5; do
        demo_try_server && return
        tail -n 3 "$demo/server.log" | says 'Address already in use' || break
        sleep $try
    done
    die "causewayd does not start (see $demo/server.log)"
}
demo_try_server() {
    local deadline=$((SECONDS + 120))
    causewayd --config "$demo/causeway.toml" 2>>"$demo/server.log" &
    demo_server_pid=$!
    demo_pids+=($demo_server_pid)
    until demo_server_up; do
        kill -0 $demo_server_pid 2>/dev/null && [ $SECONDS -lt $deadline ] || return 1
        sleep 0.05
    done
}

demo_server() {
    # 9443 if it is free, as in a real installation; else the kernel chooses.
    demo_listen_port=${CAUSEWAY_DEMO_PORT:-9443}
    demo_config "url = \"dir://$demo/vault\""
    causeway --config "$demo/causeway.toml" vault create
    local taken=no
    if (exec 3<>"/dev/tcp/127.0.0.1/$demo_listen_port") 2>/dev/null; then
        taken=yes
    elif ! demo_try_server; then
        grep -q 'Address already in use' "$demo/server.log" || die "causewayd does not start: $(tail -n 1 "$demo/server.log")"
        taken=yes
    fi
    if [ $taken = yes ]; then
        echo "port $demo_listen_port is taken: another one is used"
        sed -i 's/^listen = .*/listen = "127.0.0.1:0"/' "$demo/causeway.toml"
        demo_start_server
    fi
    echo "causewayd listens on 127.0.0.1:$demo_port (mutual TLS 1.3)"
}

# An ext4 image with real files. debugfs writes into it without root; the writer pauses through the agent's hooks.
demo_image_ext4() {
    demo_image=$demo/disk.img
    mkdir "$demo/files"
    tar -cf - README.md ARCHITECTURE.md docs base pipeline cache ingest egress 2>/dev/null | tar -xf - -C "$demo/files"
    find /usr/share/doc -name 'copyright' -size +1k 2>/dev/null | head -n 400 | tar -cf - -T - 2>/dev/null | tar -xf - -C "$demo/files" || true
    mke2fs -q -t ext4 -d "$demo/files" -F "$demo_image" "${demo_image_size:-128M}"
    echo "ext4 image of ${demo_image_size:-128M} with $(find "$demo/files" -type f | wc -l) files; a writer adds, replaces and deletes files"
    cat > "$demo/writer" <<'W'
#!/usr/bin/env bash
# Changes files of an ext4 image for ever. Between changes it obeys DIR/pause: an unpaused image is never read.
image=$1 dir=$2 n=0
trap 'exit 0' TERM  # Between two commands: none of them outlives it.
while :; do
    while [ -e "$dir/pause" ]; do : > "$dir/paused"; sleep 0.02; done
    rm -f "$dir/paused"
    n=$((n + 1))
    head -c $((n % 7 * 65536 + 4096)) /dev/urandom > "$dir/new" ; seq $n $((n + 2000)) >> "$dir/new"
    debugfs -w -f /dev/stdin "$image" >/dev/null 2>&1 <<D
write $dir/new /record-$n
rm /record-$((n - 20))
D
    sleep 0.05
done
W
    cat > "$demo/pre-hook" <<'H'
#!/usr/bin/env bash
# Pauses the writer and notes what the source is at this moment: the oracle of the comparison.
dir=$(dirname "$0")
: > "$dir/pause"
for _ in $(seq 5000); do [ -e "$dir/paused" ] && break; sleep 0.02; done
[ -e "$dir/paused" ] || exit 1
echo "$(date +%s%6N) $(sha256sum < "$dir/disk.img" | cut -d' ' -f1)" >> "$dir/truth"
H
    cat > "$demo/post-hook" <<'H'
#!/usr/bin/env bash
dir=$(dirname "$0")
rm -f "$dir/pause"
H
    chmod +x "$demo/writer" "$demo/pre-hook" "$demo/post-hook"
    "$demo/writer" "$demo_image" "$demo" &
    demo_pids+=($!)
}

# A given image is only read: a copy of it is protected, with one more MiB behind it in which a record is rewritten
# before each point, because without a change no further point is needed.
demo_image_from() {
    demo_image=$demo/disk.img demo_given=$1
    demo_given_bytes=$(stat -L -c %s "$1")
    cp --sparse=always "$1" "$demo_image"
    chmod u+w "$demo_image"
    truncate -s %1M "$demo_image"
    demo_record_at=$(stat -c %s "$demo_image")
    truncate -s +1M "$demo_image"
    printf '#!/bin/sh\n' > "$demo/post-hook"
    cat > "$demo/pre-hook" <<H
#!/usr/bin/env bash
head -c 4096 /dev/urandom | dd of="$demo_image" bs=4096 seek=$((demo_record_at / 4096)) conv=notrunc status=none
echo "\$(date +%s%6N) \$(sha256sum < "$demo_image" | cut -d' ' -f1)" >> "$demo/truth"
H
    chmod +x "$demo/pre-hook" "$demo/post-hook"
    echo "a copy of $1 ($demo_given_bytes bytes) and one MiB behind it, in which a record changes"
}

# demo_agent [OPTION…]
demo_agent() {
    causeway-agent protect --server "127.0.0.1:$demo_port" --ca "$demo/pki/ca.crt" --cert "$demo/pki/machine.crt" \
        --key "$demo/pki/machine.key" --state "$demo/agent" --image "$demo_image" --machine-name demo-machine \
        --interval "${demo_interval:-3s}" --pre-hook "$demo/pre-hook" --post-hook "$demo/post-hook" --hook-timeout 300s \
        --log-level info "$@" \
        2>>"$demo/agent.log" &
    demo_agent_pid=$!
    demo_pids+=($demo_agent_pid)
}

demo_stop_agent() { kill "$demo_agent_pid" 2>/dev/null || true; wait "$demo_agent_pid" 2>/dev/null || true; }

sum_of() { sha256sum < "$1" | cut -d' ' -f1; }

# json_number NAME: its first value in the JSON on standard input, 0 if there is none.
json_number() {
    local found
    found=$(grep -o "\"$1\": *-\?[0-9.]*" | head -n 1 | sed 's/.*: *//') || true
    echo "${found:-0}"
}

# demo_progress HAVE WANTED: bytes, rate, ratio, how much is left, RPO; one line.
demo_progress() {
    local agent server
    agent=$(causeway-agent status --state "$demo/agent" --json 2>/dev/null || true)
    server=$(causeway --config "$demo/causeway.toml" --json status 2>/dev/null || true)
    # `sync` of the agent counts what has been read of the disk, its data or the fact that it is empty.
    awk -v have="$1" -v wanted="$2" -v interval="${demo_interval:-3s}" -v now="$(date +%s.%N)" \
        -v before="${demo_progress_before:-}" -v sent="$(json_number sent_bytes <<<"$agent")" \
        -v done="$(json_number done_bytes <<<"$agent")" -v total="$(json_number total_bytes <<<"$agent")" \
        -v stored="$(json_number uploaded_bytes <<<"$server")" -v rpo="$(json_number rpo_seconds <<<"$server")" '
        BEGIN {
            mib = 1048576; split(before, was, " "); rate = 0
            if (before != "" && now > was[1] && sent >= was[2]) rate = (sent - was[2]) / (now - was[1])
            read_rate = (before != "" && now > was[1] && done >= was[3]) ? (done - was[3]) / (now - was[1]) : 0
            line = sprintf("%d of %d points | sent %.1f MiB, %.1f MiB/s | stored %.1f MiB", have, wanted, sent / mib, rate / mib, stored / mib)
            if (sent > 0) line = line sprintf(" (%.0f %%)", 100 * stored / sent)
            if (have == 0 && total > 0) line = line sprintf(" | initial sync %.0f %%", 100 * done / total)
            left = (wanted - have) * interval
            if (have == 0 && read_rate > 0) left += (total - done) / read_rate
            line = line sprintf(" | ETA %.0f s | RPO ", left)
            print now, sent, done
            print "  " line (rpo > 0 ? sprintf("%.1f s", rpo) : "none yet")
        }' > "$demo/progress"
    demo_progress_before=$(head -n 1 "$demo/progress")
    tail -n 1 "$demo/progress"
}

demo_points_json() { causeway --config "$demo/causeway.toml" --json points "$demo_machine" 2>/dev/null; }
demo_point_ids() { demo_points_json | sed -n 's/.*"id": *"\([0-9a-f-]*\)".*/\1/p'; }
demo_has_points() { [ "$(demo_point_ids | wc -l)" -ge "$1" ]; }

# demo_wait_points N: shows progress until N points are in the vault.
demo_wait_points() {
    local deadline=$((SECONDS + ${demo_points_timeout:-600})) have=0
    while have=$(demo_point_ids | wc -l); [ "$have" -lt "$1" ]; do
        [ $SECONDS -lt $deadline ] || die "only $have of $1 recovery points (see $demo/agent.log and $demo/server.log)"
        kill -0 "$demo_agent_pid" 2>/dev/null || die "the agent ended (see $demo/agent.log)"
        demo_progress "$have" "$1"
        sleep 1
    done
}

# demo_truth_of ID: the SHA-256 of the source when that point was cut.
demo_truth_of() {
    local cut
    cut=$(demo_points_json | grep -A6 "\"id\": *\"$1\"" | sed -n 's/.*"source_time_us": *\([0-9]*\).*/\1/p' | head -n 1)
    [ -n "$cut" ] || die "point $1 has no time"
    awk -v cut="$cut" '$1 <= cut { truth = $2 } END { print truth }' "$demo/truth"
}

demo_restore_and_compare() {
    local point=$1 truth restored
    truth=$(demo_truth_of "$point")
    [ -n "$truth" ] || die "no record of the source at point $point"
    rm -f "$demo/by-cli.img" "$demo/by-tool.img"
    causeway --config "$demo/causeway.toml" failover "$demo_machine" --point "$point" --output "$demo/by-cli.img"
    causeway-restore --vault "dir://$demo/vault" --kek "$demo/kek" restore --machine "$demo_machine" --point "$point" --output "$demo/by-tool.img"
    for restored in by-cli.img by-tool.img; do
        [ "$(sha256sum < "$demo/$restored" | cut -d' ' -f1)" = "$truth" ] || die "$restored differs from the source at point $point"
    done
    if [ -n "${demo_given:-}" ]; then
        cmp -n "$demo_given_bytes" "$demo_given" "$demo/by-cli.img" || die "what was restored is not $demo_given"
    fi
    echo "point $point: both images are byte-identical to the source (sha256 $truth)"
}

demo_summary() {
    echo
    causeway --config "$demo/causeway.toml" status || true
    echo "vault: $(du -sh "$demo/vault" | cut -f1) in $(find "$demo/vault" -type f | wc -l) objects; disk image: $(du -sh --apparent-size "$demo_image" | cut -f1)"
}
