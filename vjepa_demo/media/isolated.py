"""Clips and previews of what strangers bring, decoded in a process of its own (see `sandbox`)."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from vjepa_demo.config import ClipConfig
from vjepa_demo.files import replacing
from vjepa_demo.media import sandbox
from vjepa_demo.media.preview import render_preview
from vjepa_demo.media.video import Clip, decode_clip
from vjepa_demo.schema import VideoError

MAX_NOTES, MAX_NOTE = 16, 1000  # of a clip, and letters of one


def load_clip(path: str | Path, config: ClipConfig, *, should_stop: Callable[[], bool] = lambda: False) -> Clip:
    """The clip that `video.decode_clip` makes of `path`, but whatever the file does to the decoder, this process lives.

    `should_stop` is asked several times a second. Where there is no such other process (see `sandbox`), the file is
    decoded in this one, without limits, and nobody is asked.

    Raises:
        VideoError: as `decode_clip`, and if the decoder crashes, or takes more time or memory than the settings allow.
        StoppedError: once `should_stop` said yes.
    """
    if not sandbox.is_available():
        return decode_clip(path, config)
    path = Path(path).absolute()
    edge = config.crop_size
    counts = [view.num_frames or config.num_frames for view, _ in config.all_views]
    views = [torch.empty(count * 3 * edge * edge, dtype=torch.uint8) for count in counts]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        answer = sandbox.run(
            "clip",
            path,
            Path(folder),
            into=[view.numpy().data for view in views],
            should_stop=should_stop,
            config=asdict(config),
        )
    match answer:
        case {"seconds": [*seconds], "duration": duration, "notes": [*notes], "colours_last": [*are_last]} if (
            len(seconds) == counts[0]
            and all(map(_is_time, (*seconds, duration)))
            and len(notes) <= MAX_NOTES
            and all(isinstance(note, str) and len(note) <= MAX_NOTE for note in notes)
            and len(are_last) == len(views)
        ):
            frames = [
                view.view(-1, edge, edge, 3).permute(0, 3, 1, 2) if is_last else view.view(-1, 3, edge, edge)
                for view, is_last in zip(views, are_last, strict=True)
            ]  # (T, 3, crop, crop) each
            return Clip(frames[0], tuple(map(float, seconds)), float(duration), tuple(frames[1:]), tuple(notes))
    raise VideoError(f"{path.name} cannot be read as a video: the decoder gave no clip; it is damaged: export it again")


def write_preview(path: str | Path, preview: Path) -> bool:
    """Write the first minute of a video to `preview`, an .mp4 that every browser plays; whole or not at all.

    Returns whether it was written: a video that browsers play needs no copy.

    Raises:
        VideoError: as `render_preview`, and if FFmpeg crashes, or takes more time or memory than the settings allow.
    """
    if not sandbox.is_available():
        return render_preview(path, preview)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        written = Path(folder) / preview.name
        answer = sandbox.run("preview", Path(path).absolute(), Path(folder), name=preview.name)
        if answer.get("is_written") is not True:
            return False
        with replacing(preview) as partial:
            shutil.copyfile(written, partial)
    return True


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
