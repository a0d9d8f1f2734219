#!/usr/bin/env python3
"""Gives the manifest of a seed image another disk name, and its checksum again (agent/seed/SEED.md).

usage: seed_rename.py MANIFEST HEX_OF_NAME
"""
import hashlib
import struct
import sys

path, name = sys.argv[1], bytes.fromhex(sys.argv[2])
with open(path, "rb") as file:
    data = file.read()
at = 8 + 4 + 16 + 16 + 8 + 8 + 8 + 1 + 1  # Behind the format; then two texts.
at += 2 + struct.unpack_from("<H", data, at)[0]
end = at + 2 + struct.unpack_from("<H", data, at)[0]
data = data[:at] + struct.pack("<H", len(name)) + name + data[end:-32]
with open(path, "wb") as file:
    file.write(data + hashlib.sha256(data).digest())
