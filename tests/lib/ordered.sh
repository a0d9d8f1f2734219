# An ordered source for the end-to-end tests: a disk that is written through the agent's NBD front end by a seeded writer
# that knows, at every pause, what the disk is. Source it after tests/lib/demo.sh; begin with demo_begin and a configuration.

# ordered_seed: from CAUSEWAY_SEED or new; printed, so that a run can be done again.
ordered_seed() {
    ordered_seed=${CAUSEWAY_SEED:-$(($(date +%s%N) / 1000 % 1000000007))}
    RANDOM=$((ordered_seed % 32768))
    echo "seed $ordered_seed (again: CAUSEWAY_SEED=$ordered_seed)"
}

# The kernel chooses the port once; a server that is started again must be found at the same address.
ordered_pin_port() { sed -i "s/^listen = .*/listen = \"127.0.0.1:$demo_port\"/" "$demo/causeway.toml"; }

ordered_agent() {
    causeway-agent protect --server "127.0.0.1:$demo_port" --ca "$demo/pki/ca.crt" --cert "$demo/pki/machine.crt" \
        --key "$demo/pki/machine.key" --state "$demo/agent" --image "$demo_image" --disk-name disk --machine-name demo-machine \
        --nbd-socket "$demo/nbd.sock" --interval 3600s "$@" 2>>"$demo/agent.log" &
    demo_agent_pid=$!
    demo_pids+=($demo_agent_pid)
}

# ordered_image MIB: an image whose first quarter holds something.
ordered_image() {
    demo_image=$demo/disk.img
    head -c $(($1 * 1048576 / 4)) /dev/urandom > "$demo_image"
    truncate -s "$1M" "$demo_image"
}

# ordered_writer RATE: the writer as a coprocess; it is paused at first. $writer_pid is its pid, also when it has ended: what
# bash itself sets for a coprocess is gone as soon as it has noticed that.
ordered_writer() {
    coproc writer { exec python3 tests/e2e/nbd_writer.py "$demo/nbd.sock" disk "$demo_image" "$ordered_seed" "$1" 2>>"$demo/writer.log"; }
    writer_pid=$writer_PID
    demo_pids+=($writer_pid)
    writer_in=${writer[1]} writer_out=${writer[0]}
    : > "$demo/noted"
}
ordered_ask() {
    echo "$1" >&"$writer_in"
    read -t 300 -r ordered_answer <&"$writer_out" || die "the writer does not answer (see $demo/writer.log)"
}
writer_go() { ordered_ask go; }
writer_end() {
    echo quit >&"$writer_in"
    wait "$writer_pid" 2>/dev/null || true
}
writer_pause() {
    ordered_ask pause
    ordered_truth=${ordered_answer#paused } ordered_writes=${ordered_truth#* } ordered_truth=${ordered_truth%% *}
}

agent_json() { causeway-agent status --state "$demo/agent" --json 2>/dev/null || true; }
agent_phase() { agent_json | grep -o '"phase": *"[^"]*"' | head -n 1 | sed 's/.*: *"//; s/"$//'; }
agent_protects() { [ "$(agent_phase)" = protected ]; }
agent_live() { agent_json | says '"link": *"live"'; }

# ordered_protect: the agent and the writer were started; returns with the writer at work and the disk protected.
ordered_protect() {
    wait_for 180 "the agent's NBD socket" test -S "$demo/nbd.sock"
    writer_go
    wait_for 180 "protection" agent_protects
}

# note_point TAG WAIT: a point at a moment of which the writer knows what the disk is. Leaves the writer paused.
note_point() {
    writer_pause
    causeway-agent point --state "$demo/agent" --tag "$1" --wait "$2" --timeout 150s >>"$demo/points.log" 2>&1 || return 1
    echo "$1 $ordered_truth" >> "$demo/noted"
}

# Tag and id of each point in the vault, one per line.
vault_points() {
    causeway --config "$demo/causeway.toml" --json points "$demo_machine" 2>>"$demo/cli.log" |
        python3 -c 'import json, sys
for point in json.load(sys.stdin): print(point["tag"], point["id"])' || true
}
vault_has_tag() { vault_points | says "^$1 "; }

# restore_all: every point of the vault against what was noted; prints how many. Fails on the first that differs.
restore_all() {
    local tag id truth count=0
    vault_points > "$demo/in-vault"
    while read -r tag id; do
        truth=$(awk -v tag="$tag" '$1 == tag { print $2 }' "$demo/noted")
        [ -n "$truth" ] || { echo "point $tag ($id) is in the vault, but nobody made it"; return 1; }
        rm -f "$demo/restored"
        causeway --config "$demo/causeway.toml" failover "$demo_machine" --point "$id" --output "$demo/restored" \
            >>"$demo/cli.log" 2>&1 || { echo "point $tag ($id) cannot be restored"; tail -n 3 "$demo/cli.log"; return 1; }
        [ "$(sha256sum < "$demo/restored" | cut -d' ' -f1)" = "$truth" ] || { echo "point $tag ($id) differs"; return 1; }
        count=$((count + 1))
    done < "$demo/in-vault"
    rm -f "$demo/restored"
    echo "$count points restored, each byte-identical to the disk at its moment"
}

# missing_points: tags that were noted and are not in the vault.
missing_points() { vault_points > "$demo/in-vault"; awk 'NR == FNR { there[$1] = 1; next } !($1 in there) { print $1 }' "$demo/in-vault" "$demo/noted"; }
all_committed() { [ -z "$(missing_points)" ]; }

# fences_begun: how often the agent began to read what it could not send; no_resync: not since $fences was set to it.
fences_begun() { grep -c 'agent.fence.open' "$demo/agent.log"; }
no_resync() { [ "$(fences_begun)" = "$fences" ]; }
