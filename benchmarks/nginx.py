"""A real nginx: a front with TLS, and with a limit where one is given, which is started and stopped at will."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from pathlib import Path
from typing import Self

import trustme


class Nginx:
    """A front of `upstream` on a port of its own. `limit` is in requests a second, with a `burst` beside it."""

    def __init__(self, upstream: str, folder: Path, *, limit: int | None = None, burst: int = 20) -> None:
        """Write what it needs into `folder`."""
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
        certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
        self.trusting: ssl.SSLContext = ssl.create_default_context()
        """A context that trusts it."""
        authority.configure_trust(self.trusting)
        self.certificate: bytes = authority.cert_pem.bytes()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port: int = free.getsockname()[1]
        self.url: str = f"https://127.0.0.1:{self._port}"
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        zone = f"limit_req_zone $http_authorization zone=k:1m rate={limit}r/s; limit_req_status 429;" if limit else ""
        held = f"limit_req zone=k burst={burst} nodelay;" if limit else ""
        (folder / "nginx.conf").write_text(f"""
            daemon off; pid {folder}/pid; error_log stderr crit; worker_processes 1;
            {"user root;" if os.geteuid() == 0 else ""}
            events {{ worker_connections 1024; }}
            http {{
              access_log off; {zone} limit_req_log_level info;
              client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
              uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
              upstream app {{ server {upstream.removeprefix("http://")}; keepalive 32; }}
              server {{
                listen 127.0.0.1:{self._port} ssl;
                ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
                keepalive_requests 1000000;
                location / {{
                  {held} proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
                }}
              }}
            }}""")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start, and wait until it listens."""
        command = ("nginx", "-p", self._folder, "-e", "stderr", "-c", self._folder / "nginx.conf")
        self._process = await asyncio.create_subprocess_exec(*command)
        for _ in range(500):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                assert self._process.returncode is None, "nginx did not start"
                await asyncio.sleep(0.01)
            else:
                writer.close()
                return
        raise AssertionError("nginx does not listen")

    async def stop(self) -> None:
        """Stop at once, and drop all connections."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            await process.wait()
