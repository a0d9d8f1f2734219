#!/usr/bin/env bash
# The server's memory stays within the budget it prints, and is the same for ten times the data.
# Usage: memory.sh BUILD_DIRECTORY; CAUSEWAY_MEMORY_MIB=N writes N and 10 N MiB (256 by default)
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/ordered.sh
small=${CAUSEWAY_MEMORY_MIB:-256}

budget_mib() { sed -n 's/^sum *\([0-9.]*\) MiB.*/\1/p' "$demo/server.log" | tail -n 1; }
peak_mib() { awk '/^VmHWM/ { printf "%.1f\n", $2 / 1024 }' "/proc/$demo_server_pid/status"; }
at_most() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a <= b) }'; }

# A sparse disk of 3 GiB of which MIB (at most 3072) are written: half of it text, half of it noise, none of it twice.
sparse_disk() {
    demo_image=$demo/disk.img
    rm -f "$demo_image"
    truncate -s 3G "$demo_image"
    python3 - "$demo_image" "$1" <<'PY'
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

# run MIB: protects such a disk to its first committed point; sets peak and budget.
run() {
    demo_begin
    sparse_disk "$1"
    printf '#!/bin/sh\n' | tee "$demo/pre-hook" > "$demo/post-hook"
    chmod +x "$demo/pre-hook" "$demo/post-hook"
    demo_cache_size=1GiB demo_config "url = \"dir://$demo/vault\""
    causeway --config "$demo/causeway.toml" vault create >/dev/null || die "no vault"
    demo_start_server
    demo_interval=2s demo_agent
    wait_for 600 "the first point of $1 MiB" demo_has_points 1
    echo "$(peak_mib) $(budget_mib)"
}

read -r peak_small budget <<<"$(run "$small")"
[ -n "${budget:-}" ] || { fail "$small MiB are protected"; cases_end; exit; }
read -r peak_large _ <<<"$(run $((small * 10)))"
[ -n "${peak_large:-}" ] || { fail "$((small * 10)) MiB are protected"; cases_end; exit; }
echo "budget $budget MiB; peak $peak_small MiB with $small MiB of data, $peak_large MiB with $((small * 10)) MiB"
check "G12 the peak stays within the budget printed at start" at_most "$peak_small" "$budget"
check "G12 also with ten times the data" at_most "$peak_large" "$budget"
cases_end
