#!/usr/bin/env python3
"""Which lines of the rooms the tests of a build tree have run: the end of the workflow `coverage`.

usage: coverage.py BUILD
BUILD is a tree of the preset `coverage` whose tests have run. Prints "percent covered/lines name", for each file and
each room, the least covered first; headers count once, whoever includes them.
"""
import collections
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
OTHERS = ("tests/", "bench/", "build/")


def lines_of(notes):
    """Of one object: pairs (file in this tree, {line: whether it ran})."""
    # Notes (.gcno) beside which no test has left its counts (.gcda) stand for code that nobody ran.
    said = subprocess.run(["gcov", "--json-format", "--stdout", notes.name], cwd=notes.parent,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    found = []
    for line in said.stdout.splitlines():
        report = json.loads(line)
        for file in report["files"]:
            path = os.path.realpath(os.path.join(report["current_working_directory"], file["file"]))
            if path.startswith(f"{ROOT}/"):
                ran = {one["line_number"]: one["count"] > 0 for one in file["lines"]}
                found.append((path.removeprefix(f"{ROOT}/"), ran))
    return found


def merge(build):
    """{file: {line: whether any test ran it}}; a line of a template or an inline function has many copies."""
    files = collections.defaultdict(dict)
    notes = [path for path in build.rglob("*.gcno") if not path.is_relative_to(build / "tests")]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(lines_of, notes):
            for name, ran in found:
                if not name.startswith(OTHERS):
                    for number, hit in ran.items():
                        files[name][number] = files[name].get(number, False) or hit
    return files


def show(counts):
    for name, (hit, lines) in sorted(counts.items(), key=lambda item: (item[1][0] / item[1][1], item[0])):
        print(f"{100 * hit / lines:6.1f} % {hit:6}/{lines:<6} {name}")


def main():
    files, rooms = {}, collections.defaultdict(lambda: [0, 0])
    for name, ran in merge(pathlib.Path(sys.argv[1]).resolve()).items():
        files[name] = sum(ran.values()), len(ran)
        for room in (os.path.dirname(name), "everything"):
            rooms[room][0] += files[name][0]
            rooms[room][1] += len(ran)
    if not files:
        sys.exit("coverage.py: no test of this build tree has run")
    show(files)
    print("\nrooms:")
    show(rooms)


main()
