"""Hands out the page, the exported files and LiteRT.js, on the loopback address only."""

import base64
import functools
import hashlib
import http.server
import json
import pathlib
import re

ADDRESS = "127.0.0.1"
PAGE = pathlib.Path(__file__).parent / "page"
HOST = pathlib.Path(__file__).parents[1] / "deploy" / "hosts" / "web"
TYPES = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
    ".wasm": "application/wasm", ".tflite": "application/octet-stream",
}  # fmt: skip


def server(folder, about, runtime, port=0):
    """A server of the page of the exported files in `folder`, ready for `serve_forever`.

    Args:
        folder: with model_FORMAT.tflite.
        about: JSON-able facts that the page shows.
        runtime: the folder of `runtime_folder`.
        port: 0 takes a free one.

    Raises:
        OSError: where the port is taken.
    """
    roots = {"page": PAGE, "host": HOST, "runtime": pathlib.Path(runtime), "model": pathlib.Path(folder)}
    handler = functools.partial(Handler, roots=roots, about=json.dumps(about, ensure_ascii=False).encode())
    return Server((ADDRESS, port), handler)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    @property
    def url(self):
        return f"http://{ADDRESS}:{self.server_address[1]}/"


class Handler(http.server.BaseHTTPRequestHandler):
    """Hands out `/`, `/about.json` and files below a few folders; nothing else is there, nothing is written down."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *args, roots, about, **kwargs):
        self.roots, self.about = roots, about
        super().__init__(*args, **kwargs)

    def do_GET(self):
        host = self.headers.get("Host", "").rpartition(":")[0]
        if host not in (ADDRESS, "localhost"):  # a site of another name that points here may not read it
            return self.send_error(403)
        path = self.path.partition("?")[0]
        if path == "/about.json":
            return self.answer(self.about, "application/json; charset=utf-8")
        file = self.file(path.lstrip("/") or "page/index.html")
        return self.answer(file.read_bytes(), TYPES[file.suffix]) if file else self.send_error(404)

    do_HEAD = do_GET

    def file(self, path):
        """The file that a path stands for, or None."""
        root, _, rest = path.partition("/")
        if root not in self.roots:
            return None
        file = (self.roots[root] / rest).resolve()
        inside = file.is_relative_to(self.roots[root].resolve())
        return file if inside and file.is_file() and file.suffix in TYPES else None

    def answer(self, data, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if kind == TYPES[".html"]:
            self.send_header("Content-Security-Policy", policy(data))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *args):
        pass


def policy(html):
    """What the browser lets the page do: nothing from another address, no script but those that are handed out here."""
    inline = re.findall(rb"<script type=\"importmap\">(.*?)</script>", html, re.DOTALL)
    known = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'" for script in inline)
    return (
        f"default-src 'none'; script-src 'self' 'wasm-unsafe-eval' {known}; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data: blob:; media-src blob:; base-uri 'none'; form-action 'none'"
    )
