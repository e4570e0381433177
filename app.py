"""The Space's entry point: builds the page and serves it; the first visit loads the model."""

from __future__ import annotations

import ctypes
import logging
import os
import sys

from vjepa_demo.config import (
    MODEL_VARIABLE,
    check_settings,
    decode_for_visitors,
    model_presets,
    on_zero_gpu,
    wait_passively,
)

try:
    check_settings()  # now, because Gradio reads its port when it is imported
except ValueError as error:
    sys.exit(f"error: {error}")

if on_zero_gpu():
    wait_passively()
    import spaces  # noqa: F401  # it patches torch, and has to come before Gradio and torch

from vjepa_demo import tasks
from vjepa_demo.app.model_choice import load_scorer
from vjepa_demo.app.page import build_app, in_event_loop, serve_until_told
from vjepa_demo.schema import DemoError

SET_DUMPABLE = 4  # PR_SET_DUMPABLE of <sys/prctl.h>

logger = logging.getLogger(__name__)


def choose_model() -> str:
    """The best model that can score here; torch is only asked where a large one could."""
    presets, wanted = model_presets(), os.environ.get(MODEL_VARIABLE, "").strip()
    if wanted in presets and presets[wanted].refusal is None:
        return wanted
    return "demo" if presets["vitg"].refusal is not None else tasks.default_model()


def keep_environment_private() -> None:
    """Other processes of the same user, such as one that decodes a stranger's file, cannot read this one's memory or
    environment, where tokens are."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_DUMPABLE, 0)


def main() -> None:
    keep_environment_private()
    wait_passively()
    decode_for_visitors()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # Gradio's requests to itself
    hosted = tasks.hosted_model()
    if on_zero_gpu():
        place_encoders()
        if hosted is not None:
            hosted.load()
    elif hosted is not None:
        hosted.start()
    bootstrapper = tasks.Bootstrapper()
    app = in_event_loop(lambda: build_app(load_scorer, default_model=choose_model(), bootstrapper=bootstrapper))
    sys.exit(serve_until_told(app, bootstrapper))


def place_encoders() -> None:
    """Put the encoders of the large models that can score here on the shared GPU; one that fails stays on the CPU."""
    for name, preset in model_presets().items():
        if name != "demo" and preset.refusal is None:
            try:
                tasks.place(name)
            except DemoError as error:
                logger.error("%s is not on the shared GPU: %s", name, error)


if __name__ == "__main__":
    main()
