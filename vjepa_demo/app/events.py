"""How every tab wires its events: what runs at once, what may fail, and how buttons keep up with what was typed."""

from __future__ import annotations

import errno
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from vjepa_demo.config import (
    PROJECT_ROOT,
    checkpoint_folder,
    dataset_folder,
    feature_cache_folder,
    studies_folder,
)
from vjepa_demo.schema import DemoError

# What a handler takes and gives: the value of each component. Outputs that are missing stay as they are.
Values = dict[Any, Any]

# For a handler that answers in milliseconds and never fails. It does not wait in the queue behind scoring and training.
# Gradio does not show errors and warnings raised in unqueued events.
AT_ONCE: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
# For a handler that raises errors or warns: it is queued so that Gradio shows them, but waits for no other.
TOLD: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private"}

# For previews: few at a time on the whole page, so that scoring has the processor.
PREVIEWING: dict[str, Any] = {**TOLD, "concurrency_limit": 2, "concurrency_id": "preview"}

PROGRESS = gr.Progress()  # the default value of a parameter, with which Gradio gives a handler its own progress


DISK_FULL = "the disk of this server is full: what was there before is kept; try again later"
TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{8,}")


@contextmanager
def shown_errors(written: Callable[[str], str] = escape) -> Iterator[None]:
    """Turns a `DemoError`, and a full disk, into a message on the page. Gradio renders messages as HTML, so `written`
    escapes it."""
    try:
        yield
    except DemoError as error:
        raise gr.Error(written(said(error)), print_exception=False) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise gr.Error(DISK_FULL, print_exception=False) from error


def said(error: DemoError) -> str:
    """What a visitor is told of `error`: the message without the folders of this machine, and without a token."""
    return without_folders(TOKEN.sub("hf_...", str(error)))


def without_folders(text: str) -> str:
    """`text` with the last part alone of each path in one of the folders that this program uses."""
    roots = {get_upload_folder(), tempfile.gettempdir(), str(PROJECT_ROOT), sys.prefix, sys.base_prefix}
    for folder in (checkpoint_folder(), dataset_folder(), feature_cache_folder(), studies_folder()):
        roots |= set() if folder is None else {str(folder), str(folder.parent)}
    with suppress(RuntimeError):  # no home
        roots.add(str(Path.home()))
    for root in sorted(roots - {"/"}, key=len, reverse=True):
        # Of a path that ends in the root itself its name stays.
        text = re.sub(rf"{re.escape(root)}(?:/(?:[^\s/]*/)*(?=[^\s/])|(?![\w.-]))", _name_if_whole(root), text)
    return text


def _name_if_whole(root: str) -> Callable[[re.Match[str]], str]:
    return lambda found: Path(root).name if found.group() == root else ""


def keep_in_step(events: Sequence[Any], run: Callable[..., Any], inputs: Any, outputs: Sequence[Any]) -> None:
    """Call `run` at each of `events`; the outputs end up as `run` gives them for the newest inputs.

    Of two events at the same moment Gradio starts both, and the answer to the older one may come last. So each answer
    is followed by one more call. Those follow-up calls never overlap (`always_last`), so none can be overtaken.
    """
    first = gr.on(events, run, inputs, outputs, trigger_mode="always_last", **AT_ONCE)
    first.then(run, inputs, outputs, trigger_mode="always_last", **AT_ONCE)


def add_running() -> gr.Checkbox:
    """Whether an action is running: a hidden checkbox, because its `change` is an event for `keep_in_step`.

    A `gr.State` would not do: Gradio tells the page of its changes only in queued events.
    """
    return gr.Checkbox(visible="hidden", show_label=False, container=False)
