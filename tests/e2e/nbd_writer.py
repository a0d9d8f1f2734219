#!/usr/bin/env python3
"""Writes to an NBD export for ever and knows what the disk must look like then.

usage: nbd_writer.py SOCKET EXPORT IMAGE SEED [WRITES_PER_SECOND]

IMAGE is read once, before the first write: the model starts from it. Commands are lines on standard input:
  pause   finishes the write in flight; answers "paused SHA256 WRITES"
  go      goes on; answers "going"
  write N writes N times, however long that takes, and pauses
  quit    (or end of input) ends
A lost connection is opened again for as long as it takes, and the write that had no answer is sent again: until then
nobody may know whether it happened, so it is not a moment at which "pause" is answered.
"""
import hashlib
import random
import select
import socket
import struct
import sys
import time

SECTOR = 512
WRITE, FLUSH, WRITE_ZEROES = 1, 3, 6


def receive(link, count):
    data = bytearray()
    while len(data) < count:
        part = link.recv(count - len(data))
        if not part:
            raise ConnectionError("the server closed the connection")
        data += part
    return bytes(data)


def connect(path, export):
    """The fixed newstyle handshake with NBD_OPT_GO."""
    link = socket.socket(socket.AF_UNIX)
    link.settimeout(30)
    try:
        link.connect(path)
        magic, option_magic, _ = struct.unpack(">QQH", receive(link, 18))
        if magic != 0x4E42444D41474943 or option_magic != 0x49484156454F5054:
            raise ConnectionError("not an NBD server")
        name = export.encode()
        link.sendall(struct.pack(">IQIII", 3, option_magic, 7, 6 + len(name), len(name)) + name + b"\0\0")
        while True:
            _, _, kind, length = struct.unpack(">QIII", receive(link, 20))
            receive(link, length)
            if kind == 1:
                return link
            if kind & 0x80000000:
                raise ConnectionError(f"option refused: {kind:#x}")
    except BaseException:
        link.close()
        raise


class Writer:
    def __init__(self, path, export, image, seed, rate):
        self.path, self.export, self.rate = path, export, rate
        self.random = random.Random(seed)
        with open(image, "rb") as file:
            self.model = bytearray(file.read())
        self.link, self.cookie, self.writes = None, 0, 0

    def request(self, command, offset=0, length=0, data=b""):
        """Until it is answered; the server may be killed and come back meanwhile."""
        while True:
            try:
                if self.link is None:
                    self.link = connect(self.path, self.export)
                self.cookie += 1
                self.link.sendall(struct.pack(">IHHQQI", 0x25609513, 0, command, self.cookie, offset, length) + data)
                magic, error, cookie = struct.unpack(">IIQ", receive(self.link, 16))
                if magic != 0x67446698 or cookie != self.cookie:
                    raise ConnectionError("an answer to something else")
                if error:
                    sys.exit(f"nbd_writer: command {command} at {offset}+{length}: error {error}")
                return
            except (OSError, ConnectionError):
                if self.link is not None:
                    self.link.close()
                self.link = None
                time.sleep(0.02)

    def write_something(self):
        draw = self.random
        if draw.random() < 0.01:
            return self.request(FLUSH)
        length = SECTOR * draw.choice((1, 8, 8, 8, 16, 64, 256))
        # Half of the writes hit the same eighth of the disk, as real ones do.
        span = len(self.model) // (8 if draw.random() < 0.5 else 1)
        offset = draw.randrange(0, span - length, SECTOR)
        if draw.random() < 0.05:
            self.request(WRITE_ZEROES, offset, length)
            data = bytes(length)
        else:
            half = length // 2
            data = draw.randbytes(half) + bytes([draw.randrange(256)]) * (length - half)
            self.request(WRITE, offset, length, data)
        self.model[offset:offset + length] = data
        self.writes += 1
        return None

    def command(self, line):
        if line.startswith("write "):
            for _ in range(int(line[6:])):
                self.write_something()
            line = "pause"
        if line == "pause":
            print("paused", hashlib.sha256(self.model).hexdigest(), self.writes, flush=True)
            return True
        if line == "go":
            print("going", flush=True)
            return False
        sys.exit(f"nbd_writer: no such command: {line}" if line not in ("", "quit") else 0)

    def run(self):
        paused, due = True, time.monotonic()
        while True:
            wait = None if paused else max(0.0, due - time.monotonic())
            if select.select([sys.stdin.buffer.raw], [], [], wait)[0]:
                text = b""
                while not text.endswith(b"\n"):
                    part = sys.stdin.buffer.raw.read(1)
                    if not part:
                        sys.exit(0)
                    text += part
                paused = self.command(text.decode().strip())
                continue
            if not paused:
                due = max(due + 1 / self.rate, time.monotonic() - 0.1)
                self.write_something()


if __name__ == "__main__":
    if len(sys.argv) not in (5, 6):
        sys.exit(__doc__)
    Writer(*sys.argv[1:4], int(sys.argv[4]), float(sys.argv[5]) if len(sys.argv) == 6 else 200.0).run()
