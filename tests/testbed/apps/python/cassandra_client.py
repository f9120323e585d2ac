"""Cassandra's Python driver, told what to do by lines of JSON on its standard input.

    cassandra_client.py PORT VERSION COMPRESSION [KEYSPACE]

A line is {"text": ..., "values": [...] or null, "prepared": bool, "times": N, "page": rows or 0}, or {"batch": [...]}
of such with the first three. `times` of them are under way at once. It answers with one line for each: how many rows
came, or "failed NAME".
"""

import json
import sys
from typing import Any

from cassandra import DriverException
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, Session
from cassandra.policies import RoundRobinPolicy
from cassandra.protocol import ErrorMessage
from cassandra.query import BatchStatement, SimpleStatement


def statement(session: Session, prepared: dict[str, Any], ask: dict[str, Any]) -> Any:
    """What the driver is given."""
    if not ask.get("prepared"):
        return SimpleStatement(ask["text"], fetch_size=ask.get("page") or 5000)
    if ask["text"] not in prepared:
        prepared[ask["text"]] = session.prepare(ask["text"])
    return prepared[ask["text"]]


def main(port: str, version: str, compression: str, *keyspace: str) -> None:
    """Does as told."""
    profile = ExecutionProfile(load_balancing_policy=RoundRobinPolicy(), request_timeout=30)
    cluster = Cluster(
        ["127.0.0.1"],
        port=int(port),
        protocol_version=int(version),
        compression=False if compression == "none" else compression,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
    )
    session = cluster.connect(*keyspace)
    prepared: dict[str, Any] = {}
    for line in sys.stdin:
        ask = json.loads(line)
        try:
            if "batch" in ask:
                batch = BatchStatement()
                for part in ask["batch"]:
                    batch.add(statement(session, prepared, part), part.get("values"))
                futures = [session.execute_async(batch)]
            else:
                what = statement(session, prepared, ask)
                futures = [session.execute_async(what, ask.get("values")) for _ in range(ask.get("times", 1))]
            print(sum(len(list(future.result())) for future in futures), flush=True)
        except (DriverException, ErrorMessage, NoHostAvailable) as error:
            print("failed", type(error).__name__, flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
