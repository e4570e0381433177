"""The sessions of programs that call the API, as `gr.State` holds those of people who opened the page.

`gr.State` itself does not work here. It would be one more argument of each MCP tool, and all MCP callers share one
connection of Gradio's, so they would share one session and score with each other's models.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import gradio as gr

from vjepa_demo.app.session import Session
from vjepa_demo.config import MAX_KEPT_SESSIONS

KEEP_SECONDS = 86400.0  # since the last use, for a client that never says that it leaves


@dataclass
class _Kept:
    session: Session
    used: float = field(default_factory=time.monotonic)  # when a call last began or ended
    num_running: int = 0  # calls


class Visitors:
    """The session of each client that keeps a connection and says when it leaves, as `gradio_client` does.

    At most `MAX_KEPT_SESSIONS` are kept, the most recently used: anybody can claim to be such a client and never leave.
    """

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._passing: dict[Session, str] = {}  # of calls that nothing is kept of, with their client
        self._lock = threading.Lock()

    @contextmanager
    def session(self, request: gr.Request, *, keep: bool = True) -> Iterator[Session]:
        """The session of the client behind `request`, around one call.

        A client that says when it leaves gets the session of its earlier calls. With `keep` a first call opens one,
        which is kept until the client leaves. Everybody else gets a session for this call alone. If the call goes well,
        its downloads stay, and Gradio deletes them after a day; nothing else stays.
        """
        is_connected = request.headers.get("x-gradio-user") == "api"
        kept = self._begin(request.session_hash or "", keep=keep) if is_connected else None
        if kept is not None:
            try:
                with kept.session.deleted_if_closed():
                    yield kept.session
            finally:
                with self._lock:
                    kept.used, kept.num_running = time.monotonic(), kept.num_running - 1
            return
        session = Session()
        with self._lock:
            self._passing[session] = (request.session_hash or "") if is_connected else ""
        try:
            yield session
            session.downloads.clear()
        finally:
            with self._lock:
                del self._passing[session]
            session.close()

    def leave(self, request: gr.Request) -> None:
        """The client has left: end its calls, and delete what was made for it."""
        client = request.session_hash or ""
        with self._lock:
            kept = self._kept.pop(client, None)
            left = [session for session, its_client in self._passing.items() if client and its_client == client]
        for session in [*left, *([] if kept is None else [kept.session])]:
            session.close()

    def _begin(self, client: str, *, keep: bool) -> _Kept | None:
        """The session of `client` with one more call running; None if there is none and none can be kept.

        On the way those sessions are closed that nobody used for long, and with `keep` enough others for a new one,
        but none that has a call running.
        """
        with self._lock:
            is_new = keep and client not in self._kept
            idle = sorted((each for each in self._kept if not self._kept[each].num_running), key=self._last_use)
            num_too_many = len(self._kept) + 1 - MAX_KEPT_SESSIONS if is_new else 0
            oldest = time.monotonic() - KEEP_SECONDS
            gone = [each for index, each in enumerate(idle) if index < num_too_many or self._last_use(each) < oldest]
            closed = [self._kept.pop(each).session for each in gone]
            if keep and client not in self._kept and len(self._kept) < MAX_KEPT_SESSIONS:
                self._kept[client] = _Kept(Session())
            kept = self._kept.get(client)
            if kept is not None:
                kept.used, kept.num_running = time.monotonic(), kept.num_running + 1
        for session in closed:
            session.close()
        return kept

    def _last_use(self, client: str) -> float:
        return self._kept[client].used
