#!/usr/bin/env bash
# The whole job with the vault in Azure Blob storage: the strict fake with every credential and with scripted faults, then
# Azurite. Usage: azure.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh
source tests/lib/fake_azure.sh

# job VAULT_TOML: server, agent and writer on a new vault; the writer writes when this returns.
job() {
    demo_config "$1"
    causeway --config "$demo/causeway.toml" vault create >/dev/null || die "the vault cannot be created"
    demo_start_server
    ordered_image 16
    ordered_agent
    ordered_writer 100
    wait_for 180 "the agent's NBD socket" test -S "$demo/nbd.sock"
    writer_go
    wait_for 180 "protection" agent_protects
}
# points FIRST LAST: one after the other, each committed before the next one is made.
points() {
    local i
    for ((i = $1; i <= $2; i++)); do
        writer_go
        sleep 0.3
        note_point "p$i" committed || die "no point p$i: $(tail -n 1 "$demo/points.log")"
    done
}
all_restored() {
    [ -z "$(missing_points)" ] || die "points are missing: $(missing_points)"
    restore_all
}

with_credential() (  # shared-key|sas|fixed-token
    demo_begin
    ordered_seed
    fake_start --self-signed "$demo"
    case $1 in
        shared-key) secret_file "$demo/credential" <<<"$fake_key"; file=key_file ;;
        sas) fake_sas | secret_file "$demo/credential"; file=sas_file ;;
        fixed-token) fake_token | secret_file "$demo/credential"; file=token_file ;;
    esac
    job "url = \"$fake_url/site\"
auth = \"$1\"
$file = \"$demo/credential\"
ca_file = \"$(ls "$demo"/*.crt "$demo"/*.pem 2>/dev/null | head -n 1)\""
    points 1 2
    all_restored
)

# What is refused is not applied: trying again costs one request each. What is applied but not answered costs a look too.
refused='[{"action":"throttle","probability":0.08},{"action":"timeout","probability":0.04},{"action":"drop","probability":0.04},
    {"action":"reset_mid_body","op":"put_blob","probability":0.04},{"action":"error","status":500,"probability":0.04}]'
unanswered='[{"action":"timeout_applied","probability":0.08},{"action":"drop_applied","probability":0.06},
    {"action":"garbage","probability":0.03},{"action":"middlebox","status":502,"probability":0.03}]'
through_faults() (
    demo_begin
    ordered_seed
    fake_start --seed "$ordered_seed"
    secret_file "$demo/credential" <<<"$fake_key"
    job "url = \"$fake_url/site\"
auth = \"shared-key\"
key_file = \"$demo/credential\""
    points 1 1
    fake_reset
    points 2 11
    read -r needed unexpected <<<"$(fake_counts)"
    [ "$unexpected" = 0 ] || die "$unexpected requests fail without any fault"

    fake_reset
    fake_faults "$refused"
    points 12 21
    read -r useful failed <<<"$(fake_counts)"
    echo "10 points: $needed requests; with faults $useful that were served and $failed that were not"
    [ "$failed" -gt 0 ] || die "no fault was ever injected"
    # What failed takes time, in which the writer fills another segment now and then: half a request for each.
    [ $((useful * 10)) -le $((needed * 11 + failed * 5 + 30)) ] || die "more than 1.1 times the requests"

    fake_reset
    fake_faults "$unanswered"
    points 22 27
    echo "6 points with lost answers (served, not served): $(fake_counts)"

    # Nothing works: no storm; then all of it, without anybody's help.
    fake_faults '[{"action":"throttle"}]'
    fake_reset
    started=$SECONDS
    writer_go
    sleep 6
    note_point p28 sent || die "no point p28"
    read -r useful failed <<<"$(fake_counts)"
    outage=$((SECONDS - started + 1))
    echo "an outage of $outage s: $failed requests"
    [ "$useful" = 0 ] && [ "$failed" -gt 0 ] && [ "$failed" -le $((outage * 10)) ] || die "$useful served, $failed refused"
    fake_faults '[]'
    writer_go
    wait_for 180 "the point that was made in the outage" vault_has_tag p28
    points 29 29
    all_restored
)

with_azurite() (
    source tests/lib/azurite.sh
    rm -rf "$azurite_dir"
    demo_begin  # Its traps replace those of azurite.sh.
    ordered_seed
    azurite_dir=$demo/azurite
    mkdir "$azurite_dir"
    azurite_start vault || die "Azurite does not start"
    demo_pids+=("${azurite_pids[@]}")
    job "url = \"http://127.0.0.1:$azurite_port/devstoreaccount1/site\"
auth = \"emulator\""
    points 1 3
    all_restored
    causeway --config "$demo/causeway.toml" points "$demo_machine" | grep -c ' p[123]$' | grep -qx 3 ||
        die "causeway points does not list the three"
    causeway --config "$demo/causeway.toml" verify "$demo_machine" --level full | tail -n 1 | grep -q ^intact
)

for credential in shared-key sas fixed-token; do
    check "restored = source over https with $credential" with_credential $credential
done
check "faults cost no more requests than they must, and all is there after them" through_faults
if [ -f build/npm/node_modules/azurite/package.json ]; then
    check "restored = source with Azurite" with_azurite
else
    echo "Azurite is not installed (./tests/run --layer e2e installs it): not tried"
fi
cases_end
