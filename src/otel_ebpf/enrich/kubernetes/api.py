"""The API server through the official client: how to reach it and who we are. Answers stay JSON.

The client's own objects of 110 pods take 280 ms and 21 MiB, their JSON cut down at once 11 ms and 2 MiB. The client
alone takes 35 MiB, so it is imported when a cluster is there.
"""

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import urllib3

from otel_ebpf.enrich.kubernetes.objects import Json
from otel_ebpf.errors import ClusterError

_CONNECT_S: Final = 5.0
_ANSWER_S: Final = 20.0
# Bookmarks come once a minute: a connection that says nothing for longer has nobody at its other end.
_SILENCE_S: Final = 90.0
_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Access:
    """`node` is this node's name in the cluster; `kubeconfig` "" means a pod's own service account."""

    node: str
    kubeconfig: str = ""


def node_name(configured: str, variables: Mapping[str, str]) -> str:
    """This node's name: as configured, as the DaemonSet says in K8S_NODE_NAME, else the host's name, as kubelets do."""
    return configured or variables.get("K8S_NODE_NAME", "").strip() or socket.gethostname().lower()


class Api:
    """Pods of one node, and namespaces. Every call may raise ClusterError."""

    def __init__(self, core: Any, node: str) -> None:
        self._core = core
        self._node = node

    def page(self, collection: str, resource_version: str, continued: str = "") -> Json:
        """A page of "pods" or "namespaces"; `resource_version` "0": from the API server's memory, "": the latest."""
        options: dict[str, Any] = {"limit": _PAGE}
        if continued:
            options["_continue"] = continued
        elif resource_version:
            options["resource_version"] = resource_version
        with self._asked(collection, _ANSWER_S, options) as response:
            return _parsed(response.data)

    @contextmanager
    def watch(self, collection: str, resource_version: str, timeout_s: int) -> Iterator[Iterator[Json]]:
        """What changes from a version on, until the API server ends it."""
        options = {
            "watch": True,
            "resource_version": resource_version,
            "allow_watch_bookmarks": True,
            "timeout_seconds": timeout_s,
        }
        with self._asked(collection, _SILENCE_S, options) as response:
            yield (_parsed(line) for line in response if line.strip())

    def pods_named(self, name: str, namespace: str) -> list[Json]:
        """Pods with this name, of one namespace or ("") of all, on whatever node."""
        call = self._core.list_pod_for_all_namespaces
        options: dict[str, Any] = {"field_selector": f"metadata.name={name}"}
        if namespace:
            options["field_selector"] += f",metadata.namespace={namespace}"
        with _answer(call, _ANSWER_S, options) as response:
            return list(_parsed(response.data).get("items") or ())

    def namespace(self, name: str) -> Json:
        """A namespace."""
        with _answer(self._core.read_namespace, _ANSWER_S, {"name": name}) as response:
            return _parsed(response.data)

    @contextmanager
    def _asked(self, collection: str, read_s: float, options: dict[str, Any]) -> Iterator[Any]:
        if collection == "pods":
            call = self._core.list_pod_for_all_namespaces
            options["field_selector"] = f"spec.nodeName={self._node}"
        else:
            call = self._core.list_namespace
        with _answer(call, read_s, options) as response:
            yield response


def connect(access: Access) -> Api:
    """Raises ClusterError where there are no credentials. Nothing is sent yet."""
    from kubernetes import client, config  # noqa: PLC0415 - see above

    configuration = client.Configuration()
    try:
        loaders: Any = config
        if access.kubeconfig:
            loaders.load_kube_config(access.kubeconfig, client_configuration=configuration, persist_config=False)
        else:
            # Reads the token anew before it expires.
            loaders.load_incluster_config(client_configuration=configuration)
    except (config.ConfigException, OSError) as error:
        raise ClusterError(f"no access to the cluster: {error}") from error
    configuration.retries = False  # how often and when is decided once, in follow.py
    return Api(client.CoreV1Api(client.ApiClient(configuration)), access.node)


@contextmanager
def _answer(call: Any, read_s: float, options: dict[str, Any]) -> Iterator[Any]:
    """The response to a call, unread; the connection is given back at the end."""
    from kubernetes.client.exceptions import ApiException  # noqa: PLC0415 - see above

    response = None
    try:
        response = call(**options, _preload_content=False, _request_timeout=(_CONNECT_S, read_s))
        yield response
    except ApiException as error:
        raise ClusterError(f"{error.status} {error.reason}: {_reason(error.body)}", error.status or 0) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise ClusterError(str(error)) from error
    finally:
        if response is not None:
            # A watch is endless: what it has not said yet nobody waits for.
            response.close()
            response.release_conn()


def _parsed(data: bytes) -> Json:
    try:
        parsed = json.loads(data)
    except ValueError as error:
        raise ClusterError(f"an answer that is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise ClusterError("an answer that is not an object")
    return parsed


def _reason(body: Any) -> str:
    """The message of a Status object, else the beginning of whatever came."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or "")
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text[:200]
