#!/usr/bin/env bash
# Points of a guest that was frozen by its guest agent, in both modes. The oracle is ext4: a frozen file system does not
# need its journal, one that was cut while it was written does. Usage: qemu_app.sh BUILD_DIRECTORY
set -uo pipefail
build=$(realpath "${1:?build directory}")
cd "$(dirname "$0")/../.."
export PATH=$build:$PATH
source tests/lib/cases.sh
source tests/lib/demo.sh
source tests/lib/guest.sh

kind_of() { awk -v tag="$1" '$1 == tag { print $3 }' "$demo/in-vault"; }
id_of() { awk -v tag="$1" '$1 == tag { print $2 }' "$demo/in-vault"; }
# point TAG [ARGUMENT…]
point() {
    local promised tag=$1; shift
    promised=$(guest_line vm)
    causeway-agent point --state "$demo/agent" --tag "$tag" "$@" --wait committed --timeout 300s >>"$demo/points.log" 2>&1 ||
        die "no point $tag: $(tail -n 1 "$demo/points.log")"
    echo "$tag $promised" >> "$demo/noted"
}
needs_journal() {  # TAG yes|no
    guest_points > "$demo/in-vault"
    guest_restore "$(id_of "$1")" vd0 "$demo/restored" && guest_check_image "$demo/restored" 1 &&
        [ "$guest_needs_recovery" = "$2" ]
}

demo_begin
guest_site
guest_with_agent=yes
guest_image "$demo/vm.img" || die "no guest image"
guest_start vm "$demo/vm.img" raw
vm_pid=$guest_pid
guest_wrote vm 5
for mode in data epoch; do
    guest_protect --mode $mode --qga "$demo/vm.qga" --app-hooks --interval 3600s
    wait_for 300 "protection ($mode)" guest_protected
    guest_wrote vm 3
    point $mode-crash
    guest_wrote vm 3
    point $mode-frozen --frozen
    check "$mode: the guest goes on after a freeze" guest_wrote vm 3
    check "$mode: a crash point needs its journal" needs_journal $mode-crash yes
    check "$mode: a point of the frozen guest does not" needs_journal $mode-frozen no
    check "$mode: and says what it is" [ "$(kind_of $mode-frozen)" = app ]
    kill "$demo_agent_pid"
    wait "$demo_agent_pid" 2>/dev/null
done

# Nobody answers at that socket: what comes is a crash point, and it says why.
rm -f "$demo/nobody"
guest_protect --qga "$demo/nobody" --app-hooks --interval 3600s --json >"$demo/progress.json"
wait_for 300 "protection" guest_protected
point unfrozen --frozen
guest_points > "$demo/in-vault"
check "without an answer the point is a crash point" [ "$(kind_of unfrozen)" = crash ]
check "and the agent says why" grep -q GUEST_UNFROZEN "$demo/agent.log"
says_json() { python3 -c 'import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
sys.exit(not lines or lines[-1]["disks"][0]["phase"] != "protected")' "$demo/progress.json"; }
check "--json says how it goes, for programs" wait_for 60 "progress" says_json
check "every point is right" guest_check_points 1
guest_kill "$vm_pid"
cases_end
