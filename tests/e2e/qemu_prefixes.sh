#!/usr/bin/env bash
# Every prefix of what an agent sends of a running machine is a state that a power cut could have left: the file system is
# whole after its journal was replayed, the guest's log has no gap, and everything it was promised before is there.
# Usage: qemu_prefixes.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$build/tests:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/guest.sh
source tests/lib/ordered.sh

prefixes=30 lines=60

ask() {
    echo "$*" >&"$recorder_in"
    read -t 300 -r recorder_said <&"$recorder_out" || die "the recorder does not answer (see $demo/recorder.log)"
    case $recorder_said in error:*) die "the recorder: $recorder_said" ;; esac
}
# What was promised, and then how far the agent has taken writes in: every prefix of that length or longer holds it.
sample() {
    local promised next
    promised=$(guest_line vm)
    next=$(agent_json | json_number next_sequence)
    [ "$next" -eq 0 ] || echo "$((next - 1)) $promised" >> "$demo/samples"
}
has_written() { sample; guest_has_line vm "$1"; }
received() { ask span; [ "${recorder_said#* }" -ge "$1" ]; }
promised_at() { awk -v cut="$1" '$1 <= cut && $2 > most { most = $2 } END { print most + 0 }' "$demo/samples"; }
prefix_is_right() { # SEQUENCE
    ask cut "$1" "$demo/prefix.img"
    guest_check_image "$demo/prefix.img" "$(promised_at "$1")" || { echo "(the prefix that ends at $1)"; return 1; }
}
prefixes_are_right() {
    local i cut span=$((last - first + 1)) unclean=0 fewest=$((1 << 40)) most=0
    for ((i = 0; i < prefixes; i++)); do
        cut=$((first + (RANDOM * 32768 + RANDOM) % span))
        prefix_is_right $cut || return 1
        [ $guest_needs_recovery = no ] || unclean=$((unclean + 1))
        [ $guest_lines -ge $fewest ] || fewest=$guest_lines
        [ $guest_lines -le $most ] || most=$guest_lines
    done
    echo "$prefixes prefixes of $span writes; $unclean with a journal to replay; their logs end between line $fewest and line $most"
}
# Whoever lets a write pass that the guest flushed before it went on is found out. A line that two blocks share is in no
# write as a whole: then another one.
fault_is_seen() {
    local cut promised
    while read -r cut promised; do
        [ "$cut" -ge "$first" ] || continue
        ask late "$cut" "$demo/prefix.img" "line $promised"
        [ "$recorder_said" != none ] || continue
        ! guest_check_image "$demo/prefix.img" "$promised" >"$demo/fault" || { echo "nobody sees that line $promised came late"; return 1; }
        echo "line $promised behind its flush: $(head -n 1 "$demo/fault")"
        prefix_is_right "$cut"
        return
    done < <(tac "$demo/samples")
    echo "no write holds a line"
    return 1
}

demo_begin
ordered_seed
guest_image "$demo/vm.img" || die "no guest image"
mkdir "$demo/pki"
coproc recorder { exec stream_recorder "$demo/pki" 2>>"$demo/recorder.log"; }
demo_pids+=($recorder_PID)
recorder_in=${recorder[1]} recorder_out=${recorder[0]}
read -t 300 -r recorder_said <&"$recorder_out" || die "the recorder does not start (see $demo/recorder.log)"
demo_port=${recorder_said#port }
guest_start vm "$demo/vm.img" raw
vm_pid=$guest_pid
guest_wrote vm 5
guest_protect --interval 3600s
wait_for 300 "protection" guest_protected
wait_for 300 "the guest to write $lines lines" has_written $(($(guest_line vm) + lines))
sample
wait_for 300 "the recorder to have all of it" received "$(tail -n 1 "$demo/samples" | cut -d' ' -f1)"
guest_kill "$vm_pid"
first=${recorder_said% *} last=${recorder_said#* }
[ "$first" -gt 0 ] || die "the recorder has no state of the disk: $recorder_said"
check "$prefixes random prefixes of an ordered stream: file systems whole, logs without a gap, nothing promised is missing" prefixes_are_right
check "a write that passes a flush is found out" fault_is_seen
cases_end
