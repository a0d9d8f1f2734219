#!/usr/bin/env python3
"""Adds to the ledger behind docs/fault-report.md what a log says that was done.

usage: ledger.py LEDGER COMMIT fuzz TARGET LOG     a libFuzzer log (-print_final_stats=1)
       ledger.py LEDGER COMMIT kills LOG           a log of tests/e2e/crash.sh
       ledger.py LEDGER COMMIT mutants LOG         what causeway_sim --mutants printed
Nothing is added for a log that tells of nothing done; the exit status is 1 then.
"""
import json
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
    return [{"kind": "kills", "what": what, "kills": int(count), "failed_claims": failed}
            for count, what in re.findall(r"^(\d+) kills of the (\w+),", log, re.M)]


def mutants(log):
    done = re.search(r"sim: (\d+) of (\d+) planted bugs caught, (\d+) equivalent", log)
    return [{"kind": "mutants", "caught": int(done[1]), "planted": int(done[2]), "equivalent": int(done[3])}] if done else []


def main():
    if len(sys.argv) < 5 or sys.argv[3] not in ("fuzz", "kills", "mutants"):
        sys.exit(__doc__)
    ledger, commit, kind = sys.argv[1:4]
    with open(sys.argv[-1], encoding="utf-8", errors="replace") as file:
        log = file.read()
    entries = fuzzing(sys.argv[4], log) if kind == "fuzz" else mutants(log) if kind == "mutants" else kills(log)
    with open(ledger, "a", encoding="utf-8") as file:
        for entry in entries:
            file.write(json.dumps({"commit": commit, **entry}, separators=(",", ":"), sort_keys=True) + "\n")
    return 0 if entries else 1


if __name__ == "__main__":
    sys.exit(main())
