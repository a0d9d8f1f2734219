#!/usr/bin/env python3
"""Asks a virtual machine's monitor for one thing. usage: qmp_do.py MONITOR COMMAND [ARGUMENTS-AS-JSON]"""
import json
import sys

sys.dont_write_bytecode = True
from qmp_latency import Monitor  # noqa: E402

print(json.dumps(Monitor(sys.argv[1]).ask(sys.argv[2], **json.loads(sys.argv[3] if len(sys.argv) > 3 else "{}"))))
