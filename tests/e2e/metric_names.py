# The metrics whose names and labels scripts rely on, in a scrape on stdin. Prints what is missing or has other labels.
import re, sys

FIXED = {
    "causeway_ingest_bytes_total": {"machine"},
    "causeway_uploaded_bytes_total": {"machine"},
    "causeway_coalesced_bytes_total": set(),
    "causeway_rpo_seconds": {"machine"},
    "causeway_rpo_stage_seconds": {"machine", "stage"},
    "causeway_cache_bytes": {"state"},
    "causeway_cache_full_forecast_seconds": set(),
    "causeway_stage_queue": {"stage"},
    "causeway_stage_cpu_seconds_total": {"stage"},
    "causeway_upload_lanes": {"machine", "state"},
    "causeway_blob_requests_total": {"op", "code"},
    "causeway_blob_latency_seconds": {"op"},
    "causeway_points_total": {"kind", "state"},
    "causeway_health": {"component"},
    "causeway_conditions": {"code"},
    "causeway_cert_expiry_seconds": set(),
}
LINE = re.compile(r'([a-z_]+)(?:\{(.*)\})? (-?[0-9.e+-]+|NaN|[+-]Inf)$')

seen, types = {}, {}
for line in sys.stdin.read().splitlines():
    if line.startswith("# TYPE "):
        types[line.split()[2]] = line.split()[3]
    if not line or line.startswith("#"):
        continue
    match = LINE.match(line)
    if not match:
        sys.exit("not a line of the format: " + line)
    name, labels = match[1], set(re.findall(r'([a-z_]+)="', match[2] or ""))
    for part in ("_count", "_sum", "_bucket"):
        base = name.removesuffix(part)
        if base != name and types.get(base) == "histogram":
            name = base
    seen.setdefault(name, set()).add(frozenset(labels - {"le"}))

wrong = [f"{name}: {sorted(map(sorted, seen.get(name, [])))}, not {sorted(labels)}"
         for name, labels in FIXED.items() if seen.get(name) != {frozenset(labels)}]
wrong += [f"{name} is a {types.get(name)}" for name in FIXED
          if types.get(name) != ("counter" if name.endswith("_total") else
                                 "histogram" if name == "causeway_blob_latency_seconds" else "gauge")]
print("\n".join(wrong))
sys.exit(bool(wrong))
