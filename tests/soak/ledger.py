#!/usr/bin/env python3
"""Adds to the ledger behind docs/fault-report.md what a log says that was done.

usage: ledger.py LEDGER COMMIT fuzz TARGET LOG     a libFuzzer log (-print_final_stats=1)
       ledger.py LEDGER COMMIT kills LOG           a log of tests/e2e/crash.sh or kill_rig.sh
       ledger.py LEDGER COMMIT mutants LOG         what causeway_sim --mutants printed
       ledger.py LEDGER COMMIT claims RESULTS      build/results after tests/run: what scripts and unit tests claimed
       ledger.py LEDGER least-fuzzed TARGET...     prints the one that was fuzzed for the fewest seconds
COMMIT is a commit's digits, "-dirty" behind them if the tree was not it, or "unknown".
Nothing is added for a log that tells of nothing done; the exit status is 1 then, and 2 when the ledger or the log cannot be
read or written.
"""
import collections
import fcntl
import json
import os
import pathlib
import re
import sys


def fuzzing(target, log):
    """One run of one target: seconds and executions as libFuzzer counts them, and whether it ended in a finding."""
    done = re.search(r"^Done (\d+) runs in (\d+) second", log, re.M)
    found = re.search(r"^SUMMARY: ", log, re.M)
    executed = re.search(r"^stat::number_of_executed_units:\s*(\d+)", log, re.M)
    if not done and not found:
        return []
    return [{
        "kind": "fuzz", "target": target,
        "seconds": int(done[2]) if done else 0,
        "executions": int(executed[1]) if executed else int(done[1]) if done else 0,
        "found": 1 if found else 0,
    }]


def kills(log):
    """What was killed how often; a claim that did not hold counts for both."""
    failed = len(re.findall(r"^FAIL", log, re.M))
    told = re.findall(r"^(\d+) kills of the (\w+),", log, re.M)
    told += [(count, "spool writer") for count in re.findall(r"^(\d+) kills, \d+ SPOOLED writes verified, seed", log, re.M)]
    return [{"kind": "kills", "what": what, "kills": int(count), "failed_claims": failed} for count, what in told]


def mutants(log):
    done = re.search(r"sim: (\d+) of (\d+) planted bugs caught, (\d+) equivalent", log)
    return [{"kind": "mutants", "caught": int(done[1]), "planted": int(done[2]), "equivalent": int(done[3])}] if done else []


def claims(results):
    """How many claims held and failed, by script and by suite of unit tests; those of a sanitizer are "tsan/Suite".

    A script that ended with another status than 0 has failed, whatever it claimed.
    """
    held, failed = collections.Counter(), collections.Counter()
    for status in sorted(results.glob("*.status")):
        log = status.with_suffix(".log").read_text(encoding="utf-8", errors="replace")
        held[status.stem] = len(re.findall(r"^PASS ", log, re.M))
        failed[status.stem] = max(len(re.findall(r"^FAIL", log, re.M)), int(status.read_text().strip() != "0"))
    for report in sorted(results.glob("*/*.json")):
        preset = "" if report.parent.name == "release" else report.parent.name + "/"
        for suite in json.loads(report.read_text(encoding="utf-8")).get("testsuites", []):
            name = preset + re.sub(r"^\w+/|/\w+$", "", suite["name"])  # Without what parametrises it.
            held[name] += suite["tests"] - suite["failures"] - suite["errors"] - suite["disabled"]
            failed[name] += suite["failures"] + suite["errors"]
    return [{"kind": "claims", "held": dict(held), "failed": {name: n for name, n in failed.items() if n}}] if held else []


def entries_of(kind, words):
    if kind == "claims":
        return claims(pathlib.Path(words[-1]))
    with open(words[-1], encoding="utf-8", errors="replace") as file:
        log = file.read()
    return fuzzing(words[0], log) if kind == "fuzz" else mutants(log) if kind == "mutants" else kills(log)


def append(ledger, lines):
    """Durably, and on lines of their own, also behind one whose writer was killed (tests/sim/ledger_file.cc)."""
    with open(ledger, "a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = os.fstat(file.fileno()).st_size
        torn = size > 0 and os.pread(file.fileno(), 1, size - 1) != b"\n"
        file.write((b"\n" if torn else b"") + "".join(line + "\n" for line in lines).encode())
        file.flush()
        os.fsync(file.fileno())


def least_fuzzed(ledger, targets):
    """Of equal ones the first. A line that is no JSON counts for nothing here: causeway_sim --report tells of it."""
    seconds = dict.fromkeys(targets, 0)
    if os.path.exists(ledger):
        with open(ledger, encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if entry.get("kind") == "fuzz" and entry["target"] in seconds:
                    seconds[entry["target"]] += entry["seconds"]
    return min(targets, key=seconds.__getitem__)


def main():
    if len(sys.argv) >= 4 and sys.argv[2] == "least-fuzzed":
        print(least_fuzzed(sys.argv[1], sys.argv[3:]))
        return 0
    if len(sys.argv) < 5 or sys.argv[3] not in ("fuzz", "kills", "mutants", "claims"):
        print(__doc__, file=sys.stderr)
        return 2
    ledger, commit, kind = sys.argv[1:4]
    if not re.fullmatch(r"([0-9a-f]{7,40}|unknown)(-dirty)?", commit):
        print(f"ledger.py: {commit!r} is no commit", file=sys.stderr)
        return 2
    entries = entries_of(kind, sys.argv[4:])
    if not entries:
        return 1
    append(ledger, [json.dumps({"commit": commit, **entry}, separators=(",", ":"), sort_keys=True) for entry in entries])
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as error:
        print(f"ledger.py: {error}", file=sys.stderr)
        sys.exit(2)
