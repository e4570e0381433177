"""The Space's entry point: builds the page and serves it; the first visit loads the model."""

import logging
from typing import TYPE_CHECKING

from vjepa_demo.app.page import build_app, launch
from vjepa_demo.config import model_presets, wait_passively
from vjepa_demo.tasks.bootstrap import Bootstrapper

if TYPE_CHECKING:
    from vjepa_demo.tasks.score import Scorer


def load_scorer(name: str) -> "Scorer":
    from vjepa_demo.tasks.score import get_scorer  # loads torch: not before the page is painted

    return get_scorer(name)


def choose_model() -> str:
    """The best model that can score here; torch is only asked where a large one could."""
    if model_presets()["vitg"].refusal is not None:
        return "demo"
    from vjepa_demo.tasks.score import default_model

    return default_model()


def main() -> None:
    wait_passively()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # Gradio's requests to itself
    bootstrapper = Bootstrapper()
    app = build_app(load_scorer, default_model=choose_model(), bootstrapper=bootstrapper)
    launch(app)
    bootstrapper.start()
    app.block_thread()


if __name__ == "__main__":
    main()
