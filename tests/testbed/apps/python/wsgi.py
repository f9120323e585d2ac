"""The routes under WSGI, for gunicorn."""

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from routes import answer


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    status, length, parts = answer(environ["PATH_INFO"], body)
    headers = [("Content-Type", "text/plain")]
    if length is not None and status not in (204, 304):
        headers.append(("Content-Length", str(length)))
    start_response(f"{status} {HTTPStatus(status).phrase}", headers)
    return () if environ["REQUEST_METHOD"] == "HEAD" else parts
