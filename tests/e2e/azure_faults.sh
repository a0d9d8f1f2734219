#!/usr/bin/env bash
# Azure that fails for a while, under real processes: what that costs in requests, that nothing is lost, and that nobody's
# help is needed afterwards. The vault is in the strict fake. Usage: azure_faults.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh
source tests/lib/fake_azure.sh
source tests/lib/blob_job.sh

# Segments end at points only, and each point has as many writes before it: the same points cost the same requests, however
# long everything takes.
by_points='[egress]
segment_deadline = "300s"'
even_points() {  # FIRST LAST WAIT
    local i
    for ((i = $1; i <= $2; i++)); do
        ordered_ask "write 10"
        note_point "p$i" "$3" || die "no point p$i: $(tail -n 1 "$demo/points.log")"
    done
}
job_size=60  # Points.
# Asked of the server: reading the vault would be requests too.
newest_point_is() { causeway --config "$demo/causeway.toml" --json status 2>>"$demo/cli.log" | says "\"tag\": *\"$1\""; }
shown() { causeway --config "$demo/causeway.toml" --json status 2>>"$demo/cli.log" | grep -o '"code": *"[A-Z_]*"' | sort -u | tr '\n' ' '; }
shows() { shown | says "$1"; }
shows_none() { ! shows "$1"; }

# Here and there a request fails, in every way that Azure and the path to it know. What was refused costs one request more; so
# does a look after what was applied without an answer; what was lost on the way costs a look and a request. Each at most so
# often: together that is less than a tenth of the job.
now_and_then='[{"action":"throttle","probability":0.03,"count":2},{"action":"timeout","probability":0.03,"count":1},
    {"action":"error","status":500,"probability":0.03,"count":1},{"action":"middlebox","op":"get_blob","status":502,"probability":0.06,"count":1},
    {"action":"drop","op":"put_blob","probability":0.03,"count":1},{"action":"reset_mid_body","op":"put_blob","probability":0.03,"count":1},
    {"action":"timeout_applied","op":"put_blob","probability":0.03,"count":1},{"action":"drop_applied","op":"put_blob","probability":0.03,"count":1}]'
nothing_works='[{"action":"throttle","probability":0.4},{"action":"timeout","probability":0.4},{"action":"drop","probability":0.4},
    {"action":"reset_mid_body","op":"put_blob","probability":0.5},{"action":"error","status":500}]'
through_faults() (
    demo_begin
    ordered_seed
    fake_start --seed "$ordered_seed"
    secret_file "$demo/credential" <<<"$fake_key"
    job "url = \"$fake_url/site\"
auth = \"shared-key\"
key_file = \"$demo/credential\"" "$by_points"
    even_points 1 1 committed
    fake_reset
    even_points 2 $((last = job_size + 1)) committed
    needed=$(fake_requests)
    read -r served failed <<<"$(fake_counts)"
    [ "$failed" = 0 ] || die "$failed requests fail without any fault"
    echo "$job_size points without faults: $needed requests"

    fake_reset
    fake_faults "$now_and_then"
    even_points $((last + 1)) $((last += job_size)) committed
    used=$(fake_requests)
    read -r served failed <<<"$(fake_counts)"
    echo "$job_size points with faults: $used requests, of which $failed failed"
    [ "$failed" -gt 0 ] || die "no fault was ever injected"
    [ $((used * 10)) -le $((needed * 11)) ] || die "more than 1.1 times the requests"

    # Nothing works for a while, in which the machine goes on writing and more points come than there are lanes.
    fake_faults "$nothing_works"
    fake_reset
    started=$SECONDS
    even_points $((last + 1)) $((last + 8)) sent
    wait_for 120 "the outage to be shown" shows BLOB_
    echo "shown after $((SECONDS - started)) s: $(shown)"
    read -r served failed <<<"$(fake_counts)"
    [ "$served" -le 1 ] || die "$served requests were served in the outage"  # One may have been on its way.
    fake_faults '[]'
    outage=$((SECONDS - started))
    wait_for 180 "the points of the outage" newest_point_is "p$((last + 8))"
    wait_for 60 "the outage to be over for everybody" shows_none BLOB_
    echo "all of it was there $((SECONDS - started - outage)) s after it"
    # Repetitions are a tenth of what is asked anyway; besides there are ten, and one each five seconds, to look whether the
    # store is back; and each lane and the publisher find out for themselves. The job goes on until these are a tenth of it too.
    size=$((((20 + (SECONDS - started) / 5) * 10 * job_size + needed - 1) / needed))
    even_points $((last + 9)) $((last + size)) committed
    used=$(fake_requests)
    echo "$size points with an outage of $outage s: $used requests, of which $failed failed in it"
    [ $((used * 10 * job_size)) -le $((needed * 11 * size)) ] || die "more than 1.1 times the requests"
    [ -z "$(missing_points)" ] || die "points are missing: $(missing_points)"
    for ((i = 2; i <= last + size; i += i >= last && i < last + 8 ? 1 : 20)); do
        restored_by_program "p$i" --vault "$fake_url/site" --key-file "$demo/credential"
    done
    echo "those of the outage and each twentieth other one restored, byte-identical"
)

# A virtual machine's identity: tokens are revoked, refused, and end while there are no others.
with_tokens_that_end() (
    demo_begin
    ordered_seed
    fake_start --seed "$ordered_seed" --self-signed "$demo"
    job "url = \"$fake_url/site\"
auth = \"managed-identity\"
identity_endpoint = \"$fake_origin\"
ca_file = \"$demo/fake-azure.crt\""
    points 1 2
    fake_reset
    fake_revoke_tokens
    points 3 4
    [ "$(fake_code 401)" -gt 0 ] || die "no token was refused"
    fake_faults '[{"action":"expired_401","op":"put_blob","probability":0.3,"count":6},{"action":"expired_403","probability":0.1,"count":2}]'
    points 5 10
    # The last one ends, and there are no others; points go on.
    fake_faults '[{"op":"token","action":"error","status":500}]'
    fake_revoke_tokens
    last=10
    one_more_and_shown() { sleep 1; points $((++last)) $last sent; shows BLOB_; }
    wait_for 180 "the lack of a token to be shown" one_more_and_shown
    echo "shown without a token, after $((last - 10)) points: $(shown)"
    fake_faults '[]'
    points $((last + 1)) $((last + 1))
    wait_for 60 "the condition to be cleared" shows_none BLOB_
    all_restored
)

check "a store that fails costs no more than 1.1 times the requests, and all is there afterwards" through_faults
check "restored = source with a managed identity whose tokens end" with_tokens_that_end
cases_end
