"""The page: its header, its tabs, each from its own file, what goes from tab to tab, and how it is served."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import gradio as gr
from gradio.route_utils import FnIndexInferError
from starlette.middleware import Middleware

from vjepa_demo import tasks
from vjepa_demo.app import html as render
from vjepa_demo.app.about_tab import add_about_tab
from vjepa_demo.app.api import add_api
from vjepa_demo.app.api_call import answer_wrong_call
from vjepa_demo.app.batch_tab import BatchTab
from vjepa_demo.app.checkpoint_panel import LOADING
from vjepa_demo.app.compare_tab import CompareTab
from vjepa_demo.app.events import AT_ONCE, TOLD, Values, shown_errors
from vjepa_demo.app.finetune_tab import FinetuneTab
from vjepa_demo.app.first_head import add_first_head
from vjepa_demo.app.forget import forget_idle_sessions
from vjepa_demo.app.guard import Guard, GuardedBlocks, serve_uploads
from vjepa_demo.app.history import to_compare
from vjepa_demo.app.model_choice import base_names, default_now, follow, model_choices
from vjepa_demo.app.rate_calls import serve_clips
from vjepa_demo.app.rate_tab import RateTab
from vjepa_demo.app.score_tab import ScoreTab
from vjepa_demo.app.session import Session, add_session, close_sessions
from vjepa_demo.config import ASSETS, MAX_WAITING, Part, limits, num_proxies, on_zero_gpu, page_login
from vjepa_demo.schema import DemoError
from vjepa_demo.wording import listed

if TYPE_CHECKING:
    from vjepa_demo.tasks import Bootstrapper, Scorer

TITLE = "V-JEPA 2 Video Quality"
STYLE = Path(__file__).with_name("style.css")
HEAD = f"<script>{Path(__file__).with_name('clone.js').read_text('utf-8')}</script>"
THEME = gr.themes.Soft(primary_hue="orange", neutral_hue="slate", font=["system-ui", "sans-serif"]).set(
    background_fill_primary="*neutral_50",  # what Soft has; `set` forgets it
    body_text_color_subdued="*neutral_600",  # small text has to stand out from the page by 4.5 to 1
    body_text_color_subdued_dark="*neutral_400",
    input_placeholder_color="*neutral_500",
    input_placeholder_color_dark="*neutral_400",
)
PARTS: dict[Part, str] = {"batch": "Batch", "rating": "Rate", "training": "Fine-tune"}
# Threads that compute: those of calls, a first head that is learned, this page's own model that is loaded.
WORKING = ("AnyIO worker thread", "bootstrap", "default model")
GRACE_SECONDS = 10.0  # for what runs when the server is told to end: a layer of a clip, a step of a training
DELETE_CACHE_SECONDS = (3600, 86400)  # every hour, Gradio deletes the uploads that are a day old

Result = TypeVar("Result")

logger = logging.getLogger(__name__)


def build_app(
    load_scorer: Callable[[str], Scorer], *, default_model: str = "demo", bootstrapper: Bootstrapper | None = None
) -> GuardedBlocks:
    """The page, not yet served. `load_scorer(name)` gives the scorer of a model, loading it at most once.

    The page tells how far `bootstrapper` is; the caller starts it.
    """
    with GuardedBlocks(title=TITLE, analytics_enabled=False, delete_cache=DELETE_CACHE_SECONDS) as app:
        badge = gr.HTML(render.header(TITLE, default_model, "loading"), elem_id="header")
        add_api(load_scorer, default_model, app)  # first: its endpoints get the names that handlers below have too
        session = add_session(app)
        app.owns_uploads(session)
        if app.login:
            gr.LoginButton(size="sm", elem_id="sign-in-first")
            gr.HTML(render.hint(f"Sign in for {listed([PARTS[part] for part in PARTS if part in app.login])}."))
        first_head = None if bootstrapper is None else add_first_head(app, bootstrapper)
        with gr.Tabs() as tabs:
            with gr.Tab("Score", id="score"):
                score = ScoreTab(load_scorer, default_model, session, recheck=first_head)
            with gr.Tab("Compare", id="compare"):
                compare = CompareTab(load_scorer, default_model, session, tabs=tabs)
            # What is switched off is not there, so that nothing can call it.
            batch = rate = finetune = None
            if app.has("batch"):
                with gr.Tab("Batch", id="batch"), app.part("batch"):
                    batch = BatchTab(load_scorer, default_model, session)
            if app.has("rating"):
                with gr.Tab("Rate", id="rate"), app.part("rating"):
                    rate = RateTab(session, default_model, score.model, tabs, app)
            if app.has("training"):
                with gr.Tab("Fine-tune", id="finetune"), app.part("training"):
                    finetune = FinetuneTab(session, default_model, score.model, tabs, app)
            with gr.Tab("About", id="about") as about:
                add_about_tab(about)
        for other in (compare.model, *([] if batch is None else [batch.model])):
            follow(score.model, other, session)
        if rate is not None:
            if batch is None:
                rate.batch.visible = False
            if finetune is None:
                rate.to_finetune.visible = False
            else:
                labelled = [finetune.labels, finetune.videos, finetune.labeller, tabs]
                with app.part("training"):
                    rate.to_finetune.click(rate.hand_over, {session, rate.key}, labelled, **LOADING)

        def send(values: Values, key: str | None) -> Values:
            with shown_errors():
                clip = to_compare(values[session].history, key)
            return compare.add_clip(values, clip.video, clip.result.prompt)

        def send_pressed(event: gr.EventData, values: Values) -> Values:
            """The clip of the history whose button was pressed, in the Compare tab."""
            return send(values, event.key)

        inputs = {session, *compare.inputs}
        score.history.send(send_pressed, inputs, compare.outputs, **TOLD)
        score.compare.click(lambda values: send(values, None), inputs, compare.outputs, **TOLD)

        def model_state() -> Iterator[str]:
            """The header while the default model loads, and once it has."""
            name = default_now(default_model)
            yield render.header(TITLE, name, "loading")
            try:
                yield render.header(TITLE, name, f"{load_scorer(name).hardware} · ready")
            except DemoError as error:
                logger.error("%s", error)
                yield render.header(TITLE, name, "not available")

        def choose_default(visitor: Session) -> Values:
            """This page's own model is chosen once it is loaded."""
            name = default_now(default_model)
            chosen: Values = {score.model: gr.Dropdown(model_choices(visitor), value=name)}
            if finetune is None:
                return chosen
            bases = base_names()
            base = name if name in bases else default_model
            return chosen | {finetune.base: gr.Dropdown(bases, value=base)}

        app.load(model_state, outputs=badge, **TOLD)
        if tasks.hosted_model() is not None:
            bases = [] if finetune is None else [finetune.base]
            app.load(choose_default, session, [score.model, *bases], **AT_ONCE)
            if first_head is not None:
                first_head.change(model_state, outputs=badge, **TOLD)
                # What a visitor has chosen meanwhile stays chosen.
                first_head.change(lambda visitor: gr.Dropdown(model_choices(visitor)), session, score.model, **AT_ONCE)
    return app


def launch(app: GuardedBlocks, **settings: Any) -> None:
    """Serve `app` with the page's theme, and return; host and port: GRADIO_SERVER_NAME and GRADIO_SERVER_PORT."""
    login, allowed, proxies = page_login(), limits(), num_proxies()
    app.queue(max_size=MAX_WAITING, api_open=False)  # nobody goes past the queue
    # uvicorn would take the visitor's address from X-Forwarded-For of whatever comes from this machine, Gradio's own
    # MCP server too, which passes on what its callers write there. The guard reads it, as far as it can be trusted.
    os.environ["FORWARDED_ALLOW_IPS"] = ""
    app.launch(
        theme=THEME,
        css_paths=[STYLE],
        head=HEAD,
        allowed_paths=[str(ASSETS / "examples")],
        max_file_size=None if math.isinf(allowed.upload_bytes) else int(allowed.upload_bytes),
        auth=login,
        app_kwargs={
            "middleware": [Middleware(Guard, blocks=app, allowed=allowed, proxies=proxies)],
            "exception_handlers": dict.fromkeys((KeyError, TypeError, FnIndexInferError), answer_wrong_call),
        },
        enable_monitoring=False,
        run_history=False,  # it would keep what was typed in the browser's storage, a token too
        quiet=True,
        prevent_thread_lock=True,
        # Startup has asked this server for an answer already, without a time limit. Gradio's second look has 3 seconds,
        # after which a busy machine is told that localhost cannot be reached.
        _frontend=False,
        # With the extra gradio[mcp]; else the page alone. Gradio's MCP server cannot log in.
        mcp_server=login is None and importlib.util.find_spec("mcp") is not None,
        **settings,
    )
    serve_uploads(app, allowed, proxies)
    forget_idle_sessions(app.app.state_holder)
    if app.has("rating"):
        serve_clips(app.app)
    logger.info("the page is on %s", app.local_url)


def in_event_loop(make: Callable[[], Result]) -> Result:
    """What `make` returns, called while an event loop runs in this thread.

    Without one, Gradio makes a loop for each of its locks and drops it open, and Python 3.12 writes a traceback for
    each that it collects.
    """

    async def call() -> Result:
        return make()

    return asyncio.run(call())


def serve_until_told(app: GuardedBlocks, bootstrapper: Bootstrapper) -> int:
    """Serve `app`, start `bootstrapper`, wait for SIGTERM or Ctrl-C, end what runs, and return the exit status.

    Called in the main thread. What runs for visitors is told to stop and has `GRACE_SECONDS` for it. Without that, a
    thread that is within torch while Python ends would bring the process down with a crash. A second signal ends it at
    once.
    """
    told: list[int] = []
    ended = threading.Event()

    def tell(number: int, frame: object) -> None:
        told.append(number)
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_DFL)
        ended.set()

    in_event_loop(partial(launch, app))
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, tell)
    tasks.prepare_decoding()  # the page is painted first
    bootstrapper.start()
    ended.wait()
    logger.info("told to end: closing the page")
    bootstrapper.cancel()
    close_sessions()
    app.close(verbose=False)  # begins nothing more
    status = 128 + told[0] if told[0] == signal.SIGTERM else 0
    latest = time.monotonic() + GRACE_SECONDS
    working = [thread for thread in threading.enumerate() if thread.name in WORKING]
    for thread in working:
        thread.join(max(0.0, latest - time.monotonic()))
    # Without Python's own end, which such a thread would not survive, and which waits for the processes of `spaces`.
    if any(thread.is_alive() for thread in working) or on_zero_gpu():
        logging.shutdown()
        os._exit(status)
    return status
