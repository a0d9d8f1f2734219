#!/usr/bin/env bash
# A11: no descriptors left. A crowd wants more connections than the process server may have files open: the door has fewer,
# so that the cache, the vault and recovery never lack one; the machine that is protected goes on, and when the crowd has
# gone others are served again. Usage: descriptors.sh BUILD
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh

few=700 crowd=600  # Descriptors of the server; connections that are wanted.

# Holds as many connections as it is let; who is turned away comes again.
crowd_comes() {
    python3 -c 'import socket, sys, time
held, crowd = [], int(sys.argv[2])
while True:
    for s in held:
        try:
            if s.recv(4096) == b"": s.close()
        except BlockingIOError: pass
        except OSError: s.close()
    held = [s for s in held if s.fileno() >= 0]
    while len(held) < crowd:
        s = socket.socket()
        s.settimeout(1)
        try:
            s.connect(("127.0.0.1", int(sys.argv[1])))
            s.setblocking(False)
            held.append(s)
        except OSError: s.close(); break
    time.sleep(0.05)' "$demo_port" $crowd 2>>"$demo/crowd.log" & crowd_pid=$!
    demo_pids+=($crowd_pid)
}
# with_limit SOFT HARD: the server that is started next has these.
with_limit() {
    mkdir -p "$demo/bin"
    printf '#!/bin/sh\nulimit -Sn %s && ulimit -Hn %s && exec "%s" "$@"\n' "$1" "$2" "$build/causewayd" > "$demo/bin/causewayd"
    chmod +x "$demo/bin/causewayd"
}
status_json() { causeway --config "$demo/causeway.toml" --json status 2>/dev/null; }
shown() { status_json | says "$1"; }
refused() { demo_metrics | awk '$1 == "causeway_ingest_refusals_total" { exit !($2 > 0) }'; }
open_files() { ls "/proc/$demo_server_pid/fd" | wc -l; }
is_full() { [ "$(open_files)" -ge $((few / 3)) ] && refused; }
make_point() { check "$1" note_point "${1// /-}" committed; writer_go; }
refuses_to_start() {
    timeout 60 "$demo/bin/causewayd" --config "$demo/causeway.toml" >"$demo/refused.log" 2>&1
    [ $? -eq 2 ] && grep -q 'CONFIG_INVALID.*LimitNOFILE' "$demo/refused.log"
}

demo_begin
ordered_seed
demo_quick_vault
export PATH=$demo/bin:$PATH
with_limit 64 100
check "a limit that serves nobody is refused at the start" refuses_to_start
with_limit 64 $few  # The soft one is what a shell happens to give.
demo_start_server
check "the limit is raised as far as it may be" grep -Eq "^Max open files +$few +$few " "/proc/$demo_server_pid/limits"
check "fewer connections than were asked for are a condition" shown 'ingest.max_connections'
ordered_pin_port
ordered_image 8
ordered_agent --spool-size 1GiB
ordered_writer 200
ordered_protect
make_point "a point before the crowd"
idle=$(open_files)
check "what the server has open by itself is little of what is kept for it ($idle)" test "$idle" -lt 150

crowd_comes
wait_for 180 "a full door" is_full
pass "the door is full, and who comes then is turned away"
make_point "a point while the door is full"
make_point "and another one"
causeway --config "$demo/causeway.toml" verify "$demo_machine" --level full >>"$demo/cli.log" 2>&1
check "what is in the vault can be proven meanwhile" test $? -eq 0
check "the kernel never refused the server a descriptor" test "$(grep -c 'descriptors_exhausted\|Too many open files' "$demo/server.log")" -eq 0
kill "$crowd_pid"
wait "$crowd_pid" 2>/dev/null

# Whoever was turned away is served now.
rm -rf "$demo/other"; mkdir "$demo/other"
causeway pki issue "$demo/pki" --role machine --name other --out "$demo/pki/other" >/dev/null
truncate -s 1M "$demo/other.img"
causeway-agent protect --server "127.0.0.1:$demo_port" --ca "$demo/pki/ca.crt" --cert "$demo/pki/other.crt" --key "$demo/pki/other.key" \
    --state "$demo/other" --image "$demo/other.img" --machine-name other --interval 1s --pre-hook /bin/true --post-hook /bin/true 2>>"$demo/other.log" &
demo_pids+=($!)
other_protected() { causeway-agent status --state "$demo/other" --json 2>/dev/null | says '"phase": *"protected"'; }
check "another machine is served when the crowd has gone" wait_for 180 "the other machine" other_protected
make_point "a point after the crowd"
check "the server was never started again" kill -0 "$demo_server_pid"
writer_pause
check "every point is in the vault" wait_for 180 "all points" all_committed
check "every point restores what the disk was at its moment" restore_all
cases_end
