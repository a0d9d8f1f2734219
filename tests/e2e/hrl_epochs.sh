#!/usr/bin/env bash
# The epochs of a volume are kept as replica logs as well, one chain over a kill of the agent and a directory that is full:
# another agent applies them, from zeros on, and has each point of the volume byte for byte. Usage: hrl_epochs.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh

volume_mib=8
none=00000000-0000-0000-0000-000000000000
protect() { # CERTIFICATE OPTION…
    local name=$1; shift
    causeway-agent protect --server "127.0.0.1:$demo_port" --ca "$demo/pki/ca.crt" --cert "$demo/pki/$name.crt" \
        --key "$demo/pki/$name.key" --state "$demo/$name.state" --machine-name "$name" "$@" 2>>"$demo/$name.log" &
    agent_pid=$!
    demo_pids+=($agent_pid)
}
status_of() { causeway-agent status --state "$demo/$1.state" --json 2>/dev/null || true; }
protected() { status_of "$1" | says '"phase": *"protected"'; }
start_agent() { # OPTION…
    protect machine --qmp "$demo/vol.qmp" --qemu-nbd "$demo/vol.nbd" --disk vol --mode epoch --interval 3600s \
        --hrl-output "$demo/logs" "$@"
    wait_for 180 "protection" protected machine
}
stop_agent() { # SIGNAL
    kill "-$1" "$agent_pid"
    wait "$agent_pid" 2>/dev/null
}
write_some() {
    local i
    for i in 1 2 3 4; do
        qemu-io -f raw -c "write -q -P $((RANDOM % 250 + 1)) $((RANDOM % (volume_mib * 2000) * 512)) $((RANDOM % 60 * 512 + 512))" \
            -c flush "nbd+unix:///vol?socket=$demo/vol.nbd" >>"$demo/io.log" 2>&1 || die "the volume cannot be written (see $demo/io.log)"
    done
}
# point N: of the volume as it is now. Nobody writes meanwhile.
point() {
    cp "$demo/vol.img" "$demo/state.$1"
    causeway-agent point --state "$demo/machine.state" --tag "p$1" --wait committed --timeout 300s >>"$demo/points.log" 2>&1 ||
        die "no point $1: $(tail -n 1 "$demo/points.log")"
}
logs() { find "$demo/logs" -type f | wc -l; }
logs_are() { [ "$(logs)" = "$1" ] && [ "$(find "$demo/logs" -name '*.hrl' | wc -l)" = "$1" ]; }
applied() { cmp -s "$demo/other.img" "$demo/state.$1"; }
# The other machine's points are the logs', oldest first.
other_points() {
    causeway --config "$demo/causeway.toml" --json points "$other" 2>>"$demo/cli.log" |
        python3 -c 'import json, sys
print(*(p["id"] for p in json.load(sys.stdin) if p["tag"].endswith(".hrl")), sep="\n")' || true
}
has_points() { [ "$(other_points | grep -c .)" = "$1" ]; }
is_each() { # STATE…
    local n point
    while read -r point <&3; do
        n=$1; shift
        causeway --config "$demo/causeway.toml" export "$other" --point "$point" --output "$demo/exported" --force >>"$demo/cli.log" 2>&1 &&
            cmp "$demo/exported" "$demo/state.$n" || { echo "point $point is not state $n"; return 1; }
    done 3< <(other_points)
    [ $# = 0 ]
}

demo_begin
if ! command -v qemu-storage-daemon >/dev/null || ! command -v qemu-io >/dev/null; then
    echo "SKIP $(basename "$0") (needs qemu-storage-daemon and qemu-io)"
    exit 0
fi
demo_config "url = \"dir://$demo/vault\"" '[egress]
commit_interval = "200ms"
segment_deadline = "500ms"'
other=$(cat /proc/sys/kernel/random/uuid)
causeway pki issue "$demo/pki" --role machine --id "$other" --name other --out "$demo/pki/other" >/dev/null
causeway --config "$demo/causeway.toml" vault create >/dev/null
demo_start_server
head -c 3M /dev/urandom > "$demo/vol.img"
truncate -s ${volume_mib}M "$demo/vol.img"
qemu-storage-daemon --chardev "socket,id=monitor,path=$demo/vol.qmp,server=on,wait=off" --monitor chardev=monitor \
    --blockdev "driver=file,node-name=vol,filename=$demo/vol.img" --nbd-server "addr.type=unix,addr.path=$demo/vol.nbd" \
    --export type=nbd,id=vol,node-name=vol,name=vol,writable=on 2>>"$demo/daemon.log" &
demo_pids+=($!)
wait_for 60 "the volume" test -S "$demo/vol.nbd"
wait_for 60 "its monitor" test -S "$demo/vol.qmp"

start_agent
point 1
write_some
point 2
check "each epoch is a log, and nothing else is there" logs_are 2
stop_agent KILL
write_some
start_agent
write_some
point 3
stop_agent TERM
write_some
start_agent
point 4
check "an agent that was killed and one that was stopped go on with the chain" logs_are 4
stop_agent TERM
start_agent --hrl-output-size 1MiB
write_some
point 5
full() { logs_are 4 && status_of machine | says OUT_OF_BUDGET; }
check "a full directory costs no point, and the status says why there is no log" full
stop_agent TERM
write_some
start_agent
point 6
check "when there is room the next log has what is missing" logs_are 5

truncate -s ${volume_mib}M "$demo/other.img"
protect other --image "$demo/other.img" --disk-name disk --hrl "$demo/logs/vol" --hrl-after $none
wait_for 180 "the last log to be applied" applied 6
wait_for 180 "a point of each log" has_points 5
check "applied from zeros on the logs are each point of the volume" is_each 1 2 3 4 6
cases_end
