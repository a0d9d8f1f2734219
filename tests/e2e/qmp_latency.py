#!/usr/bin/env python3
"""How long a virtual machine's own writes and flushes took, as QEMU counts them, in milliseconds.

usage: qmp_latency.py MONITOR begin DEVICE…   counts anew from here on
       qmp_latency.py MONITOR worst DEVICE…   for each device: the least that the longest one took

A limit is told that the longest one exceeded; the next limit it did not reach. 0: all were shorter than the first.
"""
import json
import socket
import sys

LIMITS_MS = [50 * i for i in range(1, 60)] + [3000, 4000, 6000, 10000, 20000, 60000]


class Monitor:
    def __init__(self, path):
        link = socket.socket(socket.AF_UNIX)
        link.settimeout(120)
        link.connect(path)
        self.stream = link.makefile("rw", encoding="utf-8")
        self.stream.readline()
        self.ask("qmp_capabilities")

    def ask(self, command, **arguments):
        print(json.dumps({"execute": command, "arguments": arguments}), file=self.stream, flush=True)
        while True:
            answer = json.loads(self.stream.readline())
            if "error" in answer:
                sys.exit(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]


def backend(device):
    return f"/machine/peripheral/{device}/virtio-backend"


def worst(stats):
    longest = 0
    for kind in "wr", "flush":
        histogram = stats[kind + "_latency_histogram"]
        for lower, count in zip([0] + histogram["boundaries"], histogram["bins"]):
            if count:
                longest = max(longest, lower)
    return longest // 1000000


def main():
    monitor, action, devices = Monitor(sys.argv[1]), sys.argv[2], sys.argv[3:]
    if action == "begin":
        for device in devices:
            monitor.ask("block-latency-histogram-set", id=backend(device), boundaries=[ms * 1000000 for ms in LIMITS_MS])
        return
    stats = {one.get("qdev"): one["stats"] for one in monitor.ask("query-blockstats")}
    print(*(worst(stats[backend(device)]) for device in devices))


if __name__ == "__main__":
    main()
