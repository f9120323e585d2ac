"""The routes under ASGI, for uvicorn; prints one JSON line per request, since uvicorn's access log has no sizes."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from routes import answer


async def application(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    if scope["type"] != "http":
        return
    begin = time.perf_counter()
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    if scope["path"].startswith("/sleep/"):
        await asyncio.sleep(int(scope["path"][7:]) / 1000)
        status, length, parts = 200, 6, iter((b"slept\n",))
    elif scope["path"] == "/peer":
        peer = str(scope["client"][1]).encode()
        status, length, parts = 200, len(peer), iter((peer,))
    else:
        status, length, parts = answer(scope["path"], body)
    headers = [(b"content-type", b"text/plain")]
    if length is not None and status not in (204, 304):
        headers.append((b"content-length", str(length).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    sent = 0
    if scope["method"] != "HEAD":
        for part in parts:
            sent += len(part)
            await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
    target = scope["raw_path"].decode() + ("?" + scope["query_string"].decode() if scope["query_string"] else "")
    line = {"method": scope["method"], "target": target, "status": status, "body_bytes": sent}
    line["version"] = scope["http_version"]
    print(json.dumps({**line, "duration_s": time.perf_counter() - begin}), flush=True)
