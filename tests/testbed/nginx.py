"""nginx with a configuration of our own: files by sendfile, answers of its own, and a proxy to a Go application."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from tests.testbed import cache, servers, tls
from tests.testbed.process import Program, answers, answers_unix, free_port

LOG = """\
'{"method": "$request_method", "target": "$request_uri", "status": $status, "body_bytes": $body_bytes_sent, '
        '"duration_s": $request_time, "framed": "$sent_http_transfer_encoding", "expect": "$http_expect", '
        '"tls": "$ssl_protocol", "version": "$server_protocol"}'"""

CONFIG = """\
worker_processes {workers};
daemon off;
pid {folder}/pid;
error_log stderr warn;
{user}
events {{ worker_connections 512; }}
http {{
    log_format json escape=json {log};
    access_log {folder}/access.log json;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type text/plain;
    sendfile on;
    keepalive_requests 10000000;
    large_client_header_buffers 8 64k;
    client_max_body_size 64m;
    upstream app {{ server {upstream}; keepalive 16; }}
    server {{
        {listen}
        root {folder}/files;
        location = /hello {{ return 200 "hello\\n"; }}
        location = /peer {{ return 200 "$remote_port"; }}
        location ~ ^/items/(.+)$ {{ return 200 "item $1\\n"; }}
{statuses}
        location /bytes/ {{ }}
        location = /quiet {{ access_log off; return 200 "hello\\n"; }}
        location = /count {{ access_log off; stub_status; }}
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_request_buffering off;
            proxy_buffering off;
        }}
    }}
}}
"""

STATUSES = (200, 201, 204, 301, 304, 404, 500, 503)
FILES = (10, 512, 1000, 100_000, 1_000_000, 10_000_000)


@contextmanager
def nginx(
    host: str = "127.0.0.1",
    *,
    workers: int = 2,
    proxy: bool = True,
    encrypted: bool = False,
    versions: str = "TLSv1.2 TLSv1.3",
    http2: bool = False,
) -> Iterator[servers.Server]:
    """nginx on `host` (or a unix socket's path). /bytes/N exists for N in FILES; what it has not got it proxies.

    `versions`: of TLS, those that it speaks. `http2`: speaks that, and in the clear nothing else.
    """
    program_path = cache.tool("nginx", "nginx")
    with (
        tempfile.TemporaryDirectory(prefix="otel-ebpf-nginx-") as temporary,
        servers.go() if proxy else nullcontext() as upstream,
    ):
        folder = Path(temporary)
        folder.chmod(0o755)
        files = folder / "files" / "bytes"
        files.mkdir(parents=True)
        for size in FILES:
            (files / str(size)).write_bytes(b"x" * size)
        port = 0 if host.startswith("/") else free_port(host)
        address = f"unix:{host}" if not port else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        statuses = "\n".join(f"        location = /status/{code} {{ return {code}; }}" for code in STATUSES)
        (folder / "nginx.conf").write_text(
            CONFIG.format(
                folder=folder,
                workers=workers,
                user="user root;",
                log=LOG,
                upstream=f"127.0.0.1:{upstream.port}" if upstream else "127.0.0.1:9",
                listen=_listen(address, encrypted, http2) + (_ssl(versions) if encrypted else ""),
                statuses=statuses,
            )
        )
        (folder / "access.log").touch()
        argv: list[str | Path] = [program_path, "-p", folder, "-c", folder / "nginx.conf", "-e", "stderr"]
        with Program(argv, folder, "nginx") as program:
            ready = (lambda: answers(host, port)) if port else (lambda: answers_unix(Path(host)))
            program.wait_until(ready, "answers")
            yield servers.Server("nginx", program, host, port, folder / "access.log", upstream, encrypted)


def _listen(address: str, encrypted: bool, http2: bool) -> str:
    return f"listen {address}{' ssl' * encrypted}{' http2' * http2} backlog=1024;"


def _ssl(versions: str) -> str:
    files = tls.certificate()
    return (
        f" ssl_certificate {files.certificate}; ssl_certificate_key {files.key};"
        f" ssl_session_cache shared:tls:1m; ssl_protocols {versions};"
    )
