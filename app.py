"""The Space's entry point: builds the page and serves it; the first visit loads the model."""

from __future__ import annotations

import logging

from vjepa_demo import tasks
from vjepa_demo.app.page import build_app, launch
from vjepa_demo.config import decode_for_visitors, model_presets, wait_passively


def load_scorer(name: str) -> tasks.Scorer:
    """The scorer of the model `name`; the first call loads torch, not before the page is painted."""
    return tasks.get_scorer(name)


def choose_model() -> str:
    """The best model that can score here; torch is only asked where a large one could."""
    return "demo" if model_presets()["vitg"].refusal is not None else tasks.default_model()


def main() -> None:
    wait_passively()
    decode_for_visitors()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # Gradio's requests to itself
    bootstrapper = tasks.Bootstrapper()
    app = build_app(load_scorer, default_model=choose_model(), bootstrapper=bootstrapper)
    launch(app)
    tasks.prepare_decoding()  # the page is painted first
    bootstrapper.start()
    app.block_thread()


if __name__ == "__main__":
    main()
