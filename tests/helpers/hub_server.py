"""A local Hugging Face hub: creates models, accepts commits, serves files, and records requests."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import yaml

TOKEN = "hf_" + "a" * 30
COMMIT = "0123456789" * 4


@dataclass
class Hub:
    """Contents and recorded requests of a hub.

    Attributes:
        models: content of each file by name, by model.
        requests: method and path of each request, in order.
        private: models that were made so.
        status: HTTP status of every answer; 200 for those of a hub that works.
        url: where it listens.
    """

    models: dict[str, dict[str, bytes]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    private: set[str] = field(default_factory=set)
    status: int = 200
    url: str = ""
    large: dict[str, bytes] = field(default_factory=dict)


@contextmanager
def serving() -> Iterator[Hub]:
    """Context manager of a hub on a free local port."""
    hub = Hub()

    class Handler(_Handler):
        state = hub

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    hub.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Hub

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_POST(self) -> None:
        self._take(self._body())

    do_PUT = do_POST  # noqa: N815 - named by http.server

    def do_GET(self) -> None:
        self._note()
        if self.path.startswith("/api/models/"):
            self._describe()
        else:
            self._serve(with_content=True)

    def do_HEAD(self) -> None:
        self._note()
        self._serve(with_content=False)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _note(self) -> None:
        self.state.requests.append(f"{self.command} {unquote(self.path)}")

    def _take(self, data: bytes) -> None:
        """Writing requests, which need authentication."""
        self._note()
        hub, parts = self.state, self.path.split("?")[0].strip("/").split("/")
        if hub.status != 200:
            return self._answer({"error": "out of order"}, hub.status)
        if parts[0] == "large":  # the URL itself is the permission
            hub.large[parts[1]] = data
            return self._answer({})
        if parts[:2] == ["api", "validate-yaml"]:
            content = json.loads(data)["content"]
            header = yaml.safe_load(content.split("---")[1])
            wrong = [] if header["library_name"] else [{"message": "no library"}]
            return self._answer({"errors": wrong, "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer({"error": "Invalid username or password."}, 401)
        if parts[:3] == ["api", "repos", "create"]:
            asked = json.loads(data)
            name = f"{asked['organization']}/{asked['name']}"
            if asked.get("private") or asked.get("visibility") == "private":
                hub.private.add(name)
            known = name in hub.models
            hub.models.setdefault(name, {})
            return self._answer({"url": f"{hub.url}/{name}", "name": name}, 409 if known else 200)
        if parts[0] == "api" and parts[4] == "preupload":
            modes = {True: "lfs", False: "regular"}
            files = [
                {"path": file["path"], "uploadMode": modes[file["path"].endswith(".ckpt")], "shouldIgnore": False}
                for file in json.loads(data)["files"]
            ]
            return self._answer({"files": files})
        if parts[-2:] == ["objects", "batch"]:
            objects = [
                {**one, "actions": {"upload": {"href": f"{hub.url}/large/{one['oid']}"}}}
                for one in json.loads(data)["objects"]
            ]
            return self._answer({"transfer": "basic", "objects": objects})
        assert parts[4] == "commit", self.path
        name = "/".join(parts[2:4])
        for line in data.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                hub.models[name][entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            elif entry["key"] == "lfsFile":
                hub.models[name][entry["value"]["path"]] = hub.large[entry["value"]["oid"]]
        return self._answer({"commitUrl": f"{hub.url}/{name}/commit/{COMMIT}", "commitOid": COMMIT})

    def _describe(self) -> None:
        """``/api/models/OWNER/NAME[/revision/REVISION]``."""
        parts = unquote(self.path).split("?")[0].strip("/").split("/")
        if not self._missing("/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main"):
            self._answer({"id": "/".join(parts[2:4]), "sha": COMMIT})

    def _missing(self, name: str, revision: str) -> bool:
        """Respond with the configured failure, or for missing models and revisions."""
        hub = self.state
        if hub.status != 200:
            self._answer({"error": "out of order"}, hub.status)
        elif name not in hub.models or name in hub.private:
            self._answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        elif revision not in ("main", "v1", COMMIT):
            self._answer({"error": "Invalid rev id"}, 404, {"X-Error-Code": "RevisionNotFound"})
        else:
            return False
        return True

    def _serve(self, *, with_content: bool) -> None:
        """``/OWNER/NAME/resolve/REVISION/FILE``."""
        parts = unquote(self.path).split("?")[0].strip("/").split("/")
        if len(parts) != 5:
            return self._answer({"error": "no such page"}, 404)
        name, revision, file = "/".join(parts[:2]), parts[3], parts[4]
        if self._missing(name, revision):
            return
        content = self.state.models[name].get(file)
        if content is None:
            return self._answer({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_content:
            self.wfile.write(content)

    def _answer(self, values: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(values).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
