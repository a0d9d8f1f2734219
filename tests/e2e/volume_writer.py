#!/usr/bin/env python3
"""Writes a file system for ever, as the guest of tests/lib/guest.sh does, and says how long each step took.

usage: volume_writer.py DIRECTORY CONSOLE TIMES

DIRECTORY/log gets "line 1", "line 2", … and DIRECTORY/files every fifth one a file of its number over and over; all of it is
synced before CONSOLE says "LINE n .". TIMES gets a line per step: when it ended, and its milliseconds. An error ends it.
"""
import ctypes
import os
import sys
import time

directory, console_path, times_path = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)


def sync(descriptor):
    if libc.syncfs(descriptor) != 0:
        raise OSError(ctypes.get_errno(), "syncfs")


with open(directory + "/log", "ab", buffering=0) as log, \
        open(console_path, "a", encoding="ascii") as console, open(times_path, "a", encoding="ascii") as times:
    line = 0
    while True:
        line += 1
        begun = time.monotonic()
        log.write(b"line %d\n" % line)
        sync(log.fileno())
        took = time.monotonic() - begun
        print(f"LINE {line} .", file=console, flush=True)
        print(f"{time.time():.3f} {int(took * 1000)}", file=times, flush=True)
        if line % 5 == 0:
            word = b"%d\n" % line
            size = (line % 40 + 1) * 4096
            with open(f"{directory}/files/{line}", "wb") as file:
                file.write((word * (size // len(word) + 1))[:size])
            if line > 40:
                os.unlink(f"{directory}/files/{line - 40}")
        time.sleep(0.05)
