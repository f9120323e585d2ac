"""Keeps a copy of a collection in step: one LIST, then a WATCH that goes on where the last one ended.

    list ──► watch ──► ended by the API server, or broken ──► watch from the last version
      ▲        └────── 410 Gone: the version is too old to go on from ──┐
      └──────────────────────────────────────────────────────────────────┘

Source: Kubernetes API concepts, "Efficient detection of changes", "410 Gone responses", "Watch bookmarks". Each failure
to get through waits longer than the one before, with jitter, as a thousand nodes may have lost the same API server;
meanwhile what was known stays, marked as stale.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_when_event_set,
    wait_exponential,
    wait_random,
)

from otel_ebpf.enrich.kubernetes.cluster import Cluster
from otel_ebpf.enrich.kubernetes.objects import Json
from otel_ebpf.errors import ClusterError

log = logging.getLogger(__name__)

_FIRST_WAIT_S: Final = 0.25
_LONGEST_WAIT_S: Final = 15.0
# As client-go: between 5 and 10 minutes, so that not all nodes begin anew at once.
_WATCH_S: Final = 300
# A watch that ends sooner, and has said nothing, is a failure.
_BRIEF_S: Final = 1.0


class Source(Protocol):
    """`api.Api`, as far as it is needed here."""

    def page(self, collection: str, resource_version: str, continued: str = "") -> Json: ...
    def watch(
        self, collection: str, resource_version: str, timeout_s: int
    ) -> AbstractContextManager[Iterator[Json]]: ...


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection and what is done with its objects. `keep` gets the identities of all that a list held."""

    name: str
    identity: Callable[[Json], str]
    put: Callable[[Json], None]
    remove: Callable[[Json], None]
    keep: Callable[[set[str]], None]


def collections_of(cluster: Cluster) -> tuple[Collection, ...]:
    """Pods of the node, and namespaces."""
    return (
        Collection(
            "pods", lambda item: str(item["metadata"]["uid"]), cluster.put_pod, cluster.remove_pod, cluster.keep_pods
        ),
        Collection(
            "namespaces",
            lambda item: str(item["metadata"]["name"]),
            cluster.put_namespace,
            cluster.remove_namespace,
            cluster.keep_namespaces,
        ),
    )


class Follower:
    """Follows one collection on a thread of its own."""

    def __init__(self, connect: Callable[[], Source], collection: Collection, cluster: Cluster) -> None:
        """`connect` is called on the thread, again after each failure of its own."""
        self.lists = self.failures = 0
        self._connect = connect
        self._collection = collection
        self._cluster = cluster
        self._version = ""
        self._begin_with = "0"  # any list will do at first; after a 410 only the latest
        self._stop = threading.Event()
        self._told = self._been_in_step = False
        # A daemon: it may be in the middle of a watch that says nothing.
        self._thread = threading.Thread(target=self._run, name=f"kubernetes-{collection.name}", daemon=True)

    @property
    def name(self) -> str:
        """The collection's."""
        return self._collection.name

    def start(self) -> None:
        """Returns at once."""
        self._thread.start()

    def close(self) -> None:
        """Nothing more is asked for."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                patiently = Retrying(
                    retry=retry_if_exception_type(ClusterError),
                    wait=wait_exponential(_FIRST_WAIT_S, _LONGEST_WAIT_S) + wait_random(0, _FIRST_WAIT_S),
                    stop=stop_when_event_set(self._stop),
                    sleep=self._wait,
                    before_sleep=self._failed,
                    reraise=True,
                )
                patiently(self._turn)
            except ClusterError:
                return  # told to stop meanwhile
            except Exception:
                # A thread that died here would leave the copy as it is for good.
                log.exception("Kubernetes: %s", self._collection.name)
                self._version = ""
                self._stop.wait(_LONGEST_WAIT_S)

    def _wait(self, seconds: float) -> None:
        self._stop.wait(seconds)

    def _turn(self) -> None:
        """A list if there is none to go on from, and a watch to its end."""
        source = self._connect()
        if not self._version:
            self._list(source)
        began_s, heard = time.monotonic(), 0
        watch_s = random.randrange(_WATCH_S, 2 * _WATCH_S)  # noqa: S311 - nothing to guess
        try:
            with source.watch(self._collection.name, self._version, watch_s) as events:
                self._in_step()
                for event in events:
                    if self._stop.is_set():
                        return
                    self._apply(event)
                    heard += 1
        except ClusterError as error:
            if error.status == 410:
                log.debug("Kubernetes: %s are listed anew: %s", self._collection.name, error)
                self._version, self._begin_with = "", ""
                return
            if not heard:
                raise
            log.debug("Kubernetes: the watch of %s broke: %s", self._collection.name, error)
            self._cluster.mark(self._collection.name, stale=True)
        else:
            if not heard and time.monotonic() - began_s < _BRIEF_S:
                raise ClusterError("the API server ends each watch at once")

    def _list(self, source: Source) -> None:
        seen: set[str] = set()
        continued = ""
        while True:
            page = source.page(self._collection.name, self._begin_with, continued)
            for item in page.get("items") or ():
                self._collection.put(item)
                seen.add(self._collection.identity(item))
            metadata = page.get("metadata") or {}
            continued = metadata.get("continue") or ""
            if not continued:
                break
        self._collection.keep(seen)
        self._version = metadata.get("resourceVersion") or ""
        self.lists += 1
        log.debug("Kubernetes: %d %s", len(seen), self._collection.name)

    def _apply(self, event: Json) -> None:
        item = event.get("object") or {}
        match event.get("type"):
            case "ADDED" | "MODIFIED":
                self._collection.put(item)
            case "DELETED":
                self._collection.remove(item)
            case "ERROR":
                raise ClusterError(str(item.get("message") or item), int(item.get("code") or 0))
        # Bookmarks have nothing but the version.
        self._version = (item.get("metadata") or {}).get("resourceVersion") or self._version

    def _in_step(self) -> None:
        self._cluster.mark(self._collection.name, stale=False)
        if not self._been_in_step:
            self._been_in_step = True
            log.info("Kubernetes: %s are known", self._collection.name)
        if self._told:
            self._told = False
            log.warning("Kubernetes: %s are in step again", self._collection.name)

    def _failed(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self.failures += 1
        self._cluster.mark(self._collection.name, stale=True)
        if isinstance(error, ClusterError) and error.status == 410:  # of a list's second page
            self._version, self._begin_with = "", ""
        if not self._told:
            self._told = True
            log.warning("Kubernetes: %s can't be had, what is known stays: %s", self._collection.name, error)
