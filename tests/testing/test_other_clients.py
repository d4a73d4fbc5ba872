"""Other people's public clients of the same API against the served fake: what they send, rebuilt byte by byte."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, quote_plus

import aiohttp
import pytest

from omgmj.testing import PNG, FakeService, Life

ROOT = "/api/v1/ai/draw/mj/"
FORM = "application/x-www-form-urlencoded"
DONE = Life.succeed(after=0.0, queue=0.0)
PROMPT = "a cat & a dog (100% 猫) --ar 16:9"
WEBP = b"RIFF\x1a\0\0\0WEBPVP8L\xfb\xef\xbe\xff"
HOOK = "https://bot.example.org/webhook"


def uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


async def post(fake: FakeService, call: str, content_type: str | None, body: bytes, *, chunked: bool = False) -> Any:
    """Send the bytes as they are, and return the answer's data, or its code where it says no."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 65536):
            yield body[start : start + 65536]

    headers = {"Authorization": "Bearer t", "Accept": "*/*", "Host": "cfcus02.opapi.win"}
    if content_type:
        headers["Content-Type"] = content_type
    async with (
        aiohttp.ClientSession(skip_auto_headers=["Content-Type"]) as http,
        http.post(fake.url + ROOT + call, data=pieces() if chunked else body, headers=headers) as response,
    ):
        answer = await response.json()
        return answer["data"] if answer["statusCode"] == 200 else answer["statusCode"]


def offered(record: Any, label: str) -> str:
    (custom_id,) = (action["customId"] for action in record["actions"] if action["label"] == label)
    return str(custom_id)


async def served(fake: FakeService, count: int) -> None:
    await fake.serve()
    for _ in range(count):
        fake.plan(DONE)


async def test_client_in_csharp() -> None:
    """A .NET client's urlencoded forms make, act, describe and query; each image is declared as JPEG."""

    def form(**fields: str) -> bytes:
        return "&".join(f"{name}={quote_plus(value, safe='')}" for name, value in fields.items()).encode()

    async with FakeService() as fake:
        await served(fake, 3)
        made = await post(fake, "imagine", FORM, form(model="midjourney", prompt=PROMPT, type="FAST"))
        record = await post(fake, "query", FORM, form(model="midjourney", taskId=str(made)))
        assert (record["status"], record["prompt"]) == ("SUCCESS", PROMPT)
        fields = {"taskId": str(made), "customId": offered(record, "U2"), "type": "FAST"}
        child = await post(fake, "action", FORM, form(model="midjourney", **fields))
        assert (await post(fake, "query", FORM, form(model="midjourney", taskId=str(child))))["action"] == "UPSCALE"
        image = uri(PNG, "jpeg")
        described = await post(fake, "describe", FORM, form(model="midjourney", base64=image, type="NORMAL"))
        record = await post(fake, "query", FORM, form(model="midjourney", taskId=str(described)))
        assert (record["actions"], bool(record["prompt"])) == (None, True)
        assert [created.kind for created in fake.created] == ["IMAGINE", "UPSCALE", "DESCRIBE"]
        assert not fake.refused


async def test_client_in_go() -> None:
    """A Go client's urlencoded forms come with their fields in the order of the alphabet."""

    def form(**fields: str) -> bytes:
        return "&".join(f"{name}={quote_plus(fields[name], safe='~')}" for name in sorted(fields)).encode()

    async with FakeService() as fake:
        await served(fake, 2)
        made = await post(fake, "imagine", FORM, form(model="midjourney", prompt=PROMPT, type="NORMAL"))
        record = await post(fake, "query", FORM, form(model="midjourney", taskId=str(made)))
        fields = {"taskId": str(made), "customId": offered(record, "U1"), "type": "NORMAL"}
        child = await post(fake, "action", FORM, form(model="midjourney", **fields))
        assert (await post(fake, "query", FORM, form(model="midjourney", taskId=str(child))))["status"] == "SUCCESS"
        assert not fake.refused


async def test_client_in_javascript() -> None:
    """A Node client imagines and describes by urlencoded forms, and blends by multipart, its token in the form."""
    boundary = "--------------------------186454651713519341951581"
    image = uri(PNG, "webp")

    def form(**fields: str) -> bytes:
        return "&".join(f"{name}={quote(value, safe='')}" for name, value in fields.items()).encode()

    def parts(*fields: tuple[str, str]) -> bytes:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="'
        return ("".join(f'{head}{name}"\r\n\r\n{value}\r\n' for name, value in fields) + f"--{boundary}--\r\n").encode()

    async with FakeService() as fake:
        await served(fake, 3)
        fields = {"model": "midjourney", "type": "FAST", "webhook": HOOK}
        made = await post(fake, "imagine", FORM, form(prompt=PROMPT, **fields))
        await post(fake, "describe", FORM, form(base64=image, **fields))
        blend = parts(
            ("dimensions", "SQUARE"),
            ("model", "midjourney"),
            ("type", "FAST"),
            ("token", "t"),
            ("base64Array", image),
            ("base64Array", image),
            ("webhook", HOOK),
        )
        await post(fake, "blend", f"multipart/form-data; boundary={boundary}", blend)
        assert [created.kind for created in fake.created] == ["IMAGINE", "DESCRIBE", "BLEND"]
        assert fake.created[-1].fields == {
            "dimensions": "SQUARE",
            "type": "FAST",
            "base64Array": (f"image/png of {len(PNG)} bytes",) * 2,
            "webhook": HOOK,
        }
        assert (await post(fake, "query", FORM, form(model="midjourney", taskId=str(made))))["webhookUrl"] == HOOK
        assert not fake.refused
        # Its action is sent without any body, by a mistake of its own: nobody could know what is meant.
        assert await post(fake, "action", None, b"") == 415


async def test_client_in_typescript_on_npm() -> None:
    """A client on npm sends in chunks, all images in one field with commas between, and masks for Inpaint."""

    def form(*fields: tuple[str, str]) -> bytes:
        return "&".join(f"{name}={quote_plus(value, safe='*')}" for name, value in fields).encode()

    async def ask(call: str, *fields: tuple[str, str]) -> Any:
        return await post(fake, call, FORM, form(("model", "midjourney"), *fields), chunked=True)

    async with FakeService() as fake:
        await served(fake, 3)
        images = ",".join([uri(PNG, "png"), uri(WEBP, "webp"), uri(PNG, "png")])
        pool = ("type", "NORMAL")
        made = await ask("imagine", pool, ("prompt", PROMPT), ("webhook", HOOK), ("base64Array", images))
        assert len(fake.created[0].fields["base64Array"]) == 3
        record = await ask("query", ("taskId", str(made)))
        upscaled = await ask("action", pool, ("customId", offered(record, "U4")), ("taskId", str(made)))
        region = offered(await ask("query", ("taskId", str(upscaled))), "Vary (Region)")
        mask = ("base64Mask", uri(PNG, "png"))
        child = await ask("action", pool, ("customId", region), ("taskId", str(upscaled)), mask)
        assert (await ask("query", ("taskId", str(child))))["action"] == "VARIATION"
        assert not fake.refused
        # It makes up its custom IDs; those for zooming lack a part that the records' have.
        made_up = region.replace("Inpaint::1", "Outpaint::75")
        assert await ask("action", pool, ("customId", made_up), ("taskId", str(upscaled))) == 400


async def test_client_in_typescript_for_a_chat_bot() -> None:
    """A chat bot's plugin sends JSON throughout, its images as a list and its IDs as strings."""

    async def ask(call: str, **fields: Any) -> Any:
        body = json.dumps({"model": "midjourney", **fields}, ensure_ascii=False, separators=(",", ":"))
        return await post(fake, call, "application/json", body.encode())

    async with FakeService() as fake:
        await served(fake, 3)
        made = await ask("imagine", prompt=f" {PROMPT}", type="FAST")
        record = await ask("query", taskId=str(made))
        assert (record["status"], record["prompt"]) == ("SUCCESS", f" {PROMPT}")
        await ask("action", taskId=str(made), type="FAST", customId=offered(record, "V3"))
        await ask("blend", base64Array=[uri(WEBP, "webp"), uri(PNG, "webp")], type="FAST", dimensions="LANDSCAPE")
        assert [created.kind for created in fake.created] == ["IMAGINE", "VARIATION", "BLEND"]
        assert not fake.refused


@pytest.mark.parametrize("content_type", [FORM, "application/json"])
async def test_large_images_are_taken(content_type: str) -> None:
    """Images of several mebibytes arrive, over what a server takes by default."""
    image = uri(PNG + bytes(3 << 20), "png")
    body = f"model=midjourney&base64={quote_plus(image)}"
    if content_type != FORM:
        body = json.dumps({"model": "midjourney", "base64": image})
    async with FakeService() as fake:
        await fake.serve()
        await post(fake, "describe", content_type, body.encode(), chunked=True)
        assert fake.created[0].fields["base64"] == f"image/png of {len(PNG) + (3 << 20)} bytes"
