#!/usr/bin/env bash
# egress.download_threads_per_vm is how many requests for segments a restore and a failback have in flight, no more, counted
# by the service that answers them. Usage: download_threads.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/fake_azure.sh

most_at_once() {
    fake_call "$fake_origin/__fake/stats" | python3 -c 'import json, sys
print(json.load(sys.stdin)["most_at_once"].get("get_blob site-data", 0))'
}
threads_are() { sed -i '/^download_threads_per_vm/d; s/^\[egress\]$/&\ndownload_threads_per_vm = '"$1"'/' "$demo/causeway.toml"; }
restore() { rm -f "$demo/out.img"; cli export "$demo_machine" --point "$point" --output "$demo/out.img" >>"$demo/cli.log" 2>&1; }
failback() {
    truncate -s 0 "$demo/old.img" && truncate -s "$bytes" "$demo/old.img"
    cli failback "$demo_machine" --point "$point" --target "$demo/old.img" >>"$demo/cli.log" 2>&1
}
# at_most N COMMAND…: it never has more than N in flight, and several if it may; one that on a busy machine had not is run
# again. A failback compares between its requests: it seldom has all that it may.
at_most() {
    local wanted=$1 try started
    shift
    for ((try = 0; try < 5; try++)); do
        fake_reset
        started=$(date +%s%N)
        "$@" || return 1
        most=$(most_at_once)
        echo "$*: $most at once of $wanted allowed, $((($(date +%s%N) - started) / 1000000)) ms"
        [ "$most" -le "$wanted" ] || return 1
        [ $((most * 4)) -lt "$wanted" ] || return 0
    done
    return 1
}

demo_begin
fake_start
demo_interval=1s
head -c 32M /dev/urandom > "$demo/given.img"
demo_image_from "$demo/given.img" >/dev/null
secret_file "$demo/account.key" <<<"$fake_key"
demo_config "url = \"$fake_url/site\"
auth = \"shared-key\"
key_file = \"$demo/account.key\"" "[egress]"
cli vault create >/dev/null || die "no vault"
demo_start_server
demo_agent
demo_wait_points 1 >/dev/null
demo_stop_agent
kill "$demo_server_pid"; wait "$demo_server_pid" 2>/dev/null # It reads, too.
point=$(demo_point_ids | tail -n 1)
truth=$(demo_truth_of "$point")
bytes=$(stat -c %s "$demo_image")

# A service that takes its time has as many at once as there are.
fake_faults '[{"op": "get_blob", "action": "slow", "delay_ms": 150}]'
for threads in 1 2 8; do
    threads_are $threads
    check "a restore with $threads has at most $threads requests in flight" at_most $threads restore
    check "it is the point" test "$(sha256sum < "$demo/out.img" | cut -d' ' -f1)" = "$truth"
done
for threads in 1 8; do
    threads_are $threads
    check "a failback with $threads as well" at_most $threads failback
    check "it is the point" test "$(sha256sum < "$demo/old.img" | cut -d' ' -f1)" = "$truth"
done
cases_end
