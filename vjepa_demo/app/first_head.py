"""The line on a first head that is being learned in the background, and the button that cancels it.

Only the person at the machine can cancel: on a public Space any visitor could press the button, and would take the
model from all others. So the button is there, and works, only where the page was opened as `localhost` on the machine
that serves it, without a proxy between. Anybody else waits, or restarts the server with VJEPA_DEMO_BOOTSTRAP=0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import gradio as gr

from vjepa_demo import tasks
from vjepa_demo.app import html as render
from vjepa_demo.app.events import AT_ONCE, TOLD, Values, without_folders
from vjepa_demo.config import is_a_space
from vjepa_demo.wording import first_head_line

if TYPE_CHECKING:
    from vjepa_demo.tasks import Bootstrapper

POLL_SECONDS = 2.0
LOCAL = ("localhost", "127.0.0.1", "::1")


def add_first_head(app: gr.Blocks, bootstrapper: Bootstrapper) -> gr.HTML:
    """A line that follows `bootstrapper`, and the loading of this page's own model, until both have ended; it changes
    when a model becomes usable."""
    with gr.Row(visible=False, elem_id="first-head") as row:
        line = gr.HTML(elem_id="first-head-line")
        cancel = gr.Button("Cancel", size="sm", scale=0, min_width=100, elem_id="first-head-cancel")
    timer, hosted = gr.Timer(POLL_SECONDS), tasks.hosted_model()

    def show(request: gr.Request) -> Values:
        state = bootstrapper.state()
        lines = [first_head_line(state), "" if hosted is None else without_folders(hosted.line)]
        text = " ".join(line for line in lines if line)
        is_settled = state.is_settled and (hosted is None or hosted.is_settled)
        running = not state.is_settled and state.phase not in ("stopping", "elsewhere")
        return {
            row: gr.Row(visible=bool(text)),
            line: render.hint(text),
            cancel: gr.Button(visible=running and is_at_the_machine(request)),
            timer: gr.Timer(active=not is_settled),
        }

    def stop(request: gr.Request) -> Values:
        if not is_at_the_machine(request):
            raise gr.Error("only somebody at the machine that serves the page can cancel", print_exception=False)
        bootstrapper.cancel()
        return show(request)

    shown = [row, line, cancel, timer]
    gr.on([app.load, timer.tick], show, outputs=shown, **AT_ONCE)
    cancel.click(stop, outputs=shown, **TOLD)
    return line


def is_at_the_machine(request: gr.Request) -> bool:
    """Whether the page was opened on the machine that serves it, and that machine is not a Space."""
    opened_as = urlsplit(f"//{request.headers.get('host', '')}").hostname
    came_from = request.client.host if request.client else None
    proxied = "x-forwarded-for" in request.headers or "forwarded" in request.headers
    return opened_as in LOCAL and came_from in LOCAL and not proxied and not is_a_space()
