# The strict fake of Azure Blob storage for the end-to-end tests. Source it after tests/lib/demo.sh.

# fake_start OPTION…: sets fake_port, fake_account and fake_key; it ends with the demo.
fake_start() {
    fake_azure --port 0 --port-file "$demo/fake.port" "$@" >"$demo/fake.out" 2>"$demo/fake.log" &
    demo_pids+=($!)
    wait_for 120 "the fake of Azure" test -s "$demo/fake.port"
    fake_port=$(cat "$demo/fake.port")
    fake_account=$(sed -n 's/^account //p' "$demo/fake.out") fake_key=$(sed -n 's/^key //p' "$demo/fake.out")
    fake_url=$(sed -n 's/^url //p' "$demo/fake.out")
    fake_origin=${fake_url%/"$fake_account"}
}

fake_call() { curl -sS --fail --insecure --max-time 60 "$@"; }
fake_faults() { fake_call -X POST --data "$1" "$fake_origin/__fake/faults" >/dev/null; }
fake_revoke_tokens() { fake_call -X POST --data '' "$fake_origin/__fake/revoke" >/dev/null; }
fake_reset() { fake_call -X POST --data '' "$fake_origin/__fake/reset" >/dev/null; }
# fake_counts: two numbers, the requests that were served as asked and those that were not.
fake_counts() {
    fake_call "$fake_origin/__fake/stats" | python3 -c 'import json, sys
useful = failed = 0
for codes in json.load(sys.stdin)["requests"].values():
    for code, count in codes.items():
        if code[:1] == "2" or code[:3] in ("304", "404", "409", "412"): useful += count
        else: failed += count
print(useful, failed)'
}

# fake_requests: how many there were, whatever became of them, without those for tokens.
fake_requests() { fake_call "$fake_origin/__fake/stats" | python3 -c 'import json, sys
print(sum(sum(codes.values()) for op, codes in json.load(sys.stdin)["requests"].items() if op not in ("token", "control")))'; }
# fake_code CODE: how many were answered so.
fake_code() { fake_call "$fake_origin/__fake/stats" | python3 -c 'import json, sys
print(sum(count for codes in json.load(sys.stdin)["requests"].values() for code, count in codes.items() if code[:3] == sys.argv[1]))' "$1"; }

# fake_sas [RIGHTS]: an account SAS for an hour, as the portal makes it.
fake_sas() {
    python3 - "$fake_account" "$fake_key" "${1:-rwdlac}" <<'PY'
import base64, datetime, hashlib, hmac, sys, urllib.parse
account, key, rights = sys.argv[1:]
now = datetime.datetime.now(datetime.timezone.utc)
expiry = (now + datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
fields = dict(sp=rights, ss="b", srt="sco", st="", se=expiry, sip="", spr="https,http", sv="2023-11-03", ses="")
text = "\n".join([account, *fields.values()]) + "\n"
signature = base64.b64encode(hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()).decode()
print(urllib.parse.urlencode({k: v for k, v in fields.items() if v} | {"sig": signature}))
PY
}
# fake_token: a bearer token from the fake's instance metadata service.
fake_token() {
    fake_call -H 'Metadata: true' \
        "$fake_origin/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fstorage.azure.com%2F" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["access_token"])'
}

# A file that only its owner reads, as every credential must be.
secret_file() { (umask 077; cat > "$1"); }

# fake_quick_vault: as demo_quick_vault, at the fake that was started.
fake_quick_vault() {
    secret_file "$demo/credential" <<<"$fake_key"
    demo_config "url = \"$fake_url/site\"
auth = \"shared-key\"
key_file = \"$demo/credential\"" "$demo_quick_egress"
    cli vault create >/dev/null || die "no vault"
}
