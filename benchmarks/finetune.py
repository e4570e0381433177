"""How much faster fine-tuning is than the reference way, and how much less memory it takes.

    python -m benchmarks.finetune [--model vitl|vitg|tiny] [--clips N] [--batch N] [--frames N] [--epochs N]

Fine-tunes a model with random weights on N clips of noise, of which a fifth validate: scope `head`, scope `top`, and
the reference way. That is transformers' AutoModel in float32: each step runs the whole encoder and the predictor on the
pixels of a whole batch; the layers of `top` and the same head learn, with the same labels, loss, optimizer and rates.
Each way runs in a process of its own, one after another; with `tiny` all run in this one, whose memory says nothing.

Clips are ready in all ways: nothing is decoded. Dropout is off, so that all ways have the same loss before anything was
learned: that of the first epoch, where all clips are one batch. Seconds grow with the number of clips, except those in
which an epoch's state is written; ratios hardly do.
"""

# ruff: noqa: E402 (torch comes after wait_passively)

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from vjepa_demo.config import (
    DIMENSIONS,
    LEARNING_RATE_FACTORS,
    PROJECT_ROOT,
    ClipConfig,
    ModelConfig,
    TrainConfig,
    wait_passively,
)

wait_passively()

import torch
from torch import nn

from benchmarks.full_size import encode_reference, load_reference, machine, markdown_table, write_encoders
from benchmarks.measures import at_least, at_most, peak_bytes
from vjepa_demo.media.video import Clip, clip_pixels
from vjepa_demo.model.features import FeatureCache
from vjepa_demo.model.losses import mos_loss
from vjepa_demo.model.vjepa import VJEPAModel, default_device, resolve_device
from vjepa_demo.schema import EpochReport, TrainingData, VideoRecord
from vjepa_demo.tasks.evaluate import label_tensor
from vjepa_demo.tasks.train import schedule, train

Way = Literal["head", "top", "reference"]
LAST_LINE = "measured: "
CACHE_BYTES = 20 * 10**9
RATE = 8.0  # frames a second of the clips: no model looks at it


@dataclass(frozen=True)
class Settings:
    """What is trained on what: `encoders` are the folders of the video and of the text encoder."""

    encoders: tuple[str, str]
    clips: int
    batch: int
    epochs: int

    @property
    def config(self) -> TrainConfig:
        return TrainConfig(epochs=self.epochs, batch_size=self.batch, patience=self.epochs)


@dataclass(frozen=True)
class Run:
    """What one way took: `epoch_seconds` (with validation), the first with encoding; the whole run; the peak memory;
    what the cache holds a clip; and the mean loss of the first epoch."""

    epoch_seconds: list[float]
    seconds: float
    peak_bytes: int
    cached_bytes: float
    loss: float


def noise(path: Path, config: ClipConfig, *, should_stop: Callable[[], bool] = bool) -> Clip:
    """A clip of noise, which the name of `path` decides."""
    generator = torch.Generator().manual_seed(int(path.stem))
    shape = config.num_frames, 3, config.crop_size, config.crop_size
    frames = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return Clip(frames, tuple(index / RATE for index in range(config.num_frames)), config.num_frames / RATE)


def make_data(folder: Path, count: int) -> TrainingData:
    """`count` records with random labels, a fifth of them to validate with."""
    generator = torch.Generator().manual_seed(0)
    records = []
    for index in range(count):
        video = folder / f"{index}.mp4"
        video.write_bytes(index.to_bytes(8))  # known by its content; `noise` never reads it
        labels = (1 + 4 * torch.rand(len(DIMENSIONS), generator=generator)).tolist()
        named = dict(zip(DIMENSIONS, labels, strict=True))
        records.append(VideoRecord(video.name, video, f"prompt {index}", named, line=index + 2))
    held = max(1, count // 5)
    return TrainingData(records[held:], records[:held], description="noise", kind="procedural")


def with_new_head(model: VJEPAModel) -> VJEPAModel:
    """`model` with a head that is the same in all ways, and without dropout."""
    model.draw_head(0)
    for module in model.head.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def run_ours(way: Literal["head", "top"], settings: Settings, folder: Path) -> Run:
    """Train through `tasks.train.train`."""
    data, device = make_data(folder, settings.clips), resolve_device(default_device())
    model = with_new_head(VJEPAModel.from_config(ModelConfig(*settings.encoders), device=device))
    config = TrainConfig(**asdict(settings.config) | {"scope": way})
    cache = FeatureCache(folder / "cache", disk_bytes=CACHE_BYTES)
    losses, seconds, begin = [], [], time.perf_counter()
    for report in train(model, data, config, folder / "out", load=noise, cache=cache):
        if isinstance(report, EpochReport):
            seconds.append(report.seconds if losses else time.perf_counter() - begin)
            losses.append(report.loss)
    whole = time.perf_counter() - begin
    files, size = cache.size()
    return Run(seconds, whole, peak_bytes(os.getpid()), size / files, losses[0])


def run_reference(settings: Settings, folder: Path) -> Run:
    """Train two epochs by the reference way. All others take as long as the second: nothing is kept."""
    data, config, device = make_data(folder, settings.clips), settings.config, resolve_device(default_device())
    model = with_new_head(VJEPAModel(*settings.encoders, device=device))
    model.set_trainable(top_layers=True, text=False)
    trained = {f"encoder.{name}" for name, value in model.venc.named_parameters() if value.requires_grad}
    del model.venc  # only the head and the text encoder are of use here
    reference, clip_config = load_reference(settings.encoders[0], device), model.clip_config
    for name, value in reference.named_parameters():
        value.requires_grad_(name in trained)
    top, head = [value for value in reference.parameters() if value.requires_grad], list(model.head.parameters())
    rates = [config.learning_rate * LEARNING_RATE_FACTORS[name] for name in ("video_encoder", "prediction_head")]
    groups = [{"params": params, "lr": rate} for params, rate in zip((top, head), rates, strict=True)]
    optimizer = torch.optim.AdamW(groups, weight_decay=config.weight_decay)
    texts = {each.prompt: model.encode_text([each.prompt]) for each in (*data.train, *data.validation)}

    def pixels_of(records: Sequence[VideoRecord]) -> torch.Tensor:
        clips = [clip_pixels(noise(each.video, clip_config), clip_config)[0] for each in records]
        return torch.cat(clips).to(device)  # (B, C, T, H, W)

    def text_of(records: Sequence[VideoRecord]) -> torch.Tensor:
        return torch.cat([texts[each.prompt] for each in records])

    losses, epoch_seconds = [], []
    starts = range(0, len(data.train), config.batch_size)
    for epoch in range(2):
        begin = time.perf_counter()
        reference.train()
        for step, start in enumerate(starts, start=epoch * len(starts)):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * schedule(step, config.epochs * len(starts), config.warmup_share)
            records = data.train[start : start + config.batch_size]
            pixels = pixels_of(records).transpose(1, 2)  # (B, T, C, H, W), as transformers wants
            output = reference(pixel_values_videos=pixels, output_hidden_states=True)
            predictions = model.predict_with_features(output.last_hidden_state.mean(dim=1), text_of(records))
            loss = mos_loss(predictions, label_tensor(records).to(predictions.device))
            loss.backward()
            nn.utils.clip_grad_norm_([*top, *head], config.gradient_clip)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
            del output, predictions, loss  # else the graph of this step would be there during the next one
        reference.eval()
        for record in data.validation:
            model.predict_with_features(encode_reference(reference, pixels_of([record])), text_of([record]))
        epoch_seconds.append(time.perf_counter() - begin)
    first, later = epoch_seconds
    seconds = [first] + [later] * (config.epochs - 1)
    return Run(seconds, sum(seconds), peak_bytes(os.getpid()), 0.0, statistics.mean(losses[: len(starts)]))


def run(way: Way, settings: Settings) -> Run:
    """Train in one `way`, in this process."""
    with tempfile.TemporaryDirectory() as work:
        return run_reference(settings, Path(work)) if way == "reference" else run_ours(way, settings, Path(work))


def run_apart(way: Way, settings: Settings) -> Run:
    """Train in one `way`, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.finetune", "--way", way, "--settings", json.dumps(asdict(settings))]
    said = subprocess.run(command, check=True, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True).stdout
    return Run(**json.loads(said.rpartition(LAST_LINE)[2]))


def tables(runs: dict[Way, Run], epochs: int, *, large: bool) -> str:
    """What was measured, and the ratios; `large` if the targets are for this model."""
    ways, top, reference = list(runs), runs["top"], runs["reference"]
    later = {way: statistics.median(run.epoch_seconds[1:]) for way, run in runs.items()}
    measured = [
        ("first epoch, with encoding, s", *(f"{run.epoch_seconds[0]:.2f}" for run in runs.values())),
        ("a later epoch, s", *(f"{later[way]:.3f}" for way in ways)),
        (f"a run of {epochs} epochs, s", *(f"{run.seconds:.2f}" for run in runs.values())),
        ("peak memory, GB", *(f"{run.peak_bytes / 1e9:.2f}" for run in runs.values())),
        ("cached a clip, MB", *(f"{run.cached_bytes / 1e6:.3f}" for run in runs.values())),
        ("loss of the first epoch", *(f"{run.loss:.6f}" for run in runs.values())),
    ]
    ratios = [
        ("a later epoch, reference way over `top`", later["reference"] / later["top"], 12, at_least),
        (f"a run of {epochs} epochs, reference way over `top`", reference.seconds / top.seconds, 8, at_least),
        ("peak memory, `top` over reference way", top.peak_bytes / reference.peak_bytes, 0.5, at_most),
    ]
    held = [(name, f"{value:.2f}", said(value, limit) if large else "") for name, value, limit, said in ratios]
    return f"{markdown_table(('', *ways), measured)}\n\n{markdown_table(('ratio', 'measured', 'target'), held)}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("tiny", "vitl", "vitg"), default="vitl")
    parser.add_argument("--clips", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--way", choices=get_args(Way), help=argparse.SUPPRESS)  # this is a process of `run_apart`
    parser.add_argument("--settings", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.way:
        print(LAST_LINE + json.dumps(asdict(run(options.way, Settings(**options.settings)))))
        return
    if options.epochs < 2 or options.clips < 3:
        parser.error("--epochs takes 2 or more, --clips 3 or more")
    with tempfile.TemporaryDirectory() as work:
        encoders = write_encoders(Path(work), options.model, frames=options.frames)
        settings = Settings(encoders, options.clips, options.batch, options.epochs)
        measure = run if options.model == "tiny" else run_apart
        runs: dict[Way, Run] = {way: measure(way, settings) for way in get_args(Way)}
    held = max(1, options.clips // 5)
    print(
        f"{options.model}, {options.frames} frames, {options.clips - held} training and {held} validation clips, ",
        end="",
    )
    print(f"batches of {options.batch}; {machine()}\n")
    print(tables(runs, options.epochs, large=options.model == "vitl"))


if __name__ == "__main__":
    main()
