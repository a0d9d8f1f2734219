#!/usr/bin/env python3
"""Looks for secrets in files, in every form in which a program might print them.

secret_scan.py NAME=FILE... -- PATH...: one PASS or FAIL line per secret; files and directories are read whole.
"""
import base64
import binascii
import os
import sys
import urllib.parse


def values_of(path):
    """The secret as it stands in its file, and the bytes that it stands for."""
    with open(path, "rb") as file:
        text = file.read().strip()
    if text.startswith(b"-----BEGIN"):
        body = b"".join(line for line in text.splitlines() if not line.startswith(b"-----"))
        der = base64.b64decode(body)
        at = der.find(b"\x04\x20")  # The private number of a P-256 key.
        return [der[at + 2 : at + 34], body[:60], body[60:120]]
    values = [text, *(line for line in text.splitlines() if len(line) >= 16)]
    fields = urllib.parse.parse_qs(text.decode("latin-1"))
    values += [signature.encode() for signature in fields.get("sig", [])]
    for decode in (base64.b64decode, bytes.fromhex):
        try:
            plain = decode(text.decode("ascii"))
            if len(plain) >= 16:
                values.append(plain)
        except (ValueError, binascii.Error):
            pass
    return values


def forms_of(value):
    """Raw, hexadecimal, base64 in its three alignments, percent-encoded."""
    forms = {value, value.hex().encode(), value.hex().upper().encode()}
    forms.add(urllib.parse.quote(value, safe="").encode())
    for skip in range(3):
        part = value[skip:]
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(part[: len(part) // 3 * 3])
            forms.add(text)
    return {form for form in forms if len(form) >= 16}


def files_of(paths):
    for path in paths:
        if os.path.isdir(path):
            for directory, _, names in os.walk(path):
                for name in names:
                    yield os.path.join(directory, name)
        else:
            yield path


def content_of(path):
    """All of it but the zeros of a preallocated file."""
    chunk_bytes = 1 << 20
    zeros = bytes(chunk_bytes)
    parts = []
    with open(path, "rb") as file:
        while chunk := file.read(chunk_bytes):
            if chunk != zeros[: len(chunk)]:
                parts.append(chunk)
    return b"".join(parts)


def main():
    split = sys.argv.index("--")
    secrets = dict(argument.split("=", 1) for argument in sys.argv[1:split])
    contents = {}
    for path in files_of(sys.argv[split + 1 :]):
        if os.path.isfile(path) and not os.path.islink(path):
            contents[path] = content_of(path)
    failed = False
    for name, path in secrets.items():
        forms = {form for value in values_of(path) for form in forms_of(value)}
        found = [where for where, text in contents.items() if any(form in text for form in forms)]
        failed = failed or bool(found) or not forms
        verdict = f"FAIL {name} is in {' '.join(found)}" if found else f"PASS {name} is nowhere"
        print(f"{verdict} ({len(forms)} forms, {len(contents)} files)" if forms else f"FAIL {name} has no forms")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
