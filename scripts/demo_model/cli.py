"""Train the `demo` model on procedural clips and write it to `assets/demo`.

    python -m scripts.demo_model                       # draw what is missing, train, export
    python -m scripts.demo_model --run runs/further --start assets/demo --first-seed 10000
                                                       # train an existing model further, on other scenes
    python -m scripts.demo_model --export-only         # export the state that was saved last
    python -m scripts.demo_model --evaluate assets/demo
    python -m scripts.demo_model --curve               # held-out SROCC of the states that the run kept
    python -m scripts.demo_model --calibrate assets/demo
                                                       # draw fresh clips, write the intervals of the scores into it

The same seed, settings, number of processes, photographs and start model give the same model, with the same Python,
torch and FFmpeg.
A run saves itself into its folder as it goes and resumes there. A resumed run may have more samples, and more
or fewer steps.
Samples are drawn once, by this command or beforehand by `python -m scripts.demo_model.samples`, and stay on disk:
scenes in five variants, and sketches. Delete their folder when the code that draws them changes. Captions, wrong
statements, mirroring, reversed time and some more faults are drawn again each time.
"""

from __future__ import annotations

import argparse
import logging
import math
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

import torch
import torch.distributed

from scripts.demo_model.batches import Settings
from scripts.demo_model.calibration import calibrate
from scripts.demo_model.export import evaluate, export
from scripts.demo_model.samples import WithDefaults
from scripts.demo_model.training import Trainer
from vjepa_demo.config import ASSETS, DIMENSIONS, PROJECT_ROOT
from vjepa_demo.model.checkpoint import load_checkpoint, read_checkpoint

logger = logging.getLogger(__name__)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; every field of `Settings` is an option."""
    parser = argparse.ArgumentParser("python -m scripts.demo_model", description=__doc__, formatter_class=WithDefaults)
    runs = PROJECT_ROOT / "runs"
    parser.add_argument("--run", type=Path, default=runs / "demo_views", help="folder of the run")
    parser.add_argument("--samples", type=Path, default=runs / "samples", help="folder of the samples")
    parser.add_argument("--out", type=Path, default=ASSETS / "demo", help="folder to export the model to")
    parser.add_argument("--processes", type=int, default=1, help="processes that share a batch, one thread each")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cuda or cpu")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after this time; the run can be resumed")
    parser.add_argument("--export-only", action="store_true", help="export the state that was saved last")
    parser.add_argument("--evaluate", type=Path, metavar="FOLDER", help="print the held-out SROCC of a model")
    parser.add_argument("--calibrate", type=Path, metavar="FOLDER", help="write the intervals of a model's scores")
    parser.add_argument(
        "--first-calibration-seed", type=int, default=4100, help="of `make-dataset`, for 100 clips each"
    )
    parser.add_argument("--num-calibration-seeds", type=int, default=10, help="how many such seeds")
    parser.add_argument("--curve", action="store_true", help="print the held-out SROCC of the states that were kept")
    for each in fields(Settings):
        option = f"--{each.name.replace('_', '-')}"
        parser.add_argument(option, type=type(each.default), default=each.default, help=each.metadata["help"])
    return parser.parse_args(arguments)


def train(rank: int, options: argparse.Namespace) -> None:
    """Train process `rank` of the run: its share of every batch.

    Raises:
        SystemExit: if the settings contradict each other.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    try:
        settings = Settings(**{name: getattr(options, name) for name in asdict(Settings())})
    except ValueError as error:
        raise SystemExit(str(error)) from error
    if options.processes > 1:
        meeting = f"file://{options.run.resolve()}/meeting.{options.started}"
        torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=options.processes)
    shares = {"rank": rank, "world": options.processes, "device": options.device}
    trainer = Trainer(options.run, options.samples, settings, **shares)
    for report in trainer.run(until=options.started + 60 * options.minutes):
        if rank == 0 and report["step"] % 20 == 0:
            logger.info("%s", "  ".join(f"{name} {value:.4g}" for name, value in report.items()))
    if options.processes > 1:
        torch.distributed.destroy_process_group()


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, save and export; or export, evaluate or print the learning curve alone."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options = parse_arguments(arguments)
    options.started = time.time()
    if options.evaluate:
        report_on(options.evaluate, options.samples, options.num_held_out)
        return
    if options.calibrate:
        first = options.first_calibration_seed
        seeds = range(first, first + options.num_calibration_seeds)
        found, counts = calibrate(options.calibrate, options.samples, seeds)
        for name, count in counts.items():
            logger.info("%s ± %s, from %d clips", name, found.get(name), count)
        return
    if options.curve:
        report_curve(_saved_run(options), options.num_held_out)
        return
    if not options.export_only:
        options.run.mkdir(parents=True, exist_ok=True)
        if options.processes > 1:
            multiprocessing.set_forkserver_preload([__name__])  # import torch once for all processes
            torch.multiprocessing.start_processes(
                train, (options,), nprocs=options.processes, start_method="forkserver"
            )
        else:
            train(0, options)
    trainer = _saved_run(options)
    if trainer.step < trainer.settings.steps and not options.export_only:
        logger.info("stopped at step %d of %d: run the command again to resume", trainer.step, trainer.settings.steps)
        return
    logger.info("held-out SROCC %s", _in_words(export(trainer, options.out).srocc))


def _saved_run(options: argparse.Namespace) -> Trainer:
    """The run in its last saved state."""
    if not (options.run / "state.pt").exists():
        raise SystemExit(f"{options.run} holds no trained state: train first, or name the folder of the run with --run")
    settings = Settings(**torch.load(options.run / "state.pt", weights_only=True, map_location="cpu")["settings"])
    return Trainer(options.run, options.samples, replace(settings, num_held_out=options.num_held_out))


def report_on(folder: Path, samples: Path, num_clips: int) -> None:
    """Log the held-out SROCC of the model in `folder` in float32, and how far bfloat16 moves its scores."""
    checkpoint = read_checkpoint(folder)
    models = [load_checkpoint(checkpoint, device="cpu", dtype=dtype) for dtype in (torch.float32, torch.bfloat16)]
    evaluation = evaluate(models, samples, num_clips)
    logger.info("held-out SROCC %s", _in_words(evaluation.srocc()))
    logger.info("SROCC of cost and loss %s", _in_words(evaluation.srocc_by_fault()))
    logger.info("bfloat16 changes a score by at most %.4f", evaluation.largest_difference())


def report_curve(trainer: Trainer, num_clips: int) -> None:
    """Print a table of the held-out SROCC of each state that the run kept, and of the last state."""
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
