"""A hub of models on this machine that speaks as much of Hugging Face's protocol as its own client asks for."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "5" * 40


class HubServer(ThreadingHTTPServer):
    """Serves the folders `root/OWNER/NAME`, each as one commit; `files_sent` are those that a client has taken."""

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.files_sent: list[str] = []

    @property
    def endpoint(self) -> str:
        """What HF_ENDPOINT is set to."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        """Answer about a file."""
        self._answer(with_body=False)

    def do_GET(self) -> None:
        """Answer with what a repository has, or with a file."""
        self._answer(with_body=True)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name of the base class
        """Write no log."""

    def _answer(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        parts = path.split("/")
        if parts[:2] == ["api", "models"]:
            folder = self.server.root / "/".join(parts[2:4])
            files = [each for each in folder.rglob("*") if each.is_file()]
            if not files:
                self._send(404, b"", {"X-Error-Code": "RepoNotFound"}, with_body=with_body)
            elif parts[4:5] == ["tree"]:
                tree = [
                    {
                        "type": "file",
                        "path": str(each.relative_to(folder)),
                        "size": each.stat().st_size,
                        "oid": _digest(each),
                    }
                    for each in files
                ]
                self._send(200, json.dumps(tree).encode(), {}, with_body=with_body)
            else:
                siblings = [{"rfilename": str(each.relative_to(folder))} for each in files]
                about = {"id": "/".join(parts[2:4]), "sha": COMMIT, "siblings": siblings}
                self._send(200, json.dumps(about).encode(), {}, with_body=with_body)
            return
        file = self.server.root / "/".join(parts[:2]) / "/".join(parts[4:])
        if parts[2:3] != ["resolve"] or not file.is_file():
            code = "EntryNotFound" if (self.server.root / "/".join(parts[:2])).is_dir() else "RepoNotFound"
            self._send(404, b"", {"X-Error-Code": code, "X-Repo-Commit": COMMIT}, with_body=with_body)
            return
        if with_body:
            self.server.files_sent.append("/".join(parts[4:]))
        about = {"ETag": f'"{_digest(file)}"', "X-Repo-Commit": COMMIT}
        self._send(200, file.read_bytes(), about, with_body=with_body)

    def _send(self, code: int, body: bytes, headers: dict[str, str], *, with_body: bool) -> None:
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@contextmanager
def hub_server(root: Path) -> Iterator[HubServer]:
    """Run a hub until the end of the block."""
    with HubServer(root) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
