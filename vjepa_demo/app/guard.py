"""What a stranger may ask the server for: which addresses, how much, how often, and which parts of the page.

Gradio serves more than this page uses: a proxy for any URL, a converter of recordings, saved states, numbers of what
others do. `Guard` stands before all of it and lets through what is listed here. docs/reliability.md has the review.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import math
import re
import secrets
import shutil
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import gradio as gr
from anyio.to_thread import run_sync
from fastapi import Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from gradio.route_utils import API_PREFIX, GradioMultiPartParser, MultiPartException
from gradio.routes import file_upload_statuses
from gradio.utils import get_upload_folder
from gradio_client.utils import is_http_url_like, strip_invalid_filename_characters

from vjepa_demo.app.checkpoint_panel import can_sign_in
from vjepa_demo.app.events import DISK_FULL
from vjepa_demo.app.session import Session, total_bytes
from vjepa_demo.config import (
    LOGIN_VARIABLE,
    MAX_BODY_BYTES,
    OFF_VARIABLE,
    PROXIES_VARIABLE,
    Limits,
    Part,
    parts_of,
)
from vjepa_demo.files import held_bytes
from vjepa_demo.wording import bytes_text

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS")
UPLOAD, STUDY_CLIPS = f"{API_PREFIX}/upload", "/study-clips"
UPLOAD_PREFIX = "upload-"  # of the folder of one request
API = re.escape(API_PREFIX)
# For everybody, also before they log in: the login page, what it loads, and nothing that anybody brought or made.
BEFORE_LOGIN = re.compile(
    rf"/(login|logout|config|theme\.css|favicon\.ico|robots\.txt|manifest\.json)?/?|/(static|assets|svelte)/.+"
    rf"|/login/(huggingface|callback)/?|{API}/(user|login_check|app_id|startup-events|theme\.css)/?"
)
READ = re.compile(
    rf"{API}/(info|openapi\.json|queue/data|queue/status|upload_progress|heartbeat/[^/]+|call/(v2/)?[^/]+/[^/]+)/?"
    rf"|{API}/file=(?!\w+:/).+|{API}/mcp(/.*)?|{STUDY_CLIPS}/[^/]+/[^/]+"
)
WRITTEN = re.compile(
    rf"/login/?|{API}/((run|api|call|call/v2)/[^/]+|queue/join|cancel|reset|component_server|upload)/?|{API}/mcp(/.*)?"
)
# What is counted although it only reads: it makes the page or a session, or leaves something in memory.
COSTLY = re.compile(rf"/(config)?/?|{API}/(info|openapi\.json|upload_progress|heartbeat/[^/]+|mcp(/.*)?)/?")
PROGRESS_OF_UPLOAD = f"{API_PREFIX}/upload_progress"
UPLOAD_ID = re.compile(r"[\w-]{1,64}", re.ASCII)
MAX_TRACKED = 1000  # uploads whose progress is kept in memory; past it, the one that was asked for longest ago goes
JOBS = re.compile(rf"{API}/(queue/join|call/.+)")
MAX_KNOWN_VISITORS = 4096  # whose requests are counted; past it, the one who asked longest ago is forgotten
LOGIN_TRIES = 10  # a minute
IPV6_PREFIX = 48  # bits of the network that one person can have: providers give away up to a /48
# What only a proxy adds.
PROXY_HEADERS = (b"x-forwarded-for", b"x-real-ip", b"forwarded", b"via")
# The header in which the guard notes who asked the MCP server, which passes it on when it asks this server. The secret
# shows that the guard wrote it.
FOR_VISITOR, _SECRET = b"x-vjepa-demo-visitor", f"{secrets.token_hex(16)}:".encode()
MCP = re.compile(rf"{API}/mcp(/.*)?")
KEEP_SECONDS = 86400  # for an upload that no page has named
SIGN_IN_FIRST = "sign in first: this page asks for it before training, rating or batches, as its owner has chosen"

logger = logging.getLogger(__name__)


def visitor_of(scope: Mapping[str, Any], proxies: int) -> str | None:
    """Who asks, by address: of IPv6 the network, as far as one person may have it whole. None for this machine itself.

    Behind `proxies` the address is the one that the outermost of them saw. What stands further left in X-Forwarded-For
    anybody can write there. Gradio's MCP server asks this server for others: `Guard` has noted for whom.
    """
    headers = scope["headers"]
    for name, value in headers:
        if name == FOR_VISITOR and value.startswith(_SECRET):
            return value.removeprefix(_SECRET).decode("latin-1") or None
    given = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
    hops = [hop.strip() for hop in ",".join(given).split(",") if hop.strip()]
    is_forwarded = 0 < proxies <= len(hops)
    address = hops[-proxies] if is_forwarded else (scope.get("client") or ("",))[0]
    found = _ip(address)
    if found is None:
        return address
    if found.is_loopback and not is_forwarded and not any(name in PROXY_HEADERS for name, _ in headers):
        return None  # a proxy on this machine would have said that it is one
    return str(ipaddress.ip_network((found, IPV6_PREFIX), strict=False)) if found.version == 6 else str(found)


def _ip(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that `address` spells; an IPv4 address that is spelled as one of IPv6 is the former."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return None
    return (isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped) or found


class GuardedBlocks(gr.Blocks):
    """Blocks whose private handlers fetch no URL and read only uploads, and whose parts may need a login.

    A handler that is wired in `with blocks.part("batch")` belongs to that part.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._off, self.login = parts_of(OFF_VARIABLE), parts_of(LOGIN_VARIABLE)
        if self.login and not can_sign_in():
            logger.warning("%s is set, but nobody can sign in here: these parts are switched off", LOGIN_VARIABLE)
            self._off, self.login = self._off | self.login, frozenset()
        self._part_of: dict[int, Part] = {}
        self._session: gr.State | None = None

    def has(self, part: Part) -> bool:
        """Whether the page has this part: without it no handler is there that could be called."""
        return part not in self._off

    @contextmanager
    def part(self, part: Part) -> Iterator[None]:
        """Around what wires the handlers of `part`."""
        before = set(self.fns)
        yield
        self._part_of |= dict.fromkeys(set(self.fns) - before, part)

    def owns_uploads(self, session: gr.State) -> None:
        """What a visitor's events name as uploads is deleted with their `session`."""
        self._session = session

    async def process_api(  # type: ignore[override]
        self, block_fn: Any, inputs: list[Any], state: Any = None, request: Any = None, **named: Any
    ) -> dict[str, Any]:
        """Run a handler as Gradio does, unless who asks may not, or gives a URL in the place of a file.

        Of a file's path Gradio itself checks that it is an upload. A URL it would fetch, of any size.
        """
        function = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        if self._part_of.get(function._id) in self.login:
            asked = getattr(request, "request", None)  # the server's request, in Gradio's
            if asked is None or not has_signed_in(asked.scope):
                raise gr.Error(SIGN_IN_FIRST, print_exception=False)
        if function.api_visibility == "private":
            paths = list(_paths(inputs))
            if any(map(is_http_url_like, paths)):
                raise gr.Error("a URL is no upload: download the file, then add it here", print_exception=False)
            if paths and state is not None and self._session is not None:
                session = state[self._session._id]
                if isinstance(session, Session):
                    session.own_uploads(filter(None, map(_upload_folder, paths)))
        return await super().process_api(function, inputs, state, request, **named)


def _path(scope: Mapping[str, Any]) -> str:
    """The path that is asked for, below that of the server."""
    return str(scope["path"]).removeprefix(scope.get("root_path", ""))


def has_signed_in(scope: Mapping[str, Any]) -> bool:
    """Whether who asks has signed in with Hugging Face."""
    return bool(scope.get("session", {}).get("oauth_info"))


def _paths(data: Any) -> Iterator[str]:
    """Every "path" of an object within `data`, JSON however deep."""
    rest = [data]
    while rest:
        each = rest.pop()
        if isinstance(each, dict):
            if isinstance(path := each.get("path"), str):
                yield path
            rest += each.values()
        elif isinstance(each, list | tuple):
            rest += each


def _upload_folder(path: str) -> Path | None:
    """The folder of the request that uploaded the file `path`; None for another file."""
    uploads = Path(get_upload_folder()).resolve()
    given = Path(path)
    if not given.is_absolute() or not given.is_relative_to(uploads):
        return None
    first = given.relative_to(uploads).parts[:1]
    return uploads / first[0] if first and first[0].startswith(UPLOAD_PREFIX) else None


class Guard:
    """An ASGI middleware: refuses what is not listed, what is too large, and what one visitor asks too often."""

    def __init__(self, app: ASGIApp, blocks: GuardedBlocks, allowed: Limits, proxies: int) -> None:
        self._app, self._blocks, self._limits, self._proxies = app, blocks, allowed, proxies
        self._asked: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()  # what is left, and since when
        self._arriving: Counter[str] = Counter()  # requests for a job, by visitor, that no event stands for yet
        self._has_warned = False  # that visitors may be behind a proxy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refused = self._refusal(scope)
        if refused is not None:
            status, why = refused
            await JSONResponse({"detail": why}, status)(scope, receive, send)
            return
        is_upload = scope["path"].rstrip("/").endswith(UPLOAD)  # which counts for itself
        visitor = visitor_of(scope, self._proxies)
        self._warn_of_a_proxy(visitor)
        if MCP.fullmatch(_path(scope)):
            noted = (FOR_VISITOR, _SECRET + (visitor or "").encode("latin-1"))
            scope = {**scope, "headers": [*(each for each in scope["headers"] if each[0] != FOR_VISITOR), noted]}
        if scope["method"] != "POST" or visitor is None or not JOBS.match(_path(scope)):
            await self._app(scope, receive if is_upload else _limited(receive, MAX_BODY_BYTES), send)
            return
        self._arriving[visitor] += 1  # its body may come slowly
        try:
            await self._app(scope, _limited(receive, MAX_BODY_BYTES), send)
        finally:
            self._arriving[visitor] -= 1
            self._arriving += Counter()  # forgets who has none

    def _warn_of_a_proxy(self, visitor: str | None) -> None:
        """Tell the owner once if visitors seem to share the address of a proxy, and so what one of them may have."""
        if self._has_warned or visitor is None or self._limits.visitor_requests == math.inf:
            return
        found = _ip(visitor.partition("/")[0])
        if found is not None and found.is_private:
            self._has_warned = True
            logger.warning(
                "a visitor's address is %s, which is private: if a proxy stands before this page, set %s to the number "
                "of proxies, else all visitors share the limits of one",
                visitor,
                PROXIES_VARIABLE,
            )

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """The status and the reason with which a request is refused; None for one that is let through."""
        path, method = _path(scope), scope["method"]
        is_post, is_login = method == "POST", path.rstrip("/") == "/login"
        is_open = not is_post and BEFORE_LOGIN.fullmatch(path)
        listed = WRITTEN if is_post else READ
        if method not in METHODS or not (is_open or listed.fullmatch(path)):
            return 404, "Not Found"
        if not (is_open or is_login or self._is_logged_in(scope)):
            return 401, "log in first: open the page in a browser"
        if path.rstrip("/") == PROGRESS_OF_UPLOAD and not _may_be_tracked(
            parse_qs(scope["query_string"].decode("latin-1")).get("upload_id", [])
        ):
            return 404, "Not Found"
        is_rating = path.startswith((f"{API_PREFIX}/component_server", f"{STUDY_CLIPS}/"))
        if is_rating and "rating" in self._blocks.login and not has_signed_in(scope):
            return 401, SIGN_IN_FIRST
        if not is_post and not COSTLY.fullmatch(path):
            return None
        if is_post and self._is_another_sites(scope):
            return 403, "another site sent this with your sign-in: open the page itself"
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if path.rstrip("/") != UPLOAD and length.isdigit() and int(length) > MAX_BODY_BYTES:
            return 413, f"the request is larger than {bytes_text(MAX_BODY_BYTES)}: send less at once"
        visitor = visitor_of(scope, self._proxies)
        if visitor is None:
            return None
        kind, most = ("login", LOGIN_TRIES) if is_login else ("", self._limits.visitor_requests)
        if not self._may_ask(visitor, kind, most):
            return 429, "too many requests from your address in the last minute: wait a moment, then try again"
        if is_post and JOBS.match(path) and self._num_jobs(visitor) >= (most := self._limits.visitor_jobs):
            return 429, f"{most:g} jobs of yours wait or run already: wait until one has ended, then try again"
        return None

    def _is_logged_in(self, scope: Scope) -> bool:
        """Whether Gradio knows who asks; everybody, where the page asks for no login."""
        server = scope["app"]
        if server.auth is None:
            return True
        cookies = Request(scope).cookies
        names = (f"access-token-{server.cookie_id}", f"access-token-unsecure-{server.cookie_id}")
        return any(cookies.get(name) in server.tokens for name in names)

    def _is_another_sites(self, scope: Scope) -> bool:
        """Whether a page of another site asks, through the browser of somebody who has signed in or logged in here.

        Gradio lets every site ask, with cookies: such a page could push something of its own with a visitor's account.
        """
        site = dict(scope["headers"]).get(b"sec-fetch-site", b"none")  # which no page can forge
        is_known = has_signed_in(scope) or (scope["app"].auth is not None and self._is_logged_in(scope))
        return is_known and site not in (b"same-origin", b"none")

    def _may_ask(self, visitor: str, kind: str, most: float) -> bool:
        """Whether `visitor` has one of `most` requests a minute left. They come back one by one."""
        if most == math.inf:
            return True
        now = monotonic()
        left, since = self._asked.pop((visitor, kind), (most, now))
        left = min(most, left + (now - since) * most / 60)
        self._asked[visitor, kind] = (left - 1 if left >= 1 else left), now
        while len(self._asked) > MAX_KNOWN_VISITORS:
            self._asked.popitem(last=False)
        return left >= 1

    def _num_jobs(self, visitor: str) -> int:
        """What `visitor` has asked for and waits or runs, in the queues of the page and of programs."""
        if self._limits.visitor_jobs == math.inf:
            return 0
        events = list(self._blocks._queue.event_ids_to_events.values())
        num_events = sum(visitor_of(event.request.scope, self._proxies) == visitor for event in events)
        return num_events + self._arriving[visitor]


def _may_be_tracked(upload_ids: list[str]) -> bool:
    """Whether `upload_ids` is the one name of an upload. Gradio keeps each that it ever heard of: those that came
    first are forgotten here."""
    known: tuple[dict[str, Any], ...] = (file_upload_statuses._signals, file_upload_statuses._statuses)
    for kept in known:
        while len(kept) > MAX_TRACKED:
            kept.pop(next(iter(kept)))
    return len(upload_ids) == 1 and UPLOAD_ID.fullmatch(upload_ids[0]) is not None


class _TooLargeError(Exception):
    """More bytes came than are allowed; the message says what was allowed."""


def _limited(receive: Receive, most: float) -> Receive:
    """`receive` for a body of at most `most` bytes, whatever its head says; a larger one is cut off."""
    num_bytes = 0

    async def receive_some() -> Message:
        nonlocal num_bytes
        message = await receive()
        num_bytes += len(message.get("body", b""))
        return message if num_bytes <= most else {"type": "http.disconnect"}

    return receive_some


def serve_uploads(app: GuardedBlocks, allowed: Limits, proxies: int) -> None:
    """Keep each upload in a folder of its own with a name that nobody can guess, within what its visitor may store.

    Gradio would keep equal files once, under their SHA-256: who has a file could see whether somebody uploaded it.
    """
    server, uploads = app.app, Path(get_upload_folder())
    uploads.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        uploads.chmod(0o700)
    except OSError:
        logger.warning("the folder of uploads belongs to another user: set GRADIO_TEMP_DIR to a folder of your own")
    folders_of: dict[str | None, list[Path]] = {}
    arriving: Counter[str | None] = Counter()  # bytes of uploads that have not ended

    def stored(folders: list[Path]) -> tuple[int, int]:
        """Bytes on the disk in `folders`, and of all that visitors brought and made; what nobody needs is deleted."""
        for folder in uploads.glob(f"{UPLOAD_PREFIX}*"):  # those that no session owned, or a server that died
            with suppress(FileNotFoundError):
                if time.time() - folder.stat().st_mtime > KEEP_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)
        mine = sum(map(held_bytes, folders)) if allowed.visitor_bytes < math.inf else 0
        return mine, total_bytes() if allowed.total_bytes < math.inf else 0

    def folders_now(visitor: str | None) -> list[Path]:
        """The folders of `visitor` that are there. Called in the event loop alone, as is all that changes them."""
        if len(folders_of) > MAX_KNOWN_VISITORS:
            for each in [each for each, folders in folders_of.items() if not any(map(Path.exists, folders))]:
                folders_of.pop(each, None)
        folders_of[visitor] = [folder for folder in folders_of.get(visitor, []) if folder.exists()]
        return list(folders_of[visitor])

    async def upload(request: Request, upload_id: str | None = None) -> Response:
        upload_id = upload_id if upload_id and _may_be_tracked([upload_id]) else None
        visitor = visitor_of(request.scope, proxies)
        mine, total = await run_sync(stored, folders_now(visitor))
        before = arriving[visitor], arriving.total()

        async def receive() -> Message:
            message = await request.receive()
            arriving[visitor] += len(message.get("body", b""))
            come[0] += len(message.get("body", b""))
            _check_room(allowed, mine + arriving[visitor] - before[0], total + arriving.total() - before[1])
            return message

        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            return PlainTextResponse("files were expected, as multipart/form-data", 400)
        come = [0]
        folder = uploads / f"{UPLOAD_PREFIX}{secrets.token_hex(16)}"
        folder.mkdir(mode=0o700)
        folders_of.setdefault(visitor, []).append(folder)
        is_kept = False
        try:
            length = int(request.headers.get("content-length", "0"))
            _check_room(allowed, mine + length, total + length)
            parser = GradioMultiPartParser(
                request.headers,
                Request(request.scope, receive).stream(),
                max_fields=0,  # Gradio would keep them in memory, however large
                upload_dir=folder,
                upload_id=upload_id,
                upload_progress=file_upload_statuses if upload_id else None,
                max_file_size=allowed.upload_bytes,
            )
            if upload_id:
                file_upload_statuses.track(upload_id)
            files = _named((await parser.parse()).getlist("files"), folder)
            app.upload_file_set.update(files)  # Gradio deletes those after a day
            is_kept = True
            return JSONResponse(files)
        except _TooLargeError as error:
            return PlainTextResponse(str(error), 413)
        except MultiPartException as error:
            if "maximum allowed size" not in error.message:
                return PlainTextResponse(error.message, 400)
            most = bytes_text(int(allowed.upload_bytes))
            return PlainTextResponse(f"the file is larger than {most}, which is what an upload may have", 413)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            return PlainTextResponse(DISK_FULL, 507)
        finally:
            arriving[visitor] -= come[0]
            if not is_kept:
                await run_sync(lambda: shutil.rmtree(folder, ignore_errors=True))

    server.add_api_route(UPLOAD, upload, methods=["POST"], include_in_schema=False)
    server.router.routes.insert(0, server.router.routes.pop())  # before Gradio's own


def _named(files: list[Any], folder: Path) -> list[str]:
    """The paths of uploaded `files`, each under its own name in a numbered folder within `folder`."""
    paths = []
    for number, file in enumerate(files):
        name = strip_invalid_filename_characters(Path(file.filename or "").name).strip(".") or "file"
        path = folder / str(number) / name
        path.parent.mkdir(mode=0o700)
        file.file.close()
        Path(file.file.name).rename(path)
        paths.append(str(path))
    return paths


def _check_room(allowed: Limits, mine: float, total: float) -> None:
    if mine > allowed.visitor_bytes:
        raise _TooLargeError(
            f"your uploads would take more than {bytes_text(int(allowed.visitor_bytes))}, which is what one visitor "
            "may store: upload less, or come back in an hour"
        )
    if total > allowed.total_bytes:
        raise _TooLargeError("this server holds as much as it may for all visitors together: try again in an hour")
