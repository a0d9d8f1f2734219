#!/usr/bin/env bash
# The whole job with the vault in the strict fake of Azure Blob storage, with every credential. (With faults: azure_faults.sh;
# with Azurite: azurite_job.sh.) Usage: azure.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh
source tests/lib/fake_azure.sh
source tests/lib/blob_job.sh

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

for credential in shared-key sas fixed-token; do
    check "restored = source over https with $credential" with_credential $credential
done
cases_end
