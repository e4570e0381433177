"""Write a trained `demo` model as a checkpoint, and evaluate models on held-out clips."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from transformers import VJEPA2Model

from scripts.demo_model.batches import held_out_clip
from scripts.demo_model.network import HEAD_HIDDEN, normalised, save_text_encoder, save_video_encoder
from scripts.demo_model.photographs import TABLE, credits
from scripts.demo_model.samples import CLIP, PHOTOGRAPHS
from scripts.demo_model.training import Trainer
from vjepa_demo.config import DEMO_LOOKS, DIMENSIONS, FREEZE_RATIO, SCORE_MAX, SCORE_MIN, ModelConfig
from vjepa_demo.model.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from vjepa_demo.model.vjepa import VJEPAModel
from vjepa_demo.procedural.clips import caption_words
from vjepa_demo.procedural.faults import DEGRADATIONS
from vjepa_demo.schema import TrainedOn

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """Scores (M, N, 5) that M models gave to the same N held-out clips, the labels (N, 5), and for each clip what each
    of its faults costs."""

    scores: np.ndarray
    labels: np.ndarray
    costs: list[dict[str, float]]

    def srocc(self, model: int = 0) -> dict[str, float]:
        """SROCC of a model's scores and the labels, per dimension."""
        columns = zip(DIMENSIONS, self.scores[model].T, self.labels.T, strict=True)
        return {name: float(stats.spearmanr(scores, labels).statistic) for name, scores, labels in columns}

    def srocc_by_fault(self) -> dict[str, float]:
        """For each kind of fault, over the clips that have it: SROCC of its cost and the first model's score in its
        dimension, sign reversed. NaN for fewer than three clips."""
        result = {}
        for kind, degrader in DEGRADATIONS.items():
            having = [index for index, costs in enumerate(self.costs) if kind in costs]
            scores = self.scores[0, having, DIMENSIONS.index(degrader.dimension)]
            costs = [self.costs[index][kind] for index in having]
            result[kind] = float(stats.spearmanr(costs, -scores).statistic) if len(having) > 2 else math.nan
        return result

    def largest_difference(self) -> float:
        """The largest difference between a score of the first model and one of another model."""
        return float(abs(self.scores - self.scores[0]).max())


@torch.no_grad()
def evaluate(models: Sequence[VJEPAModel], samples: Path, num_clips: int) -> Evaluation:
    """Score the first `num_clips` held-out clips with each model, clamped to 1..5, all dimensions from the caption: the
    program would use a neutral prompt where it has a strange word. A model may have fewer views than `CLIP`."""
    scores, labels, all_costs = [], [], []
    seeing = [_looking_once(model) for model in models]
    for number in range(num_clips):
        batch, costs = held_out_clip(samples, number)
        predicted = []
        for model in seeing:
            views = [view for view, each in zip(batch.views, CLIP.views, strict=True) if each in model.config.views]
            video = model.encode_video([normalised(view, model.device) for view in views])
            answer = model.predict_with_features(video, model.encode_text(batch.captions))[0].cpu()
            predicted.append(answer.clamp(SCORE_MIN, SCORE_MAX))
        scores.append(torch.stack(predicted).numpy())
        labels.append(batch.labels[0].tolist())
        all_costs.append(costs)
    return Evaluation(np.stack(scores, axis=1), np.array(labels), all_costs)


def _looking_once(model: VJEPAModel) -> VJEPAModel:
    """`model`, which looks at a clip once: of a held-out clip only one look was drawn."""
    return model.looking_as(replace(model.config, looks=1), replace(model.clip_config, looks=1))


def export(trainer: Trainer, folder: Path) -> TrainedOn:
    """Write the trained model to `folder` in half precision, with its SROCC on held-out clips."""
    settings, model = trainer.settings, copy.deepcopy(trainer.model).cpu().half()
    torch.manual_seed(settings.seed)  # for the weights of the predictor, which the layout needs and which never runs
    video = VJEPA2Model(model.venc.config).half()
    video.encoder.load_state_dict(model.venc.state_dict())
    save_video_encoder(video, folder / "video_encoder")
    save_text_encoder(model.tenc, model.tokenizer, folder / "text_encoder")
    encoders = "./video_encoder", "./text_encoder"
    config = ModelConfig(*encoders, FREEZE_RATIO, head_hidden=HEAD_HIDDEN, views=CLIP.views, looks=DEMO_LOOKS)
    trained_on = TrainedOn(
        kind="procedural",
        num_clips=trainer.before["num_clips"]
        + 5 * min(settings.num_scenes, trainer.step * settings.scenes_per_batch)
        + settings.num_sketches
        - settings.seen_before,
        description="drawn scenes and photographs with known faults, and clean sketches that only one view saw",
        num_shared_prompts=None,
        known_words=tuple(sorted(caption_words())),
        recipe=recipe(trainer),
    )
    save_checkpoint(model, folder, trained_on=trained_on, model_config=config)
    exported = load_checkpoint(read_checkpoint(folder), device="cpu")
    evaluation = evaluate([exported, trainer.model.eval()], trainer.samples, settings.num_held_out)
    logger.info("half precision changes a score by at most %.4f", evaluation.largest_difference())
    known = {name: value for name, value in evaluation.srocc().items() if not math.isnan(value)}
    trained_on = replace(trained_on, srocc=known, num_held_out=settings.num_held_out)
    save_checkpoint(model, folder, trained_on=trained_on, model_config=config)
    return trained_on


def recipe(trainer: Trainer) -> str:
    """How the model was made, for its card."""
    settings, before = trainer.settings, trainer.before
    if before["recipe"]:
        start = f"{before['recipe']} Then, from there (weights {before['weights'][:12]}),"
    else:
        start = "From nothing,"
    last_seed = settings.first_seed + settings.num_scenes - 1
    run = (
        f"{start} by scripts/demo_model, seed {settings.seed}: {trainer.step:,} steps of "
        f"{2 * settings.scenes_per_batch} clips ({settings.num_scenes:,} scenes in four variants and a twin, seeds "
        f"{settings.first_seed} to {last_seed}) and {settings.sketches_per_batch} sketches of "
        f"{settings.num_sketches:,}, further faults added during training; Muon for the layers' matrices, learning "
        f"rate {settings.matrix_learning_rate:g}, AdamW for the rest, {settings.learning_rate:g}, cosine over "
        f"{settings.steps:,} steps; {trainer.seconds / 60:.0f} minutes."
    )
    if (PHOTOGRAPHS / TABLE).exists():
        run += f"\nPhotographs in the scenes, by {'; '.join(credits(PHOTOGRAPHS))}."
    basis = "The patch embedding is a fixed cosine basis; everything above it was trained."
    return run if before["recipe"] else f"{run} {basis}"
