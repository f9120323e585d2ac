"""A shop's orders by PyMongo, whichever version of it: mongo_client.py HOST PORT ROUNDS ORDERS.

ORDERS is the collection. Writes a JSON line for each command as the driver's own monitoring tells of it, when it has
ended; those for which nobody waits are told by the driver too.
"""

import json
import sys

import pymongo
from pymongo import DeleteOne, MongoClient, UpdateOne, WriteConcern
from pymongo.errors import PyMongoError
from pymongo.monitoring import CommandListener

# Commands whose value is no collection.
OTHERS = {"ping", "listCollections", "endSessions", "nosuch", "buildInfo"}


class Told(CommandListener):
    """Tells what the driver says."""

    def __init__(self):
        self.begun = {}

    def started(self, event):
        name, command = event.command_name, event.command
        collection = command.get("collection") if name == "getMore" else command.get(name)
        self.begun[event.request_id] = {
            "operation": name,
            "namespace": event.database_name,
            "collection": "" if name in OTHERS else collection,
            "batch": max(len(command.get(batch) or ()) for batch in ("documents", "updates", "deletes")),
        }

    def ended(self, event, code, rows=None):
        line = {"code": code, "rows": rows, "duration_s": event.duration_micros / 1e6}
        print(json.dumps(self.begun.pop(event.request_id) | line), flush=True)

    def succeeded(self, event):
        errors, cursor = event.reply.get("writeErrors"), event.reply.get("cursor")
        rows = len(cursor.get("firstBatch") or cursor.get("nextBatch") or ()) if cursor else None
        self.ended(event, str(errors[0]["code"]) if errors else "", rows)

    def failed(self, event):
        self.ended(event, str(event.failure.get("code", "?")))


def shop(orders):
    """Each is a reason for one command or some."""
    yield lambda: orders.delete_many({})
    yield lambda: orders.insert_one({"_id": 1, "card": "4929-secret", "ok": 0, "code": 99})
    yield lambda: orders.insert_many([{"_id": number, "n": number} for number in range(2, 60)])
    yield lambda: list(orders.find({"n": {"$gt": 2}}, batch_size=20))
    yield lambda: orders.find_one({"_id": 1})
    yield lambda: orders.find_one({"_id": "nobody-secret"})
    yield lambda: orders.update_one({"_id": 1}, {"$set": {"card": "secret"}})
    yield lambda: orders.bulk_write(
        [UpdateOne({"_id": n}, {"$set": {"x": n}}) for n in (1, 2)] + [DeleteOne({"_id": 3})]
    )
    yield lambda: orders.insert_one({"_id": 1})  # which is there
    yield lambda: orders.distinct("x")
    yield lambda: list(orders.aggregate([{"$match": {"_id": {"$gt": 50}}}]))
    yield lambda: orders.find_one_and_update({"_id": 2}, {"$set": {"q": 1}})
    yield lambda: orders.insert_many([{"_id": number, "text": "x" * 5000} for number in range(100, 130)])
    yield lambda: len(list(orders.find({"_id": {"$gte": 100}})))
    yield lambda: orders.database.command("nosuch")
    yield lambda: orders.database.client.admin.command("ping")


def main():
    host, port, rounds, name = sys.argv[1:]
    options = {"maxPoolSize": 1, "event_listeners": [Told()], "serverSelectionTimeoutMS": 10_000}
    client = MongoClient(host, int(port), **options)
    orders = client["shop"][name]
    for _ in range(int(rounds)):
        for ask in shop(orders):
            try:
                ask()
            except PyMongoError as error:
                print(error, file=sys.stderr)
    client.close()
    # Some servers answer what wants no answer, which misleads the driver: on a connection of its own.
    with MongoClient(host, int(port), **options) as other:
        other["shop"].get_collection(name, write_concern=WriteConcern(w=0)).insert_one({"_id": 1000})
    print(pymongo.version, file=sys.stderr)


main()
