"""V-JEPA 2 + BGE + a small head: five mean opinion scores from a video and its prompt.

The interface is the seed's (QualiVision, VQualA 2025). What differs inside: only the encoder of V-JEPA 2 is run
(no predictor, no stored hidden states), it is split at the freeze line so that fine-tuning can keep the frozen
part's output, and pooling is a setting because V-JEPA 2 has no CLS token.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vjepa_demo.config import (
    BASE_LEARNING_RATE,
    DIMENSIONS,
    FREEZE_RATIO,
    HEAD_HIDDEN,
    LEARNING_RATE_FACTORS,
    MAX_TEXT_TOKENS,
    SCORE_MAX,
    SCORE_MIN,
    ClipConfig,
    ModelConfig,
    on_zero_gpu,
)
from vjepa_demo.model.encoders import (
    Encoder,
    load_text_encoder,
    load_video_encoder,
    over_same_tensors,
)
from vjepa_demo.model.layers import BeforeLayer, run_layers
from vjepa_demo.model.randomness import drawing, seeded
from vjepa_demo.model.source import read_clip_config
from vjepa_demo.schema import SCORE_DECIMALS, ModelError

if TYPE_CHECKING:
    from transformers import BertModel
    from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2Encoder

logger = logging.getLogger(__name__)

# The video encoders that another process runs (see tasks/zero_gpu.py), by `VJEPAModel.video_key`: its device and dtype.
elsewhere: dict[tuple[str, str], str] = {}


@dataclass(frozen=True)
class ParameterStatistics:
    """Counts and sizes of a model's parameters."""

    total: int
    trainable: int
    total_bytes: int
    trainable_bytes: int

    @property
    def frozen(self) -> int:
        return self.total - self.trainable


class OptimizedMOSHead(nn.Module):
    """The head that turns video and text features into five scores; `dv`, `dt` are their widths, `h` its own."""

    def __init__(self, dv: int, dt: int, h: int = HEAD_HIDDEN) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.LayerNorm(dv + dt),
            nn.Linear(dv + dt, h),
            nn.GELU(),
            nn.Dropout(0.1),
            nn.Linear(h, h // 2),
            nn.GELU(),
            nn.Dropout(0.1),
            nn.Linear(h // 2, len(DIMENSIONS)),
        )

    def forward(self, v: Tensor, t: Tensor) -> Tensor:
        """Scores (B, 5) in the order of `DIMENSIONS`, from video features `v` (B, dv) and text features `t` (B, dt)."""
        return self.net(torch.cat([v, t], dim=-1))  # (B, dv + dt) -> (B, 5)


class VJEPAModel(nn.Module):
    """V-JEPA 2 encoder and BGE text encoder, joined by an `OptimizedMOSHead`.

    The seed's constructor gives a model of its own in which everything above the freeze line trains; `from_config` one
    that is frozen but for its head, over encoders that all such models of this process share.

    Args:
        vjepa_model_id: Hub id or folder of a `VJEPA2Model` or a `VJEPA2ForVideoClassification` checkpoint.
        text_model_id: Hub id or folder of a BERT sentence encoder that is read at its CLS token.
        freeze_ratio: share of the video encoder's layers, from the bottom, that never train.
        device: "cuda" on a machine without CUDA falls back to the CPU, with one logged line.
        dtype: of the matrix products. Norms, patch embedding, residual stream and head stay in float32.
        settings: other fields of `ModelConfig`: `pooling`, `head_hidden`, `num_frames`, `views`, `looks` and the
            revisions.

    Raises:
        ModelError: if a checkpoint cannot be had, lacks weights, or lacks the pooler that was asked for.
    """

    venc: VJEPA2Encoder
    tenc: BertModel
    pooler: nn.Module | None

    def __init__(
        self,
        vjepa_model_id: str = "facebook/vjepa2-vitg-fpc64-384-ssv2",
        text_model_id: str = "BAAI/bge-large-en-v1.5",
        freeze_ratio: float = FREEZE_RATIO,
        device: str | torch.device = "cuda",
        *,
        dtype: torch.dtype = torch.float32,
        **settings: Any,
    ) -> None:
        try:
            config = ModelConfig(str(vjepa_model_id), str(text_model_id), freeze_ratio, **settings)
        except ValueError as error:
            raise ModelError(str(error)) from error
        self._build(config, device, dtype, share=False)
        self.set_trainable(top_layers=True, text=True)

    @classmethod
    def from_config(
        cls,
        config: ModelConfig,
        *,
        device: str | torch.device,
        dtype: torch.dtype = torch.float32,
        new_head: bool = True,
    ) -> VJEPAModel:
        """The model that `config` describes; only its head trains. Without `new_head` the head has no weights
        yet, and a checkpoint has to bring them (`replace_weights`).

        Raises:
            ModelError: as the constructor does.
        """
        model = cls.__new__(cls)
        model._build(config, device, dtype, share=True, new_head=new_head)
        return model

    def _build(
        self,
        config: ModelConfig,
        device: str | torch.device,
        dtype: torch.dtype,
        *,
        share: bool,
        new_head: bool = True,
    ) -> None:
        super().__init__()
        self.changed: dict[str, str] = {}  # weights that are not the encoders' own any more: name to digest
        self.device, self.dtype = resolve_device(device), dtype
        video = load_video_encoder(config, self.device, dtype, share=share)
        text = load_text_encoder(config, self.device, dtype, share=share)
        self._encoders: tuple[Encoder, ...] = (video, text) if share else ()
        self._video_content = video.content
        self.config = replace(config, video_encoder_revision=video.revision, text_encoder_revision=text.revision)
        self.venc, self.tenc = over_same_tensors(video.parts["venc"]), over_same_tensors(text.parts["tenc"])
        self.pooler = over_same_tensors(video.parts["pooler"]) if "pooler" in video.parts else None
        self.tokenizer = text.tokenizer
        self.clip_config = read_clip_config(self.config, self.venc.config)
        self.video_dim = len(config.views) * self.venc.config.hidden_size
        with drawing if new_head else torch.device("meta"):  # a training beside this may be drawing too
            head = OptimizedMOSHead(self.video_dim, self.tenc.config.hidden_size, h=config.head_hidden)
        self.head = head.to(self.device) if new_head else head  # no memory before the weights are known to fit
        self.eval()

    def draw_head(self, seed: int) -> None:
        """New weights for the head, which `seed` alone decides."""
        with seeded(seed):  # on the CPU: a GPU draws other numbers
            drawn = OptimizedMOSHead(self.video_dim, self.tenc.config.hidden_size, h=self.config.head_hidden)
        self.head.load_state_dict(drawn.state_dict())

    # ---- encoders that others share ------------------------------------------------------------------------------

    def _shared_parameters(self) -> dict[str, nn.Parameter]:
        """The parameters of the encoders that other models may hold too, by the name they have here."""
        parts = [part for encoder in self._encoders for part in encoder.parts.items()]
        return {f"{part}.{name}": value for part, module in parts for name, value in module.named_parameters()}

    def _own(self, names: Iterable[str]) -> None:
        """Each parameter among `names` that others share is replaced by a copy of this model's own, not training."""
        shared, mine = self._shared_parameters(), dict(self.named_parameters())
        for name in names:
            if name in shared and mine[name] is shared[name]:
                owner, _, leaf = name.rpartition(".")
                copied = nn.Parameter(shared[name].detach().clone(), requires_grad=False)
                setattr(self.get_submodule(owner), leaf, copied)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> VJEPAModel:
        """What `to`, `half` and the like do, in place: never to a tensor that others share."""
        with torch.no_grad():
            self._own([name for name, value in self._shared_parameters().items() if fn(value) is not value])
        return super()._apply(fn, recurse)

    def replace_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Put `weights`, by name, in the place of the encoders' and the head's; those that are not among them stay.

        An encoder's weight that is given again changes nothing: it stays shared, and the features stay known.

        Raises:
            ModelError: if one of them is not in this model, or has another shape, or the head's are not all there.
        """
        expected = self.state_dict()
        missing = [name for name in expected if name.startswith("head.") and name not in weights]
        for name in (*weights.keys() - expected.keys(), *missing):
            raise ModelError(f"{name} is too much or missing")
        for name, value in weights.items():
            if value.shape != expected[name].shape or not value.is_floating_point():
                raise ModelError(
                    f"{name} is {tuple(value.shape)} {value.dtype}; {tuple(expected[name].shape)} and a floating point "
                    "type were expected"
                )
        new = {
            name: value
            for name, value in weights.items()
            if name.startswith("head.") or not torch.equal(value.to(expected[name]), expected[name])
        }
        if self.head.net[0].weight.is_meta:
            self.head.to_empty(device=self.device)
        self.load_state_dict(new, strict=False)
        for name, value in new.items():
            data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
            self.changed[name] = hashlib.sha256(data).hexdigest()

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As torch's; encoder weights that other models share become this model's own first."""
        self._own(state_dict)
        return super().load_state_dict(state_dict, strict, assign)

    # ---- scoring -------------------------------------------------------------------------------------------------

    def forward(self, pixel_values_videos: Tensor | Sequence[Tensor], text_emb: Tensor) -> Tensor:
        """Scores (B, 5) float32 from normalised pixels (B, C, T, H, W), a list of them for several views or looks, and
        text features (B, text_dim)."""
        video_features = self.encode_tail(self.encode_prefix(pixel_values_videos))
        return self.predict_with_features(video_features, text_emb)

    @torch.no_grad()
    def encode_video(
        self, pixel_values_videos: Tensor | Sequence[Tensor], *, before_layer: BeforeLayer | None = None
    ) -> Tensor:
        """Pooled features (B, video_dim) float32 of normalised pixels (B, C, T, H, W); no gradient.

        Several views are a list of pixels, several looks the views of one look after those of the other: then the
        features are (B, looks, video_dim).

        `before_layer` is called before each of the `num_layer_runs`; what it raises ends the run.
        """
        hidden = self.encode_prefix(pixel_values_videos, before_layer=before_layer)
        return self.encode_tail(hidden, before_layer=before_layer)

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        """Text features (B, text_dim) float32 of unit length, one row a prompt; no gradient."""
        return self.embed_text(prompts)

    def extract_features(
        self, pixel_values_videos: Tensor | Sequence[Tensor], prompts: Sequence[str]
    ) -> dict[str, Tensor]:
        """`{"video_features": (B, video_dim), "text_features": (B, text_dim)}`: all that the head needs. With several
        looks the video's are (B, looks, video_dim)."""
        return {
            "video_features": self.encode_video(pixel_values_videos),
            "text_features": self.encode_text(prompts),
        }

    def predict_with_features(
        self, video_features: Tensor, text_features: Tensor, alignment_text: Tensor | None = None
    ) -> Tensor:
        """Scores (B, 5) float32 from features (B, video_dim) and (B, text_dim), in the order of `DIMENSIONS`; not cut
        to the scale.

        Where `alignment_text` (B, text_dim) is given, Alignment is predicted from it and the others are not: see
        `schema.judging_prompt`.
        Of several looks, features (B, looks, video_dim), it is the mean. In evaluation each look is cut to 1..5 first:
        the mean is that of scores that could be shown. In training it is not, for what is cut has no gradient.
        """
        if video_features.ndim == 2:
            return self.predict_looks(video_features[:, None], text_features, alignment_text)[:, 0]
        outputs = self.predict_looks(video_features, text_features, alignment_text)
        return (outputs if self.training else outputs.clamp(SCORE_MIN, SCORE_MAX)).mean(dim=1)

    def predict_looks(
        self, video_features: Tensor, text_features: Tensor, alignment_text: Tensor | None = None
    ) -> Tensor:
        """What the head answers for each look (B, looks, 5) float32, not cut to the scale, from features (B, looks,
        video_dim) and (B, text_dim); `alignment_text` is as for `predict_with_features`."""
        scores = self._answers(video_features, text_features)
        if alignment_text is None:
            return scores
        is_alignment = torch.tensor([name == "Alignment" for name in DIMENSIONS], device=self.device)
        return torch.where(is_alignment, self._answers(video_features, alignment_text), scores)

    def _answers(self, video_features: Tensor, text_features: Tensor) -> Tensor:
        video = video_features.to(self.device).float()
        text = text_features.to(self.device).float()[:, None].expand(-1, video.shape[1], -1)  # (B, looks, text_dim)
        with torch.autocast(self.device.type, enabled=False):
            return self.head(video.flatten(0, 1), text.flatten(0, 1)).unflatten(0, video.shape[:2])

    # ---- the parts that scoring and training are made of -----------------------------------------------------------

    @property
    def num_layer_runs(self) -> int:
        """How many times a layer runs for a clip: each layer once for each view of each look."""
        return self.config.looks * len(self.config.views) * len(self.venc.layer)

    @property
    def num_frozen_layers(self) -> int:
        """Layers below the freeze line: `int(layers * freeze_ratio)`, as in the seed."""
        return int(len(self.venc.layer) * self.config.freeze_ratio)

    def video_weights_digest(self, layer: int | None = None) -> str:
        """A digest of the video encoder's weights, all of them or those below `layer`. It depends on the weights alone,
        not on where they lie, the precision, or which checkpoint brought them."""
        changed = {name: digest for name, digest in sorted(self.changed.items()) if _is_below(name, layer)}
        digest = f" {hashlib.sha256(json.dumps(changed).encode()).hexdigest()}" if changed else ""
        return self._video_content + digest

    @property
    def video_key(self) -> tuple[str, str]:
        """Equal for models whose video encoders make the same features of the same pixels."""
        return self.video_weights_digest(), self.config.pooling

    @property
    def products(self) -> str:
        """Device and precision of the video encoder's matrix products, such as "cpu torch.float32"."""
        return elsewhere.get(self.video_key, f"{self.device.type} {self.dtype}")

    def video_part(self, device: str) -> VJEPAModel:
        """A model for `encode_video` alone: a copy of this one's video encoder on `device`, without text and head."""
        part = copy.copy(self)
        names = [name for name in ("venc", "pooler") if getattr(self, name) is not None]
        part._modules = {name: copy.deepcopy(getattr(self, name)).to(device) for name in names}
        part._encoders, part.device = (), torch.device(device)
        return part

    def looking_as(self, config: ModelConfig, clip_config: ClipConfig) -> VJEPAModel:
        """The same model, which looks at clips as another over the same encoder does."""
        other = copy.copy(self)
        other.config, other.clip_config = config, clip_config
        return other

    @torch.no_grad()
    def encode_prefix(
        self, pixel_values_videos: Tensor | Sequence[Tensor], *, before_layer: BeforeLayer | None = None
    ) -> Tensor:
        """The hidden state at the freeze line (B, N, hidden) float32, a constant of the clip; no gradient.

        The tokens of several views, and of several looks, follow one another. `before_layer` is as for `encode_video`.
        """
        if isinstance(pixel_values_videos, Tensor):
            pixel_values_videos = [pixel_values_videos]
        expected = self._frames_of_views()
        if len(expected) > 1 and [pixels.shape[2] for pixels in pixel_values_videos if pixels.ndim == 5] != expected:
            raise ValueError(
                f"this model sees {len(expected)} views of a clip, of {', '.join(map(str, expected))} frames: a list "
                "of as many tensors (B, C, T, H, W) was expected, got "
                f"{[tuple(pixels.shape) for pixels in pixel_values_videos]}"
            )
        hidden = [self._view_prefix(pixels, before_layer) for pixels in pixel_values_videos]
        return hidden[0] if len(hidden) == 1 else torch.cat(hidden, dim=1)  # one view is not copied: it may be large

    def _view_prefix(self, pixels: Tensor, before_layer: BeforeLayer | None = None) -> Tensor:
        config: Any = self.venc.config
        if pixels.ndim != 5 or pixels.shape[1] != config.in_chans:
            raise ValueError(f"a video tensor is (B, {config.in_chans}, T, H, W), got {tuple(pixels.shape)}")
        num_frames, height, width = pixels.shape[2:]
        # The encoder counts positions by its own crop size: another one would be read wrongly, not refused.
        if num_frames % config.tubelet_size or not height == width == config.crop_size:
            raise ValueError(
                f"T must be a multiple of {config.tubelet_size}, H and W must be {config.crop_size}; "
                f"got T, H, W = {num_frames}, {height}, {width}"
            )
        frames = pixels.to(self.device, torch.float32).transpose(1, 2)  # (B, T, C, H, W)
        with torch.autocast(self.device.type, enabled=False):
            hidden = self.venc.embeddings(frames)  # (B, N, hidden), N = T/tubelet * H/patch * W/patch
        with self._autocast():
            return run_layers(self.venc.layer[: self.num_frozen_layers], hidden, before_layer=before_layer)

    def encode_tail(self, hidden: Tensor, *, before_layer: BeforeLayer | None = None) -> Tensor:
        """Pooled features (B, video_dim) float32, the views side by side, from the hidden state at the freeze line
        (B, N, hidden); (B, looks, video_dim) with several looks."""
        tokens = self.tokens_of_views
        if len(tokens) == 1:
            return self.encode_view_tail(hidden, before_layer=before_layer)
        parts = hidden.split(tokens, dim=1)
        features = torch.cat([self.encode_view_tail(part, before_layer=before_layer) for part in parts], dim=-1)
        if self.config.looks == 1:
            return features  # (B, views * hidden)
        return features.unflatten(-1, (self.config.looks, -1))  # (B, looks, views * hidden)

    def encode_view_tail(self, hidden: Tensor, *, before_layer: BeforeLayer | None = None) -> Tensor:
        """Pooled features (B, hidden) float32 of one view from its hidden state at the freeze line (B, N, hidden)."""
        with self._autocast():
            hidden = run_layers(self.venc.layer[self.num_frozen_layers :], hidden, before_layer=before_layer)
            hidden = self.venc.layernorm(hidden)
            if self.config.pooling == "cls":
                return hidden[:, 0].float()
            pooled = hidden.mean(dim=1) if self.pooler is None else self.pooler(hidden)
            return pooled.float()

    @property
    def tokens_of_views(self) -> list[int]:
        """How many tokens the encoder makes of each view of a clip, look after look."""
        config: Any = self.venc.config
        tokens_of_tubelet = (config.crop_size // config.patch_size) ** 2
        return [count // config.tubelet_size * tokens_of_tubelet for count in self._frames_of_views()]

    def _frames_of_views(self) -> list[int]:
        return [view.num_frames or self.clip_config.num_frames for view, _ in self.clip_config.all_views]

    def embed_text(self, prompts: Sequence[str]) -> Tensor:
        """Text features (B, text_dim) float32 of unit length, with gradient: BGE's CLS token, L2-normalised.

        A prompt is cut at the text encoder's limit (512 tokens for BGE).
        """
        tokens = self.tokenizer(
            list(prompts), padding=True, truncation=True, max_length=self._max_text_tokens, return_tensors="pt"
        ).to(self.device)
        with self._autocast():
            hidden = self.tenc(**tokens).last_hidden_state  # (B, L, text_dim)
        return F.normalize(hidden[:, 0].float(), dim=-1)

    def unread(self, prompt: str) -> str:
        """The end of `prompt` beyond the text encoder's limit, which no score depends on; mostly empty."""
        limit = self._max_text_tokens
        tokens = self.tokenizer(prompt, truncation=True, max_length=limit, return_offsets_mapping=True)
        places = tokens["offset_mapping"]  # each token's begin and end in the prompt
        return prompt[max(end for _, end in places) :].strip() if len(places) == limit else ""

    @property
    def _max_text_tokens(self) -> int:
        return min(MAX_TEXT_TOKENS, self.tenc.config.max_position_embeddings)

    def _autocast(self) -> AbstractContextManager[Any]:
        """Matrix products in `self.dtype`; in float32, whatever precision the caller (a trainer) has set."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    # ---- what trains -----------------------------------------------------------------------------------------------

    def get_discriminative_params(self, base_learning_rate: float = BASE_LEARNING_RATE) -> list[dict[str, Any]]:
        """Optimizer groups `text_encoder`, `video_encoder`, `prediction_head` with 0.1, 0.5 and 2.0 times the base
        rate as `lr`; each holds only parameters that train, so a frozen part's group is empty."""
        parts = {"text_encoder": self.tenc, "video_encoder": self.venc, "prediction_head": self.head}
        return [
            {
                "name": name,
                "params": [parameter for parameter in part.parameters() if parameter.requires_grad],
                "lr": base_learning_rate * LEARNING_RATE_FACTORS[name],
            }
            for name, part in parts.items()
        ]

    def train(self, mode: bool = True) -> VJEPAModel:
        """As torch's; but what is frozen never drops anything."""
        super().train(mode)
        for part in filter(None, (self.venc.embeddings, *self.venc.layer, self.tenc, self.pooler)):
            part.train(mode and any(parameter.requires_grad for parameter in part.parameters()))
        return self

    def freeze_video_encoder(self) -> None:
        """Nothing of the video encoder trains."""
        self.venc.requires_grad_(False)
        if self.pooler is not None:
            self.pooler.requires_grad_(False)

    def unfreeze_video_encoder(self) -> None:
        """The layers above the freeze line and the final norm train; embeddings, pooler and the rest never do."""
        self.freeze_video_encoder()
        layers = range(self.num_frozen_layers, len(self.venc.layer))
        self._train("venc.layernorm.", *(f"venc.layer.{layer}." for layer in layers))

    def freeze_text_encoder(self) -> None:
        """Nothing of the text encoder trains."""
        self.tenc.requires_grad_(False)

    def unfreeze_text_encoder(self) -> None:
        """All of the text encoder trains (through `embed_text`; `encode_text` takes no gradient)."""
        self._train("tenc.")

    def _train(self, *prefixes: str) -> None:
        """Parameters whose names begin with one of `prefixes` train; they become this model's own."""
        names = [name for name, _ in self.named_parameters() if name.startswith(prefixes)]
        self._own(names)
        for name in names:
            self.get_parameter(name).requires_grad_(True)

    def set_trainable(self, *, top_layers: bool, text: bool) -> None:
        """The head trains; the layers above the freeze line and the text encoder where asked."""
        self.head.requires_grad_(True)
        self.unfreeze_video_encoder() if top_layers else self.freeze_video_encoder()
        self.unfreeze_text_encoder() if text else self.freeze_text_encoder()

    def multiply_in(self, dtype: torch.dtype) -> None:
        """From now on matrix products are in `dtype`, and so are the stored weights of frozen layers.

        Weights that train, or that a checkpoint brought, stay in float32: autocast rounds them for each product.
        """
        self.dtype = dtype
        before = self._shared_parameters()
        self._encoders = tuple(encoder.in_precision(dtype) for encoder in self._encoders)
        after = self._shared_parameters()
        for path, module in self.named_modules():
            for leaf, parameter in list(module.named_parameters(recurse=False)):
                name = f"{path}.{leaf}"
                if name in before and parameter is before[name]:
                    setattr(module, leaf, after[name])
                elif isinstance(module, nn.Linear) and not name.startswith("head.") and name not in self.changed:
                    parameter.data = parameter.data.to(torch.float32 if parameter.requires_grad else dtype)

    def parameter_statistics(self) -> ParameterStatistics:
        """Counts and bytes of all parameters and of those that train, as they are now."""
        parameters = list(self.parameters())
        trainable = [parameter for parameter in parameters if parameter.requires_grad]
        return ParameterStatistics(
            total=sum(parameter.numel() for parameter in parameters),
            trainable=sum(parameter.numel() for parameter in trainable),
            total_bytes=sum(parameter.nbytes for parameter in parameters),
            trainable_bytes=sum(parameter.nbytes for parameter in trainable),
        )


def on_scale(outputs: Tensor) -> Tensor:
    """The head's outputs as the scores that are shown: clamped to 1..5, rounded to `SCORE_DECIMALS`."""
    return outputs.double().clamp(SCORE_MIN, SCORE_MAX).round(decimals=SCORE_DECIMALS)


def create_vjepa_model(config: Mapping[str, Any]) -> VJEPAModel:
    """A `VJEPAModel` from the seed's configuration keys `video_encoder`, `text_encoder`, `freeze_ratio` and `device`
    (with its defaults), and optionally `pooling`, `dtype`, `head_hidden`, `num_frames`, `views` and `looks`; other keys
    are ignored."""
    names = {"video_encoder": "vjepa_model_id", "text_encoder": "text_model_id"}
    optional = ("freeze_ratio", "device", "pooling", "dtype", "head_hidden", "num_frames", "views", "looks")
    return VJEPAModel(**{names.get(key, key): config[key] for key in (*names, *optional) if key in config})


def resolve_device(device: str | torch.device) -> torch.device:
    """`device`, or the CPU, with one logged line, where CUDA was asked for and there is none."""
    wanted = torch.device(device)
    if wanted.type == "cuda" and not torch.cuda.is_available():
        logger.warning("no CUDA device here: the model runs on the CPU")
        return torch.device("cpu")
    return wanted


def default_device() -> str:
    """ "cuda" where this process has one, else "cpu"."""
    return "cuda" if torch.cuda.is_available() and not on_zero_gpu() else "cpu"


def inference_dtype(device: str | torch.device) -> torch.dtype:
    """bfloat16 where `device` multiplies it faster than float32 (a GPU, AMX, avx512_bf16), else float32."""
    if torch.device(device).type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if torch.device(device).type == "cpu":
        # torch has no public question for these; both are asked of the processor, not of a compiled kernel.
        fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
        return torch.bfloat16 if fast else torch.float32
    return torch.float32


def _is_below(name: str, layer: int | None) -> bool:
    """Whether the video encoder uses the weight `name` below `layer` (None: anywhere)."""
    if layer is None:
        return name.startswith(("venc.", "pooler."))
    number = re.match(r"venc\.layer\.(\d+)\.", name)
    return int(number[1]) < layer if number else name.startswith("venc.embeddings.")
