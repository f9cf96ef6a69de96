"""Behind a proxy: which client asks, which host is asked, which page may write; with nginx, the real one."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bilinear.errors import ParameterValueError
from bilinear.serving import create_app
from bilinear.serving.http.guard import RateLimit
from bilinear.serving.http.proxies import Proxies, PublicURL, group_of
from bilinear.serving.http.uvicorn_protocol import uvicorn_server

PUBLIC = "https://films.example"
PUT = "/v1/feedback?user=u&item=i"
DEPLOYED = Path(__file__).parents[2] / "deploy" / "nginx.conf"


def scope(peer: str, *headers: tuple[str, str]) -> dict[str, Any]:
    return {"client": (peer, 1), "headers": [(name.encode(), value.encode()) for name, value in headers]}


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.1", ["203.0.113.5"], "203.0.113.5"),
        ("10.0.0.1", ["6.6.6.6, 203.0.113.5"], "203.0.113.5"),  # the client wrote the first itself
        ("10.0.0.1", ["6.6.6.6", "203.0.113.5"], "203.0.113.5"),
        ("10.0.0.1", ["203.0.113.5, 10.0.0.7"], "203.0.113.5"),  # two proxies, both trusted
        ("10.0.0.1", ["203.0.113.5:4711"], "203.0.113.5"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["6.6.6.6, nonsense, 10.0.0.7"], "10.0.0.7"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["203.0.113.5"], "203.0.113.5"),
        ("192.0.2.1", ["203.0.113.5"], "192.0.2.1"),  # nobody's proxy
    ],
)
def test_the_client_is_the_last_address_that_is_no_trusted_proxys(
    peer: str, forwarded: list[str], client: str
) -> None:
    proxies = Proxies(["10.0.0.0/8"])
    asked = scope(peer, *(("x-forwarded-for", text) for text in forwarded), ("x-forwarded-proto", "https"))
    assert proxies.client(asked) == client
    assert proxies.scheme(asked) == (None if peer == "192.0.2.1" else "https")
    assert Proxies().client(asked) == peer


def test_an_ipv6_client_is_its_network() -> None:
    assert group_of("2001:db8::1") == group_of("2001:db8::ffff:1") != group_of("2001:db8:0:1::1")
    assert group_of("::ffff:192.0.2.1") == group_of("192.0.2.1") != group_of("192.0.2.2")


@pytest.mark.parametrize(
    ("url", "origin", "name"),
    [
        ("https://films.example/", "https://films.example", "films.example"),
        ("https://Films.Example:443/list/", "https://films.example", "films.example"),
        ("https://films.example:8443", "https://films.example:8443", "films.example"),
        ("http://[::1]:80/", "http://[::1]", "::1"),
        ("https://bücher.example/", "https://xn--bcher-kva.example", "xn--bcher-kva.example"),
    ],
)
def test_the_origin_of_a_public_url(url: str, origin: str, name: str) -> None:
    assert PublicURL.of(url) == PublicURL(origin, name)


@pytest.mark.parametrize(
    "url", ["", "films.example", "ftp://a", "https://", "https://a:x/", "https://u:p@a/"]
)
def test_public_urls_that_are_none(url: str) -> None:
    with pytest.raises(ParameterValueError, match="--public-url"):
        PublicURL.of(url)
    with pytest.raises(ParameterValueError, match="--trusted-proxy"):
        Proxies(["films.example"])


def test_pages_under_the_public_url_may_write(model_folder: Path, tmp_path: Path) -> None:
    app = create_app(
        model_folder, store=f"sqlite:///{tmp_path / 'f.db'}", public_url=PUBLIC, trusted_proxies=["127.0.0.1"]
    )
    secure = {"x-forwarded-proto": "https"}

    async def ask(headers: dict[str, str]) -> int:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return (await client.put(PUT, json={"rating": 3}, headers=headers)).status_code

    async def every() -> None:
        for headers, status in [
            ({"host": "films.example", "origin": PUBLIC}, 200),
            ({"host": "localhost:8000", "origin": PUBLIC}, 200),  # a proxy that does not pass the host
            ({"host": "films.example", "origin": "http://films.example"}, 403),
            ({"host": "films.example", "origin": "https://films.example.evil"}, 403),
            ({"host": "evil.example", "origin": PUBLIC}, 421),
            ({"host": "localhost:8000", "origin": "http://localhost:8000"}, 200),
            ({"host": "localhost:8000", "origin": "http://localhost:8000"} | secure, 403),
            ({"host": "films.example", "origin": PUBLIC, "sec-fetch-site": "cross-site"}, 403),
        ]:
            assert await ask(headers) == status, headers
        await app._end()

    asyncio.run(every())


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Any]:
    """Starts nginx by deploy/nginx.conf in front of a port; gives its ports and a context that knows it."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None or shutil.which("openssl") is None:
        pytest.skip("nginx or openssl is not installed (apt-get install nginx openssl)")
    (tmp_path / "tls").mkdir()
    certificate = tmp_path / "tls" / "cert.pem"
    options = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=films.example"]
    options += ["-addext", "subjectAltName=DNS:films.example"]
    subprocess.run(
        ["openssl", "req", *options, "-keyout", tmp_path / "tls" / "key.pem", "-out", certificate],
        check=True,
        capture_output=True,
    )
    processes: list[subprocess.Popen[bytes]] = []

    def start(port: int) -> tuple[int, int, ssl.SSLContext]:
        with socket.socket() as free, socket.socket() as another:
            free.bind(("127.0.0.1", 0))
            another.bind(("127.0.0.1", 0))
            own, plain = int(free.getsockname()[1]), int(another.getsockname()[1])
        server = DEPLOYED.read_text()
        for text, here in {
            "${SERVER_NAME}": "films.example",
            "${UPSTREAM}": f"127.0.0.1:{port}",
            "listen 80;": f"listen 127.0.0.1:{plain};",
            "listen 443 ssl;": f"listen 127.0.0.1:{own} ssl;",
            "/etc/nginx/tls/": f"{tmp_path}/tls/",
        }.items():
            assert text in server
            server = server.replace(text, here)
        (tmp_path / "nginx.conf").write_text(f"""
            daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; worker_processes 1;
            events {{ worker_connections 64; }}
            http {{
              access_log off; client_body_temp_path {tmp_path}/b; proxy_temp_path {tmp_path}/p;
              fastcgi_temp_path {tmp_path}/f; uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s;
              {server}
            }}""")
        processes.append(
            subprocess.Popen(
                [program, "-c", tmp_path / "nginx.conf", "-p", tmp_path, "-e", tmp_path / "error.log"],
                stderr=subprocess.DEVNULL,
            )
        )
        while True:
            assert processes[0].poll() is None, (tmp_path / "error.log").read_text()
            try:
                socket.create_connection(("127.0.0.1", own)).close()
            except OSError:
                time.sleep(0.05)
            else:
                return own, plain, ssl.create_default_context(cafile=str(certificate))

    yield start
    for process in processes:
        process.terminate()
        process.wait()


def test_behind_nginx_with_tls(
    nginx: Any, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bilinear.serving.http.guard.monotonic", lambda: 0.0)  # no bucket fills again
    app = create_app(
        model_folder,
        store=f"sqlite:///{tmp_path / 'f.db'}",
        rate_limit=3.0,
        public_url=PUBLIC,
        trusted_proxies=["127.0.0.1"],
    )
    assert isinstance(app.guard._rate, RateLimit)
    server = uvicorn_server(app, port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port, plain, context = nginx(server.servers[0].sockets[0].getsockname()[1])

        def ask(address: str, method: str, path: str, **headers: str) -> int:
            """As a browser does that found films.example at this machine."""
            transport = httpx.HTTPTransport(verify=context, local_address=address)
            with httpx.Client(transport=transport, base_url=f"https://127.0.0.1:{port}") as client:
                request = client.build_request(
                    method,
                    path,
                    json=None if method == "GET" else {"rating": 3},
                    headers={"host": "films.example", **headers},
                    extensions={"sni_hostname": "films.example"},
                )
                return client.send(request).status_code

        assert ask("127.0.0.2", "GET", "/") == 200
        assert ask("127.0.0.2", "PUT", PUT, origin=PUBLIC, **{"sec-fetch-site": "same-origin"}) == 200
        assert ask("127.0.0.2", "PUT", PUT, origin="https://evil.example") == 403
        assert ask("127.0.0.2", "PUT", PUT, origin="http://films.example") == 403
        forged = {"x-forwarded-for": "127.0.0.9"}  # nginx adds the address that it sees itself
        assert [ask("127.0.0.2", "GET", "/", **forged) for _ in range(3)] == [200, 200, 429]
        assert ask("127.0.0.3", "GET", "/") == 200  # another client has a bucket of its own
        unsafe = httpx.get(f"http://127.0.0.1:{plain}/docs?x=1", headers={"host": "films.example"})
        assert (unsafe.status_code, unsafe.headers["location"]) == (301, f"{PUBLIC}/docs?x=1")
    finally:
        server.should_exit = True
        thread.join()
