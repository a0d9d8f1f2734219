#!/usr/bin/env python3
"""Two disks with a counter each: A writes n, then B writes n, then A writes n + 1. COUNT says how far B is.

usage: ping_pong.py SOCKET_A SOCKET_B COUNT

A write that had no answer is sent again over a new connection, for as long as it takes.
"""
import os
import struct
import sys
import time

sys.dont_write_bytecode = True  # Nothing is left in the source tree.
from nbd_writer import connect, receive


class Disk:
    def __init__(self, path):
        self.path, self.link = path, None

    def write(self, number):
        data = b"%-512d" % number
        while True:
            try:
                self.link = self.link or connect(self.path, "disk")
                self.link.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 1, number, 0, len(data)) + data)
                magic, error, cookie = struct.unpack(">IIQ", receive(self.link, 16))
                if magic != 0x67446698 or error or cookie != number:
                    sys.exit(f"{self.path}: answer {magic:#x}, error {error}, to {cookie}")
                return
            except OSError as problem:
                print(f"{self.path}: {problem}", file=sys.stderr)
                self.link = None
                time.sleep(0.05)


def main():
    a, b, count = Disk(sys.argv[1]), Disk(sys.argv[2]), sys.argv[3]
    number = 0
    while True:
        number += 1
        a.write(number)
        b.write(number)
        with open(count + ".new", "w", encoding="ascii") as out:
            out.write(str(number))
        os.replace(count + ".new", count)


main()
