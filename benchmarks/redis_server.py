"""A real Redis on a port of its own, in a folder of its own: started and stopped at will; its data stay."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Self


class RedisServer:
    """A redis-server that writes to `folder` what it is told, and has it again when it is started anew."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port: int = free.getsockname()[1]
        self.url: str = f"redis://127.0.0.1:{self._port}/0"
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start, and wait until it answers: it has read its data then."""
        options = f"--bind 127.0.0.1 --port {self._port} --save '' --appendonly yes --appendfsync everysec"
        command = ["redis-server", "--dir", str(self._folder), *(word.strip("'") for word in options.split())]
        self._process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
        for _ in range(1000):
            if await self._answers():
                return
            assert self._process.returncode is None, "redis-server did not start"
            await asyncio.sleep(0.01)
        raise AssertionError("redis-server does not answer")

    async def stop(self) -> None:
        """Stop it; what it was told is on the disk."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            await process.wait()

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return False
        writer.write(b"PING\r\n")
        answer = await reader.readline()
        writer.close()
        return answer.startswith(b"+PONG")
