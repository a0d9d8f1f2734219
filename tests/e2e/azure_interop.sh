#!/usr/bin/env bash
# What our client writes, the Azure SDK lists and reads and azcopy downloads; what they write, our client reads.
# Usage: azure_interop.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
source tests/lib/azurite.sh

failures=0
check() {  # check NAME COMMAND…
    local name=$1; shift
    if "$@" >"$azurite_dir/check.log" 2>&1; then
        echo "PASS $name"
    else
        tail -n 30 "$azurite_dir/check.log"
        echo "FAIL $name"
        failures=$((failures + 1))
    fi
}

azurite_start interop || { echo "FAIL azure_interop (start)"; exit 1; }
url=http://127.0.0.1:$azurite_port/devstoreaccount1
tool=$build/tests/blob_tool
files=$azurite_dir/files
mkdir "$files"
head -c 9437191 /dev/urandom >"$files/large"
printf 'hello' >"$files/small"
: >"$files/empty"

"$tool" "$url/site" create || { echo "FAIL azure_interop (create)"; exit 1; }
for name in large small empty; do
    "$tool" "$url/site" put "0ab/machine/$name.seg" "$files/$name" || { echo "FAIL azure_interop (put $name)"; exit 1; }
done

check azure_interop_sdk env NODE_PATH=build/npm/node_modules node tests/e2e/azure_sdk_reader.js "$url" site-data "$files"

check azure_interop_sdk_to_us bash -c '"$1" "$2/site" list | grep -qx "sdk/written 9437191" &&
    "$1" "$2/site" get sdk/written "$3/back" && cmp "$3/back" "$3/large"' \
    _ "$tool" "$url" "$files"

# npm installs azcopy without its execute bit.
azcopy=$azurite_dir/azcopy
cp build/npm/node_modules/@azure-tools/azcopy-linux/dist/bin/azcopy_linux_amd64 "$azcopy" && chmod +x "$azcopy"
export AZCOPY_LOG_LOCATION=$azurite_dir/azcopy-log AZCOPY_JOB_PLAN_LOCATION=$azurite_dir/azcopy-plan
sas=$(NODE_PATH=build/npm/node_modules node tests/e2e/azure_sdk_reader.js "$url" --sas)
check azure_interop_azcopy bash -c '
    mkdir "$3/copied" &&
    "$1" copy "$2/site-data/0ab/machine/*?$4" "$3/copied" --from-to BlobLocal --skip-version-check --recursive &&
    for name in large small empty; do cmp "$3/copied/$name.seg" "$3/$name" || exit 1; done' \
    _ "$azcopy" "$url" "$files" "$sas"

exit $((failures > 0))
