"""The sessions of programs that call the API, as `gr.State` holds those of people who opened the page.

A `gr.State` will not do: it would be an argument of tools that are not to have one, and all callers of MCP, who share
one connection of Gradio's own, would share it: one would score with another's model.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import gradio as gr

from vjepa_demo.ui.session import Session

KEEP_SECONDS = 86400.0  # a session of somebody who never says that they left


def is_mcp(request: gr.Request) -> bool:
    """Whether Gradio's MCP server calls, for somebody whom it does not name."""
    return request.headers.get("x-gradio-user") == "mcp"


@dataclass
class _Kept:
    session: Session
    begin: float = field(default_factory=time.monotonic)


class Visitors:
    """The session of each client that holds a connection to say when it leaves, as `gradio_client` does."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()

    def find(self, request: gr.Request) -> Session | None:
        """The session that an earlier call of this client opened."""
        with self._lock:
            kept = self._kept.get(request.session_hash or "") if _says_when_it_leaves(request) else None
        return None if kept is None else kept.session

    @contextmanager
    def session(self, request: gr.Request) -> Iterator[Session]:
        """This client's session, opened now if need be: kept until it leaves if it will say so, else for this call."""
        if not _says_when_it_leaves(request):
            session = Session.open()
            try:
                yield session
            finally:
                session.uploads.clear()  # those that it is to fetch, or to use in another call: Gradio deletes them
                session.close()
            return
        session = self._keep(request.session_hash or "")
        with session.deleted_if_closed():
            yield session

    def leave(self, request: gr.Request) -> None:
        """The client has gone: what it brought and made goes too."""
        with self._lock:
            kept = self._kept.pop(request.session_hash or "", None)
        if kept is not None:
            kept.session.close()

    def _keep(self, session_hash: str) -> Session:
        with self._lock:
            gone = [key for key, kept in self._kept.items() if time.monotonic() - kept.begin > KEEP_SECONDS]
            for key in gone:
                self._kept.pop(key).session.close()
            if session_hash not in self._kept:
                self._kept[session_hash] = _Kept(Session.open())
            return self._kept[session_hash].session


def _says_when_it_leaves(request: gr.Request) -> bool:
    return request.headers.get("x-gradio-user") == "api"
