"""A Kubernetes API server and its etcd, built from source as one program: a cluster without kubelets.

What kubelets and schedulers do, tests do by the API: bind a pod to a node, say that its containers run.
"""

import json
import re
import secrets
import ssl
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.testbed import cache, toolchains
from tests.testbed.process import Program, free_port
from tests.testbed.servers import APPS

_SOURCES = APPS / "kube"
Json = dict[str, Any]


def program_path() -> Path:
    """The executable; built once, which takes six minutes on two cores."""
    go = toolchains.recent_go()

    def build(into: Path) -> None:
        version = re.search(r"k8s.io/kubernetes v(\S+)", (_SOURCES / "go.mod").read_text())
        assert version, "go.mod names no version"
        major, minor, _ = version[1].split(".")
        # Without these the API server calls itself v0.0.0-master, which clients do not like.
        stamps = {"gitVersion": f"v{version[1]}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
        flags = " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in stamps.items())
        env = toolchains.go_environment(go)
        argv = [go, "build", "-trimpath", "-ldflags", f"-s -w {flags}", "-o", str(into / "app"), "."]
        cache.command(argv, cwd=_SOURCES, env=env)

    return cache.built("kube", cache.files_below(_SOURCES), cache.command([go, "version"]), build) / "app"


@dataclass(slots=True)
class Kube:
    """An API server that is ready. Its administrator's token makes the calls of `ask`."""

    folder: Path
    port: int
    etcd: Program
    token: str
    server: Program

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def certificate(self) -> Path:
        return self.folder / "certs" / "apiserver.crt"

    def kubeconfig(self, token: str = "") -> Path:
        """A kubeconfig for a token, the administrator's by default."""
        token = token or self.token
        path = self.folder / f"kubeconfig-{abs(hash(token))}"
        cluster = {"server": self.url, "certificate-authority": str(self.certificate)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }
        path.write_text(yaml.safe_dump(content))
        return path

    def ask(self, method: str, path: str, body: Json | None = None, token: str = "") -> Json:
        """A call of the API; raises urllib.error.HTTPError. A PATCH is a merge patch."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        request = urllib.request.Request(
            self.url + path,
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Authorization": f"Bearer {token or self.token}", "Content-Type": kind},
        )
        context = ssl.create_default_context(cafile=str(self.certificate))
        with urllib.request.urlopen(request, timeout=10, context=context) as response:
            answer: Json = json.loads(response.read())
            return answer

    def namespace(self, name: str, annotations: Mapping[str, str] | None = None) -> None:
        """Makes a namespace, with the service account that a controller would make."""
        self.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name, "annotations": dict(annotations or {})}})
        self.ask("POST", f"/api/v1/namespaces/{name}/serviceaccounts", {"metadata": {"name": "default"}})

    def annotate(self, path: str, **annotations: str | None) -> None:
        """Annotates with ours, as `kubectl annotate` would: `__` stands for a dash; None takes the annotation away."""
        named = {f"otel-ebpf.io/{key.replace('__', '-')}": value for key, value in annotations.items()}
        self.ask("PATCH", path, {"metadata": {"annotations": named}})

    def pod(
        self,
        namespace: str,
        name: str,
        node: str,
        metadata: Json | None = None,
        containers: Mapping[str, str] | None = None,
        spec: Json | None = None,
    ) -> Json:
        """Makes a pod (`containers`: image by name) and binds it to a node, as the scheduler would."""
        listed = [
            {"name": each, "image": image} for each, image in (containers or {"web": "example.com/web:1"}).items()
        ]
        pods = f"/api/v1/namespaces/{namespace}/pods"
        made = self.ask(
            "POST",
            pods,
            {"metadata": {"name": name, **(metadata or {})}, "spec": {"containers": listed, **(spec or {})}},
        )
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        self.ask("POST", f"{pods}/{name}/binding", {"metadata": {"name": name}, "target": target})
        return made

    def runs(self, namespace: str, name: str, **ids: str) -> None:
        """Says what a kubelet would: that the pod's containers run, with these ids by name."""
        now = "2026-01-01T00:00:00Z"
        statuses = [
            {
                "name": container,
                "image": "example.com/web:1",
                "imageID": "",
                "containerID": f"containerd://{identifier}",
                "ready": True,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": now}},
            }
            for container, identifier in ids.items()
        ]
        status = {"phase": "Running", "startTime": now, "containerStatuses": statuses}
        self.ask("PATCH", f"/api/v1/namespaces/{namespace}/pods/{name}/status", {"status": status})

    def delete_pod(self, namespace: str, name: str) -> None:
        """Deletes at once, as a kubelet would in the end."""
        self.ask("DELETE", f"/api/v1/namespaces/{namespace}/pods/{name}", {"gracePeriodSeconds": 0})

    def stop(self) -> None:
        """The API server is gone; a terminated one would keep its port for a minute."""
        self.server.popen.kill()
        self.server.popen.wait(10)

    def start(self, *options: str) -> None:
        """The API server is back, with more options."""
        self.server = _api_server(self.folder, self.port, _etcd_url(self.etcd), *options)
        self.wait()

    def wait(self) -> None:
        """Until the API server is ready."""

        def ready() -> bool:
            try:
                self.ask("GET", "/api/v1/namespaces/default")
            except (OSError, ssl.SSLError, urllib.error.URLError):
                return False
            return True

        self.server.wait_until(ready, "is ready", 60)


def _etcd_url(etcd: Program) -> str:
    return (etcd.stdout_path.parent / "etcd-url").read_text()


def _api_server(folder: Path, port: int, etcd_url: str, *options: str) -> Program:
    return Program(
        [
            program_path(),
            "kube-apiserver",
            f"--etcd-servers={etcd_url}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={port}",
            f"--cert-dir={folder / 'certs'}",
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--service-account-key-file={folder / 'sa.key'}",
            f"--service-account-signing-key-file={folder / 'sa.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--allow-privileged=true",
            "--endpoint-reconciler-type=none",
            "--enable-priority-and-fairness=false",
            *options,
        ],
        folder,
        "kube-apiserver",
    )


@contextmanager
def kube() -> Iterator[Kube]:
    """An API server on a free port, ready within seconds."""
    program = program_path()
    with tempfile.TemporaryDirectory(prefix="otel-ebpf-kube-") as temporary:
        folder, port, token = Path(temporary), free_port(), secrets.token_hex(16)
        cache.command([cache.tool("openssl", "openssl"), "genrsa", "-out", str(folder / "sa.key"), "2048"])
        (folder / "tokens.csv").write_text(f'{token},admin,admin,"system:masters"\n')
        client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        (folder / "etcd-url").write_text(client)
        etcd = Program(
            [
                program,
                "etcd",
                f"--data-dir={folder / 'etcd'}",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}",
                "--unsafe-no-fsync",
                "--log-level=warn",
            ],
            folder,
            "etcd",
        )
        with etcd:
            made = Kube(folder, port, etcd, token, _api_server(folder, port, client))
            try:
                made.wait()
                yield made
            finally:
                # Without etcd the API server would hang: it goes first.
                made.stop()
