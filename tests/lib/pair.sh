# A machine of two disks, root and data, that must come back together. Source it after tests/lib/demo.sh.

pair_mib=8

# pair_disks: $demo/root.img and $demo/data.img. Both change before each point, and $demo/truth says what they were at it.
pair_disks() {
    local name
    for name in root data; do
        head -c 2M /dev/urandom > "$demo/$name.img"
        truncate -s ${pair_mib}M "$demo/$name.img"
    done
    cat > "$demo/pre-hook" <<H
#!/usr/bin/env bash
head -c 4096 /dev/urandom | tee >(dd of="$demo/root.img" seek=5 bs=4096 conv=notrunc status=none) |
    dd of="$demo/data.img" seek=9 bs=4096 conv=notrunc status=none
wait
echo "\$(date +%s%6N) \$(sha256sum < "$demo/root.img" | cut -d' ' -f1) \$(sha256sum < "$demo/data.img" | cut -d' ' -f1)" >> "$demo/truth"
H
    printf '#!/bin/sh\n' > "$demo/post-hook"
    chmod +x "$demo/pre-hook" "$demo/post-hook"
}

pair_agent() {
    causeway-agent protect --server "127.0.0.1:$demo_port" --ca "$demo/pki/ca.crt" --cert "$demo/pki/machine.crt" \
        --key "$demo/pki/machine.key" --state "$demo/agent" --image "$demo/root.img" --image "$demo/data.img" --disk-name root \
        --disk-name data --machine-name pair --interval 1s --pre-hook "$demo/pre-hook" --post-hook "$demo/post-hook" 2>>"$demo/agent.log" &
    demo_agent_pid=$!
    demo_pids+=($demo_agent_pid)
}

# pair_truth_of POINT: the sums of both disks when it was cut, root's first.
pair_truth_of() {
    demo_points_json | python3 -c 'import json, sys
cut = next(p["source_time_us"] for p in json.load(sys.stdin) if p["id"] == sys.argv[1])
lines = [line.split() for line in open(sys.argv[2])]
print(*[line[1:] for line in lines if int(line[0]) <= cut][-1])' "$1" "$demo/truth"
}
