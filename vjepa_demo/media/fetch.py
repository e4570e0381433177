"""Files that a program names by URL: fetched from public hosts alone, no more and no longer than is allowed."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import httpx
import safehttpx
from gradio.processing_utils import PUBLIC_HOSTNAME_WHITELIST

from vjepa_demo.config import FETCH_SECONDS, MAX_REDIRECTS, MAX_UPLOAD_BYTES
from vjepa_demo.schema import RecordError


def fetch(
    url: str,
    folder: Path,
    *,
    max_bytes: int = MAX_UPLOAD_BYTES,
    why_not_more: str = "",
    seconds: float = FETCH_SECONDS,
) -> Path:
    """The file at `url`, under the name it has there, in a new folder in `folder`; never one that was fetched before.

    `why_not_more` explains `max_bytes` where it is less than a file may have.

    Raises:
        RecordError: if a host on the way is not public, the answer is not 200, too large, or not there in `seconds`.
    """
    shown = repr(url[:100])
    file = Path(tempfile.mkdtemp(dir=folder)) / _name(url)
    try:
        asyncio.run(asyncio.wait_for(_download(url, file, max_bytes, why_not_more, seconds), seconds))
    except TimeoutError as error:
        raise RecordError(f"{shown} cannot be fetched in {seconds:g} s: upload the file instead") from error
    except (RecordError, httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise RecordError(f"{shown} cannot be fetched ({reason}): upload the file instead") from error
    return file


def _name(url: str) -> str:
    """The last part of the path of `url` as a file's name."""
    try:
        name = PurePosixPath(unquote(httpx.URL(url).path)).name
    except (httpx.InvalidURL, ValueError):
        name = ""
    printable = "".join(letter if letter.isprintable() else "_" for letter in name)
    return printable.encode()[-200:].decode(errors="ignore").lstrip(".") or "file"


async def _download(url: str, file: Path, max_bytes: int, why_not_more: str, seconds: float) -> None:
    for _ in range(MAX_REDIRECTS + 1):
        async with (
            httpx.AsyncClient(transport=await _transport(url), timeout=seconds) as client,
            client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response,
        ):
            if not response.has_redirect_location:
                return await _save(response, file, max_bytes, why_not_more)
            url = str(httpx.URL(url).join(response.headers["Location"]))
    raise RecordError(f"more than {MAX_REDIRECTS} redirects")


async def _save(response: httpx.Response, file: Path, max_bytes: int, why_not_more: str) -> None:
    if response.status_code != 200:
        raise RecordError(f"the server answered with status {response.status_code}")
    size = 0
    with file.open("wb") as out:
        async for chunk in response.aiter_bytes():
            size += len(chunk)
            if size > max_bytes:
                raise RecordError(why_not_more or f"it is larger than {max_bytes:,} bytes")
            out.write(chunk)


async def _transport(url: str) -> httpx.AsyncBaseTransport | None:
    """What connects to the public address of the host and to no other, whatever the name stands for a moment later.

    The Hub's hosts are trusted, as Gradio does: inside a Space they have private addresses.
    """
    host = httpx.URL(url).host
    if safehttpx.matches_domain_whitelist(host, PUBLIC_HOSTNAME_WHITELIST):
        return None
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    public = [str(address[0]) for *_, address in found if safehttpx.is_public_ip(str(address[0]))]
    if not public:
        raise RecordError(f"{host!r} is no host on the public internet")
    return safehttpx.AsyncSecureTransport(public[0])
