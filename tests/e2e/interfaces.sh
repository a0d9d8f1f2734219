#!/usr/bin/env bash
# What scripts rely on: the fixed metrics with their labels, the keys of --json, exit codes, and settings that a running
# server takes over. Usage: interfaces.sh BUILD
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh

metrics_are_right() { demo_metrics | python3 tests/e2e/metric_names.py > "$demo/metrics.wrong"; }
# has_keys "KEYS" VERB…: the object that --json prints, or the first of its list, has them all.
has_keys() {
    local keys=$1; shift
    cli --json "$@" 2>>"$demo/cli.log" | python3 -c 'import json, sys
value = json.load(sys.stdin)
if isinstance(value, list): value = value[0]
missing = set(sys.argv[1].split()) - set(value)
if missing: print("missing:", *sorted(missing))
sys.exit(bool(missing))' "$keys"
}
reloaded() { cli config reload >>"$demo/cli.log" 2>&1; }
connections_are() { cli --json status 2>/dev/null | says "\"connections_max\": $1\b"; }
# Whether a point of now comes into the vault within some seconds.
committed_within() { causeway-agent point --state "$demo/agent" --wait committed --timeout "$1" >>"$demo/points.log" 2>&1; }
# The first segment may start, and is paid for afterwards: one of the next points has to wait.
some_point_waits() {
    local deadline=$((SECONDS + 150))
    while [ $SECONDS -lt $deadline ]; do committed_within 5s || return 0; done
    return 1
}
# refused_order NAME BODY STATUS [CURL_OPTION…]: the control port refuses it, with code, cause and next step.
refused_order() {
    local url="http://causeway/$1" body=$2 status=$3; shift 3
    [ "$(curl -s -o "$demo/last.out" -w '%{http_code}' --unix-socket "$demo/state/control.sock" -d "$body" "$@" "$url")" = "$status" ] &&
        said '"code":"[A-Z_]*","detail":"[^"].*"next":"[^"].*"title":"[^"]'
}

demo_begin
ordered_seed
demo_config "url = \"dir://$demo/vault\"" '[egress]
total_connections = 9
commit_interval = "200ms"
segment_deadline = "500ms"'
cli vault create >/dev/null || die "no vault"
check "status without a daemon is UNREACHABLE" exit_code_is 5 cli --json status
check "and says so to scripts" said '"code": *"UNREACHABLE"'

check "a configuration out of a pipe is read to its end" exit_code_is 0 causeway --config <(cat "$demo/causeway.toml") config check
check "and judged" exit_code_is 2 causeway --config <(echo 'garbage [[[') config check
check "one without an end is refused" exit_code_is 1 causeway --config /dev/zero config check
check "an empty one is refused, as the daemon does" exit_code_is 2 causeway --config /dev/null config check
check "and it says why" said 'vault.url is not set'
check "a directory is named" exit_code_is 2 causeway --config /etc config check
check "and its next step is not the disk's" eval 'said "/etc is a directory" && ! said smartctl'
mkfifo "$demo/pipe"
sed "s|^\[security\]|&\nrevoked_file = \"$demo/pipe\"|" "$demo/causeway.toml" > "$demo/pipe.toml"
check "a daemon takes no pipe for a list of revocations" exit_code_is 2 causewayd --config "$demo/pipe.toml"
check "an option that is none is refused with a code" exit_code_is 2 causewayd --role nonsense
check "by the agent too" exit_code_is 2 causeway-agent protect --nonsense
check "and it says which" said 'USAGE (6002)'

# With too few descriptors a condition stands.
mkdir "$demo/bin"
printf '#!/bin/sh\nulimit -Sn 700 && ulimit -Hn 700 && exec "%s" "$@"\n' "$build/causewayd" > "$demo/bin/causewayd"
chmod +x "$demo/bin/causewayd"
PATH=$demo/bin:$PATH demo_start_server
ordered_image 16
ordered_agent --spool-size 1GiB
ordered_writer 200
ordered_protect
check "a first point" committed_within 150s
deadline=$((SECONDS + 120))
until metrics_are_right || [ $SECONDS -ge $deadline ]; do sleep 0.2; done
check "the fixed metrics have their names, kinds and labels" metrics_are_right || cat "$demo/metrics.wrong"

check "status --json" has_keys "server health conditions machines cache upload" status
check "machines --json" has_keys "id name disks points manifest" machines
check "machines MACHINE --json" has_keys "machine state allowed jobs" machines "$demo_machine"
check "points --json" has_keys "id kind time source_time_us valid_until_us tag disks" points "$demo_machine"
check "servers --json" has_keys "server machines" servers
check "cost --json" has_keys "live_bytes stored_bytes objects write_operations machines" cost
check "policy --json" has_keys "retention_s rpo_alarm_s upload_threads_per_vm" policy
check "events --json" has_keys "code subject detail" events
check "config explain --json" has_keys "setting value default" config explain
check "doctor --json" has_keys "checks" doctor
check "an error --json" exit_code_is 4 cli --json jobs 00000000
check "it has code, cause, evidence and next step" said '"cause".*"code".*"evidence".*"next".*"number"'

# What is live is taken over by the server that runs.
check "the number of connections is as configured" wait_for 60 "the connections" connections_are 9
sed -i 's/^total_connections = 9/total_connections = 5/' "$demo/causeway.toml"
check "a reload is taken" reloaded
check "and changes it" wait_for 60 "fewer connections" connections_are 5
check "people are told in words" eval 'cli config reload | says "read again"'
check "programs in JSON" eval 'cli --json config reload | says "\"reloaded\": true"'
# Each request has a thread of its own.
reload_often() {
    local i
    for i in $(seq 300); do
        curl -sS -o /dev/null --max-time 60 --unix-socket "$demo/state/control.sock" -X POST --data '' http://causeway/v1/reload 2>>"$demo/cli.log" || return
    done
}
reload_from_four() {
    local pids=() pid good=0
    for _ in 1 2 3 4; do
        reload_often &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do
        wait "$pid" || good=1
    done
    return $good
}
check "four clients reload 300 times each, at once" reload_from_four
sed -i 's/^total_connections = 5/bandwidth = "512Kbps"\n&/' "$demo/causeway.toml"
check "a limit of the bandwidth is taken" reloaded
check "then points wait" some_point_waits
cat >> "$demo/causeway.toml" <<'TOML'
[[egress.schedule]]
from = "00:00"
to = "12:00"
limit = "unlimited"
[[egress.schedule]]
from = "12:00"
to = "00:00"
limit = "unlimited"
TOML
check "a schedule that lifts it is taken" reloaded
check "then points come again" committed_within 150s
sed -i 's/^total_connections = 5/total_connections = 0/' "$demo/causeway.toml"
check "a value that is out of range is refused" exit_code_is 2 cli config reload
sed -i 's/^total_connections = 0/total_connections = 7/' "$demo/causeway.toml"  # Read by the CLI, too.
check "and changes nothing" connections_are 5

check "a reload with a body that is none is refused" refused_order v1/reload '{{{' 400
for at in 18446744073709551615 1e99 -1 475400000000000000 '"tomorrow"'; do
    check "a comparison at $at is refused" refused_order v1/resync "{\"subject\":\"$demo_machine\",\"at_us\":$at}" 400
done
check "so is one with a field that is none of its" refused_order v1/resync "{\"subject\":\"$demo_machine\",\"att_us\":1}" 400
check "an address that is none has a cause" refused_order v2/status '' 404
check "a method that is none, too" refused_order v1/status '' 404 -X DELETE
head -c 300000 /dev/zero | tr '\0' x > "$demo/long"
check "and a body that is too long" refused_order v1/reload "@$demo/long" 413
cases_end
