#!/usr/bin/env python3
"""Prints an HS256 token for trying things out: token.py SECRET_FILE USER [ROLE ...]

The issuer and audience are those of scripts/cluster.sh. For development only: a real issuer keeps its key to itself.
"""
import base64
import hashlib
import hmac
import json
import sys
import time


def part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    secret = open(sys.argv[1], "rb").read().rstrip(b"\r\n")
    now = int(time.time())
    claims = {
        "iss": "https://cluster.example", "aud": "portcullis", "sub": sys.argv[2], "iat": now, "exp": now + 3600,
        "roles": sys.argv[3:] or ["member"], "tenant": "demo",
    }
    head = part(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    text = f"{head}.{part(json.dumps(claims).encode())}"
    print(f"{text}.{part(hmac.new(secret, text.encode(), hashlib.sha256).digest())}")


main()
