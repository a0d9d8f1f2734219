#!/usr/bin/env python3
"""Counts one ctest run by GoogleTest case and says what failed.

usage: ctest_report.py JUNIT.xml REPORTS LOG
JUNIT.xml is what `ctest --output-junit` wrote, LOG what it printed; REPORTS holds GoogleTest's <program>.json files.
The first line printed is "<passed> <failed> <what took longest>"; then for each failed case "CASE <name>", and below it,
indented, what it said. A program that writes no report (no GoogleTest, a crash, a timeout) is one case,
named with the test it was running.
"""
import json
import pathlib
import re
import sys
import xml.etree.ElementTree as xml

LINES_MAX = 12
TELLING = re.compile(r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:|assert|terminate called"
                     r"|Failure$", re.IGNORECASE)


def shorten(text):
    return [line[:300] for line in text.splitlines() if line.strip()][:LINES_MAX]


def cases_of(report):
    """Pairs (name, messages) of what ran; messages is None for what passed."""
    for suite in report.get("testsuites", []):
        for case in suite.get("testsuite", []):
            if case.get("result") == "SKIPPED" or case.get("status") == "NOTRUN":
                continue
            failures = case.get("failures")
            text = "\n".join(one["failure"] for one in failures) if failures else None
            yield f"{suite['name']}.{case['name']}", text


def last_words(output):
    """What a program said that ended badly outside of a failed expectation, and the test it was in."""
    begun = re.findall(r"^\[ RUN      \] (\S+)", output, re.MULTILINE)
    ended = set(re.findall(r"^\[ +(?:OK|FAILED|SKIPPED) +\] ([^\s,]+)", output, re.MULTILINE))
    running = [name for name in begun if name not in ended]
    lines = [line for line in output.splitlines() if line.strip()]
    first = next((i for i, line in enumerate(lines) if TELLING.search(line)), len(lines) - LINES_MAX)
    return running[-1] if running else None, "\n".join(lines[max(first, 0):])


def main():
    junit, reports = sys.argv[1], pathlib.Path(sys.argv[2])
    log = pathlib.Path(sys.argv[3]).read_text(errors="replace")
    endings = dict(re.findall(r"Test +#\d+: (\S+) [. ]*\*\*\*(.*?) +[\d.]+ sec", log))
    passed, failed, seconds = 0, [], {}
    for program in xml.parse(junit).getroot().iter("testcase"):
        name, status = program.get("name"), program.get("status")
        seconds[name] = float(program.get("time") or 0)
        if status in ("disabled", "notrun") and program.find("skipped") is not None:
            continue
        bad, path = [], reports / f"{name}.json"
        good = 0
        if path.exists():
            for case, text in cases_of(json.loads(path.read_text(errors="replace"))):
                if text is None:
                    good += 1
                else:
                    bad.append((f"{name}: {case}", text))
        elif status == "run":
            good = 1
        if status != "run" and not bad:
            output = program.findtext("system-out") or ""
            running, words = last_words(output)
            how = endings.get(name, status).strip()
            bad.append((f"{name}: {running or 'as a whole'} ({how})", words))
        passed += good
        failed += bad
    slowest = sorted(seconds, key=seconds.get, reverse=True)[:3]
    print(passed, len(failed), ", ".join(f"{name} {seconds[name]:.0f} s" for name in slowest))
    for case, text in failed:
        print("CASE", case)
        for line in shorten(text):
            print("   ", line)


if __name__ == "__main__":
    main()
