"""A hub on loopback: what its client asks for when a folder is pushed, answered, and what it was sent, kept."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

COMMIT = "0123456789" * 4
TOKEN = "hf_" + "n0tareal0ne" * 3


@dataclass
class Hub:
    """repositories: by name, whether they are private. files: by repository and path, what was pushed.

    refuses: the status of every answer, if it is set.
    """

    address: str = ""
    refuses: int | None = None
    repositories: dict[str, bool] = field(default_factory=dict)
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    tokens: set[str | None] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def answer(self, path: str, content: bytes) -> tuple[int, dict[str, Any]]:
        """The status and the JSON of an answer."""
        if self.refuses:
            return self.refuses, {"error": "you may not write here"}
        if path == "/api/repos/create":
            return self._created(json.loads(content))
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        name, _, what = path.removeprefix("/api/models/").partition("/commit/")
        if what:
            return self._committed(name, content)
        name, _, what = path.removeprefix("/api/models/").partition("/preupload/")
        if what:
            asked = json.loads(content)["files"]
            modes = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in asked]
            return 200, {"files": modes}
        return 200, {"id": name, "private": self.repositories[name], "sha": COMMIT}

    def _created(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        name = f"{asked['organization']}/{asked['name']}"
        there = name in self.repositories
        if not there:
            self.repositories[name] = asked["visibility"] == "private"
        return 409 if there else 200, {"url": f"{self.address}/{name}"}

    def _committed(self, name: str, content: bytes) -> tuple[int, dict[str, Any]]:
        lines = [json.loads(line) for line in content.splitlines()]
        for line in lines:
            if line["key"] == "file":
                pushed = self.files.setdefault(name, {})
                pushed[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        return 200, {"commitUrl": f"{self.address}/{name}/commit/{COMMIT}", "commitOid": COMMIT}


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub that listens until the end."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            hub.tokens.add(self.headers.get("Authorization"))
            path, content = self.path.partition("?")[0], self.rfile.read(int(self.headers.get("Content-Length", 0)))
            hub.asked.append(path)
            status, told = hub.answer(path, content)
            body = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """The hub that the client of this process talks to, with a token of no one."""
    with running_hub() as hub:
        monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", hub.address)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no_token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub
