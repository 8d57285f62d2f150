"""A stand-in for the W&B service on loopback: it answers who is asking and takes views."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

VIEWER = {
    "id": "u",
    "entity": "letters-team",
    "username": "ada",
    "email": "ada@example.org",
    "flags": "{}",
    "teams": {"edges": []},
}


@dataclass
class Service:
    """status: the HTTP status of every answer. refusal: why no view is taken. silent: no answer until it ends."""

    status: int = 200
    refusal: str | None = None
    silent: bool = False
    address: str = ""
    views: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    ended: threading.Event = field(default_factory=threading.Event)

    def receive(self, path: str, body: bytes) -> None:
        """What comes to another path than GraphQL's is taken and forgotten."""

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        if "upsertView" not in query:
            return {"data": {"viewer": VIEWER}}
        if self.refusal:
            return {"errors": [{"message": self.refusal}]}
        self.views.append(variables)
        return {"data": {"upsertView": {"view": {"id": "Vm", "name": variables["name"]}, "inserted": True}}}


@contextmanager
def serving(service: Service) -> Iterator[Service]:
    """The service at a port of its own, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if service.silent:
                service.ended.wait()
            answer: dict[str, Any] = {}
            if self.path == "/graphql":  # all else is rows of a run, and wandb's telemetry
                asked = json.loads(body)
                service.keys.add(self.headers["Authorization"])
                answer = service.answer(asked["query"], asked.get("variables") or {})
            else:
                service.receive(self.path, body)
            content = json.dumps(answer).encode()
            self.send_response(service.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(BrokenPipeError, ConnectionResetError):  # who asked has gone
                super().handle()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        service.address = f"http://127.0.0.1:{server.server_port}"
        try:
            yield service
        finally:
            service.ended.set()
            server.shutdown()
