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
says_unfrozen() { grep agent.point.unfrozen "$demo/agent.log" | says "GUEST_UNFROZEN.*$1"; }
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
# What the guest's hook was called for since the last question, in order.
hooks_said() {
    local said
    said=$(grep -a -o 'HOOK [a-z]*' "$demo/vm.console" | tail -n "+$((hooks_known + 1))" | cut -d' ' -f2 | paste -sd ' ')
    hooks_known=$(grep -a -c 'HOOK [a-z]' "$demo/vm.console")
    echo "the hook was called for: ${said:-nothing}"
    [ "$said" = "$1" ]
}
# An empty file within the guest, by its agent; the channel talks to one client at a time.
guest_touch() {
    python3 - "$demo/vm.qga" "$1" <<'P'
import json, socket, sys
channel = socket.socket(socket.AF_UNIX)
channel.settimeout(120)
channel.connect(sys.argv[1])
answers = channel.makefile("rb")
def ask(number, command, **arguments):
    channel.sendall(json.dumps({"execute": command, "arguments": arguments, "id": number}).encode() + b"\n")
    while True:
        answer = json.loads(answers.readline().strip(b"\xff"))
        if answer.get("id") == number:
            return answer["return"]
handle = ask(4711, "guest-file-open", path=sys.argv[2], mode="w")
ask(4712, "guest-file-close", handle=handle)
P
}

demo_begin
hooks_known=0
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
    check "$mode: no hook is called in the guest for a crash point" hooks_said ""
    guest_wrote vm 3
    point $mode-frozen --frozen
    check "$mode: the guest's hook is called before the freeze and after the thaw" hooks_said "freeze thaw"
    check "$mode: the guest goes on after a freeze" guest_wrote vm 3
    check "$mode: a crash point needs its journal" needs_journal $mode-crash yes
    check "$mode: a point of the frozen guest does not" needs_journal $mode-frozen no
    check "$mode: and says what it is" [ "$(kind_of $mode-frozen)" = app ]
    if [ $mode = epoch ]; then
        guest_touch /tmp/refuse 2>>"$demo/qga.log" || die "no file within the guest: $(tail -n 1 "$demo/qga.log")"
        point refused --frozen
        guest_points > "$demo/in-vault"
        check "$mode: a hook that fails in the guest makes it a crash point" [ "$(kind_of refused)" = crash ]
        check "and the agent says why" says_unfrozen "hook has failed"
        check "and the guest goes on" guest_wrote vm 3
    fi
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
kill "$demo_agent_pid"
wait "$demo_agent_pid" 2>/dev/null

# A guest that freezes and never answers its thaw: the next one is not waited for, because nobody knows how long that takes.
python3 - "$demo/silent.qga" >>"$demo/qga.log" 2>&1 <<'P' &
import json, os, socket, sys, threading
def serve(link):
    for line in link.makefile("rb"):
        asked = json.loads(line.strip(b"\xff"))
        if asked["execute"] != "guest-fsfreeze-thaw":
            said = 1 if asked["execute"] == "guest-fsfreeze-freeze" else {}
            link.sendall(json.dumps({"return": said, "id": asked.get("id")}).encode() + b"\n")
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
P
demo_pids+=($!)
wait_for 60 "the silent guest agent" test -S "$demo/silent.qga"
guest_protect --qga "$demo/silent.qga" --app-hooks --interval 3600s
wait_for 300 "protection" guest_protected
point owing --frozen
guest_points > "$demo/in-vault"
check "a thaw that is not answered makes it a crash point" [ "$(kind_of owing)" = crash ]
asked=$SECONDS
check "and the next frozen point is refused" exit_code_is 1 causeway-agent point --state "$demo/agent" --frozen --timeout 300s
check "at once" [ $((SECONDS - asked)) -lt 60 ]
check "with the reason" said 'GUEST_UNFROZEN.*has not answered the thaw'
check "of which status tells" eval 'agent_json | says freeze_error.*GUEST_UNFROZEN'
check "and a point of the running guest is made" point running
check "every point is right" guest_check_points 1
guest_kill "$vm_pid"
cases_end
