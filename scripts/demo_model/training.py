"""The run that trains the `demo` model. It saves itself as it goes and can be resumed."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor, nn

from scripts.demo_model.batches import SKETCHED, Batch, Batches, Settings
from scripts.demo_model.network import CROP_SIZE, AuxiliaryHeads, build_model, write_untrained_encoders
from scripts.demo_model.samples import CLIP, VIEW_FRAMES
from vjepa_demo.config import DIMENSIONS
from vjepa_demo.model.checkpoint import load_checkpoint, read_checkpoint
from vjepa_demo.model.vjepa import VJEPAModel

KEEP_EVERY = 1500  # steps between the states that are kept for the learning curve
MAY_CHANGE = {"steps", "num_scenes", "num_sketches", "num_held_out", "seen_before"}  # when a run is resumed
TRADITIONAL = DIMENSIONS.index("Traditional")
TWIN_WEIGHT = 4.0  # of the difference of two twins beside that of two other variants


def score_loss(scores: Tensor, labels: Tensor, twins: Tensor) -> Tensor:
    """Smooth-L1 (Alignment counts twice), 0.3 (1 - PLCC), and half the smooth-L1 of differences within a scene.

    `scores` and `labels` are (B, 5). Rows 2i and 2i + 1 show the same scene, so their difference comes from the faults.
    Where they are twins, `twins` (B / 2,), nobody would see a difference: it counts `TWIN_WEIGHT` times.
    """
    weights = torch.tensor([2.0 if name == "Alignment" else 1.0 for name in DIMENSIONS], device=scores.device)
    near = (F.smooth_l1_loss(scores, labels, reduction="none") * weights).mean()
    differences = [values[0::2] - values[1::2] for values in (scores, labels)]
    counts = 1 + (TWIN_WEIGHT - 1) * twins.float()
    apart = (F.smooth_l1_loss(*differences, reduction="none", beta=0.5) * weights * counts[:, None]).mean()
    centred = [values - values.mean(dim=0) for values in (scores, labels)]
    plcc = F.cosine_similarity(*centred, dim=0)
    return near + 0.5 * apart + 0.3 * (1 - plcc).mean()


def sketch_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Smooth-L1 and 0.3 (1 - PLCC) over the dimensions that a sketch shows."""
    columns = [DIMENSIONS.index(name) for name in SKETCHED]
    scores, labels = scores[:, columns], labels[:, columns]
    plcc = F.cosine_similarity(scores - scores.mean(dim=0), labels - labels.mean(dim=0), dim=0)
    return F.smooth_l1_loss(scores, labels) + 0.3 * (1 - plcc).mean()


def of_another_scene(features: Tensor) -> Tensor:
    """Features (B, D) with each row replaced by one of another scene, without gradient.

    Rows 2i and 2i + 1 belong to one scene.
    """
    return features.detach().roll(2, dims=0)


def with_views(trained: VJEPAModel, model: VJEPAModel) -> dict[str, Tensor]:
    """The weights of `trained` for `model`, which may have more views at the end: the head gives them no weight."""
    state, wanted = trained.state_dict(), model.state_dict()
    seen = trained.video_dim
    for name, value in state.items():
        if name not in wanted or value.shape == wanted[name].shape or not name.startswith("head.net."):
            continue
        wider = wanted[name].clone() if value.ndim == 1 else torch.zeros_like(wanted[name])
        wider[..., :seen], wider[..., model.video_dim :] = value[..., :seen], value[..., seen:]
        state[name] = wider
    return state


class Trainer:
    """A run in its folder: model, auxiliary heads and optimizers. It resumes from the state that it saved last.

    With several processes, process `rank` of `world` computes its share of each batch, and gradients are averaged.
    """

    def __init__(
        self, folder: Path, samples: Path, settings: Settings, *, rank: int = 0, world: int = 1, device: str = "cpu"
    ) -> None:
        self.folder, self.samples, self.settings, self.step = folder, samples, settings, 0
        self.rank, self.world, self.seconds = rank, world, 0.0
        for path in (folder, samples):
            path.mkdir(parents=True, exist_ok=True)
        self.batches = Batches(settings, samples, (rank, world))
        if rank == 0 and not (folder / "text_encoder" / "model.safetensors").exists():
            frames = torch.cat([view.flatten(0, 1) for view in self.batches[0].views])
            sizes = {"num_layers": settings.num_layers, "vocabulary_size": settings.vocabulary_size}
            write_untrained_encoders(folder, frames, seed=settings.seed, **sizes)
        if world > 1:
            torch.distributed.barrier()  # until the encoders are written
        self.model = build_model(folder, seed=settings.seed + 1, device=device)
        self.before = {"recipe": "", "num_clips": 0, "weights": ""}  # about the model that the run started from
        dims = self.model.venc.config.hidden_size, self.model.video_dim, self.model.tenc.config.hidden_size
        self.heads = AuxiliaryHeads(*dims).to(self.model.device)
        self.parameters = [p for part in (self.model, self.heads) for p in part.parameters() if p.requires_grad]
        self.optimizers = self._optimizers()
        if self.state_file.exists():
            self.restore(self.state_file)
        elif settings.start:
            self.start_from(Path(settings.start))

    def start_from(self, folder: Path) -> None:
        """Load the weights of the trained model in `folder`.

        Raises:
            SystemExit: if that model is built differently, has another vocabulary, or learned from people's labels.
        """
        checkpoint = read_checkpoint(folder)
        if checkpoint.trained_on.kind != "procedural":
            raise SystemExit(f"The model in {folder} learned from people's labels: start from one that did not")
        views = checkpoint.model.views
        if (views, checkpoint.model.pooling) != (CLIP.views[: len(views)], self.model.config.pooling):
            raise SystemExit(f"The model in {folder} is built differently: it sees other views")
        trained = load_checkpoint(checkpoint, device=self.model.device)
        if trained.tokenizer.get_vocab() != self.model.tokenizer.get_vocab():
            raise SystemExit(f"The model in {folder} has another vocabulary than this run: train without --start")
        try:
            self.model.load_state_dict(with_views(trained, self.model))
        except RuntimeError as error:
            raise SystemExit(f"The model in {folder} is built differently: {error}") from error
        self.before = {
            "recipe": checkpoint.trained_on.recipe,
            "num_clips": checkpoint.trained_on.num_clips,
            "weights": checkpoint.weights_sha256,
        }

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        """AdamW, and Muon for the matrices of the encoders' layers."""
        settings = self.settings
        layers = [*self.model.venc.layer.parameters(), *self.model.tenc.encoder.layer.parameters()]
        matrices = [parameter for parameter in layers if parameter.ndim == 2]
        known = set(matrices)
        rest = [parameter for parameter in self.parameters if parameter not in known]
        common = {"weight_decay": settings.weight_decay}
        return [
            torch.optim.AdamW(rest, lr=settings.learning_rate, betas=(0.9, 0.98), **common),
            torch.optim.Muon(matrices, lr=settings.matrix_learning_rate, adjust_lr_fn="match_rms_adamw", **common),
        ]

    @property
    def state_file(self) -> Path:
        return self.folder / "state.pt"

    def run(self, *, save_every: int = 100, until: float = math.inf) -> Iterator[dict[str, float]]:
        """Train to the last step, or until `time.time()` reaches `until`, then save. Yields each step's number, seconds
        and losses."""
        self.model.train()
        begin = time.monotonic() - self.seconds
        while self.step < self.settings.steps and self._goes_on(until):
            report = self.train_on(self.batches[self.step])
            self.seconds = time.monotonic() - begin
            self.step += 1
            if self.rank == 0 and self.step % save_every == 0:
                self.save()
            yield {"step": self.step, "seconds": self.seconds, **report}
        if self.rank == 0:
            self.save()

    def _goes_on(self, until: float) -> bool:
        """Whether `until` is still ahead by the clock of the first process, so that all processes stop at one step."""
        goes_on = torch.tensor(time.time() < until)
        if self.world > 1:
            torch.distributed.broadcast(goes_on, src=0)
        return bool(goes_on)

    def train_on(self, batch: Batch) -> dict[str, float]:
        """One optimizer step; gives the losses before it."""
        torch.manual_seed(hash((self.settings.seed, self.step, self.rank)))  # for dropout: a resumed run repeats it
        device = self.model.device
        tensors = (batch.labels, batch.facts, batch.told, batch.losses, batch.twins)
        batch = Batch(batch.views, batch.captions, *(tensor.to(device) for tensor in tensors))
        with torch.autocast(device.type, torch.bfloat16):
            full, *others = (self.encode(view, tokens) for view, tokens in zip(batch.views, self.shown(), strict=True))
            text = self.model.embed_text(batch.captions)
        loss, auxiliary = self._losses(full, torch.cat(others, dim=1), text, batch)
        self.model.zero_grad()
        self.heads.zero_grad()
        (loss + auxiliary).backward()
        self._average_gradients()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimizer in self.optimizers:
            optimizer.param_groups[0]["lr"] = optimizer.defaults["lr"] * self._pace()
            optimizer.step()
        return {"loss": loss.item(), "auxiliary": auxiliary.item()}

    def shown(self) -> list[Tensor]:
        """The tokens (N,) of each view that this step computes: a random share, or all of them at the end of the run.

        A share costs much less, teaches the same, and keeps the model from memorising clips. The full view, spread
        over the clip, drops random tokens. The other views drop the same places in every frame.
        """
        whole = self.step >= (1 - self.settings.whole_at_end) * self.settings.steps
        share, places = (1.0 if whole else self.settings.share_of_tokens), (CROP_SIZE // 16) ** 2
        chosen = []
        for number, frames in enumerate(VIEW_FRAMES):
            tokens = torch.arange(frames // 2 * places)
            if number == 0:
                tokens = tokens[torch.randperm(len(tokens))[: round(share * len(tokens))]]
            else:
                tokens = tokens.unflatten(0, (-1, places))[:, torch.randperm(places)[: round(share * places)]]
            chosen.append(tokens.flatten().sort().values)
        return chosen

    def encode(self, frames: Tensor, tokens: Tensor) -> Tensor:
        """Features (B, hidden) of the `tokens` (N,) of a view's frames (B, T, 3, crop, crop) uint8."""
        encoder, device = self.model.venc, self.model.device
        pixels = frames.unflatten(1, (-1, 2)).unflatten(5, (-1, 16)).unflatten(4, (-1, 16))
        pixels = pixels.permute(0, 1, 4, 6, 3, 2, 5, 7)  # (B, T/2, 2, 3, 8, 16, 8, 16) -> (B, T/2, 8, 8, 3, 2, 16, 16)
        patches = pixels.flatten(4).flatten(1, 3)[:, tokens].to(device)  # (B, N, 1536)
        channels = (CLIP.image_mean, CLIP.image_std)
        mean, std = (torch.tensor(part, device=device).repeat_interleave(512) for part in channels)
        embedding = encoder.embeddings.patch_embeddings.proj
        weight = embedding.weight.flatten(1) / (255 * std)  # the weights normalise the pixels too
        bias = embedding.bias - weight @ (255 * mean)
        with torch.autocast(device.type, enabled=False):  # details are too small beside the mean for bfloat16
            hidden = F.linear(patches.float(), weight, bias)
        for layer in encoder.layer:
            hidden = layer(hidden, tokens[None].to(device))[0]
        return encoder.layernorm(hidden).mean(dim=1).float()

    def _losses(self, full: Tensor, others: Tensor, text: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss of the scores, and that of the auxiliary heads.

        Sketches borrow their other views from the samples, which must not matter for what a sketch shows. Traditional
        must not depend on the full view: the other views must predict it beside the full view of another scene too.
        """
        num_samples, num_sketches = len(others), len(full) - len(others)
        borrowed = others[torch.arange(num_sketches, device=full.device) * 5 % num_samples].detach()
        video = torch.cat([full, torch.cat([others, borrowed])], dim=1)
        scores = self.model.predict_with_features(video, text)
        loss = score_loss(scores[:num_samples], batch.labels[:num_samples], batch.twins)
        if num_samples > 2:
            swapped = torch.cat([of_another_scene(full[:num_samples]), others], dim=1)
            answers = self.model.predict_with_features(swapped, text[:num_samples])
            loss = loss + 0.5 * F.smooth_l1_loss(answers[:, TRADITIONAL], batch.labels[:num_samples, TRADITIONAL])
        if num_sketches > 1:
            loss = loss + sketch_loss(scores[num_samples:], batch.labels[num_samples:])
        known = {"facts": batch.facts, "told": batch.told, "losses": batch.losses}
        return loss, self.heads.loss(full, video[:num_samples], text, **known)

    def _average_gradients(self) -> None:
        if self.world == 1:
            return
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        torch.distributed.all_reduce(flat)
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient) / self.world)

    def _pace(self) -> float:
        """The factor of the learning rate: linear warm-up, then half a cosine down to zero."""
        warm = min(1.0, (self.step + 1) / self.settings.warmup_steps)
        return warm * 0.5 * (1 + math.cos(math.pi * self.step / self.settings.steps))

    def save(self) -> None:
        """Write everything that the rest of the run depends on, whole or not at all."""
        state = {
            "settings": asdict(self.settings),
            "step": self.step,
            "seconds": self.seconds,
            "before": self.before,
            "model": self.model.state_dict(),
            "heads": self.heads.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        partial = self.state_file.with_suffix(".partial")
        torch.save(state, partial)
        if self.step % KEEP_EVERY == 0:
            shutil.copy(partial, self.folder / f"kept_{self.step}.pt")
        partial.replace(self.state_file)

    def restore(self, file: Path) -> None:
        """Return to the state that is saved in `file`.

        Raises:
            SystemExit: if that run had other settings.
        """
        state = torch.load(file, weights_only=True, map_location=self.model.device)
        given, kept = asdict(self.settings), state["settings"]
        if any(given[name] != kept.get(name) for name in given.keys() - MAY_CHANGE):
            raise SystemExit(f"{self.folder} holds a run with other settings, {kept}: use another --run folder")
        self.model.load_state_dict(state["model"])
        self.heads.load_state_dict(state["heads"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.seconds, self.before = state["step"], state["seconds"], self.before | state["before"]
