"""Writes what a Hyper-V replica log holds into an image, by the published format alone: apply_hrl.py LOG IMAGE."""
import struct
import sys

BLOCK = 4096


def entries_of(log):
    """(offset, data) of every write, in order."""
    if log[:8] != b"msctlog ":
        raise ValueError("not a replica log")
    (end,) = struct.unpack_from("<Q", log, 44)
    blocks = []
    at = end - BLOCK
    while True:
        back, count = struct.unpack_from("<QI", log, at)
        blocks.append((at, count))
        if back == 0:
            break
        if not 0 < back <= at - BLOCK:
            raise ValueError(f"block at {at} points back by {back}")
        at -= back
    for at, count in reversed(blocks):
        entries = [struct.unpack_from("<QII", log, at + 32 + i * 32) for i in range(count)]
        data = at - sum(length for _, _, length in entries)
        for offset, _, length in entries:
            yield offset, log[data : data + length]
            data += length


def main():
    with open(sys.argv[1], "rb") as file:
        log = file.read()
    with open(sys.argv[2], "r+b") as image:
        for offset, data in entries_of(log):
            image.seek(offset)
            image.write(data)


main()
