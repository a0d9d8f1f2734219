# Loop devices for the end-to-end tests, released however a script ends. Source it after demo.sh and call loop_begin after
# demo_begin. Where the machine does not give them (no root, no loop device), the script is skipped, with the reason.

loop_begin() {
    loop_name=$1 loop_home=$demo loop_undo=()
    trap loop_end EXIT
    [ "$(id -u)" -eq 0 ] || loop_skip "needs root"
    losetup -f >/dev/null 2>&1 || loop_skip "needs a loop device"
}

loop_skip() { echo "SKIP $loop_name: $*"; exit 0; }
# A case that this machine cannot show.
skip() { echo "SKIP $1: $2"; }

# loop_attach FILE: loop_device is it. Two scripts that ask at the same time may be told the same one: asked again.
loop_attach() {
    local try
    for try in 1 2 3 4 5; do
        loop_device=$(losetup -f --show "$1" 2>/dev/null) && loop_undo+=("losetup -d $loop_device") && return
        sleep 0.2
    done
    return 1
}
loop_mount() { mount "$@" 2>/dev/null && loop_undo+=("umount ${!#}"); }
loop_swapon() { mkswap "$1" >/dev/null 2>&1 && swapon -p 0 "$1" 2>/dev/null && loop_undo+=("swapoff $1"); }
# What was undone by hand, with loop_undone COMMAND…, is not undone again: the device may be somebody else's by then.
loop_undone() {
    local i
    "$@" || return
    for i in "${!loop_undo[@]}"; do [ "${loop_undo[i]}" != "$*" ] || unset "loop_undo[i]"; done
}

# Runs last: undoes in the reverse order of making.
loop_end() {
    local status=$? pid i kept=("${!loop_undo[@]}")
    demo=$loop_home
    [ -z "${demo_agent_pid:-}" ] || demo_stop_agent # It thaws what it froze.
    for pid in "${demo_pids[@]:-}"; do demo_is_ours "$pid" && kill "$pid" 2>/dev/null; done
    for pid in "${demo_pids[@]:-}"; do demo_reap "$pid"; done # Whoever has something open there keeps it busy.
    for ((i = ${#kept[@]} - 1; i >= 0; i--)); do ${loop_undo[kept[i]]} 2>/dev/null; done
    (exit $status)
    demo_end
}
