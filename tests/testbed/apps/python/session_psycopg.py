"""`session_psycopg.py DSN`: executes statements, lines of [TEXT, PARAMETERS, PREPARE] in JSON, on one connection, and
prints how each ended: an SQLSTATE, or "ok"."""

import json
import sys

import psycopg

conn = psycopg.connect(sys.argv[1], autocommit=True)
print("ok", flush=True)
for line in sys.stdin:
    text, parameters, prepare = json.loads(line)
    try:
        conn.execute(text, parameters or None, prepare=prepare)
        print("ok", flush=True)
    except psycopg.Error as error:
        print(error.sqlstate or "lost", flush=True)
