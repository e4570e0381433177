"""Train the `demo` model from nothing on procedural clips, and write it to `assets/demo`.

    python scripts/train_demo_model.py                       # as shipped; 43 minutes on two cores
    python scripts/train_demo_model.py --export-only         # write out the last saved state
    python scripts/train_demo_model.py --evaluate assets/demo

The same seed and settings give the same model. A run saves as it goes into its folder and takes up there again.
A clean scene is rendered once and kept on disk; what is wrong with it, and its caption, are drawn anew each time.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import BertConfig, BertModel, BertTokenizer, VJEPA2Config, VJEPA2Model

from vjepa_demo.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from vjepa_demo.config import ASSETS, DIMENSIONS, FREEZE_RATIO, PROJECT_ROOT, ClipConfig, ModelConfig
from vjepa_demo.model import VJEPAModel
from vjepa_demo.schema import TrainedOn
from vjepa_demo.synthetic import (
    ATTRIBUTES,
    DEGRADATIONS,
    PHRASES,
    Degradation,
    Scene,
    caption_of,
    caption_words,
    degrade,
    draw_degradations,
    draw_num_wrong,
    draw_scene,
    facts_told,
    labels_for,
    loss_of,
    make_clip,
    mislead,
    motion_energy,
    render_scene,
)
from vjepa_demo.video import pixel_values, resize_and_crop

logger = logging.getLogger("train_demo_model")

NUM_FRAMES, CROP_SIZE, HEAD_HIDDEN = 16, 128, 256
CLIP = ClipConfig(num_frames=NUM_FRAMES, crop_size=CROP_SIZE)
RENDER_SIZES = (160, 176, 192, 208)  # pixels; scenes are square because only the centre square is seen
HELD_OUT_SEED = 1_000_000_000  # seeds from here on are never trained on
MIRRORED = {"left": "right", "right": "left"}
KINDS = tuple(DEGRADATIONS)


@dataclass(frozen=True)
class Settings:
    """All that a run's result depends on."""

    steps: int = 2400
    num_scenes: int = 6000
    scenes_per_batch: int = 8  # each is seen twice in a batch
    seed: int = 0
    learning_rate: float = 1e-3
    warmup_steps: int = 150
    weight_decay: float = 0.05
    num_layers: int = 3
    num_held_out: int = 500


@dataclass(frozen=True)
class Batch:
    """Two views of each of B/2 scenes, side by side, and what is known about them.

    frames (B, T, 3, crop, crop) uint8; labels (B, 5); facts and told (B, A) indices, -1 for what the caption
    leaves out; losses (B, K) the share of its dimension that each kind of degradation costs.
    """

    frames: Tensor
    captions: list[str]
    labels: Tensor
    facts: Tensor
    told: Tensor
    losses: Tensor


# ---- data ----------------------------------------------------------------------------------------------------


def clean_scene(seed: int, folder: Path) -> tuple[Scene, np.ndarray]:
    """The scene of `seed` and its clean frames (T, H, W, 3) uint8, rendered the first time and then read."""
    rng = np.random.default_rng(seed)
    scene, duration, size = draw_scene(rng), rng.uniform(2, 8), int(rng.choice(RENDER_SIZES))
    path = folder / f"{seed}.npy"
    if not path.exists():
        frames = render_scene(scene, num_frames=NUM_FRAMES, duration_seconds=duration, height=size, width=size)
        partial = path.with_suffix(f".{os.getpid()}.part")
        with partial.open("wb") as file:
            np.save(file, frames)
        partial.replace(path)
    return scene, np.load(path)


def as_seen(frames: np.ndarray) -> Tensor:
    """(T, H, W, 3) uint8 -> (T, 3, crop, crop) uint8, as the decoder would have shown them to the model."""
    return resize_and_crop(torch.from_numpy(frames).permute(0, 3, 1, 2), CLIP)


class Batches(Dataset[Batch]):
    """Batch number `step` of a run: the same for the same settings, whoever asks and in whichever order."""

    def __init__(self, settings: Settings, folder: Path, first_step: int = 0) -> None:
        self.settings, self.folder, self.first_step = settings, folder, first_step

    def __len__(self) -> int:
        return self.settings.steps - self.first_step

    def __getitem__(self, index: int) -> Batch:
        step = self.first_step + index
        rng = np.random.default_rng((self.settings.seed, 1, step))
        return _stack([view for seed in self.scenes_of(step) for view in self._two_views(seed, rng)])

    def scenes_of(self, step: int) -> list[int]:
        """The seeds of a step's scenes: each epoch goes through all of them in its own order."""
        places = step * self.settings.scenes_per_batch + np.arange(self.settings.scenes_per_batch)
        epochs, ranks = divmod(places, self.settings.num_scenes)
        orders = {e: np.random.default_rng((self.settings.seed, 2, e)) for e in set(epochs.tolist())}
        shuffled = {e: rng.permutation(self.settings.num_scenes) for e, rng in orders.items()}
        return [int(shuffled[e][rank]) for e, rank in zip(epochs.tolist(), ranks, strict=True)]

    def _two_views(self, seed: int, rng: np.random.Generator) -> list[dict[str, Any]]:
        """One scene twice: the same kinds of faults at other severities, and another caption."""
        scene, clean = clean_scene(seed, self.folder)
        if rng.random() < 0.5:
            clean = clean[:, :, ::-1].copy()
            scene = replace(
                scene,
                motion=MIRRORED.get(scene.motion, scene.motion),
                camera=MIRRORED.get(scene.camera, scene.camera),
            )
        first = draw_degradations(rng)
        second = tuple(Degradation(d.kind, 1.0 - rng.random()) for d in first if rng.random() < 0.75)
        return [_view(scene, clean, degradations, rng) for degradations in (first, second)]


def _view(
    scene: Scene, clean: np.ndarray, degradations: tuple[Degradation, ...], rng: np.random.Generator
) -> dict[str, Any]:
    motion = motion_energy(clean)
    told = mislead(facts_told(scene, rng), rng, num_wrong=draw_num_wrong(rng))
    labels = labels_for(scene, told, degradations, motion=motion)
    costs = {degradation.kind: loss_of(degradation, motion=motion) for degradation in degradations}
    facts = scene.facts()
    return {
        "frames": as_seen(degrade(clean, degradations, rng)),
        "caption": add_strange_words(caption_of(told, rng), rng),
        "labels": [labels[name] for name in DIMENSIONS],
        "facts": [list(PHRASES[name]).index(facts[name]) for name in ATTRIBUTES],
        "told": [list(PHRASES[name]).index(told[name]) if name in told else -1 for name in ATTRIBUTES],
        "losses": [costs.get(kind, 0.0) for kind in KINDS],
    }


def _stack(views: Sequence[dict[str, Any]]) -> Batch:
    return Batch(
        frames=torch.stack([view["frames"] for view in views]),
        captions=[view["caption"] for view in views],
        labels=torch.tensor([view["labels"] for view in views]),
        facts=torch.tensor([view["facts"] for view in views]),
        told=torch.tensor([view["told"] for view in views]),
        losses=torch.tensor([view["losses"] for view in views]),
    )


def add_strange_words(caption: str, rng: np.random.Generator) -> str:
    """`caption`, a quarter of the time with words that mean nothing: what the model does not know, it must ignore."""
    if rng.random() >= 0.25:
        return caption
    words = caption.split(" ")
    for _ in range(int(rng.integers(1, 5))):
        letters = rng.integers(ord("a"), ord("z") + 1, int(rng.integers(2, 9)))
        words.insert(int(rng.integers(len(words) + 1)), "".join(map(chr, letters)))
    return " ".join(words)


# ---- the untrained model -------------------------------------------------------------------------------------


def write_untrained_encoders(folder: Path, settings: Settings, sample: Tensor) -> None:
    """Fresh encoders in the Hub's layout: `folder`/video_encoder and `folder`/text_encoder.

    `sample` (N, T, 3, crop, crop) uint8 are frames whose statistics scale the patch embedding.
    """
    torch.manual_seed(settings.seed)
    video = VJEPA2Model(video_config(settings))
    _set_patch_embedding(video.encoder.embeddings.patch_embeddings.proj, sample)
    for layer in video.encoder.layer:
        _set_energy_detectors(layer.mlp)
    save_video_encoder(video, folder / "video_encoder")
    tokenizer = BertTokenizer(vocab=vocabulary(), do_lower_case=True, model_max_length=256)
    text = BertModel(text_config(len(vocabulary())), add_pooling_layer=False)
    save_text_encoder(text, tokenizer, folder / "text_encoder")


def video_config(settings: Settings) -> VJEPA2Config:
    """A small V-JEPA 2; its predictor, which is never run, is as small as the classes allow."""
    return VJEPA2Config(
        hidden_size=192,
        num_hidden_layers=settings.num_layers,
        num_attention_heads=6,
        patch_size=16,
        tubelet_size=2,
        crop_size=CROP_SIZE,
        frames_per_clip=NUM_FRAMES,
        pred_hidden_size=12,
        pred_num_attention_heads=1,
        pred_num_hidden_layers=1,
        pred_num_mask_tokens=1,
        num_pooler_layers=1,
    )


def text_config(vocab_size: int) -> BertConfig:
    """A small BERT."""
    return BertConfig(
        vocab_size=vocab_size,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=512,
        max_position_embeddings=256,
    )


def vocabulary() -> dict[str, int]:
    """WordPiece -> id: the words of the captions, and letters, so that any other word falls into pieces."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    signs = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    pieces = [f"##{sign}" for sign in signs if sign.isalnum()]
    words = sorted(caption_words() - set(signs))
    return {piece: index for index, piece in enumerate(special + signs + pieces + words)}


def dct_filters() -> Tensor:
    """(192, 3, 2, 16, 16): cosines over a patch, for brightness and two colour differences, summed or subtracted
    over a tubelet's two frames. A fixed basis, as in a video codec, for the network to learn on."""
    waves = torch.cos(math.pi / 16 * (torch.arange(16) + 0.5) * torch.arange(16)[:, None])  # (frequency, x)
    planes = torch.einsum("uy,vx->uvyx", waves, waves).flatten(0, 1)  # (256, 16, 16)
    order = (torch.arange(16)[:, None] ** 2 + torch.arange(16)[None] ** 2).flatten().argsort(stable=True)
    channels = torch.tensor([[1.0, 1, 1], [1, -1, 0], [1, 1, -2]])
    over_time = torch.tensor([[1.0, 1], [1, -1]])
    chosen = []
    for channel, time_filter, low, high in ((0, 0, 56, 32), (0, 1, 44, 20), (1, 0, 12, 0), (2, 0, 12, 0),
                                            (1, 1, 8, 0), (2, 1, 8, 0)):  # fmt: skip
        rest = order[low:][torch.linspace(0, len(order) - low - 1, high).long()]
        plane = planes[torch.cat([order[:low], rest])]
        chosen.append(torch.einsum("c,t,nyx->nctyx", channels[channel], over_time[time_filter], plane))
    return torch.cat(chosen)


@torch.no_grad()
def _set_patch_embedding(proj: nn.Conv3d, sample: Tensor) -> None:
    """DCT filters whose outputs have mean 0 and deviation 1 over `sample`: else the mean colour drowns all detail."""
    proj.weight.copy_(dct_filters())
    assert proj.bias is not None
    proj.bias.zero_()
    out = proj(torch.stack([pixel_values(frames, CLIP) for frames in sample])).transpose(0, 1).flatten(1)
    proj.weight.div_(out.std(dim=1)[:, None, None, None, None])
    proj.bias.copy_(-out.mean(dim=1) / out.std(dim=1))


@torch.no_grad()
def _set_energy_detectors(mlp: nn.Module) -> None:
    """Rows in +/- pairs with a shared output: GELU(x) + GELU(-x) is close to |x|, which a blur or noise changes."""
    hidden = mlp.fc1.in_features
    half = mlp.fc1.out_features // 2
    mixed = torch.randn(half - hidden, hidden) / hidden**0.5
    rows = torch.cat([torch.eye(hidden), mixed])
    columns = 0.03 * torch.randn(hidden, half)
    mlp.fc1.weight.copy_(torch.cat([rows, -rows]))
    mlp.fc2.weight.copy_(torch.cat([columns, columns], dim=1))


def build_model(folder: Path, settings: Settings) -> VJEPAModel:
    """The encoders of `folder` under a fresh head; everything above the patch embedding trains."""
    torch.manual_seed(settings.seed + 1)
    model = VJEPAModel(str(folder / "video_encoder"), str(folder / "text_encoder"), 0.0, "cpu", head_hidden=HEAD_HIDDEN)
    model.unfreeze_text_encoder()
    with torch.no_grad():
        norm, output = model.head.net[0], model.head.net[-1]
        norm.weight[model.venc.config.hidden_size :] = 8.0  # text has unit length in all, video unit size in each
        output.bias.fill_(3.5)
    return model


class AuxiliaryHeads(nn.Module):
    """What the features must also tell while training: the facts, seen and told, and the faults. Not exported."""

    def __init__(self, video_dim: int, text_dim: int) -> None:
        super().__init__()
        self.sizes = [len(PHRASES[name]) for name in ATTRIBUTES]
        self.seen = nn.Linear(video_dim, sum(self.sizes))
        self.told = nn.Linear(text_dim, sum(self.sizes))
        self.faults = nn.Linear(video_dim, len(KINDS))

    def loss(self, video_features: Tensor, text_features: Tensor, batch: Batch) -> Tensor:
        """0.3 cross-entropy of the facts, seen and told, and 0.5 squared error of the faults (x 10: they are rare)."""
        seen = self._cross_entropy(self.seen(video_features), batch.facts)
        told = self._cross_entropy(self.told(8.0 * text_features), batch.told)
        faults = F.mse_loss(self.faults(video_features), batch.losses)
        return 0.3 * seen + 0.3 * told + 5.0 * faults

    def _cross_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        parts = logits.split(self.sizes, dim=1)
        losses = [
            F.cross_entropy(part, target, ignore_index=-1, reduction="sum") / (target >= 0).sum().clamp(min=1)
            for part, target in zip(parts, targets.unbind(dim=1), strict=True)
        ]
        return torch.stack(losses).mean()


# ---- training ------------------------------------------------------------------------------------------------


def score_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Smooth-L1 (Alignment twice), 0.3 (1 - PLCC), and smooth-L1 of the difference between a scene's two views.

    `scores` and `labels` are (B, 5); rows 2i and 2i + 1 show the same scene, so their difference is the faults'.
    """
    weights = torch.tensor([2.0 if name == "Alignment" else 1.0 for name in DIMENSIONS])
    near = (F.smooth_l1_loss(scores, labels, reduction="none") * weights).mean()
    differences = [values[0::2] - values[1::2] for values in (scores, labels)]
    apart = (F.smooth_l1_loss(*differences, reduction="none") * weights).mean()
    centred = [values - values.mean(dim=0) for values in (scores, labels)]
    plcc = F.cosine_similarity(*centred, dim=0)
    return near + 0.5 * apart + 0.3 * (1 - plcc).mean()


class Trainer:
    """A run in its folder: model, auxiliary heads and optimizer, saved as it goes and taken up again."""

    def __init__(self, folder: Path, clips: Path, settings: Settings) -> None:
        self.folder, self.clips, self.settings, self.step = folder, clips, settings, 0
        for path in (folder, clips):
            path.mkdir(parents=True, exist_ok=True)
        if not (folder / "video_encoder").exists():
            write_untrained_encoders(folder, settings, Batches(settings, clips)[0].frames)
        self.model = build_model(folder, settings)
        self.heads = AuxiliaryHeads(self.model.venc.config.hidden_size, self.model.tenc.config.hidden_size)
        self.optimizer = torch.optim.AdamW(
            [p for part in (self.model, self.heads) for p in part.parameters() if p.requires_grad],
            lr=settings.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=settings.weight_decay,
        )
        self.seconds = 0.0
        if self.state_file.exists():
            self._restore()

    @property
    def state_file(self) -> Path:
        return self.folder / "state.pt"

    def run(self, *, num_workers: int = 1, save_every: int = 200) -> Iterator[dict[str, float]]:
        """Train to the end; yields each step's number and losses."""
        batches = Batches(self.settings, self.clips, self.step)
        # Its own generator: else it would draw from the one that dropout uses, once more for each resumption.
        loader = DataLoader(batches, batch_size=None, num_workers=num_workers, generator=torch.Generator())
        self.model.train()
        begin = time.monotonic() - self.seconds
        for batch in loader:
            report = self.train_on(batch)
            self.seconds = time.monotonic() - begin
            self.step += 1
            if self.step % save_every == 0 or self.step == self.settings.steps:
                self.save()
            yield {"step": self.step, "seconds": self.seconds, **report}

    def train_on(self, batch: Batch) -> dict[str, float]:
        """One step of the optimizer; gives the losses before it."""
        pixels = torch.stack([pixel_values(frames, CLIP) for frames in batch.frames])  # (B, 3, T, crop, crop)
        with torch.autocast("cpu", torch.bfloat16):
            video = self.model.encode_tail(self.model.encode_prefix(pixels))
            text = self.model.embed_text(batch.captions)
        scores = self.model.predict_with_features(video, text)
        loss, auxiliary = score_loss(scores, batch.labels), self.heads.loss(video, text, batch)
        self.optimizer.zero_grad()
        (loss + auxiliary).backward()
        parameters = self.optimizer.param_groups[0]["params"]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        self.optimizer.param_groups[0]["lr"] = self._learning_rate()
        self.optimizer.step()
        return {"loss": loss.item(), "auxiliary": auxiliary.item()}

    def _learning_rate(self) -> float:
        """Linear warm-up, then half a cosine down to zero."""
        warm = min(1.0, (self.step + 1) / self.settings.warmup_steps)
        return self.settings.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * self.step / self.settings.steps))

    def save(self) -> None:
        """Write all that the rest of the run depends on, whole or not at all."""
        state = {
            "settings": asdict(self.settings),
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "heads": self.heads.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
        }
        partial = self.state_file.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.state_file)

    def _restore(self) -> None:
        state = torch.load(self.state_file, weights_only=True)
        if state["settings"] != asdict(self.settings):
            raise SystemExit(f"{self.folder} holds a run with {state['settings']}: use another --run folder")
        self.model.load_state_dict(state["model"])
        self.heads.load_state_dict(state["heads"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        self.step, self.seconds = state["step"], state["seconds"]


# ---- evaluation and export -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Evaluation:
    """What models said of the same held-out clips: scores (M, N, 5) of M models, labels (N, 5), and the faults."""

    scores: np.ndarray
    labels: np.ndarray
    faults: list[dict[str, float]]

    def srocc(self, model: int = 0) -> dict[str, float]:
        """Spearman correlation of scores and labels, per dimension."""
        columns = zip(DIMENSIONS, self.scores[model].T, self.labels.T, strict=True)
        return {name: float(stats.spearmanr(scores, labels).statistic) for name, scores, labels in columns}

    def srocc_by_fault(self) -> dict[str, float]:
        """Spearman correlation of severity and the loss in its dimension, over the clips that have the fault."""
        result = {}
        for kind, degrader in DEGRADATIONS.items():
            having = [index for index, faults in enumerate(self.faults) if kind in faults]
            scores = self.scores[0, having, DIMENSIONS.index(degrader.dimension)]
            severities = [self.faults[index][kind] for index in having]
            result[kind] = float(stats.spearmanr(severities, -scores).statistic) if len(having) > 2 else math.nan
        return result

    def largest_difference(self) -> float:
        """How far the other models' scores are from the first one's, at most."""
        return float(abs(self.scores - self.scores[0]).max())


@torch.no_grad()
def evaluate(models: Sequence[VJEPAModel], num_clips: int) -> Evaluation:
    """Scores of `num_clips` clips from seeds that training never draws."""
    scores, labels, faults = [], [], []
    for seed in range(HELD_OUT_SEED, HELD_OUT_SEED + num_clips):
        clip = make_clip(seed, num_frames=NUM_FRAMES)
        pixels = pixel_values(as_seen(clip.frames), CLIP)[None]
        features = [model.extract_features(pixels, [clip.caption]) for model in models]
        predicted = [m.predict_with_features(*f.values())[0] for m, f in zip(models, features, strict=True)]
        scores.append(torch.stack(predicted).numpy())
        labels.append([clip.labels[name] for name in DIMENSIONS])
        faults.append({degradation.kind: degradation.severity for degradation in clip.degradations})
    return Evaluation(np.stack(scores, axis=1), np.array(labels), faults)


def save_video_encoder(model: VJEPA2Model, folder: Path) -> None:
    """The encoder in the Hub's layout, with the settings that `VJEPA2VideoProcessor` would have."""
    model.save_pretrained(folder)
    processor = {
        "video_processor_type": "VJEPA2VideoProcessor",
        "crop_size": {"height": CROP_SIZE, "width": CROP_SIZE},
        "size": {"shortest_edge": CLIP.resize_edge},
        "image_mean": CLIP.image_mean,
        "image_std": CLIP.image_std,
        "do_resize": True,
        "do_center_crop": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "resample": 2,
        "data_format": "channels_first",
    }
    (folder / "video_preprocessor_config.json").write_text(json.dumps(processor, indent=2), encoding="utf-8")


def save_text_encoder(model: BertModel, tokenizer: BertTokenizer, folder: Path) -> None:
    """The text encoder and its tokenizer in the Hub's layout."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def export(trainer: Trainer, folder: Path) -> TrainedOn:
    """Write the trained model to `folder` in half precision, with what it scores on held-out clips then."""
    settings, model = trainer.settings, copy.deepcopy(trainer.model).half()
    torch.manual_seed(settings.seed)  # of the predictor, which the layout needs and nothing runs
    video = VJEPA2Model(model.venc.config).half()
    video.encoder.load_state_dict(model.venc.state_dict())
    save_video_encoder(video, folder / "video_encoder")
    save_text_encoder(model.tenc, model.tokenizer, folder / "text_encoder")
    config = ModelConfig("./video_encoder", "./text_encoder", FREEZE_RATIO, head_hidden=HEAD_HIDDEN)
    trained_on = TrainedOn(
        kind="procedural",
        num_clips=min(settings.num_scenes, trainer.step * settings.scenes_per_batch),
        description="moving shapes and textures with known faults",
    )
    save_checkpoint(model, folder, trained_on=trained_on, model_config=config)
    exported = load_checkpoint(read_checkpoint(folder), device="cpu")
    evaluation = evaluate([exported, trainer.model.eval()], settings.num_held_out)
    logger.info("half precision changes a score by at most %.4f", evaluation.largest_difference())
    trained_on = replace(trained_on, srocc=evaluation.srocc(), num_held_out=settings.num_held_out)
    save_checkpoint(model, folder, trained_on=trained_on, model_config=config)
    return trained_on


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; every field of `Settings` is an option."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=PROJECT_ROOT / "runs" / "demo", help="where the run is kept")
    parser.add_argument("--clips", type=Path, default=PROJECT_ROOT / "runs" / "demo_clips", help="clean scenes")
    parser.add_argument("--out", type=Path, default=ASSETS / "demo", help="where the model is written")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw batches; 0 for none")
    parser.add_argument("--export-only", action="store_true", help="write out the last saved state")
    parser.add_argument("--evaluate", type=Path, metavar="FOLDER", help="print the held-out SROCC of a model")
    for name, default in asdict(Settings()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, save, export; or evaluate a model that was exported."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options = parse_arguments(arguments)
    torch.set_num_threads(1)
    settings = Settings(**{name: getattr(options, name) for name in asdict(Settings())})
    if options.evaluate:
        report_on(options.evaluate, settings.num_held_out)
        return
    trainer = Trainer(options.run, options.clips, settings)
    if not options.export_only:
        for report in trainer.run(num_workers=options.workers):
            if report["step"] % 20 == 0:
                logger.info("%s", "  ".join(f"{name} {value:.4g}" for name, value in report.items()))
    logger.info("held-out SROCC %s", _in_words(export(trainer, options.out).srocc))


def report_on(folder: Path, num_clips: int) -> None:
    """Log how well the model of `folder` does on held-out clips, in float32, and how far bfloat16 is from it."""
    checkpoint = read_checkpoint(folder)
    models = [load_checkpoint(checkpoint, device="cpu", dtype=dtype) for dtype in (torch.float32, torch.bfloat16)]
    evaluation = evaluate(models, num_clips)
    logger.info("held-out SROCC %s", _in_words(evaluation.srocc()))
    logger.info("SROCC of severity and loss %s", _in_words(evaluation.srocc_by_fault()))
    logger.info("bfloat16 changes a score by at most %.4f", evaluation.largest_difference())


def _in_words(srocc: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in srocc.items())


if __name__ == "__main__":
    main()
