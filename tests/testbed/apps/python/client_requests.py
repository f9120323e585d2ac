"""`client_requests.py BASE`: requests on one session. "METHOD TARGET BODY_BYTES" lines in, "STATUS BODY_BYTES" out."""

import os
import sys

import requests

with requests.Session() as session:
    session.trust_env = False
    session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
    for line in sys.stdin:
        method, target, size = line.split()
        response = session.request(method, sys.argv[1] + target, data=b"x" * int(size) or None)
        print(response.status_code, len(response.content))
