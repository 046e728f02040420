"""nginx with the configuration of the how-to, in front of a stand-in that tells what it was asked.

Debian's nginx, started by us as a process of our own: the system's service and its files are never
touched.
"""

import http.server
import json
import shutil
import socket
import ssl
import subprocess
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path

from migration_assets_tests import markdown
from migration_assets_tests.documentation import page
from migration_assets_tests.system.waiting import until

OPERATOR, READER = ("ada", "operates"), ("bob", "reads")
# What nginx needs around a site; it logs to the terminal and keeps all its files in one folder.
_MAIN = """
daemon off;
user root;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""


class MissingProgramError(Exception):
    """A program that the tests need isn't installed; the message says how to get it."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class _Tells(http.server.BaseHTTPRequestHandler):
    """Answer a request with its path and headers; one that asks for a websocket, with its bytes."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.headers["Upgrade"]:
            self.send_response(101)
            self.send_header("Upgrade", self.headers["Upgrade"])
            self.send_header("Connection", "Upgrade")
            self.end_headers()
            self.wfile.write(self.rfile.readline())
            self.close_connection = True
            return
        body = json.dumps({"path": self.path, **self.headers}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's own name
        """Keep quiet."""


@contextmanager
def stand_in() -> Iterator[int]:
    """Run the stand-in on a free port, and return that."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Tells) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A running nginx: its port, and the certificate that its clients trust."""

    port: int
    certificate: Path

    def _trusted(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.certificate)

    def get(self, path: str, login: tuple[str, str] | None = None) -> tuple[int, str]:
        """Return status and body of a page, asked for by somebody or by nobody."""
        return self.ask("GET", path, login)

    def ask(
        self, method: str, path: str, login: tuple[str, str] | None = None, body: str = ""
    ) -> tuple[int, str]:
        """Ask for a path; a body is JSON."""
        connection = HTTPSConnection("127.0.0.1", self.port, context=self._trusted(), timeout=60)
        try:
            headers = {"Content-Type": "application/json", **_authorization(login)}
            connection.request(method, path, body=body or None, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def converse(self, path: str, login: tuple[str, str], line: bytes) -> tuple[bytes, bytes]:
        """Open a websocket and send a line; return the answer's first line, and what comes back."""
        headers = {
            "Host": "dagster.example.com",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            **_authorization(login),
        }
        asked = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=60) as plain,
            self._trusted().wrap_socket(plain, server_hostname="127.0.0.1") as secure,
            secure.makefile("rwb") as stream,
        ):
            stream.write(f"GET {path} HTTP/1.1\r\n{asked}\r\n".encode())
            stream.flush()
            status = stream.readline().strip()
            while stream.readline().strip():
                pass  # the answer's headers
            stream.write(line)
            stream.flush()
            return status, stream.readline()


def _authorization(login: tuple[str, str] | None) -> dict[str, str]:
    if login is None:
        return {}
    return {"Authorization": "Basic " + b64encode(":".join(login).encode()).decode()}


@contextmanager
def nginx(folder: Path, *, operators: int, readers: int) -> Iterator[Proxy]:
    """Run nginx with the site of the how-to in front of these two ports."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if program is None:
        raise MissingProgramError("nginx isn't installed. On Debian: apt-get install nginx-light")
    port = free_port()
    site = _site(folder, port=port, operators=operators, readers=readers)
    (folder / "site.conf").write_text(site, "utf-8")
    (folder / "nginx.conf").write_text(_MAIN.format(folder=folder), "utf-8")
    log = folder / "nginx.log"
    with log.open("wb") as said:
        server = subprocess.Popen(
            [program, "-p", folder, "-e", "stderr", "-c", folder / "nginx.conf"], stderr=said
        )
    try:
        until(lambda: _listens(server, port, log), what="nginx listens", seconds=30)
        yield Proxy(port=port, certificate=folder / "certificate.pem")
    finally:
        server.terminate()
        server.wait()


def _listens(server: subprocess.Popen[bytes], port: int, log: Path) -> bool:
    assert server.poll() is None, log.read_text("utf-8")
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _site(folder: Path, *, port: int, operators: int, readers: int) -> str:
    """Return the how-to's site with this machine's ports and files in place of its own."""
    text = page("how-to/behind-authentication.md")
    (site,) = (block.text for block in markdown.blocks(text) if block.language == "nginx")
    certificate, key = _certificate(folder)
    exchange: Mapping[str, object] = {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "/etc/ssl/dagster.pem": certificate,
        "/etc/ssl/dagster.key": key,
        "/etc/nginx/dagster-operators": _password_file(folder / "operators", *OPERATOR),
        "/etc/nginx/dagster-readers": _password_file(folder / "readers", *READER),
        "127.0.0.1:3000": f"127.0.0.1:{operators}",
        "127.0.0.1:3001": f"127.0.0.1:{readers}",
    }
    for said, instead in exchange.items():
        assert said in site, said
        site = site.replace(said, str(instead))
    return site


def _certificate(folder: Path) -> tuple[Path, Path]:
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    made += [
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-out",
        str(certificate),
        "-keyout",
        str(key),
    ]
    subprocess.run(["/usr/bin/openssl", *made], capture_output=True, check=True)
    return certificate, key


def _password_file(file: Path, name: str, password: str) -> Path:
    """Write a line as the how-to does."""
    hashed = subprocess.run(
        ["/usr/bin/openssl", "passwd", "-6", password], capture_output=True, text=True, check=True
    )
    file.write_text(f"{name}:{hashed.stdout}", "utf-8")
    return file
