#!/usr/bin/env python3
"""Whose the manifests of one machine are, by their clear headers (egress/vault/FORMAT.md) alone.

usage: chain_epochs.py FILE...

Fails unless the numbers are those from 1 to the last, each once, no epoch is smaller than the one before it, and each
epoch has one writer: a server that lost the machine has then added nothing behind the manifest that took it away.
"""
import struct
import sys


def header(path):
    with open(path, "rb") as file:
        head = file.read(88)
    magic, _version, kind, _zero, _machine, number, _previous, epoch, writer = struct.unpack("<4sHBB16sQ32sQ16s", head)
    if magic != b"CWMF":
        sys.exit(f"{path} is no manifest")
    return number, epoch, writer, kind


chain = sorted(header(path) for path in sys.argv[1:])
if [number for number, *_ in chain] != list(range(1, len(chain) + 1)):
    sys.exit(f"the numbers are {[number for number, *_ in chain]}")
writers = {}
last = 0
for number, epoch, writer, kind in chain:
    if epoch < last:
        sys.exit(f"manifest {number} is of epoch {epoch}, behind one of epoch {last}")
    if epoch > last and kind != 1:
        sys.exit(f"manifest {number} begins epoch {epoch} and is no takeover")
    if writers.setdefault(epoch, writer) != writer:
        sys.exit(f"manifest {number} is of another writer than epoch {epoch}")
    last = epoch
print(f"{len(chain)} manifests, {len(writers)} epochs in order")
