"""The Blocks: header with the model's state, and a tab each from its own file."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from vjepa_demo.app import html as render
from vjepa_demo.app.about_tab import add_about_tab
from vjepa_demo.app.api import add_api
from vjepa_demo.app.batch_tab import add_batch_tab
from vjepa_demo.app.compare_tab import CSS as COMPARE_CSS
from vjepa_demo.app.compare_tab import add_compare_tab
from vjepa_demo.app.finetune_tab import add_finetune_tab
from vjepa_demo.app.first_head import add_first_head
from vjepa_demo.app.history import wire_compare
from vjepa_demo.app.model_choice import follow
from vjepa_demo.app.score_tab import add_score_tab
from vjepa_demo.app.session import add_session
from vjepa_demo.app.theme import CSS, THEME
from vjepa_demo.config import ASSETS, MAX_UPLOAD_BYTES, MAX_WAITING
from vjepa_demo.schema import DemoError

if TYPE_CHECKING:
    from vjepa_demo.tasks.bootstrap import Bootstrapper
    from vjepa_demo.tasks.score import Scorer

TITLE = "V-JEPA 2 Video Quality"
# An upload is deleted a day after it came; looked for every hour.
DELETE_CACHE_SECONDS = (3600, 86400)

logger = logging.getLogger(__name__)


def build_app(
    load_scorer: Callable[[str], Scorer], *, default_model: str = "demo", bootstrapper: Bootstrapper | None = None
) -> gr.Blocks:
    """The page, not yet served. `load_scorer(name)` gives the scorer of a model, loading it at most once.

    The page says how far `bootstrapper` is; who builds the page starts it.
    """
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=DELETE_CACHE_SECONDS) as app:
        badge = gr.HTML(render.header(TITLE, default_model, "loading"), elem_id="header")
        session = add_session(app)
        first_head = None if bootstrapper is None else add_first_head(app, bootstrapper)
        with gr.Tabs() as tabs:
            with gr.Tab("Score", id="score"):
                score = add_score_tab(load_scorer, default_model, session, recheck=first_head)
            with gr.Tab("Compare", id="compare"):
                compare = add_compare_tab(load_scorer, default_model, session, tabs=tabs)
            with gr.Tab("Batch", id="batch"):
                batch_model = add_batch_tab(load_scorer, default_model, session)
            with gr.Tab("Fine-tune", id="finetune"):
                add_finetune_tab(session, default_model, score.model, tabs)
            with gr.Tab("About", id="about") as about:
                add_about_tab(about)
        add_api(load_scorer, default_model, app)
        for other in (compare.model, batch_model):
            follow(score.model, other, session)
        wire_compare(score.history, score.compare, compare, session)

        def model_state() -> Iterator[str]:
            """The header while the default model loads, and once it has."""
            yield render.header(TITLE, default_model, "loading")
            try:
                yield render.header(TITLE, default_model, f"{load_scorer(default_model).hardware} · ready")
            except DemoError as error:
                logger.error("%s", error)
                yield render.header(TITLE, default_model, "not available")

        app.load(
            model_state,
            outputs=badge,
            show_progress="hidden",
            concurrency_limit=None,
            api_visibility="private",
        )
    return app


def launch(app: gr.Blocks, **settings: Any) -> None:
    """Serve `app` with the page's theme, and return; host and port: GRADIO_SERVER_NAME and GRADIO_SERVER_PORT."""
    app.queue(max_size=MAX_WAITING)
    examples = [str(ASSETS / "examples")]
    app.launch(
        theme=THEME,
        css=CSS,
        css_paths=[COMPARE_CSS],
        allowed_paths=examples,
        max_file_size=MAX_UPLOAD_BYTES,
        quiet=True,
        prevent_thread_lock=True,
        # Startup has asked this server for an answer already, without a time limit. Gradio's second look has 3 seconds,
        # after which a busy machine is told that localhost cannot be reached.
        _frontend=False,
        mcp_server=importlib.util.find_spec("mcp") is not None,  # with the extra gradio[mcp]; else the page alone
        **settings,
    )
    logger.info("the page is on %s", app.local_url)
