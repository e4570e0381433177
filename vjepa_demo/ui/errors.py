"""What every tab does alike: errors as messages, and events that run at once and in private."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import gradio as gr

from vjepa_demo.schema import DemoError

AT_ONCE: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


@contextmanager
def shown_errors(written: Callable[[str], str] = escape) -> Iterator[None]:
    """What a person can mend, as a message. On the page Gradio renders it as HTML, so there it has to be escaped."""
    try:
        yield
    except DemoError as error:
        raise gr.Error(written(str(error)), print_exception=False) from error
