# How long a virtual machine's own writes take, and whether that is our doing. Source it after tests/lib/guest.sh; the
# machine has the disks vd0 and vd1, vd2 that nobody protects, and a second monitor at $demo/vm.counts.

# How long the guest's own writes and flushes take is what QEMU counts. What the machine itself costs meanwhile is measured
# beside it: by a third disk that the same guest writes and nobody protects, and by a process that sleeps and syncs.
lateness_begin() {
    python3 -c 'import os, sys, time
path, beat = sys.argv[1], 0
sector = open(path + ".sector", "wb", buffering=0)
while True:
    before = time.time(); time.sleep(0.02)
    sector.seek(0); sector.write(bytes(512)); os.fdatasync(sector)
    print(time.time(), int((time.time() - before - 0.02) * 1000), flush=True)' "$demo/late" >"$demo/late" &
    demo_pids+=($!)
}
late_beats() { [ "$(wc -l < "$demo/late")" -ge "$1" ]; }
stalls_begin() {
    python3 tests/e2e/qmp_latency.py "$demo/vm.counts" begin vd0 vd1 vd2 || die "QEMU does not count"
    stalls_since=$(date +%s.%N)
}
# stalls_check WHAT: no write or flush of the guest took a second. Where the machine itself is late by more than a tenth of
# one, five times that is no fault of ours: the guard looks so often before it cuts.
stalls_check() {
    local first second control late allowed=1000
    read -r first second control < <(python3 tests/e2e/qmp_latency.py "$demo/vm.counts" worst vd0 vd1 vd2)
    [ -n "$control" ] || die "QEMU has not counted"
    wait_for 300 "the measure beside it" late_beats $(($(wc -l < "$demo/late") + 2))  # Whoever is late says so afterwards.
    late=$(awk -v since="$stalls_since" '$1 >= since && $2 > worst { worst = $2 } END { print worst + 0 }' "$demo/late")
    [ "$late" -ge "$control" ] || late=$control
    [ "$late" -le 100 ] || allowed=$((1000 + 5 * late))
    check "$1 (more than $first and $second ms on its disks; $control ms on one that is not protected, $late ms elsewhere)" \
        [ "$first" -lt $allowed -a "$second" -lt $allowed ]
}
