#!/usr/bin/env python3
"""What another user of this host could knock at: open_doors.py PID...

One line each: `unix PATH`, `abstract NAME`, `tcp PORT`, `udp PORT` for every socket of these processes, and of their children,
that waits for somebody, and `file PATH` for every file that they hold open and that has a name, but for what they were started
with (0, 1, 2). Only the kernel is asked: what is new is found, too.
"""
import os
import re
import sys


def with_children(pids):
    """These processes and all that they started, directly or not."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="latin-1") as file:
                    parents[int(name)] = int(file.read().rsplit(")", 1)[1].split()[1])
            except (FileNotFoundError, ProcessLookupError):  # Ended in between.
                continue
    found = set(pids)
    if gone := found - parents.keys():
        sys.exit(f"open_doors.py: there is no process {gone}")
    while more := {pid for pid, parent in parents.items() if parent in found and pid not in found}:
        found |= more
    return found


def held(pid):
    """Inodes of the sockets and names of the files behind a process's descriptors."""
    sockets, files = set(), set()
    directory = f"/proc/{pid}/fd"
    try:
        numbers = os.listdir(directory)
    except FileNotFoundError:  # A child that has ended.
        return sockets, files
    for number in numbers:
        try:
            target = os.readlink(f"{directory}/{number}")
        except FileNotFoundError:  # Closed in between.
            continue
        if match := re.fullmatch(r"socket:\[(\d+)\]", target):
            sockets.add(int(match[1]))
        elif int(number) > 2 and target.startswith("/") and not target.startswith(("/dev/", "/proc/")) and os.path.exists(target):
            files.add(target)
    return sockets, files


def unix_doors(pid):
    # Num RefCount Protocol Flags Type St Inode Path; 00010000: it accepts. A datagram socket with a name is a door as it is.
    with open(f"/proc/{pid}/net/unix", encoding="latin-1") as table:
        for line in list(table)[1:]:
            fields = line.split(None, 7)
            if len(fields) == 8 and (int(fields[3], 16) & 0x10000 or fields[4] == "0002"):
                name = fields[7].strip()
                yield int(fields[6]), f"abstract {name[1:]}" if name.startswith("@") else f"unix {name}"


def inet_doors(pid):
    # sl local remote st … inode: 0A listens; a UDP socket that is bound is 07.
    for kind, waiting in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        with open(f"/proc/{pid}/net/{kind}", encoding="ascii") as table:
            for line in list(table)[1:]:
                fields = line.split()
                if fields[3] == waiting:
                    yield int(fields[9]), f"{kind[:3]} {int(fields[1].rsplit(':', 1)[1], 16)}"


def main():
    doors = set()
    for pid in with_children(int(argument) for argument in sys.argv[1:]):
        sockets, files = held(pid)
        doors |= {f"file {path}" for path in files}
        for inode, door in (*unix_doors(pid), *inet_doors(pid)):
            if inode in sockets:
                doors.add(door)
    print("\n".join(sorted(doors)))


if __name__ == "__main__":
    main()
