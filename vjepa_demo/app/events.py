"""What every tab does alike: errors as messages, events that run at once and in private, buttons that know when."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

import gradio as gr

from vjepa_demo.schema import DemoError

# How an event is wired that runs at once. What it raises or warns of, nobody is told.
AT_ONCE: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
# How one is wired that raises or warns: Gradio shows errors and warnings of queued events alone.
TOLD: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private"}


@contextmanager
def shown_errors(written: Callable[[str], str] = escape) -> Iterator[None]:
    """What a person can mend, as a message. On the page Gradio renders it as HTML, so there it has to be escaped."""
    try:
        yield
    except DemoError as error:
        raise gr.Error(written(str(error)), print_exception=False) from error


def keep_in_step(events: Sequence[Any], run: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
    """Call `run` at each of `events`; the outputs end up as `run` gives them for the newest inputs.

    Of two events at the same moment Gradio starts both, and the answer to the older one may come last. So each answer
    is followed by one more call. Those follow-up calls never overlap (`always_last`), so none can be overtaken.
    """
    first = gr.on(events, run, inputs, outputs, trigger_mode="always_last", **AT_ONCE)
    first.then(run, inputs, outputs, trigger_mode="always_last", **AT_ONCE)


def add_running() -> gr.Checkbox:
    """Whether an action is running: a hidden checkbox, because its `change` is an event for `keep_in_step`.

    Gradio tells the page of changes of a `gr.State` in queued events alone.
    """
    return gr.Checkbox(visible="hidden", show_label=False, container=False)
