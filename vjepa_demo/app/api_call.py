"""One call of an endpoint: the files that the caller gives, and the answers and files that the caller gets."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial, wraps
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import anyio.to_thread
import gradio as gr
from gradio.components.api_component import Api
from gradio.data_classes import FileData
from gradio.processing_utils import PUBLIC_HOSTNAME_WHITELIST, save_base64_to_cache
from gradio.route_utils import API_PREFIX, get_api_call_path, get_root_url
from gradio.utils import get_upload_folder
from gradio_client.utils import encode_file_path, is_file_obj_with_meta, is_http_url_like
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from vjepa_demo.app.events import shown_errors
from vjepa_demo.app.session import Session, Stoppable
from vjepa_demo.app.visitors import Visitors
from vjepa_demo.config import MAX_FETCHED_BYTES, MAX_UPLOAD_BYTES, limits
from vjepa_demo.media.fetch import fetch
from vjepa_demo.schema import RecordError
from vjepa_demo.wording import bytes_text

Json = dict[str, Any]
Given = Any  # a file, or files, as a caller gives them
FILE_ROUTE = f"{API_PREFIX}/file="

_cancelled: ContextVar[threading.Event | None] = ContextVar("cancelled", default=None)


def cancellable(run: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
    """`run`, a function that opens a `Call`, as a coroutine in which Gradio can cancel it.

    Gradio cannot end what runs in a thread: so the call is told, and what it runs asks its `stoppable`. Of a generator
    Gradio itself ends the next step.
    """

    @wraps(run)
    async def cancellable_run(*arguments: Any, **named: Any) -> Any:
        cancelled = threading.Event()
        token = _cancelled.set(cancelled)  # the thread gets a copy of this context
        thread = asyncio.create_task(anyio.to_thread.run_sync(partial(run, *arguments, **named)))
        _cancelled.reset(token)
        try:
            return await asyncio.shield(thread)
        finally:
            cancelled.set()
            await asyncio.wait([thread])  # until then it takes its place in the queue, for it may still decode or load

    return cancellable_run


class Call:
    """A call that runs: `session` is the caller's, `folder` holds what is fetched and unpacked until the call ends, and
    `stoppable` says whether what runs should stop: the caller has cancelled it, or has left."""

    def __init__(self, session: Session, folder: Path, request: gr.Request) -> None:
        self.session, self.folder, self._request = session, folder, request
        self.stoppable = Stoppable(session.closed, _cancelled.get())
        self._fetched_bytes = 0

    @classmethod
    @contextmanager
    def of(cls, visitors: Visitors, request: gr.Request, *, keep: bool = True) -> Iterator[Call]:
        """Around a call; `keep` is as for `Visitors.session`. An error that a person can mend becomes the answer."""
        with (
            shown_errors(str),
            visitors.session(request, keep=keep) as session,
            tempfile.TemporaryDirectory(dir=session.folder, ignore_cleanup_errors=True) as folder,
        ):
            session.check_room()
            call = cls(session, Path(folder), request)
            try:
                yield call
            finally:
                if call._fetched_bytes:
                    with session.fetching:
                        session.fetched_bytes -= call._fetched_bytes

    def file(self, field: Api, given: Given) -> str:
        """The path of the file that the caller gave for `field`; what is fetched comes into `folder`.

        Raises:
            RecordError: for what is neither an upload nor a URL that can be fetched, or if the client's calls that run
                have fetched more than `MAX_FETCHED_BYTES` together.
        """
        if is_file_obj_with_meta(given):
            if not is_http_url_like(given["path"]):  # Gradio has checked that it was uploaded
                return given["path"]
            given = given["path"]
        if not given:
            raise RecordError(f"no {field.label}: upload a file first")
        if not isinstance(given, str) or not (is_http_url_like(given) or given.startswith("data:")):
            raise RecordError(f"{field.label} is {str(given)[:100]!r}, which is no file: upload it, or give its URL")
        try:
            uploads = Path(get_upload_folder()).resolve()
            if given.startswith("data:"):
                return save_base64_to_cache(given, str(self.folder))  # counted, and gone with the call
            # A file that somebody uploaded here and that the URL gives out: nobody reads more with the URL than with
            # the path itself, which Gradio takes from whoever knows it.
            path = Path(unquote(given.partition(FILE_ROUTE)[2])).resolve()
            if path.is_relative_to(uploads) and path.is_file():
                return str(field.move_resource_to_block_cache(path))
            return str(self._fetch(given))
        except (ValueError, OSError) as error:
            raise RecordError(f"{given[:100]!r} cannot be read ({error}): upload the file instead") from error

    def files(self, field: Api, given: Given) -> list[str]:
        """The paths of the files that the caller gave for `field`.

        Raises:
            RecordError: as `file` does, and if there are none.
        """
        return [self.file(field, each) for each in given_list(given) or [None]]

    def _fetch(self, url: str) -> Path:
        session = self.session
        with session.fetching:  # one file at a time, so that no two calls use up the same rest
            left = MAX_FETCHED_BYTES - session.fetched_bytes
            why_not_more = ""
            if left < MAX_UPLOAD_BYTES:
                together, rest = bytes_text(MAX_FETCHED_BYTES), bytes_text(left)
                why_not_more = f"the calls of a client may fetch {together} together, {rest} are left"
            path = fetch(
                url,
                self.folder,
                trusted_hosts=PUBLIC_HOSTNAME_WHITELIST,  # the Hub's, which inside a Space have private addresses
                max_bytes=int(min(left, MAX_UPLOAD_BYTES, limits().upload_bytes)),
                why_not_more=why_not_more,
            )
            size = path.stat().st_size
            self._fetched_bytes += size
            session.fetched_bytes += size
        return path

    def answer(self, answer: Json) -> Json | str:
        """`answer` as it will arrive as JSON: Gradio's MCP server would write a dict as Python does."""
        return json.dumps(answer, ensure_ascii=False) if self._is_mcp else answer

    def download(self, field: Api, path: Path) -> Json:
        """What the answer `field` says of a file in the upload folder, for the caller to fetch within a day."""
        field.temp_files.add(str(path))  # Gradio deletes those
        url = None  # Gradio adds it, but not for its MCP server
        if self._is_mcp:
            assert self._request.request is not None  # every call comes over HTTP
            root = get_root_url(self._request.request, get_api_call_path(self._request.request), None)
            url = f"{root}{FILE_ROUTE}{encode_file_path(path)}"
        return FileData(path=str(path), url=url, orig_name=path.name, size=path.stat().st_size).model_dump()

    @property
    def _is_mcp(self) -> bool:
        """Whether Gradio's MCP server calls, for somebody whom it does not name."""
        return self._request.headers.get("x-gradio-user") == "mcp"


def given_list(given: Given) -> list[Any]:
    """What a caller gave for several files, none of them fetched."""
    return given if isinstance(given, list) else [given]


async def answer_wrong_call(request: Request, error: Exception) -> Response:
    """What a program is told that calls the API by a wrong name; Gradio would answer 500 and log a traceback.

    Raises:
        Exception: `error`, if the request was none that Gradio matches with the API's endpoints.
    """
    called = re.search(rf"{API_PREFIX}/call/(?:v2/)?([^/]*)/?$", request.url.path)
    if called is None:
        raise error
    if not isinstance(error, TypeError):
        return PlainTextResponse(f"There is no endpoint {called[1]!r}: {API_PREFIX}/info names them all.", 404)
    reason = str(error).partition(" Please click")[0].rstrip(".")
    return PlainTextResponse(f"{reason}: {API_PREFIX}/info names the parameters of /{called[1]}.", 422)
