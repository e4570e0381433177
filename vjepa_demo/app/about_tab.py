"""The About tab: what the scores are, which models there are, and what not to read into a number."""

from __future__ import annotations

import gradio as gr

from vjepa_demo.app import html as render
from vjepa_demo.app.events import AT_ONCE, shown_errors
from vjepa_demo.config import ACR_WORDS, DIMENSION_MEANINGS, model_presets

TEXT = """
### What the scores are
Mean opinion scores on the absolute category rating scale of ITU-T P.910: {scale}.

{dimensions}

**Overall** is predicted by itself; in human ratings it is not the mean of the others.

### How they are made
The video encoder of [V-JEPA 2](https://arxiv.org/abs/2506.09985) reads frames of the clip, a text encoder
([BGE](https://huggingface.co/BAAI/bge-large-en-v1.5) in the large models) reads the prompt, and a small head turns both
into five scores (QualiVision, VQualA 2025). Below the scores stands what was seen: `demo` looks at the whole picture
all over the clip, at 16 frames in a row about its middle, and at small pieces at full resolution. What is elsewhere can
escape it. The large models see the centre square of shrunken frames, unless their head was trained to see more.

### Models
{models}

No public weights exist for the head, so an encoder alone cannot score: a model whose head was never trained refuses.

### What not to read into a number
A score ranks clips; it is no certificate. The `demo` model learned from clips that this project drew and degraded
itself: it has never seen a human rating, and it knows only a few hundred words. Those that it does not know are
underlined in your prompt, and Alignment then means nothing. Compare versions of the same clip rather than clips of
different kinds.

An upload is deleted from this server about a day after it came. The frames that the model saw of the last
clips stay in its memory until newer ones take their place, so that a second prompt costs nothing. What was
extracted from your uploads, your scores and the model you train are yours alone, and are deleted when your
session ends, about an hour after you close the page. What follows is all that stays longer.
"""


def add_about_tab(tab: gr.Tab) -> None:
    """Fill the current tab, `tab`; what is kept on disk, and what was measured of the models that are ready, is looked
    up whenever it is chosen."""
    gr.Markdown(
        TEXT.format(
            scale=", ".join(f"{number} {word}" for number, word in enumerate(ACR_WORDS, start=1)),
            dimensions="\n".join(f"- **{name}**: {meaning}" for name, meaning in DIMENSION_MEANINGS.items()),
            models="\n".join(
                f"- `{preset.name}`: {preset.summary} ({'ready' if preset.refusal is None else 'no trained head yet'})"
                for preset in model_presets().values()
            ),
        )
    )
    kept = gr.Markdown(elem_id="kept-on-disk")
    gr.Markdown("### What the models learned from, and how well they did")
    models = gr.HTML(elem_id="about-models")
    tab.select(_kept_on_disk, outputs=kept, **AT_ONCE)
    tab.select(_about_models, outputs=models, **AT_ONCE)


def _kept_on_disk() -> str:
    from vjepa_demo.model.features import about_store, feature_store  # loads torch: not before the page is painted

    with shown_errors():
        return about_store(feature_store())


def _about_models() -> str:
    from vjepa_demo.model.checkpoint import read_checkpoint  # loads torch: not before the page is painted

    with shown_errors():
        ready = [preset for preset in model_presets().values() if preset.refusal is None]
        return "".join(render.about_model(each.name, read_checkpoint(each.checkpoint).trained_on) for each in ready)
