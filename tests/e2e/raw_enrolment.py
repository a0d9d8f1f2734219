#!/usr/bin/env python3
"""POST /v1/enrol as no agent writes it: raw_enrolment.py PORT CSR_FILE. One PASS or FAIL line per body.

Each comes from an address of its own (127.9.x.y), because the server soon stops listening to an address that is wrong.
"""
import base64
import json
import pathlib
import socket
import ssl
import sys

WEAPONS = [
    b"../../../../etc/passwd", b"a\\u0000b", b"x\\r\\n2026-01-01T00:00:00.000Z error forged=yes", b"\\u202egnp.exe",
    "\u2067isolated\u061c\u2028line\u0085next".encode(), b"\\u001b]0;owned\\u0007", b"$(touch /tmp/owned)", b"'; drop --",
    b"<script>alert(1)</script>", b"\\ud800", b"n" * 10_000,
]
RAW = [
    b"", b"{", b"null", b"[]", b"[" * 10_000, b'{"csr":' * 1_000, b'{"csr":1e999}', b'{"csr":"x","csr":["y"]}', b"\x00" * 100,
    b'{"csr":"\xff\xfe\xc0\x80"}', b'{"../../owned":"../../owned"}', b'{"csr":{}}', b'{"csr":null,"name":null}',
    b'{"csr":"' + b"\x1b]0;owned\x07" + b'"}',
]


def answer(port, source, body):
    """The status line and the body of what the server says to it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["causeway-enrolment/1"])
    with socket.create_connection(("127.0.0.1", port), timeout=60, source_address=(source, 0)) as plain:
        with context.wrap_socket(plain) as stream:
            head = f"POST /v1/enrol HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            stream.sendall(head.encode() + body)
            said = b""
            while piece := stream.recv(65536):
                said += piece
    head, _, text = said.partition(b"\r\n\r\n")
    return int(head.split()[1]), text


def bodies(csr):
    good = json.dumps(csr).encode()
    for weapon in WEAPONS:
        shown = weapon[:30].decode(errors="replace")
        for field in ("csr", "name", "token", "machine"):
            fields = {"csr": good, "token": b'"wrong"'} | {field: b'"' + weapon + b'"'}
            yield f"{shown} as {field}", b"{" + b",".join(b'"%s":%s' % (k.encode(), v) for k, v in fields.items()) + b"}"
    # What the parser of requests is fuzzed from, sound or not: without a token nobody gets anything.
    kept = sorted(pathlib.Path("tests/fuzz/corpus/tls_request").iterdir())
    assert kept
    for path in kept:
        request = path.read_bytes()
        if path.suffix == ".der":
            request = b"-----BEGIN CERTIFICATE REQUEST-----\n%s-----END CERTIFICATE REQUEST-----\n" % base64.encodebytes(request)
        yield f"the request {path.name}", json.dumps({"csr": request.decode(errors="replace"), "token": "wrong"}).encode()
    for raw in RAW:
        yield repr(raw[:30]), raw


def main():
    port = int(sys.argv[1])
    with open(sys.argv[2], encoding="ascii") as file:
        csr = file.read()
    failed = 0
    for number, (what, body) in enumerate(bodies(csr)):
        try:
            status, text = answer(port, f"127.9.{number // 250}.{number % 250 + 1}", body)
            wrong = "" if 400 <= status < 500 else f"{status}"
            # What it says is shown to people: nothing of the body comes back raw.
            wrong += "" if all(b >= 0x20 or b == 0x0A for b in text) and not any(
                mark in text.decode(errors="replace") for mark in "\u202e\u2067\u061c\u2028\u0085\ufffd") else " raw bytes"
        except OSError as error:
            wrong = str(error)
        failed += bool(wrong)
        shown = ascii(what)
        print(f"FAIL enrolment by hand, {shown}: {wrong}" if wrong else f"PASS enrolment by hand, {shown}, is refused")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
