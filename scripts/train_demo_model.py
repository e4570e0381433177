"""Train the `demo` model on procedural clips, from nothing or in a further sitting, and write it to `assets/demo`.

    python scripts/train_demo_model.py                       # draws what is missing, trains, exports
    python scripts/train_demo_model.py --run runs/further --start assets/demo --first-seed 10000
                                                             # a further sitting: from those weights, on other scenes
    python scripts/train_demo_model.py --export-only         # write out the last saved state
    python scripts/train_demo_model.py --evaluate assets/demo
    python scripts/train_demo_model.py --curve               # held-out SROCC of the states that were kept on the way

The same seed, settings, number of processes and model to start from give the same model, with the same Python, torch
and FFmpeg. A run saves as it goes into its folder and takes up there again; it may then be given more samples, or more
or fewer steps.
What it learns from is drawn once by `demo_samples.py`, before or beside it, and kept on disk: scenes in four variants,
and sketches (delete the folder when the code that draws them has changed). Captions, what is wrong with them,
mirroring, time's direction and some further faults are drawn anew each time.
"""

from __future__ import annotations

import argparse
import copy
import logging
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
import torch.distributed
from scipy import stats
from transformers import VJEPA2Model

sys.path.insert(0, str(Path(__file__).resolve().parent))

from demo_batches import Settings, held_out_clip
from demo_network import HEAD_HIDDEN, normalised, save_text_encoder, save_video_encoder
from demo_samples import CLIP, WithDefaults
from demo_training import Trainer

from vjepa_demo.config import ASSETS, DIMENSIONS, FREEZE_RATIO, PROJECT_ROOT, SCORE_MAX, SCORE_MIN, ModelConfig
from vjepa_demo.model.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from vjepa_demo.model.vjepa import VJEPAModel
from vjepa_demo.procedural.clips import caption_words
from vjepa_demo.procedural.faults import DEGRADATIONS
from vjepa_demo.schema import TrainedOn

logger = logging.getLogger("train_demo_model")


@dataclass(frozen=True)
class Evaluation:
    """What models said of the same held-out clips: scores (M, N, 5) of M models, labels (N, 5), and what each kind of
    fault costs each clip."""

    scores: np.ndarray
    labels: np.ndarray
    costs: list[dict[str, float]]

    def srocc(self, model: int = 0) -> dict[str, float]:
        """Spearman correlation of scores and labels, per dimension."""
        columns = zip(DIMENSIONS, self.scores[model].T, self.labels.T, strict=True)
        return {name: float(stats.spearmanr(scores, labels).statistic) for name, scores, labels in columns}

    def srocc_by_fault(self) -> dict[str, float]:
        """Spearman correlation of a fault's cost and the loss in its dimension, over the clips that have the fault."""
        result = {}
        for kind, degrader in DEGRADATIONS.items():
            having = [index for index, costs in enumerate(self.costs) if kind in costs]
            scores = self.scores[0, having, DIMENSIONS.index(degrader.dimension)]
            costs = [self.costs[index][kind] for index in having]
            result[kind] = float(stats.spearmanr(costs, -scores).statistic) if len(having) > 2 else math.nan
        return result

    def largest_difference(self) -> float:
        """How far the other models' scores are from the first one's, at most."""
        return float(abs(self.scores - self.scores[0]).max())


@torch.no_grad()
def evaluate(models: Sequence[VJEPAModel], samples: Path, num_clips: int) -> Evaluation:
    """Scores, from 1 to 5 as the program gives them, of `num_clips` clips that training never draws."""
    scores, labels, all_costs = [], [], []
    for number in range(num_clips):
        batch, costs = held_out_clip(samples, number)
        predicted = []
        for model in models:
            video = model.encode_video([normalised(view, model.device) for view in batch.views])
            answer = model.predict_with_features(video, model.encode_text(batch.captions))[0].cpu()
            predicted.append(answer.clamp(SCORE_MIN, SCORE_MAX))
        scores.append(torch.stack(predicted).numpy())
        labels.append(batch.labels[0].tolist())
        all_costs.append(costs)
    return Evaluation(np.stack(scores, axis=1), np.array(labels), all_costs)


def export(trainer: Trainer, folder: Path) -> TrainedOn:
    """Write the trained model to `folder` in half precision, with what it scores on held-out clips then."""
    settings, model = trainer.settings, copy.deepcopy(trainer.model).cpu().half()
    torch.manual_seed(settings.seed)  # of the predictor, which the layout needs and nothing runs
    video = VJEPA2Model(model.venc.config).half()
    video.encoder.load_state_dict(model.venc.state_dict())
    save_video_encoder(video, folder / "video_encoder")
    save_text_encoder(model.tenc, model.tokenizer, folder / "text_encoder")
    encoders = "./video_encoder", "./text_encoder"
    config = ModelConfig(*encoders, FREEZE_RATIO, head_hidden=HEAD_HIDDEN, views=CLIP.views)
    trained_on = TrainedOn(
        kind="procedural",
        num_clips=trainer.before["num_clips"]
        + 4 * min(settings.num_scenes, trainer.step * settings.scenes_per_batch)
        + settings.num_sketches
        - settings.seen_before,
        description="moving shapes and textures with known faults, and clean sketches of such, seen in one view alone",
        num_shared_prompts=None,
        known_words=tuple(sorted(caption_words())),
        recipe=recipe(trainer),
    )
    save_checkpoint(model, folder, trained_on=trained_on, model_config=config)
    exported = load_checkpoint(read_checkpoint(folder), device="cpu")
    evaluation = evaluate([exported, trainer.model.eval()], trainer.samples, settings.num_held_out)
    logger.info("half precision changes a score by at most %.4f", evaluation.largest_difference())
    trained_on = replace(trained_on, srocc=evaluation.srocc(), num_held_out=settings.num_held_out)
    save_checkpoint(model, folder, trained_on=trained_on, model_config=config)
    return trained_on


def recipe(trainer: Trainer) -> str:
    """How the model was made, for its card."""
    settings, before = trainer.settings, trainer.before
    begins = (
        f"{before['recipe']} Then, from there (weights {before['weights'][:12]}),"
        if before["recipe"]
        else "From nothing,"
    )
    last_seed = settings.first_seed + settings.num_scenes - 1
    sitting = (
        f"{begins} by scripts/train_demo_model.py, seed {settings.seed}: {trainer.step:,} steps of "
        f"{2 * settings.scenes_per_batch} clips ({settings.num_scenes:,} scenes in four variants, seeds "
        f"{settings.first_seed} to {last_seed}) and {settings.sketches_per_batch} sketches of "
        f"{settings.num_sketches:,}, further faults made on the way; Muon for the layers' matrices, learning rate "
        f"{settings.matrix_learning_rate:g}, AdamW for the rest, {settings.learning_rate:g}, cosine over "
        f"{settings.steps:,} steps; {trainer.seconds / 60:.0f} minutes."
    )
    basis = "The patch embedding is a fixed cosine basis; everything above it was trained."
    return sitting if before["recipe"] else f"{sitting} {basis}"


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; every field of `Settings` is an option."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=WithDefaults)
    runs = PROJECT_ROOT / "runs"
    parser.add_argument("--run", type=Path, default=runs / "demo_views", help="where the run is kept")
    parser.add_argument("--samples", type=Path, default=runs / "demo_samples", help="what it learns from")
    parser.add_argument("--out", type=Path, default=ASSETS / "demo", help="where the model is written")
    parser.add_argument("--processes", type=int, default=1, help="that share a batch, one thread each")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cuda or cpu")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after these; the run can be taken up")
    parser.add_argument("--export-only", action="store_true", help="write out the last saved state")
    parser.add_argument("--evaluate", type=Path, metavar="FOLDER", help="print the held-out SROCC of a model")
    parser.add_argument("--curve", action="store_true", help="print the held-out SROCC of the states that were kept")
    for each in fields(Settings):
        option = f"--{each.name.replace('_', '-')}"
        parser.add_argument(option, type=type(each.default), default=each.default, help=each.metadata["help"])
    return parser.parse_args(arguments)


def settings_of(options: argparse.Namespace) -> Settings:
    """Those of the command line.

    Raises:
        SystemExit: if they contradict each other.
    """
    try:
        return Settings(**{name: getattr(options, name) for name in asdict(Settings())})
    except ValueError as error:
        raise SystemExit(str(error)) from error


def train(rank: int, options: argparse.Namespace) -> None:
    """What each process does: its share of every batch."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    if options.processes > 1:
        meeting = f"file://{options.run.resolve()}/meeting.{options.started}"
        torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=options.processes)
    shares = {"rank": rank, "world": options.processes, "device": options.device}
    trainer = Trainer(options.run, options.samples, settings_of(options), **shares)
    for report in trainer.run(until=options.started + 60 * options.minutes):
        if rank == 0 and report["step"] % 20 == 0:
            logger.info("%s", "  ".join(f"{name} {value:.4g}" for name, value in report.items()))
    if options.processes > 1:
        torch.distributed.destroy_process_group()


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, save, export; or evaluate a model that was exported."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options = parse_arguments(arguments)
    options.started = time.time()
    if options.evaluate:
        report_on(options.evaluate, options.samples, options.num_held_out)
        return
    if options.curve:
        report_curve(_trained(options), options.num_held_out)
        return
    if not options.export_only:
        options.run.mkdir(parents=True, exist_ok=True)
        if options.processes > 1:
            torch.multiprocessing.spawn(train, (options,), nprocs=options.processes)
        else:
            train(0, options)
    trainer = _trained(options)
    if trainer.step < trainer.settings.steps and not options.export_only:
        logger.info("stopped at step %d of %d: run again to go on", trainer.step, trainer.settings.steps)
        return
    logger.info("held-out SROCC %s", _in_words(export(trainer, options.out).srocc))


def _trained(options: argparse.Namespace) -> Trainer:
    """The run as it was saved last."""
    if not (options.run / "state.pt").exists():
        raise SystemExit(f"{options.run} holds no trained state: train first, or name the folder of the run with --run")
    settings = Settings(**torch.load(options.run / "state.pt", weights_only=True, map_location="cpu")["settings"])
    return Trainer(options.run, options.samples, replace(settings, num_held_out=options.num_held_out))


def report_on(folder: Path, samples: Path, num_clips: int) -> None:
    """Log how well the model of `folder` does on held-out clips, in float32, and how far bfloat16 is from it."""
    checkpoint = read_checkpoint(folder)
    models = [load_checkpoint(checkpoint, device="cpu", dtype=dtype) for dtype in (torch.float32, torch.bfloat16)]
    evaluation = evaluate(models, samples, num_clips)
    logger.info("held-out SROCC %s", _in_words(evaluation.srocc()))
    logger.info("SROCC of cost and loss %s", _in_words(evaluation.srocc_by_fault()))
    logger.info("bfloat16 changes a score by at most %.4f", evaluation.largest_difference())


def report_curve(trainer: Trainer, num_clips: int) -> None:
    """Print the held-out SROCC of each state that a run kept, and of the last one, as a table."""
    print(f"| step | minutes | {' | '.join(DIMENSIONS)} |\n| --- | --- |{' --- |' * len(DIMENSIONS)}")
    kept = sorted(trainer.folder.glob("kept_*.pt"), key=lambda path: int(path.stem.removeprefix("kept_")))
    last = trainer.step
    for file in (*kept, trainer.state_file):
        trainer.restore(file)
        if trainer.step == last and file != trainer.state_file:
            continue
        srocc = evaluate([trainer.model.eval()], trainer.samples, num_clips).srocc().values()
        cells = " | ".join(f"{value:.2f}" for value in srocc)
        print(f"| {trainer.step:,} | {trainer.seconds / 60:.0f} | {cells} |", flush=True)


def _in_words(srocc: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in srocc.items())


if __name__ == "__main__":
    main()
