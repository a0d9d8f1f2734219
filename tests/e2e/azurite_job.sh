#!/usr/bin/env bash
# The whole job on Azurite over https, once with each credential that Azurite knows: a disk is protected, brought back by
# the operator's command and by causeway-restore, and compared. Then the objects which those processes left are listed and
# read by Microsoft's SDK and by azcopy, and causeway-restore works on what azcopy has copied.
# Usage: azurite_job.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh
source tests/lib/fake_azure.sh
source tests/lib/blob_job.sh
[ -f build/npm/node_modules/azurite/package.json ] ||
    { echo "SKIP azurite_job: Azurite is not installed (./tests/run --layer e2e takes it from npm)"; exit 0; }
source tests/lib/azurite.sh

# The account and key that every emulator has.
fake_account=devstoreaccount1
fake_key=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==
# azurite_token: Azurite reads a token's claims and checks no signature.
azurite_token() {
    python3 - <<'PY'
import base64, json, time
def part(value): return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
now = int(time.time())
claims = dict(aud="https://storage.azure.com", iss="https://sts.windows.net/x/", nbf=now - 60, iat=now - 60, exp=now + 3600)
print(part(dict(alg="RS256", typ="JWT")) + "." + part(claims) + ".c2lnbmF0dXJl")
PY
}

# objects_of DIRECTORY: name and size of everything in it, as containers and blobs.
objects_of() { (cd "$1" && find . -type f -printf '%P %s\n' | LC_ALL=C sort); }

# second_region OPTION AUTH: the region is out, and with it the server; what is left is the copy that can only be read.
second_region() {
    local secondary=${vault/devstoreaccount1/devstoreaccount1-secondary} elsewhere=$demo/elsewhere.toml
    sed -e "s#$vault#$secondary#" -e "s#^state_dir = .*#state_dir = \"$demo/state-elsewhere\"#" "$demo/causeway.toml" > "$elsewhere"
    restored_by_program p1 --vault "$secondary" --auth "$2" "$1" "$demo/credential" --ca-file "$azurite_dir/azurite.crt" --no-crc64
    causeway --config "$elsewhere" points "$demo_machine" >"$demo/elsewhere.out" 2>&1
    grep -c ' p[123]$' "$demo/elsewhere.out" | says -x 3 || die "the copy does not list the three: $(tail -n 1 "$demo/elsewhere.out")"
    causeway --config "$elsewhere" verify "$demo_machine" --level full | tail -n 1 | says ^intact || die "the copy does not prove itself"
    # What writes down in the vault what it does is refused, and names what does not.
    causeway --config "$elsewhere" failover "$demo_machine" --output "$demo/elsewhere.img" >"$demo/elsewhere.out" 2>&1 && die "a failover was noted in the copy"
    says 'can only be read: causeway export' <"$demo/elsewhere.out" || die "a failover from the copy: $(tail -n 1 "$demo/elsewhere.out")"
    [ ! -e "$demo/elsewhere.img" ] || die "a refused failover left an image"
    causeway --config "$elsewhere" export "$demo_machine" --output "$demo/elsewhere.img" >"$demo/elsewhere.out" 2>&1 ||
        die "no export from the copy: $(tail -n 1 "$demo/elsewhere.out")"
    [ "$(sum_of "$demo/elsewhere.img")" = "$(awk '$1 == "p3" { print $2 }' "$demo/noted")" ] || die "the export from the copy differs"
    causeway --config "$elsewhere" mount "$demo_machine" --run "qemu-img convert -f raw -O raw \$uri $demo/mounted.img" >"$demo/elsewhere.out" 2>&1 ||
        die "no mount from the copy: $(tail -n 1 "$demo/elsewhere.out")"
    cmp "$demo/mounted.img" "$demo/elsewhere.img" || die "the mount from the copy differs"
    timeout 60 causewayd --config "$elsewhere" >"$demo/elsewhere.out" 2>&1 && die "a server wrote to the copy"
    says CONFIG_INVALID <"$demo/elsewhere.out" && says 'can only be read' <"$demo/elsewhere.out" ||
        die "the server does not say why it did not start: $(tail -n 1 "$demo/elsewhere.out")"
    echo "the account's secondary region is read and verified, and p1 and p3 brought back from it; nothing is written there"
}

whole_job() (  # shared-key|sas|fixed-token
    demo_begin
    ordered_seed
    case $1 in
        shared-key) secret_file "$demo/credential" <<<"$fake_key"; setting=key_file option=--key-file ;;
        sas) fake_sas | secret_file "$demo/credential"; setting=sas_file option=--sas-file ;;
        fixed-token) azurite_token | secret_file "$demo/credential"; setting=token_file option=--token-file ;;
    esac
    vault=$account_url/$1
    job "url = \"$vault\"
auth = \"$1\"
$setting = \"$demo/credential\"
ca_file = \"$azurite_dir/azurite.crt\"
crc64 = false"
    points 1 3
    causeway --config "$demo/causeway.toml" points "$demo_machine" | grep -c ' p[123]$' | says -x 3 ||
        die "causeway points does not list the three"
    all_restored
    causeway --config "$demo/causeway.toml" verify "$demo_machine" --level full | tail -n 1 | says ^intact ||
        die "the vault does not prove itself"
    restored_by_program p2 --vault "$vault" --auth "$1" "$option" "$demo/credential" --ca-file "$azurite_dir/azurite.crt" --no-crc64
    echo "causeway-restore brings p2 back from Azurite"
    demo_stop_agent
    kill "$demo_server_pid" && demo_reap "$demo_server_pid"  # What it has written stays as it is now.
    second_region "$option" "$1"

    NODE_EXTRA_CA_CERTS=$azurite_dir/azurite.crt NODE_PATH=build/npm/node_modules node tests/e2e/azure_sdk_reader.js \
        "$account_url" --save "$demo/sdk" "$1" "$1" "$demo/credential" || die "the SDK cannot read the vault"
    for container in data manifest keys control; do
        SSL_CERT_FILE=$azurite_dir/azurite.crt "$azcopy" copy "$account_url/$1-$container?$(fake_sas)" "$demo/azcopy" \
            --recursive --from-to BlobLocal --skip-version-check >>"$demo/azcopy.log" 2>&1 ||
            die "azcopy cannot copy $container: $(tail -n 3 "$demo/azcopy.log")"
        mv "$demo/azcopy/$1-$container" "$demo/azcopy/$container"
        [ -n "$(find "$demo/sdk/$container" -type f)" ] || die "nothing in $container"
    done
    diff <(objects_of "$demo/sdk") <(objects_of "$demo/azcopy") || die "SDK and azcopy list different objects"
    diff -r "$demo/sdk" "$demo/azcopy" || die "SDK and azcopy read different bytes"
    echo "$(objects_of "$demo/azcopy" | wc -l) objects: listed and read alike by the SDK and by azcopy"
    for tag in p1 p3; do restored_by_program $tag --vault "dir://$demo/azcopy"; done
    echo "causeway-restore brings p1 and p3 back from what azcopy has copied"
)

azurite_certificate || { echo "FAIL azurite_job (certificate)"; exit 1; }
azurite_start whole --cert "$azurite_dir/azurite.crt" --key "$azurite_dir/azurite.key" --oauth basic ||
    { echo "FAIL azurite_job (start)"; exit 1; }
account_url=https://127.0.0.1:$azurite_port/devstoreaccount1
# npm installs azcopy without its execute bit.
azcopy=$azurite_dir/azcopy
cp build/npm/node_modules/@azure-tools/azcopy-linux/dist/bin/azcopy_linux_amd64 "$azcopy" && chmod +x "$azcopy"
export AZCOPY_LOG_LOCATION=$azurite_dir/azcopy-log AZCOPY_JOB_PLAN_LOCATION=$azurite_dir/azcopy-plan
for credential in shared-key sas fixed-token; do
    check "the whole job on Azurite with $credential; its objects are read by SDK and azcopy" whole_job $credential
done
cases_end
