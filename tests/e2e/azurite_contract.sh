#!/usr/bin/env bash
# The store contract against Azurite: SharedKey, SAS and bearer tokens, http and https.
# Usage: azurite_contract.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
source tests/lib/azurite.sh

azurite_certificate || { echo "FAIL azurite_contract (certificate)"; exit 1; }
azurite_start http || { echo "FAIL azurite_contract (start)"; exit 1; }
export CAUSEWAY_AZURITE_HTTP=http://127.0.0.1:$azurite_port/devstoreaccount1
azurite_start https --cert "$azurite_dir/azurite.crt" --key "$azurite_dir/azurite.key" --oauth basic ||
    { echo "FAIL azurite_contract (start https)"; exit 1; }
export CAUSEWAY_AZURITE_HTTPS=https://127.0.0.1:$azurite_port/devstoreaccount1
export CAUSEWAY_AZURITE_CA=$azurite_dir/azurite.crt

if timeout 800 "$build/tests/azurite_contract_test" >"$azurite_dir/contract.log" 2>&1; then
    echo "PASS azurite_contract ($(grep -c '\[       OK' "$azurite_dir/contract.log") cases)"
else
    grep -v '\[ RUN\|\[       OK' "$azurite_dir/contract.log" | tail -n 60
    echo "FAIL azurite_contract"
    exit 1
fi
