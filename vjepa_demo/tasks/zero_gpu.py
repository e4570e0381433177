"""The shared GPU of a ZeroGPU Space: what runs there, how long that may take, and what is said when it cannot be had.

The package `spaces` gives a visitor's call a GPU. It forks a process, moves to the GPU what seemed to lie there, runs
one function in it and sends back what that returns, pickled. What the function changes in memory is lost, and past the
declared duration the process is ended. A visitor's daily quota must still hold the declared duration before the call
begins. So:

- The video encoders are placed before the page is served, in the main thread. A call names its encoder and brings the
  frames as bytes; pooled features of a few kilobytes come back.
- Text encoder and head run here, on the CPU, and so does a head that learns. A visitor's own head over a placed encoder
  needs nothing else.
- How long the start and a clip took comes back with the features; the next call declares that, and nothing more.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vjepa_demo.config import (
    SHARED_GPU_CALL_BYTES,
    SHARED_GPU_CALL_SECONDS,
    SHARED_GPU_RATE,
    SHARED_GPU_READ_RATE,
    SHARED_GPU_START_SECONDS,
    ClipConfig,
    ModelConfig,
)
from vjepa_demo.data.hub import Token
from vjepa_demo.media.video import Clip, pixel_values
from vjepa_demo.model.checkpoint import find_checkpoint, load_checkpoint
from vjepa_demo.model.cost import OTHER_SHARE, clip_flops
from vjepa_demo.model.vjepa import VJEPAModel, elsewhere
from vjepa_demo.schema import ModelError

logger = logging.getLogger(__name__)

INSTEAD = "or choose demo, which needs no GPU"
ILLEGAL = "ZeroGPU illegal duration"
# What to do, by the title of the error that `spaces` raises; its own message says what happened.
ADVICE = {
    "ZeroGPU quota exceeded": f"Sign in to Hugging Face for a larger quota, wait until tomorrow, {INSTEAD}",
    "ZeroGPU pending credits exceeded": f"Wait until your other calls have ended, {INSTEAD}",
    ILLEGAL: "Use a smaller model, or run this program on a GPU of your own",
    "ZeroGPU queue timeout": f"Try again in a minute, {INSTEAD}",
    "ZeroGPU client error": f"Try again in a minute or reload the page, {INSTEAD}",
}
ABORTED = "GPU task aborted"  # what `spaces` says of a process that ended before it answered
TOP_REFUSED = (
    "scope top cannot learn on a ZeroGPU Space: it needs the GPU for many minutes at a stretch, and a visitor gets it "
    "for seconds. Train the head alone (scope head), or train on a Space with a GPU of its own or on your machine"
)


@dataclass(frozen=True)
class _Look:
    """Which placed encoder looks at clips, and how: all of a model that a call has to bring."""

    key: tuple[str, str]  # `VJEPAModel.video_key`
    config: ModelConfig
    clip: ClipConfig

    @classmethod
    def of(cls, model: VJEPAModel) -> _Look:
        return cls(model.video_key, model.config, model.clip_config)


@dataclass(frozen=True)
class _Answer:
    """What a call sends back: pooled features (N, video_dim) float32, of several looks (N, looks, video_dim), the
    seconds that encoding a clip took, and those from the birth of the process until its first call began (None in
    later ones)."""

    features: NDArray[np.float32]
    clip_seconds: float
    start_seconds: float | None


class _Pace:
    """How long calls take, as the last ones did. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clip_seconds: dict[_Look, float] = {}
        self._start_seconds: float | None = None

    def start_seconds(self) -> float:
        held = sum(parameter.nbytes for model in _placed.values() for parameter in model.parameters())
        return self._start_seconds or SHARED_GPU_START_SECONDS + held / SHARED_GPU_READ_RATE

    def clip_seconds(self, look: _Look) -> float:
        known = self._clip_seconds.get(look)
        if known is not None:
            return known
        return OTHER_SHARE * clip_flops(_placed[look.key].looking_as(look.config, look.clip)) / SHARED_GPU_RATE

    def learn(self, look: _Look, answer: _Answer) -> None:
        with self._lock:
            self._clip_seconds[look] = answer.clip_seconds
            self._start_seconds = answer.start_seconds or self._start_seconds

    def too_short(self, look: _Look) -> None:
        """A call was ended before it answered: the next one with this look declares more."""
        with self._lock:
            self._clip_seconds[look] = 2 * self.clip_seconds(look) + self.start_seconds()

    def forget(self, look: _Look) -> None:
        """More was declared than is ever granted: the next call declares what the model's size says."""
        with self._lock:
            self._clip_seconds.pop(look, None)


_placed: dict[tuple[str, str], VJEPAModel] = {}  # by `video_key`; a forked process finds them here
_pace = _Pace()
_call: Callable[[_Look, list[list[NDArray[np.uint8]]]], _Answer | ModelError] | None = None


# ---- before the page is served ---------------------------------------------------------------------------------------


def place(name: str, *, device: str = "cuda", token: Token = False) -> None:
    """Put the video encoder of the model `name` on the shared GPU. Call it in the main thread, before the page is
    served: `spaces` has patched that thread alone, and what comes later is copied for each process anew.

    Raises:
        ModelError, CheckpointError: if the model cannot be loaded, or this torch has no code for the GPU.
    """
    global _call
    import spaces  # only there is it installed; app.py has imported it before torch

    if device == "cuda":
        _check_architecture()
    if _call is None:
        os.register_at_fork(after_in_child=_in_a_new_process)
        _call = spaces.GPU(duration=_declared_seconds)(_encode)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    model = load_checkpoint(find_checkpoint(name, token=token), device="cpu", dtype=dtype)
    _placed[model.video_key] = model.video_part(device)
    elsewhere[model.video_key] = f"{device} {dtype}"
    logger.info("the video encoder of %s is on the shared GPU", name)


def _check_architecture() -> None:
    major, minor = torch.cuda.get_device_capability()
    built = torch.cuda.get_arch_list() if torch.version.cuda else []
    if not runs_on(major, minor, built):
        raise ModelError(
            f"this torch ({torch.__version__}) has no code for the GPU of this Space (sm_{major}{minor}), only for "
            f"{', '.join(built) or 'the CPU'}: require a torch built with CUDA 12.8 or newer in requirements.txt"
        )


def runs_on(major: int, minor: int, built: Sequence[str]) -> bool:
    """Whether a torch that was `built` for these, such as sm_90 and compute_120, runs on a GPU of this capability: code
    (sm) runs on later GPUs of the same major number, what is compiled when it is loaded (compute) on all later ones."""
    for name in built:
        kind, _, number = name.rstrip("af").partition("_")
        built_for = divmod(int(number), 10)
        if built_for <= (major, minor) and (kind == "compute" or built_for[0] == major):
            return True
    return False


# ---- in this process -------------------------------------------------------------------------------------------------


def is_elsewhere(model: VJEPAModel) -> bool:
    """Whether the shared GPU encodes the clips of `model`."""
    return bool(_placed) and model.video_key in _placed


def clip_seconds(model: VJEPAModel) -> float | None:
    """About how long the shared GPU takes for a clip of `model`; None where this process encodes it."""
    return _pace.clip_seconds(_Look.of(model)) if is_elsewhere(model) else None


def clips_at_once(model: VJEPAModel) -> int:
    """How many clips a call should bring, where there are many: as many as `SHARED_GPU_CALL_SECONDS` and
    `SHARED_GPU_CALL_BYTES` allow; 1 where this process encodes them itself."""
    if not is_elsewhere(model):
        return 1
    look = _Look.of(model)
    frames = sum(view.num_frames or look.clip.num_frames for view, _ in look.clip.all_views)
    in_bytes = SHARED_GPU_CALL_BYTES // (frames * 3 * look.clip.crop_size**2)
    in_time = (SHARED_GPU_CALL_SECONDS - _pace.start_seconds()) / _pace.clip_seconds(look)
    return max(1, min(in_bytes, int(in_time)))


def encode(model: VJEPAModel, clips: Sequence[Clip]) -> Tensor:
    """Pooled features (N, video_dim) float32, of several looks (N, looks, video_dim), on the CPU, of N `clips` of a
    model that `is_elsewhere`, in one call.

    Raises:
        ModelError: if the GPU cannot be had now, or the call took longer than was declared.
    """
    assert _call is not None
    look = _Look.of(model)
    frames = [[view.numpy() for view in (clip.frames, *clip.more_views)] for clip in clips]
    try:
        answer = _call(look, frames)
    # A gr.Error with a title, or a RuntimeError; of what the function itself raises only the class's name comes back.
    except Exception as error:
        message, title = str(getattr(error, "message", error)).rstrip(". "), str(getattr(error, "title", ""))
        if ABORTED in message:
            seconds = _declared_seconds(look, frames)
            _pace.too_short(look)
            raise ModelError(
                f"the shared GPU ended the call before it answered; {seconds} s were declared for it. Try again: the "
                "next call declares more"
            ) from error
        if title == ILLEGAL:
            _pace.forget(look)
        advice = ADVICE.get(title, f"Try again, {INSTEAD}")
        raise ModelError(f"the shared GPU did not encode the video: {message}. {advice}") from error
    if isinstance(answer, ModelError):
        raise answer
    _pace.learn(look, answer)
    return torch.from_numpy(answer.features)


def _declared_seconds(look: _Look, clips: list[list[NDArray[np.uint8]]]) -> int:
    """Whole seconds that `spaces` is told of a call: those of a new process, and of each clip."""
    return math.ceil(_pace.start_seconds() + len(clips) * _pace.clip_seconds(look))


# ---- in the process that has the GPU ---------------------------------------------------------------------------------

_born: float | None = None  # when this process was forked, until its first call


def _in_a_new_process() -> None:
    global _born
    _born = time.perf_counter()


def _encode(look: _Look, clips: list[list[NDArray[np.uint8]]]) -> _Answer | ModelError:
    """The answer for `clips`, of each the frames (T, C, H, W) of its views, look after look.

    An error that has to keep its words is returned: of what is raised, `spaces` tells the class alone. Nothing here
    takes a lock of this program, which another thread may have held when the process was forked.
    """
    global _born
    begin = time.perf_counter()
    start_seconds, _born = None if _born is None else begin - _born, None
    torch.set_num_threads(1)  # the threads of OpenMP did not come along into this process
    try:
        model = _placed[look.key].looking_as(look.config, look.clip)
        features = [_features(model, views) for views in clips]
    except torch.OutOfMemoryError:
        return ModelError("the memory of the shared GPU is too small for this model: use a smaller one")
    return _Answer(np.stack(features), (time.perf_counter() - begin) / len(clips), start_seconds)


def _features(model: VJEPAModel, views: list[NDArray[np.uint8]]) -> Any:
    pixels = [pixel_values(torch.from_numpy(view).to(model.device), model.clip_config)[None] for view in views]
    return model.encode_video(pixels)[0].cpu().numpy()  # waits for the GPU
