#!/usr/bin/env bash
# Failover into Azure: a point becomes a page blob in the vault's account, azcopy downloads it, and qemu-img finds the
# source's disk in it. Usage: azure_failover.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/fake_azure.sh
[ -f build/npm/node_modules/azurite/package.json ] || { echo "SKIP azure_failover: Azurite is not installed (tests/run installs it)"; exit 0; }
source tests/lib/azurite.sh
rm -rf "$azurite_dir"
demo_begin  # Its traps replace those of azurite.sh.
azurite_dir=$demo/azurite
mkdir "$azurite_dir"


azurite_start vault || die "Azurite does not start"
demo_pids+=("${azurite_pids[@]}")
url=http://127.0.0.1:$azurite_port/devstoreaccount1
demo_interval=1s
head -c 3M /dev/urandom > "$demo/given.img" && truncate -s 10M "$demo/given.img"
head -c 1M /dev/urandom >> "$demo/given.img"  # Data, a hole, data.
demo_image_from "$demo/given.img"
demo_config "url = \"$url/site\"
auth = \"emulator\""
cli vault create >/dev/null || die "no vault"
demo_start_server
demo_agent
demo_wait_points 1
demo_stop_agent
point=$(demo_point_ids | tail -n 1)
# The account and key that every emulator has.
fake_account=devstoreaccount1 fake_key=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==
sas=$(fake_sas)
curl -sS --fail -X PUT -H 'x-ms-version: 2023-11-03' -H 'Content-Length: 0' "$url/disks?restype=container&$sas" || die "no container"

check "a disk becomes a page blob" exit_code_is 0 \
    cli --json failover "$demo_machine" --point "$point" --format page-blob --output disks/vm.vhd
written=$(json_number written_bytes < "$demo/last.out")
check "holes are not sent" test "$written" -lt 6000000
check "a page blob that is there is refused" exit_code_is 3 \
    cli failover "$demo_machine" --point "$point" --format page-blob --output disks/vm.vhd
check "and replaced on request" exit_code_is 0 \
    cli failover "$demo_machine" --point "$point" --format page-blob --output disks/vm.vhd --force
check "a container that is not there is told" eval '! cli export "$demo_machine" --format page-blob --output nowhere/vm.vhd >/dev/null 2>&1'
check "a name that cannot be is a usage error" exit_code_is 2 cli export "$demo_machine" --format page-blob --output vm.vhd

# npm installs azcopy without its execute bit.
azcopy=$demo/azcopy
cp build/npm/node_modules/@azure-tools/azcopy-linux/dist/bin/azcopy_linux_amd64 "$azcopy" && chmod +x "$azcopy"
export AZCOPY_LOG_LOCATION=$demo/azcopy-log AZCOPY_JOB_PLAN_LOCATION=$demo/azcopy-plan
check "azcopy downloads it" exit_code_is 0 \
    "$azcopy" copy "$url/disks/vm.vhd?$sas" "$demo/back.vhd" --from-to BlobLocal --skip-version-check
check "it is a VHD that qemu-img knows" bash -c "qemu-img info -f vpc '$demo/back.vhd' | grep -q 'file format: vpc'"
check "exported raw for comparison" exit_code_is 0 cli export "$demo_machine" --point "$point" --output "$demo/point.raw"
check "the raw image is the source" test "$(sha256sum < "$demo/point.raw" | cut -d' ' -f1)" = "$(demo_truth_of "$point")"
check "the page blob holds the same disk" exit_code_is 0 qemu-img compare -f raw -F vpc "$demo/point.raw" "$demo/back.vhd"
check "its size is a whole number of MiB and a footer" test $(($(stat -c %s "$demo/back.vhd") % 1048576)) -eq 512
cases_end
