"""The page: its header, its tabs, each from its own file, what goes from tab to tab, and how it is served."""

from __future__ import annotations

import importlib.util
import logging
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from starlette.middleware import Middleware

from vjepa_demo.app import html as render
from vjepa_demo.app.about_tab import add_about_tab
from vjepa_demo.app.api import add_api
from vjepa_demo.app.batch_tab import BatchTab
from vjepa_demo.app.checkpoint_panel import LOADING
from vjepa_demo.app.compare_tab import CompareTab
from vjepa_demo.app.events import TOLD, Values, shown_errors
from vjepa_demo.app.finetune_tab import FinetuneTab
from vjepa_demo.app.first_head import add_first_head
from vjepa_demo.app.guard import Guard, GuardedBlocks, serve_uploads
from vjepa_demo.app.history import to_compare
from vjepa_demo.app.model_choice import follow
from vjepa_demo.app.rate_calls import serve_clips
from vjepa_demo.app.rate_tab import RateTab
from vjepa_demo.app.score_tab import ScoreTab
from vjepa_demo.app.session import add_session
from vjepa_demo.config import ASSETS, MAX_WAITING, Part, limits, num_proxies, page_login
from vjepa_demo.schema import DemoError
from vjepa_demo.wording import listed

if TYPE_CHECKING:
    from vjepa_demo.tasks import Bootstrapper, Scorer

TITLE = "V-JEPA 2 Video Quality"
STYLE = Path(__file__).with_name("style.css")
THEME = gr.themes.Soft(primary_hue="orange", neutral_hue="slate", font=["system-ui", "sans-serif"]).set(
    background_fill_primary="*neutral_50",  # what Soft has; `set` forgets it
    body_text_color_subdued="*neutral_600",  # small text has to stand out from the page by 4.5 to 1
    body_text_color_subdued_dark="*neutral_400",
    input_placeholder_color="*neutral_500",
    input_placeholder_color_dark="*neutral_400",
)
PARTS: dict[Part, str] = {"batch": "Batch", "rating": "Rate", "training": "Fine-tune"}
DELETE_CACHE_SECONDS = (3600, 86400)  # every hour, Gradio deletes the uploads that are a day old

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
                    finetune = FinetuneTab(session, default_model, score.model, tabs)
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
            yield render.header(TITLE, default_model, "loading")
            try:
                yield render.header(TITLE, default_model, f"{load_scorer(default_model).hardware} · ready")
            except DemoError as error:
                logger.error("%s", error)
                yield render.header(TITLE, default_model, "not available")

        app.load(model_state, outputs=badge, **TOLD)
    return app


def launch(app: GuardedBlocks, **settings: Any) -> None:
    """Serve `app` with the page's theme, and return; host and port: GRADIO_SERVER_NAME and GRADIO_SERVER_PORT."""
    login, allowed, proxies = page_login(), limits(), num_proxies()
    app.queue(max_size=MAX_WAITING, api_open=False)  # nobody goes past the queue
    app.launch(
        theme=THEME,
        css_paths=[STYLE],
        allowed_paths=[str(ASSETS / "examples")],
        max_file_size=None if math.isinf(allowed.upload_bytes) else int(allowed.upload_bytes),
        auth=login,
        app_kwargs={"middleware": [Middleware(Guard, blocks=app, allowed=allowed, proxies=proxies)]},
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
    if app.has("rating"):
        serve_clips(app.app)
    logger.info("the page is on %s", app.local_url)
