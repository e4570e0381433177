"""Files that a program names by URL: fetched only from public hosts, within limits of size and time.

A host is public if the address that it has now is, whatever its spelling; each redirect is looked at anew. The
connection goes to that very address, whatever the host's name means a moment later.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import httpx
import safehttpx

from vjepa_demo.config import FETCH_SECONDS, MAX_REDIRECTS, MAX_UPLOAD_BYTES
from vjepa_demo.schema import RecordError

TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))


def fetch(
    url: str,
    folder: Path,
    *,
    trusted_hosts: Sequence[str] = (),
    max_bytes: int = MAX_UPLOAD_BYTES,
    why_not_more: str = "",
    seconds: float = FETCH_SECONDS,
) -> Path:
    """The file at `url`, under the name it has there, in a new folder in `folder`; never one that was fetched before.

    `trusted_hosts` may have private addresses; `*.` before a name stands for all hosts below it. `why_not_more`
    explains a `max_bytes` that is less than a file may have.

    Raises:
        RecordError: if a host on the way is not public, the answer is not 200, too large, or not there in `seconds`.
    """
    shown = repr(re.sub(r"//[^/?#]*@", "//...@", url[:100]))
    file = Path(tempfile.mkdtemp(dir=folder)) / _name(url)
    too_large = why_not_more or f"it is larger than {max_bytes:,} bytes"
    try:
        asyncio.run(asyncio.wait_for(_download(url, file, trusted_hosts, max_bytes, too_large), seconds))
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


async def _download(url: str, file: Path, trusted_hosts: Sequence[str], max_bytes: int, too_large: str) -> None:
    for _ in range(MAX_REDIRECTS + 1):
        address = httpx.URL(url)
        if address.scheme not in ("http", "https"):
            raise RecordError(f"{address.scheme or 'no scheme'} is neither http nor https")
        if address.userinfo:
            raise RecordError("it holds a name or a password, which are not sent")
        transport = await _transport(address.host, trusted_hosts)
        async with (
            httpx.AsyncClient(transport=transport, timeout=FETCH_SECONDS) as client,  # of a step; `fetch` limits all
            client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response,
        ):
            if response.has_redirect_location:
                url = str(httpx.URL(url).join(response.headers["Location"]))
                continue
            if response.status_code != 200:
                raise RecordError(f"the server answered with status {response.status_code}")
            size = 0
            with file.open("wb") as out:
                async for chunk in response.aiter_bytes():
                    size += len(chunk)
                    if size > max_bytes:
                        raise RecordError(too_large)
                    out.write(chunk)
            return
    raise RecordError(f"the address led to more than {MAX_REDIRECTS} redirects")


async def _transport(host: str, trusted_hosts: Sequence[str]) -> httpx.AsyncBaseTransport | None:
    """What connects to the public address that `host` has now, and to no other it may have a moment later.

    None, for any address, where the host is trusted.
    """
    if safehttpx.matches_domain_whitelist(host, list(trusted_hosts)):
        return None
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    public = [str(address[0]) for *_, address in found if is_public(str(address[0]))]
    if not public:
        raise RecordError(f"{host!r} is no host on the public internet")
    return safehttpx.AsyncSecureTransport(public[0])


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, as is each IPv4 address that it stands for."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])  # %: the network card of a link-local address
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        # Written as IPv6, sent as IPv4: mapped, 6to4, Teredo, translated by the network's NAT64, and compatible.
        inner = [found.ipv4_mapped, found.sixtofour, *(found.teredo or ())]
        if any(found in net for net in TRANSLATED) or int(found) < 2**32:
            inner.append(ipaddress.IPv4Address(int(found) % 2**32))
        if any(each is not None and not is_public(str(each)) for each in inner):
            return False
        if found.ipv4_mapped is not None:
            return True
        if found.is_site_local:  # retired, and still some network's own
            return False
    return found.is_global and not found.is_multicast and not found.is_reserved
