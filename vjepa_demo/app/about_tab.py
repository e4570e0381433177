"""The About tab: what the scores are, which models there are, and what not to read into a number."""

from __future__ import annotations

import gradio as gr

from vjepa_demo import tasks
from vjepa_demo.app import html as render
from vjepa_demo.app.events import TOLD, Values, shown_errors, without_folders
from vjepa_demo.app.first_head import is_at_the_machine
from vjepa_demo.config import ACR_WORDS, DIMENSION_MEANINGS, NEUTRAL_PROMPT, model_presets
from vjepa_demo.wording import about_cache

TEXT = """
### What the scores are
Mean opinion scores (MOS) on the absolute category rating scale of ITU-T P.910: {scale}.

{dimensions}

The model predicts **Overall** by itself: in human ratings it is not the mean of the other four.

### How the scores are made
The [V-JEPA 2](https://arxiv.org/abs/2506.09985) video encoder reads frames of the clip. A text encoder
([BGE](https://huggingface.co/BAAI/bge-large-en-v1.5) in the large models) reads the prompt. A small head turns both
into five scores (QualiVision, VQualA 2025).

Below the scores, the page shows the frames that the model saw. `demo` looks at whole frames spread over the clip, at
16 consecutive frames from the middle, and at small patches in full resolution. It can miss a fault anywhere else. The
large models see the centre square of downscaled frames, unless their head was trained to see more.

### Models
{models}

Nobody has published a trained head. A model whose head was never trained gives no scores.

### What a score does not tell you
Use scores to compare versions of the same clip. Scores of different kinds of clips are hard to compare, and no score
certifies quality. `demo` learned from clips that this project drew and degraded: it has never seen a human rating. It
knows only a few hundred words. The page underlines every word of your prompt that `demo` does not know. Alignment then
means nothing, and all other scores use the prompt “{neutral_prompt}”.

### Your data
- The server deletes an upload about a day after it came.
- The server keeps the frames of the last clips in memory, so that a second prompt is fast. Newer clips replace them.
- Only you can see your scores, the files unpacked from your uploads, and the model you train. The server deletes them
  when your session ends, about an hour after you close the page.
"""


def add_about_tab(tab: gr.Tab) -> None:
    """Fill the current tab, `tab`; the state of the cache and of the models is looked up whenever it is chosen."""
    gr.Markdown(
        TEXT.format(
            neutral_prompt=NEUTRAL_PROMPT,
            scale=", ".join(f"{number} {word}" for number, word in enumerate(ACR_WORDS, start=1)),
            dimensions="\n".join(f"- **{name}**: {meaning}" for name, meaning in DIMENSION_MEANINGS.items()),
            models="\n".join(
                f"- `{preset.name}`: {preset.summary} ({'ready' if preset.refusal is None else 'no trained head yet'})"
                for preset in model_presets().values()
            ),
        )
    )
    cache = gr.Markdown(elem_id="kept-on-disk")
    gr.Markdown("### What the models learned from, and how well they do")
    models = gr.HTML(elem_id="about-models")

    def look_up(request: gr.Request) -> Values:
        with shown_errors():
            size = tasks.cache_size()
            ready = [preset.name for preset in model_presets().values() if preset.refusal is None]
            about_models = [render.about_model(name, tasks.find_checkpoint(name).trained_on) for name in ready]
            if (hosted := tasks.hosted_model()) is not None and hosted.is_ready:
                about_models.insert(0, render.about_model(hosted.shown, hosted.scorer().trained_on))
        kept = about_cache(size.folder, size.num_files, size.num_bytes, size.budget_bytes)
        if not is_at_the_machine(request):
            kept = without_folders(kept)
        return {cache: kept, models: "".join(about_models)}

    tab.select(look_up, outputs=[cache, models], **TOLD)
