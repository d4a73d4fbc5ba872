"""A bare HTTPS server in a process of its own, so that only the client's CPU is counted: one answer to everything."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import ssl
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import trustme

SAMPLE = Path(__file__).parents[1] / "tests" / "samples" / "query-response.json"


def running_record(task_id: int, progress: str = "46%", description: str | None = None) -> bytes:
    """Return the sample's answer as it was while its task ran, written as the service does."""
    answer = json.loads(SAMPLE.read_bytes())
    ended = {"finishTime": None, "imageDcUrl": None, "actions": None}
    answer["data"].update(ended, taskId=task_id, status="IN_PROGRESS", progress=progress)
    if description is not None:
        answer["data"]["description"] = description
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()


class _Answers(asyncio.Protocol):
    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        while True:
            head, end, rest = self._got.partition(b"\r\n\r\n")
            if not end:
                return
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            if len(rest) < length:
                return
            self._got = rest[length:]
            self._transport.write(self._answer)


def _serve(pipe: Connection, body: bytes, certificate: str) -> None:
    async def run() -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        head = (
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Thu, 31 Aug 2023 14:00:00 GMT\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        server = await asyncio.get_running_loop().create_server(
            lambda: _Answers(head.encode() + body), "127.0.0.1", 0, ssl=context, backlog=1024
        )
        pipe.send(server.sockets[0].getsockname()[1])
        async with server:
            await server.serve_forever()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())


@contextlib.contextmanager
def serving(body: bytes) -> Iterator[tuple[str, ssl.SSLContext]]:
    """Serve `body` over TLS; give the base URL and a context that trusts it."""
    authority = trustme.CA()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with tempfile.TemporaryDirectory() as folder:
        certificate = Path(folder) / "certificate.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, body, str(certificate)))
        process.start()
        theirs.close()  # So that a server that dies is noticed below, instead of waited for.
        try:
            yield f"https://127.0.0.1:{ours.recv()}", trusting
        finally:
            process.terminate()
            process.join()
