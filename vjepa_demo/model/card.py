"""The model card of a checkpoint: its data, its metrics, the no-video baseline, its limits."""

from __future__ import annotations

from vjepa_demo.config import DIMENSIONS, HUB_ID, HUB_LIBRARY, SCORE_MAX, SCORE_MIN, ModelConfig
from vjepa_demo.schema import TrainedOn, as_markdown
from vjepa_demo.wording import card_verdict, caution, known_words, margins_line


def model_card(
    config: ModelConfig, trained_on: TrainedOn, label_range: tuple[float, float] = (SCORE_MIN, SCORE_MAX)
) -> str:
    """The README of a checkpoint, in the Hub's format: its data, its metrics, the no-video baseline, its limits."""
    on_hub = [source for source in (config.video_encoder, config.text_encoder) if HUB_ID.fullmatch(source)]
    base_models = "".join(["base_model:\n", *(f"- {source}\n" for source in on_hub)]) if on_hub else ""
    labels = "The labels are scores from 1 to 5."
    if tuple(label_range) != (SCORE_MIN, SCORE_MAX):
        labels = f"The labels, from {label_range[0]:g} to {label_range[1]:g}, were mapped linearly to 1 to 5."
    recipe = "\n".join(map(as_markdown, trained_on.recipe.splitlines()))
    recipe = f"\n## Recipe\n\n{recipe}\n" if recipe else ""
    shared = trained_on.num_shared_prompts
    if shared is None:
        prompts = "that were not trained on, nor what they show (the prompts of a few may have been)"
    elif shared:
        prompts = f"({shared:,} of them with prompts that were trained on, which flatters the numbers)"
    else:
        prompts = "with prompts that were not trained on"
    rows = "\n".join(
        f"| {name} | {f'{trained_on.srocc[name]:.3f}' if name in trained_on.srocc else 'undefined'} |"
        for name in DIMENSIONS
    )
    metrics = ""
    if not trained_on.has_only_pairs:
        metrics = (
            f"Held-out Spearman correlation (SROCC), {trained_on.num_held_out:,} clips {prompts}:\n\n"
            f"| dimension | SROCC |\n| --- | --- |\n{rows}\n\n"
        )
    measured = "".join(
        f"| {as_markdown(what)} | {as_markdown(value)} |\n" for what, value in trained_on.measured.items()
    )
    if measured:
        measured = f"\n| what else was measured | |\n| --- | --- |\n{measured}"
    limits = {
        "procedural": "It has seen no human label: its scores order procedural degradations and only hint at opinions.",
        "human": "Its scores are as good as its labels, and hold for videos like those it learned from.",
        "undeclared": "Nobody said who gave its labels. Its scores hold at most for videos like those it learned from.",
    }[trained_on.kind]
    limits = " ".join(filter(None, (limits, caution(trained_on, after_verdict=True))))
    words = ""
    if trained_on.known_words:
        known = as_markdown(known_words(trained_on))
        words = f"Alignment means nothing for prompts with other words than these: {known}.\n"
    return f"""---
license: apache-2.0
library_name: {HUB_LIBRARY}
pipeline_tag: video-classification
{base_models}tags: [video-quality-assessment, v-jepa-2]
---
# Video quality model

Five mean opinion scores (1 Bad .. 5 Excellent) for a video and the prompt it was made from:
{", ".join(DIMENSIONS)}.

- video encoder: `{config.video_encoder}`, pooled by `{config.pooling}`
- text encoder: `{config.text_encoder}`

## Data

Trained on {as_markdown(str(trained_on))}. {labels}
{recipe}
## Metrics

{metrics}{_pairs(trained_on)}{card_verdict(trained_on)}

{margins_line(trained_on)}
{measured}
## Limits

{limits}
{words}A score does not say whether what a video shows is true, safe or lawful.
"""


def _pairs(trained_on: TrainedOn) -> str:
    """How often the model tells the better clip of a pair, as a table; empty where nobody judged that."""
    pairs = trained_on.pairs
    if pairs is None or not pairs.accuracy:
        return ""
    rows = "".join(
        f"| {name} | {pairs.accuracy[name]:.1%} | {pairs.guess[name]:.1%} |\n"
        for name in DIMENSIONS
        if name in pairs.accuracy and name in pairs.guess
    )
    return (
        f"### Pairs\n\nOf {pairs.num_held_out:,} pairs of clips with prompts that were not trained on, those with a "
        "better clip: how often it has the higher score, beside always guessing the commoner answer.\n\n"
        f"| dimension | accuracy without ties | guess |\n| --- | --- | --- |\n{rows}\n"
    )
