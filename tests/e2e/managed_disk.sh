#!/usr/bin/env bash
# Failover into a managed disk: a point goes straight through the disk's write SAS, whatever the disk held before, and a
# disk, SAS or file that does not fit is refused with nothing of the SAS shown. Usage: managed_disk.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/fake_azure.sh

azure() { fake_call -X "$1" -H 'x-ms-version: 2023-11-03' "${@:3}" "$fake_url/disks$2"; }
# new_disk NAME BYTES: an upload disk as `az disk create --upload-type Upload` leaves it.
new_disk() {
    azure PUT "/$1?$sas" -H 'x-ms-blob-type: PageBlob' -H "x-ms-blob-content-length: $2" -H 'Content-Length: 0' || die "no disk $1"
    secret_file "$demo/$1.sas" <<<"$fake_url/disks/$1?$sas"
}
into() { cli --json "$1" "$demo_machine" --point "$point" --format managed-disk --output "$2"; }

demo_begin
fake_start
demo_interval=1s
head -c 3M /dev/urandom > "$demo/given.img" && truncate -s 10M "$demo/given.img"
head -c 1M /dev/urandom >> "$demo/given.img"  # Data, a hole, data.
demo_image_from "$demo/given.img" >/dev/null
secret_file "$demo/account.key" <<<"$fake_key"
demo_config "url = \"$fake_url/site\"
auth = \"shared-key\"
key_file = \"$demo/account.key\""
cli vault create >/dev/null || die "no vault"
demo_start_server
demo_agent
demo_wait_points 1 >/dev/null
demo_stop_agent
point=$(demo_point_ids | tail -n 1)
sas=$(fake_sas)
signature=$(sed 's/.*sig=//; s/&.*//' <<<"$sas")
azure PUT "?restype=container&$sas" -H 'Content-Length: 0' || die "no container"
bytes=$(stat -c %s "$demo_image")
new_disk used $((bytes + 512))
new_disk small $((1048576 + 512))
head -c 1M /dev/urandom > "$demo/old"  # What an earlier use left, in the hole and in the data.
for at in 5242880 1048576; do
    azure PUT "/used?comp=page&$sas" -H 'x-ms-page-write: update' -H "x-ms-range: bytes=$at-$((at + 1048575))" \
        -H 'Content-Type:' --data-binary "@$demo/old" || die "no old data"
done
secret_file "$demo/bare.sas" <<<"$fake_url/disks/used"
sed 's/sig=..../sig=AAAA/' "$demo/used.sas" | secret_file "$demo/stale.sas"
install -m 644 "$demo/used.sas" "$demo/open.sas"

check "a disk without a signature is refused" exit_code_is 2 into export "$demo/bare.sas"
check "a SAS that everybody reads is refused" exit_code_is 2 into export "$demo/open.sas"
check "it is said why" said "$demo/open.sas"
check "a SAS that the service refuses is told" eval '! into export "$demo/stale.sas" >"$demo/last.out" 2>&1'
check "with the way to a fresh one" said 'grant-access --access-level Write'
sed 's#/used?#/gone?#' "$demo/used.sas" | secret_file "$demo/gone.sas"
check "a disk that is not there is told" eval '! into export "$demo/gone.sas" >"$demo/last.out" 2>&1'
check "with what to do about it" said 'BLOB_NOT_FOUND.*is not there: create it for upload'
check "a disk of another size is refused" exit_code_is 3 into export "$demo/small.sas"
check "a file that is not there is told" eval '! into export "$demo/none.sas" >"$demo/last.out" 2>&1'
check "a machine fails over into a managed disk" exit_code_is 0 into failover "$demo/used.sas"
check "and proves every byte of it" exit_code_is 0 cli export "$demo_machine" --point "$point" --format managed-disk --output "$demo/used.sas" --verify
check "exported raw for comparison" exit_code_is 0 cli export "$demo_machine" --point "$point" --output "$demo/point.raw"
azure GET "/used?$sas" -o "$demo/back.vhd" || die "the disk cannot be read"
check "it is a VHD that qemu-img knows" bash -c "qemu-img info -f vpc '$demo/back.vhd' | grep -q 'file format: vpc'"
check "it holds the point and nothing of before" exit_code_is 0 qemu-img compare -f raw -F vpc "$demo/point.raw" "$demo/back.vhd"
# A SAS that only writes, into a disk that held something else.
only_writes=$(fake_sas w)
secret_file "$demo/only_writes.sas" <<<"$fake_url/disks/used?$only_writes"
secret_file "$demo/small_only_writes.sas" <<<"$fake_url/disks/small?$only_writes"
for at in 5242880 1048576; do
    azure PUT "/used?comp=page&$sas" -H 'x-ms-page-write: update' -H "x-ms-range: bytes=$at-$((at + 1048575))" \
        -H 'Content-Type:' --data-binary "@$demo/old" || die "no old data"
done
check "what it does not allow to be verified is refused" exit_code_is 1 \
    cli export "$demo_machine" --point "$point" --format managed-disk --output "$demo/only_writes.sas" --verify
check "by the right that is missing" said 'BLOB_DENIED.*the SAS lacks the right to read.*next: .*without --verify'
check "a disk of another size is refused" exit_code_is 3 into export "$demo/small_only_writes.sas"
check "else everything is written" exit_code_is 0 into export "$demo/only_writes.sas"
check "and a note says that nobody could look" said 'note: every write was confirmed, but the service does not let it be looked at'
azure GET "/used?$sas" -o "$demo/back.vhd" || die "the disk cannot be read"
check "it holds the point and nothing of before" exit_code_is 0 qemu-img compare -f raw -F vpc "$demo/point.raw" "$demo/back.vhd"
cli --json jobs >"$demo/jobs" 2>&1
cli --json events >"$demo/events" 2>&1
check "the SAS is shown nowhere" eval '! grep -rlF --exclude="*.sas" --exclude=fake.log "$signature" "$demo"/{server.log,jobs,events,last.out,state,causeway.toml} 2>/dev/null'
cases_end
