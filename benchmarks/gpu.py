"""What the project does on a GPU, in a table: `python -m benchmarks.gpu [--tiny] [--device cpu]`.

Scores, speed of ViT-g, fine-tuning, a first head, and what happens where the memory is too small. Needs no weights, no
video and no network, and of libraries only torch, transformers, accelerate, safetensors and scipy. Takes less than
8 minutes on one H100 or H200. Each row is printed as soon as it is measured. A section that fails prints its error as
a row, the others go on, and the exit status is 1. `--tiny` runs the same on an encoder that a CPU runs at once: its
numbers mean nothing.
"""

from __future__ import annotations

import argparse
import gc
import logging
import math
import os
import signal
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch

os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is downloaded, and nobody waits for a network that is not there

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers.utils import logging as transformers_logging

from benchmarks.full_size import encode_reference, load_reference, machine, markdown_row, markdown_table, write_encoders
from vjepa_demo.config import CACHE_GB_VARIABLE, DIMENSIONS, MIN_VALIDATION_CLIPS, ClipConfig, ModelConfig, TrainConfig
from vjepa_demo.media.sampling import view_frames, view_indices
from vjepa_demo.media.video import Clip, clip_pixels
from vjepa_demo.model import layers, vjepa
from vjepa_demo.model.checkpoint import find_checkpoint, load_checkpoint, read_checkpoint
from vjepa_demo.model.cost import clip_flops
from vjepa_demo.model.features import FeatureCache
from vjepa_demo.model.vjepa import VJEPAModel, default_device, inference_dtype, on_scale
from vjepa_demo.schema import (
    EncodingReport,
    EpochReport,
    LabelRange,
    ModelError,
    RecordSet,
    TrainingData,
    TrainingResult,
    VideoRecord,
)
from vjepa_demo.tasks.launch import enough_memory
from vjepa_demo.tasks.train import split_for_training, train

COLUMNS = "what", "measured", "expected"
TOTAL_SECONDS = 470  # of all sections; what is left of 8 minutes takes the start
RATE_SECONDS = 0.5
TOLERANCE = 0.02  # MOS that the precision may change
DRAWN_FRAMES, DRAWN_SECONDS, DRAWN_EDGE = 12, 2.0, 96  # small: drawing takes longer than all the rest
# The seed's run: clips to learn from, clips to judge by, epochs.
SEED_TRAIN, SEED_VALIDATION, SEED_EPOCHS = 3200, 800, 10
CACHE_BYTES = 16 << 30  # of memory, for the clips of a run here: they must all fit, as on a disk
CPU_TOO_MUCH = 1 << 47  # bytes that no process can have

Row = tuple[str, str, str]


@dataclass
class Bench:
    """What the sections share: `device`, an empty `folder`, and the sizes of a real or a tiny run."""

    device: torch.device
    folder: Path
    tiny: bool
    _rates: dict[torch.dtype, float] = field(default_factory=dict)

    @property
    def repeats(self) -> int:
        """How often what is timed is run."""
        return 1 if self.tiny else 3

    @cached_property
    def encoders(self) -> ModelConfig:
        """The configuration of ViT-g with random weights, which are written on the first call."""
        video, text = write_encoders(self.folder / "encoders", "tiny" if self.tiny else "vitg")
        return ModelConfig(video, text)

    @cached_property
    def model(self) -> VJEPAModel:
        """ViT-g as it scores; the sections on speed share it."""
        return VJEPAModel.from_config(self.encoders, device=self.device, dtype=inference_dtype(self.device))

    @cached_property
    def pixels(self) -> Tensor:
        """Normalised pixels (1, C, T, H, W) of a clip for `model`, on the device."""
        return clip_pixels(drawn_clip(0, self.model.clip_config)[0], self.model.clip_config, self.device)[0]

    def demo(self, device: torch.device) -> VJEPAModel:
        """The `demo` model as it scores on `device`; in float32 on the CPU, whatever that is fast at."""
        dtype = inference_dtype(device) if device.type == "cuda" else torch.float32
        return load_checkpoint(find_checkpoint("demo"), device=device, dtype=dtype)

    def seconds_of(self, run: Callable[[], object]) -> float:
        """Seconds that `run` takes on the device, the median of `repeats`; it runs once before."""
        times = []
        for _ in range(self.repeats + 1):
            begin = self.now()
            run()
            times.append(self.now() - begin)
        return statistics.median(times[1:])

    def now(self) -> float:
        """Seconds on a clock, once all that was given to the device is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def rate(self, dtype: torch.dtype) -> float:
        """Floating point operations a second of large products, kept up for about a second: a GPU runs faster for a
        moment than it can for long."""
        if dtype not in self._rates:
            edge = 256 if self.tiny else 8192
            a, b = (torch.randn(edge, edge, device=self.device).to(dtype) for _ in range(2))
            torch.mm(a, b)
            times = 1
            while True:
                begin = self.now()
                for _ in range(times):
                    torch.mm(a, b)
                seconds = self.now() - begin
                if seconds >= RATE_SECONDS or self.tiny:
                    break
                times *= 2
            self._rates[dtype] = 2.0 * edge**3 * times / seconds
        return self._rates[dtype]

    def forget_peak(self) -> None:
        """Count the memory of `peak` anew from here."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def peak(self) -> str:
        """The most memory that tensors took on the device since `forget_peak`, in words."""
        if self.device.type != "cuda":
            return "no GPU memory"
        return f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB of GPU memory"

    def free(self) -> None:
        """Give back the memory of the models that nobody uses any more."""
        for name in ("model", "pixels"):
            self.__dict__.pop(name, None)
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


# ---- (a) scores ------------------------------------------------------------------------------------------------------


def scores(bench: Bench) -> Iterator[Row]:
    """`demo` on the device against `demo` on the CPU in float32, by the path that a clip takes."""
    on_cpu, on_device = bench.demo(torch.device("cpu")), bench.demo(bench.device)
    difference, num_clips = 0.0, 1 if bench.tiny else 8
    for seed in range(num_clips):
        clip, prompt, _ = drawn_clip(seed, on_cpu.clip_config)
        expected, got = (score(model, clip, prompt) for model in (on_cpu, on_device))
        difference = max(difference, float((expected - got).abs().max()))
    yield (
        f"demo, {name_of(on_device)} against CPU float32: largest difference of a score, {num_clips} {DRAWN_BY} clips",
        f"{difference:.3f} MOS",
        f"at most {TOLERANCE}",
    )
    if difference > TOLERANCE + 1e-6:
        raise ValueError(f"the scores differ by {difference:.3f}")
    clip, prompt, _ = drawn_clip(0, on_device.clip_config)
    yield "demo, a clip", f"{bench.seconds_of(lambda: score(on_device, clip, prompt)):.3f} s", ""


def score(model: VJEPAModel, clip: Clip, prompt: str) -> Tensor:
    """Scores (5,) of a clip, as they are shown, on the CPU."""
    features = model.encode_video(clip_pixels(clip, model.clip_config, model.device))
    with torch.no_grad():
        return on_scale(model.predict_with_features(features, model.encode_text([prompt])))[0].cpu()


# ---- (b) speed of ViT-g ----------------------------------------------------------------------------------------------


def eager(bench: Bench) -> Iterator[Row]:
    """Seconds a clip with each attention kernel, one clip and two in a forward pass."""
    model, flops = bench.model, clip_flops(bench.model)
    rate = bench.rate(model.dtype)
    config: Any = model.venc.config
    shown = f"{model.clip_config.num_frames} frames of {config.crop_size} px, {model.tokens_of_views[0]:,} tokens"
    yield (
        f"{shown}: floor at the matrix rate of {name_of(model)}, {rate / 1e12:.3g} TFLOP/s",
        f"{flops / rate:.3f} s ({flops / 1e12:.4g} TFLOP)",
        "0.144 s on an H200",
    )
    for batch in (1, 2):
        bench.forget_peak()
        seconds = bench.seconds_of(partial(encode, bench, batch))
        yield f"eager, as the program runs, batch {batch}", rate_of(bench, seconds / batch), "0.30 s"
        yield f"the same: peak with {name_of(model)} weights", bench.peak(), ""
    for backend in backends(bench):
        for batch in (1, 2):
            if backend == SDPBackend.MATH and not math_fits(bench, batch):
                measured = "not run: the attention matrix of a layer does not fit"
            else:
                try:
                    with sdpa_kernel([backend]):
                        seconds = bench.seconds_of(partial(encode, bench, batch))
                    measured = rate_of(bench, seconds / batch)
                except torch.OutOfMemoryError:
                    raise
                except RuntimeError as error:  # this kernel is not there for this device, precision or head
                    measured = f"not there: {str(error).splitlines()[0]}"
            yield f"eager, {backend.name}, batch {batch}", measured, ""


def compiled(bench: Bench) -> Iterator[Row]:
    """The same with each layer through `torch.compile`."""
    expected = encode(bench, 1)
    # aot_eager traces as inductor does, and leaves out the minute that a compiler takes.
    run_layer = torch.compile(layers.run_layers, dynamic=False, backend="aot_eager" if bench.tiny else "inductor")

    def run_layers(some: Sequence[Any], hidden: Tensor, *, before_layer: Callable[[], None] | None = None) -> Tensor:
        for layer in some:
            hidden = run_layer([layer], hidden.contiguous())  # the patch embedding's is not: another graph
        return hidden

    kept_tables = layers.rotary_tables

    @torch.compiler.assume_constant_result  # else the graph of a layer would compute the tables anew
    def tables(*shape: Any) -> tuple[Tensor, Tensor]:
        return kept_tables(*shape)

    # Past its limit of recompilations Dynamo would run eagerly and say nothing.
    strict = torch._dynamo.config.patch(fail_on_recompile_limit_hit=True)
    with strict, patch.object(vjepa, "run_layers", run_layers), patch.object(layers, "rotary_tables", tables):
        for batch in (1,) if bench.tiny else (1, 2):
            begin = bench.now()
            got = encode(bench, batch)
            first = bench.now() - begin
            seconds = bench.seconds_of(partial(encode, bench, batch))
            similar = float(F.cosine_similarity(got[:1], expected))
            yield (
                f"compiled layers, batch {batch}; compiled in {first - seconds:.0f} s; cosine to eager {similar:.5f}",
                rate_of(bench, seconds / batch),
                "0.30 s",
            )


def reference(bench: Bench) -> Iterator[Row]:
    """The reference way: float32, the predictor too, all hidden states kept."""
    ours = encode(bench, 1)
    pixels, video_encoder = bench.pixels, bench.encoders.video_encoder
    rate, flops = bench.rate(torch.float32), clip_flops(bench.model)
    bench.free()
    model = load_reference(video_encoder, bench.device)
    bench.forget_peak()
    similar = float(F.cosine_similarity(encode_reference(model, pixels), ours))
    begin = bench.now()
    encode_reference(model, pixels)
    seconds = bench.now() - begin
    yield "reference way, batch 1", f"{seconds:.3f} s a clip, {share(flops, seconds, rate)} in float32", ""
    yield "the same: peak", bench.peak(), ""
    yield "its pooled features to ours: cosine", f"{similar:.5f}", "1.000"


def encode(bench: Bench, batch: int) -> Tensor:
    """Pooled features (batch, hidden) of as many copies of the clip."""
    return bench.model.encode_video(bench.pixels.expand(batch, -1, -1, -1, -1))


def backends(bench: Bench) -> list[SDPBackend]:
    """The kernels of `scaled_dot_product_attention` that a device of this kind may have."""
    fused = [SDPBackend.FLASH_ATTENTION]
    if bench.device.type == "cuda":
        fused += [SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]
    return [*fused, SDPBackend.MATH]


def math_fits(bench: Bench, batch: int) -> bool:
    """Whether three copies in float32 of a layer's attention matrix fit in the free memory of the GPU."""
    if bench.device.type != "cuda":
        return True
    torch.cuda.empty_cache()
    config: Any = bench.model.venc.config
    needed = 3 * 4 * batch * config.num_attention_heads * max(bench.model.tokens_of_views) ** 2
    return needed < torch.cuda.mem_get_info()[0]


def rate_of(bench: Bench, seconds: float) -> str:
    """What `seconds` a clip are, beside what the same matrix products would take alone."""
    rate = bench.rate(bench.model.dtype)
    return f"{seconds:.3f} s a clip, {share(clip_flops(bench.model), seconds, rate)}"


def share(flops: float, seconds: float, rate: float) -> str:
    return f"{flops / seconds / rate:.0%} of the matrix rate"


def name_of(model: VJEPAModel) -> str:
    """Where and in which precision `model` multiplies."""
    return f"{model.device.type.upper()} {str(model.dtype).removeprefix('torch.')}"


# ---- (c) fine-tuning of the top layers -------------------------------------------------------------------------------


def top_layers(bench: Bench) -> Iterator[Row]:
    """Scope `top` at the default settings: two epochs of three steps, and what the seed's run would take."""
    config = TrainConfig(scope="top", epochs=2)
    steps = 2 if bench.tiny else 3  # an epoch
    num_train, num_validation = steps * config.batch_size, 4
    bench.free()
    model = VJEPAModel.from_config(bench.encoders, device=bench.device)  # float32: the weights that learn
    model.draw_head(config.seed)
    clips = DrawnClips(bench.folder / "top", num_train + num_validation, model.clip_config, distinct=2)
    data = TrainingData(clips.records[:num_train], clips.records[num_train:], "drawn clips", kind="procedural")
    asked: list[float] = []  # when `train` asked whether to stop: before each step

    def should_stop() -> bool:
        asked.append(bench.now())
        return False

    cache = FeatureCache(memory_bytes=CACHE_BYTES)
    peaks: list[str] = []
    encoding: list[float] = []
    epochs: list[tuple[list[float], EpochReport]] = []
    run = train(model, data, config, bench.folder / "top_run", load=clips.load, cache=cache, should_stop=should_stop)
    bench.forget_peak()
    for report in run:
        if isinstance(report, EncodingReport):
            encoding.append(bench.now())  # when each clip ended
        if isinstance(report, EncodingReport) and report.done == report.total:
            if report.recomputed:
                raise ValueError(f"{report.recomputed} clips do not fit into the cache of this benchmark")
            peaks.append(bench.peak())
            asked.clear()
            bench.forget_peak()
        elif isinstance(report, EpochReport):
            epochs.append((list(asked), report))
            asked.clear()
    peaks.append(bench.peak())
    stamps, epoch = epochs[-1]
    # Asked once a step or more often, but as often in each: a step's share of the time from the first to the last.
    step = (stamps[-1] - stamps[0]) / (len(stamps) - 1) * len(stamps) / steps
    encode_seconds = statistics.median(end - begin for begin, end in pairwise(encoding))
    clip = clips.load(clips.records[0].video, model.clip_config)
    hidden = model.encode_prefix(clip_pixels(clip, model.clip_config, model.device))
    with torch.no_grad():
        judge_seconds = bench.seconds_of(lambda: model.encode_tail(hidden))
    rest = epoch.seconds - steps * step - num_validation * judge_seconds
    bytes_of_clip = hidden.numel() * model.dtype.itemsize
    yield "top: the frozen layers of a clip, once, without decoding", f"{encode_seconds:.3f} s", ""
    yield f"top: a step of {config.batch_size} clips", f"{step:.3f} s", ""
    yield "top: judging a validation clip", f"{judge_seconds:.3f} s", ""
    yield "top: the rest of an epoch (saving the state)", f"{max(rest, 0.0):.1f} s", ""
    yield "top: peak while the clips are read", peaks[0], "below 24 GB"
    yield "top: peak while it learns", peaks[1], "below 24 GB"
    per_epoch = SEED_TRAIN / config.batch_size * step + SEED_VALIDATION * judge_seconds + max(rest, 0.0)
    hours = ((SEED_TRAIN + SEED_VALIDATION) * encode_seconds + SEED_EPOCHS * per_epoch) / 3600
    yield (
        f"the seed's run, projected: {SEED_TRAIN:,} + {SEED_VALIDATION} clips, {SEED_EPOCHS} epochs, without decoding, "
        "cache in memory",
        f"{hours:.2f} h",
        "below 1.5 h (15.2 h)",
    )
    total = (SEED_TRAIN + SEED_VALIDATION) * bytes_of_clip
    needed = f"{total / 1e9:.0f} GB ({bytes_of_clip / 1e6:.1f} MB a clip)"
    yield f"the same: it needs a cache for all clips, {CACHE_GB_VARIABLE}={total * 1.05 / 1e9:.0f}", needed, ""


# ---- (d) a first head ------------------------------------------------------------------------------------------------


def first_head(bench: Bench) -> Iterator[Row]:
    """A new head for the encoders of `demo`: it learns from drawn clips, is saved, loaded again, and scores.

    As `tasks.bootstrap` does it, but that the drawn clips are not written as videos: that takes FFmpeg.
    """
    begin, demo = bench.now(), find_checkpoint("demo")
    config = TrainConfig(epochs=5) if bench.tiny else TrainConfig()
    video, text = (str(demo.folder / source) for source in (demo.model.video_encoder, demo.model.text_encoder))
    small = replace(demo.model, video_encoder=video, text_encoder=text)
    model = VJEPAModel.from_config(bench.encoders if bench.tiny else small, device=bench.device)
    model.draw_head(config.seed)
    count = 5 * MIN_VALIDATION_CLIPS if bench.tiny else 60
    clips = DrawnClips(bench.folder / "first", count, model.clip_config, distinct=count)
    drawn = bench.now()
    records = RecordSet(tuple(clips.records), (), LabelRange(), num_rows=len(clips.records))
    data, _ = split_for_training(records, config, description="drawn clips", kind="procedural")
    reports = list(train(model, data, config, bench.folder / "first_run", load=clips.load))
    losses, result = [each.loss for each in reports if isinstance(each, EpochReport)], reports[-1]
    assert isinstance(result, TrainingResult)
    assert result.evaluation is not None
    checkpoint = read_checkpoint(result.folder)
    loaded = load_checkpoint(checkpoint, device=bench.device, dtype=inference_dtype(bench.device))
    record = result.validation[0]
    again = score(loaded, clips.load(record.video, model.clip_config), record.prompt)
    difference = float((again - torch.tensor(result.predictions[0])).abs().max())
    found = result.evaluation.dimensions["Overall"].srocc.value
    yield (
        f"first head of a small encoder, through `train` ({len(data.train)} + {len(data.validation)} clips, "
        f"{DRAWN_BY}; not written as videos)",
        f"{bench.now() - drawn:.1f} s, and {drawn - begin:.1f} s to draw",
        "",
    )
    yield f"the same: loss of the first and of epoch {len(losses)}", f"{losses[0]:.3f}, {losses[-1]:.3f}", "lower"
    yield "the same: SROCC of Overall on held-out clips", "undefined" if found is None else f"{found:.2f}", ""
    yield "the same: a score from the saved checkpoint, apart by", f"{difference:.3f} MOS", f"at most {TOLERANCE}"
    if losses[-1] >= losses[0] or difference > TOLERANCE + 1e-6:
        raise ValueError(
            f"the loss went from {losses[0]:.3f} to {losses[-1]:.3f}, the scores are {difference:.3f} apart"
        )


# ---- (e) out of memory -----------------------------------------------------------------------------------------------


def out_of_memory(bench: Bench) -> Iterator[Row]:
    """More clips in a forward pass than the memory holds; then the same process scores again."""
    model = bench.demo(bench.device)
    clip, prompt, _ = drawn_clip(0, model.clip_config)
    before = score(model, clip, prompt)
    hidden = model.encode_prefix(clip_pixels(clip, model.clip_config, model.device))  # (1, N, hidden)
    has = torch.cuda.get_device_properties(bench.device).total_memory if bench.device.type == "cuda" else CPU_TOO_MUCH
    # So many that an activation of the first layer of the smallest view alone is larger than the memory.
    batch = math.ceil(1.2 * has / (hidden[:, : min(model.tokens_of_views)].numel() * hidden.itemsize))
    held = torch.cuda.memory_allocated() if bench.device.type == "cuda" else 0
    try:
        with enough_memory("demo"), torch.no_grad():
            model.encode_tail(hidden.expand(batch, -1, -1))
    except ModelError as error:
        message = str(error)
    else:
        raise ValueError(f"{batch:,} clips fit into the memory")
    kept = torch.cuda.memory_allocated() - held if bench.device.type == "cuda" else 0
    yield f"{batch:,} clips in a forward pass", message, "a message"
    yield "the same: memory that stays taken", f"{kept / 1e6:.1f} MB", "none"
    after = score(model, clip, prompt)
    yield "the same process scores again: largest difference", f"{float((after - before).abs().max()):.3f} MOS", "0.000"
    if kept or not torch.equal(after, before):
        raise ValueError("the process did not go on as before")


# ---- clips without video files ---------------------------------------------------------------------------------------

try:
    from vjepa_demo.procedural.clips import make_clip

    DRAWN_BY = "procedural"
except ModuleNotFoundError:  # it draws with Pillow, which a GPU machine may lack
    DRAWN_BY = "moving spots"


def drawn_clip(seed: int, config: ClipConfig) -> tuple[Clip, str, dict[str, float]]:
    """A drawn clip as `config` shows it, its prompt, and its labels."""
    if DRAWN_BY == "procedural":
        drawn = make_clip(
            seed, num_frames=DRAWN_FRAMES, duration_seconds=DRAWN_SECONDS, height=DRAWN_EDGE, width=DRAWN_EDGE
        )
        frames, prompt, labels = drawn.frames, drawn.caption, drawn.labels
    else:
        frames, prompt, labels = moving_spots(seed)
    rate = DRAWN_FRAMES / DRAWN_SECONDS
    indices = [view_indices(view, DRAWN_FRAMES, rate, config) for view in config.views]
    shown = [view_frames(frames[rows], view, config) for view, rows in zip(config.views, indices, strict=True)]
    seconds = tuple(index / rate for index in indices[0])
    return Clip(shown[0], seconds, DRAWN_SECONDS, more_views=tuple(shown[1:])), prompt, labels


def moving_spots(seed: int) -> tuple[Tensor, str, dict[str, float]]:
    """Frames (T, 3, H, W) uint8 of spots that move over a plain ground, under noise that the labels tell."""
    generator = torch.Generator().manual_seed(seed)
    begin, speed, colour = (torch.rand(5, count, generator=generator) for count in (2, 2, 3))
    noise = float(torch.rand((), generator=generator))
    line = torch.linspace(0, 1, DRAWN_EDGE)
    frames = torch.full((DRAWN_FRAMES, 3, DRAWN_EDGE, DRAWN_EDGE), 0.3)
    for index, frame in enumerate(frames):
        for place, spot in zip((begin + speed * index / DRAWN_FRAMES) % 1, colour, strict=True):
            down, across = torch.exp(-((line - place[:, None]) ** 2) / 0.005)  # (H,), (W,)
            frame += torch.outer(down, across) * (spot[:, None, None] - frame)
    frames += noise * (torch.rand(frames.shape, generator=generator) - 0.5)
    return (255 * frames.clamp(0, 1)).byte(), f"bright spots move, {seed}", dict.fromkeys(DIMENSIONS, 4.8 - 3.5 * noise)


class DrawnClips:
    """`count` clips as records, `distinct` of them drawn. A file holds only a number: `load` gives the frames."""

    def __init__(self, folder: Path, count: int, config: ClipConfig, *, distinct: int) -> None:
        folder.mkdir()
        self.records: list[VideoRecord] = []
        self._clips: dict[Path, Clip] = {}
        drawn = [drawn_clip(seed, config) for seed in range(distinct)]
        for index in range(count):
            clip, prompt, labels = drawn[index % distinct]
            video = folder / f"{index}.drawn"
            video.write_text(str(index))  # the cache knows a clip by its bytes
            self._clips[video] = clip
            self.records.append(VideoRecord(video.name, video, prompt, labels, line=index + 2))

    def load(self, video: Path, config: ClipConfig, *, should_stop: Callable[[], bool] = bool) -> Clip:
        """What `load_clip` returns for a video."""
        return self._clips[video]


# ---- the run ---------------------------------------------------------------------------------------------------------

Section = tuple[str, Callable[[Bench], Iterator[Row]], float]  # title, rows, and the seconds that it may take
SECTIONS: tuple[tuple[str, Callable[[Bench], Iterator[Row]], int], ...] = (
    ("(a) Scores", scores, 60),
    ("(b) ViT-g, random weights", eager, 100),
    ("(c) ViT-g, scope top at the default settings", top_layers, 120),
    ("(d) A first head", first_head, 60),
    ("(e) Out of memory", out_of_memory, 30),
    ("(b) ViT-g, compiled", compiled, 90),
    ("(b) ViT-g, the reference way", reference, 60),
)


class SectionTimeoutError(BaseException):
    """A section has taken its time. Nobody but `run` catches it, whatever the section runs."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise SectionTimeoutError in the block once it has taken `seconds`, as soon as the device lets go."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise SectionTimeoutError(f"not done after {max(seconds, 0):.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run(bench: Bench, sections: Sequence[Section] = SECTIONS) -> bool:
    """Print all `sections`; whether none failed."""
    begin, failed = time.perf_counter(), []
    for title, section, limit in sections:
        print(f"\n## {title}\n\n{markdown_table(COLUMNS, ())}", flush=True)
        left = TOTAL_SECONDS - (time.perf_counter() - begin)
        try:
            with limited(min(limit, left)):
                for row in section(bench):  # in one piece: the time may be over within `print`
                    print(f"{markdown_row(row)}\n", end="", flush=True)
        except (Exception, SectionTimeoutError) as error:  # whatever it is, the other sections are worth their time
            traceback.print_exc()
            print(markdown_row((title, f"failed: {last_line(error)}", "")), flush=True)
            failed.append(title)
    print(f"\nTotal: {time.perf_counter() - begin:.0f} s; failed: {', '.join(failed) or 'none'}", flush=True)
    return not failed


def last_line(error: BaseException) -> str:
    return traceback.format_exception_only(error)[-1].strip()


def main() -> None:
    parser = argparse.ArgumentParser(description="What the project does on a GPU, in a table.")
    parser.add_argument("--tiny", action="store_true", help="a tiny encoder in the place of ViT-g: only a dry run")
    parser.add_argument("--device", default=default_device(), help="cuda or cpu (default: %(default)s)")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    transformers_logging.disable_progress_bar()
    print(f"{machine()}{'; dry run: the numbers mean nothing' if given.tiny else ''}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(torch.device(given.device), Path(folder), tiny=given.tiny)
        sys.exit(0 if run(bench) else 1)


if __name__ == "__main__":
    main()
