"""A local W&B server that works, delays, refuses or dies, and records requests."""

import gzip
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = "owner"
KEY = "0123456789" * 4


@dataclass(frozen=True)
class Request:
    """A received request: its path, and its body as JSON (None for other content)."""

    path: str
    body: Any

    @property
    def variables(self) -> dict[str, Any]:
        return (self.body or {}).get("variables") or {}


@dataclass
class Server:
    """Behaviour of a server, which may change while it runs, and its recorded requests.

    Attributes:
        delay: seconds before every answer.
        status: HTTP status of every answer.
        silent: take requests and never answer.
        silent_for: do so with those of GraphQL that hold this word.
    """

    delay: float = 0.0
    status: int = 200
    silent: bool = False
    silent_for: str | None = None
    requests: list[Request] = field(default_factory=list)
    url: str = ""
    stopped: threading.Event = field(default_factory=threading.Event)

    def asked(self, word: str) -> list[dict[str, Any]]:
        """Variables of the GraphQL requests that contain a word."""
        found = [entry for entry in self.requests if entry.path == "/graphql" and entry.body]
        return [entry.variables for entry in found if word in entry.body["query"]]

    def history(self) -> list[dict[str, Any]]:
        """Received history rows of all runs, without wandb's own additions."""
        return [
            {name: value for name, value in json.loads(line).items() if not name.startswith("_")}
            for chunk in self._chunks("wandb-history.jsonl")
            for line in chunk["content"]
        ]

    def exit_codes(self) -> list[int]:
        """Exit codes of completed runs, in order of completion."""
        streams = [entry.body for entry in self.requests if entry.path.endswith("/file_stream") and entry.body]
        return [body["exitcode"] for body in streams if body.get("complete")]

    def _chunks(self, name: str) -> Iterator[dict[str, Any]]:
        for entry in self.requests:
            if entry.path.endswith("/file_stream") and entry.body and name in (entry.body.get("files") or {}):
                yield entry.body["files"][name]


@contextmanager
def serving(**behaviour: Any) -> Iterator[Server]:
    """Context manager of a server on a free local port."""
    server = Server(**behaviour)

    class Handler(_Handler):
        state = server

    http = _Server(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopped.set()
        http.shutdown()
        http.socket.close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *arguments: Any) -> None:
        """Ignore clients that close the connection."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Server

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            data = gzip.decompress(data)
        try:
            body = json.loads(data)
        except ValueError:  # files and telemetry of wandb itself
            body = None
        server = self.state
        server.requests.append(Request(self.path, body))
        query = body.get("query", "") if isinstance(body, dict) and self.path == "/graphql" else ""
        if server.silent or (server.silent_for and server.silent_for in query):
            server.stopped.wait()
            self.close_connection = True
            return
        time.sleep(server.delay)
        self._answer({"data": _answer(query, body.get("variables") or {}, server.url)} if query else {})

    do_GET = do_PUT = do_POST  # noqa: N815 - named by http.server

    def _answer(self, answer: dict[str, Any]) -> None:
        refusal = {"errors": [{"message": "user is not logged in"}]}
        data = json.dumps(answer if self.state.status == 200 else refusal).encode()
        self.send_response(self.state.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _answer(query: str, variables: dict[str, Any], url: str) -> dict[str, Any]:
    """The part of a response that wandb reads; unknown fields are omitted."""
    if "upsertBucket" in query:
        project = {
            "id": "p",
            "name": variables.get("project"),
            "entity": {"id": "e", "name": variables.get("entity") or ENTITY},
        }
        bucket = {"id": "QnVja2V0", "name": variables.get("name"), "historyLineCount": 0, "project": project}
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}
    if "createRunFiles" in query:
        files = [{"name": name, "uploadUrl": f"{url}/storage/{name}"} for name in variables["files"]]
        return {"createRunFiles": {"runID": "QnVja2V0", "uploadHeaders": [], "files": files}}
    if "createArtifact(" in query:
        sequence = {"id": "s", "latestArtifact": {"id": "a", "versionIndex": 0}}
        return {"createArtifact": {"artifact": {"id": "a", "state": "COMMITTED", "artifactSequence": sequence}}}
    if "upsertView" in query:
        view = {"id": "Vmlldw==", "type": variables.get("type"), "name": variables.get("name") or "view"}
        made = {"displayName": variables.get("displayName"), "description": "", "spec": variables["spec"]}
        place = {"id": "p", "name": variables["projectName"], "entityName": variables["entityName"]}
        return {"upsertView": {"view": {**view, **made, "project": place, "updatedAt": None}, "inserted": True}}
    if "upsertModel" in query:
        return {"upsertModel": {"model": {"id": "p", "name": variables.get("name")}, "inserted": True}}
    viewer = {"id": "u", "entity": ENTITY, "username": ENTITY, "flags": "{}", "admin": False, "teams": {"edges": []}}
    bucket = {"id": "QnVja2V0", "name": variables.get("name"), "historyLineCount": 1, "historyTail": "[]"}
    found = {"models": {"edges": [], "pageInfo": {"hasNextPage": False, "endCursor": None}}}
    asked = None if "artifact" in query else {"id": "p", "internalId": "UHJvamVjdA=="}
    return {"viewer": viewer, "serverInfo": {"features": []}, "model": {"bucket": bucket}, "project": asked, **found}
