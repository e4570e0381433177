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

from vjepa_demo.app.session import Session
from vjepa_demo.config import MAX_KEPT_SESSIONS

KEEP_SECONDS = 86400.0  # since the last use, for somebody who never says that they left


def is_mcp(request: gr.Request) -> bool:
    """Whether Gradio's MCP server calls, for somebody whom it does not name."""
    return request.headers.get("x-gradio-user") == "mcp"


@dataclass
class _Kept:
    session: Session
    used: float = field(default_factory=time.monotonic)  # begin or end of the last call
    running: int = 0  # calls


class Visitors:
    """The session of each client that holds a connection to say when it leaves, as `gradio_client` does.

    Of the most recent `MAX_KEPT_SESSIONS` only: whoever claims to be such a client may never leave.
    """

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()

    @contextmanager
    def session(self, request: gr.Request, *, keep: bool = True) -> Iterator[Session]:
        """This client's session: the one that an earlier call opened, or with `keep` one that is kept until the client
        leaves, if it will say so; else one for this call, of which only finished downloads stay, and only if all went
        well: Gradio deletes those after a day."""
        kept = self._begin(request.session_hash or "", keep=keep) if _says_when_it_leaves(request) else None
        if kept is not None:
            try:
                with kept.session.deleted_if_closed():
                    yield kept.session
            finally:
                with self._lock:
                    kept.used, kept.running = time.monotonic(), kept.running - 1
            return
        session = Session()
        try:
            yield session
            session.downloads.clear()
        finally:
            session.close()

    def leave(self, request: gr.Request) -> None:
        """The client has gone: what it made goes too."""
        with self._lock:
            kept = self._kept.pop(request.session_hash or "", None)
        if kept is not None:
            kept.session.close()

    def _begin(self, session_hash: str, *, keep: bool) -> _Kept | None:
        """The client's session with one more call running; None if there is none and none can be kept."""
        with self._lock:
            gone = self._forgotten(make_room=keep and session_hash not in self._kept)
            if keep and session_hash not in self._kept and len(self._kept) < MAX_KEPT_SESSIONS:
                self._kept[session_hash] = _Kept(Session())
            kept = self._kept.get(session_hash)
            if kept is not None:
                kept.used, kept.running = time.monotonic(), kept.running + 1
        for each in gone:
            each.session.close()
        return kept

    def _forgotten(self, *, make_room: bool) -> list[_Kept]:
        """Take out those that nobody used for long, and with `make_room` enough for one more; none that has a call
        running."""
        idle = sorted(
            (key for key, kept in self._kept.items() if not kept.running), key=lambda key: self._kept[key].used
        )
        too_many = len(self._kept) + 1 - MAX_KEPT_SESSIONS if make_room else 0
        oldest = time.monotonic() - KEEP_SECONDS
        gone = [key for index, key in enumerate(idle) if index < too_many or self._kept[key].used < oldest]
        return [self._kept.pop(key) for key in gone]


def _says_when_it_leaves(request: gr.Request) -> bool:
    return request.headers.get("x-gradio-user") == "api"
