"""The review server: a local page, bound to 127.0.0.1, for going through findings.

In: a study folder with an index and an audit. Out: HTTP responses; decisions go to `corrections.csv` through
`decisions`. Owns no file.

    GET  /TOKEN/                          the page; its style and scripts beside it
    GET  /TOKEN/queue                     all findings, once
    GET  /TOKEN/picture/SIZE/IMAGE_ID     an image of the study; SIZE: large or small
    POST /TOKEN/decide                    changes, on disk before the response

What `guard` refuses goes no further. Ending the server at any time loses no decision that the page shows as saved.
"""

import contextlib
import errno
import os
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bestiary.audit.findings import read_findings
from bestiary.audit.mark import is_of
from bestiary.config.recipes import read_study_config
from bestiary.data.datasets import data_root
from bestiary.data.index import read_index
from bestiary.errors import StudyError, UsageError
from bestiary.review.decisions import Decisions
from bestiary.review.guard import SECURITY_HEADERS, body_refusal, new_token, refusal
from bestiary.review.opening import in_browser
from bestiary.review.pictures import Pictures
from bestiary.review.queue import Progress, ReviewQueue
from bestiary.review.routes import Routes, text
from bestiary.snapshot import StudyPaths

MOST_BODY_BYTES = 16 * 2**20  # room for `decisions.MOST_CHANGES`
_MOST_REFUSED_BYTES = 256 * 1024  # of a stranger's body, read so that the answer arrives; a longer one is not read
_IDLE_S = 30


def serve(
    study_dir: Path,
    *,
    reviewer: str,
    port: int = 0,
    on_ready: Callable[[str], None] = lambda url: None,
    browser: bool = False,
) -> Progress:
    """Serve the review page until Ctrl-C, and say how far the review has come.

    Args:
        study_dir: a study with an index and an audit.
        reviewer: goes into the column `reviewed_by`.
        port: 0 takes a free one.
        on_ready: gets the page's address once it responds.
        browser: whether to open the page in the user's browser.

    Raises:
        StudyError: the study has not been audited, or its files have changed since; UsageError: the port is taken;
            BestiaryError: a damaged file.
    """
    server = ReviewServer(study_dir, reviewer=reviewer, port=port)
    try:
        on_ready(server.url)
        opened = in_browser(server.url, study_dir, loaded=server.loaded) if browser else contextlib.nullcontext()
        with opened:
            server.run()
    except KeyboardInterrupt:  # the way in which this command ends
        pass
    finally:
        server.close()
    return server.progress()


class ReviewServer:
    """One study's page. `start` and `stop` run it in a thread, for tests; `run` in this one."""

    def __init__(self, study_dir: Path, *, reviewer: str, port: int = 0) -> None:
        """Read the study and take the port; nothing is answered yet.

        Raises:
            See `serve`.
        """
        config, index, findings = _read_study(study_dir)
        root = data_root(config.data.path)
        self._queue = ReviewQueue(findings, index)
        self._decisions = Decisions(study_dir, index, self._queue, reviewer=reviewer)
        self.progress()  # a corrections file that cannot be read is an error now, and not at the first key
        about = {"study": study_dir.resolve().name, "reviewer": reviewer, "root": str(root.resolve())}
        self.routes = Routes(self._queue, self._decisions, Pictures(index, root), about=about)
        self.token = new_token()
        self.loaded = threading.Event()  # set once a browser has asked for the page
        self._http = _bind(port, self)
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{self.token}/"

    def progress(self) -> Progress:
        """How many findings are decided, by the file on disk."""
        return self._queue.progress(self._decisions.read())

    def run(self) -> None:
        """Answer until interrupted."""
        self._http.serve_forever(poll_interval=0.05)

    def start(self) -> None:
        """Answer in a thread of its own."""
        self._thread = threading.Thread(target=self.run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End what `start` began."""
        self._http.shutdown()
        if self._thread is not None:
            self._thread.join()
        self.close()

    def close(self) -> None:
        """Give the port back, once a decision under way is on disk."""
        self._http.server_close()
        self._decisions.finish()
        self._http.hang_up()


def _read_study(study_dir: Path) -> tuple[Any, Any, Any]:
    paths = StudyPaths(study_dir)
    for file in (paths.config, paths.index, paths.findings):
        if not file.is_file():
            raise StudyError(f"{study_dir} has no {file.name}: make it first with `bestiary audit {study_dir}`")
    index = read_index(study_dir)
    if not is_of(study_dir, index):
        raise StudyError(f"the data changed after the audit: run `bestiary audit {study_dir}`")
    return read_study_config(paths.config), index, read_findings(study_dir)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = os.name == "posix"  # elsewhere it would let another program take the port
    request_queue_size = 64
    review: ReviewServer

    def __init__(self, place: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(place, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End the connections that browsers keep open, on which threads would go on answering."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):  # the other end has just gone
                connection.shutdown(socket.SHUT_RDWR)

    def server_bind(self) -> None:
        # HTTPServer's own asks the resolver for this machine's name, which can take seconds and is not needed.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A browser drops connections when the reader goes on quickly.
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def _bind(port: int, review: ReviewServer) -> _Http:
    try:
        http = _Http(("127.0.0.1", port), _Handler)
    except (OSError, OverflowError) as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        reason = "is taken" if taken else f"cannot be used ({error})"
        raise UsageError(f"port {port} {reason}: choose another with --port, or leave it out") from error
    http.review = review
    return http


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "bestiary", ""
    timeout = _IDLE_S
    error_content_type, error_message_format = "text/plain; charset=utf-8", "%(message)s"
    server: _Http

    def _respond(self) -> None:
        """Guard, then answer. The body is read or the connection closed, so that the next request starts clean."""
        changes = self.command != "GET"
        review, path = self.server.review, self.path.removeprefix("/")
        why = refusal(self.command, path, self.headers, port=review.port, token=review.token)
        most_bytes = _MOST_REFUSED_BYTES if why else MOST_BODY_BYTES
        status, reason = body_refusal(self.headers, changes=changes, most_bytes=most_bytes)
        self.close_connection = self.close_connection or bool(status)
        body = self.rfile.read(int(self.headers["Content-Length"])) if changes and not status else b""
        if why:
            self._send(*text(403, why))
            return
        name = path.partition("/")[2] if "/" in path else "/"
        expected = "POST" if name == "decide" else "GET"
        if self.command != expected:
            self._send(*text(405, f"Only {expected} here."), allow=expected)
        elif status:
            self._send(*text(status, reason))
        else:
            self._send(*(review.routes.decide(body) if changes else review.routes.read(name)))
            if name == "":
                review.loaded.set()

    # Every method is answered by one function, which knows those that it takes.
    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_CONNECT = _respond  # noqa: N815

    def _send(self, status: int, kind: str, content: bytes, *, allow: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if allow:
            self.send_header("Allow", allow)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def end_headers(self) -> None:
        for name, value in SECURITY_HEADERS:
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Say nothing: the terminal belongs to the command."""
