#!/usr/bin/env bash
# The server's memory stays within the budget it prints, and data leave no trace in it: pools of payload are taken at start,
# and the peak is the same after ten times the data.
# Usage: memory.sh BUILD_DIRECTORY; CAUSEWAY_MEMORY_MIB=N protects N and then 10 N MiB (128 by default, at most 300)
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
small=${CAUSEWAY_MEMORY_MIB:-128}
# What may be added outside of the pools: arenas that fragment, tables of live segments, a table of digests should the
# connection break and blocks be compared. A leak of 64 KiB for each object stored makes 20 MiB of 1,280 MiB of data.
growth_mib_max=12

# budget_mib TERM…: these terms of the budget together.
budget_mib() {
    local term
    for term in "$@"; do sed -n "s/^$term *\([0-9.]*\) MiB.*/\1/p" "$demo/server.log" | tail -n 1; done | awk '{ sum += $1 } END { print sum }'
}
peak_mib() { awk '/^VmHWM/ { printf "%.1f\n", $2 / 1024 }' "/proc/$demo_server_pid/status"; }
# Resident now: in the pools (the only memory that is kept out of core files), and in everything else.
resident_mib() {
    awk '/^Rss:/ { resident = $2 }
         /^VmFlags:/ { if ($0 ~ / dd( |$)/) pools += resident; else other += resident }
         END { printf "%.1f %.1f\n", pools / 1024, other / 1024 }' "/proc/$demo_server_pid/smaps"
}
at_most() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a != "" && b != "" && a <= b) }'; }
at_least() { at_most "$2" "$1"; }

# A sparse disk of 3 GiB of which MIB are written: half of it text, half of it noise, none of it twice.
sparse_disk() {
    demo_image=$demo/$1.img
    truncate -s 3G "$demo_image"
    python3 - "$demo_image" "$2" <<'PY'
import os, sys
path, mebibytes = sys.argv[1], int(sys.argv[2])
noise, line = os.urandom(1 << 20), b"a line of a log that repeats itself %010d\n"
with open(path, "r+b") as disk:
    for i in range(mebibytes):
        disk.seek((i * 1021 % 3072) << 20)
        half = i.to_bytes(8, "little") + noise[8:1 << 19]
        disk.write(half + (line % i * 10000)[:1 << 19])
PY
}

# protect NAME MIB: a machine of its own with such a disk, to its first committed point; then its agent ends.
protect() {
    sparse_disk "$1" "$2"
    demo_machine=$(cat /proc/sys/kernel/random/uuid)
    rm -rf "$demo/agent" "$demo/pki/machine".*
    causeway pki issue "$demo/pki" --role machine --id "$demo_machine" --name "$1" --out "$demo/pki/machine" >/dev/null ||
        die "no certificate for $1"
    demo_interval=2s demo_agent
    wait_for 300 "the first point of $1" demo_has_points 1
    demo_stop_agent
    rm -f "$demo_image"
}

demo_begin
demo_cache_size=1GiB demo_config "url = \"dir://$demo/vault\"" '[pipeline]
memory = "512MiB"
segment_window = "8MiB"
compute_threads = 2
[egress]
total_connections = 8'
sed -i 's/^\[ingest\]/&\nmax_connections = 32/' "$demo/causeway.toml"
printf '#!/bin/sh\n' | tee "$demo/pre-hook" > "$demo/post-hook"
chmod +x "$demo/pre-hook" "$demo/post-hook"
causeway --config "$demo/causeway.toml" vault create >/dev/null || die "no vault"
demo_start_server
protect small "$small"
read -r pools_small other_small <<<"$(resident_mib)"
peak_small=$(peak_mib)
protect large $((small * 10))
read -r pools_large other_large <<<"$(resident_mib)"
peak_large=$(peak_mib)

budget=$(budget_mib sum) pools=$(budget_mib ingest segment readback)
echo "budget $budget MiB, of it pools $pools MiB"
echo "after $small MiB of data: peak $peak_small MiB; resident: pools $pools_small MiB, everything else $other_small MiB"
echo "after $((small * 10)) MiB more: peak $peak_large MiB; resident: pools $pools_large MiB, everything else $other_large MiB"
check "G12 the peak stays within the budget printed at start" at_most "$peak_small" "$budget"
check "G12 also with ten times the data" at_most "$peak_large" "$budget"
check "G12 the peak is the same with ten times the data" at_most "$peak_large" \
    "$(awk -v a="$peak_small" -v b="$growth_mib_max" 'BEGIN { print a + b }')"
check "G12 payload is in the pools and nowhere else" at_least "$pools_large" 16
check "G12 the pools are no larger than their terms" at_most "$pools_large" "$pools"
check "G12 everything else does not grow with the data" at_most "$other_large" \
    "$(awk -v a="$other_small" -v b="$growth_mib_max" 'BEGIN { print a + b }')"
cases_end
