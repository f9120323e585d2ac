"""What an agent's books, its own metrics and nginx itself say of how many requests there were."""

import re
import time
import urllib.request

from tests.testbed.agent import Agent
from tests.testbed.process import eventually
from tests.testbed.servers import Server

SERVED, ASKED = "http.server.request.duration", "http.client.request.duration"


def counted(web: Server) -> int:
    """nginx's own count of the requests it has had, this question for it included."""
    with urllib.request.urlopen(f"{web.url}/count") as page:
        found = re.search(r"^ \d+ \d+ (\d+)", page.read().decode(), re.MULTILINE)
    assert found, "nginx has no stub_status"
    return int(found[1])


def settled(web: Server) -> int:
    """The same once nginx has gone through what a load has left it."""

    def unmoved() -> int:
        asked = counted(web)
        time.sleep(0.1)
        again = counted(web)
        return again if again == asked + 1 else 0

    return eventually(unmoved, "nginx has nothing more to do")


def balance(agent: Agent) -> dict[str, int]:
    """Checks the ended agent's books against themselves and against what arrived; gives what was dropped."""
    books = agent.summary()
    dropped = {reason: count for reason, count in books["spans_dropped"].items() if count}
    assert books["unaccounted"] == 0
    assert books["requests_seen"] == books["spans_exported"] + sum(dropped.values())
    assert books["spans_exported"] == len(agent.telemetry.spans)
    return dropped


def own(agent: Agent, name: str) -> int:
    """The newest value of one of the agent's own counters, all attributes together."""
    return int(sum(point.value for point in agent.points(name)))
