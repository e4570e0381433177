"""A first head for an encoder that has none: fine-tuning on procedural clips, by command or at the first start.

No public weights exist for the head, so `vitl` and `vitg` cannot score as they come from the Hub. `bootstrap_head` is
that run, a generator of reports; `background.Bootstrapper` runs it in a server.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from vjepa_demo.config import (
    BOOTSTRAP_CLIPS,
    CHECKPOINT_CONFIG_FILE,
    CHECKPOINTS_VARIABLE,
    CPU_FRAMES,
    TrainConfig,
    View,
    model_presets,
    no_folder,
)
from vjepa_demo.files import exists, file_lock, is_file, is_folder, why_not_written
from vjepa_demo.model.checkpoint import load_base
from vjepa_demo.model.cost import expected_seconds
from vjepa_demo.model.features import feature_cache
from vjepa_demo.model.vjepa import inference_dtype
from vjepa_demo.procedural.clips import FIRST_HEAD_SIZE
from vjepa_demo.schema import (
    BusyError,
    CheckpointError,
    DrawingReport,
    LabelRange,
    ModelError,
    PlanReport,
    RecordSet,
    StoppedError,
    TrainingReport,
    TrainingResult,
)
from vjepa_demo.tasks.dataset import draw_clips
from vjepa_demo.tasks.launch import enough_memory, num_processes, training_device
from vjepa_demo.tasks.train import split_for_training, train

DESCRIPTION = "moving textures and shapes with known degradations, drawn by this program"
DRAWING_SECONDS = 1.1  # of processor time for a clip of `FIRST_HEAD_SIZE` (docs/fine-tuning.md): before the first one


def bootstrap_head(
    name: str,
    folder: str | Path | None = None,
    config: TrainConfig | None = None,
    *,
    count: int = BOOTSTRAP_CLIPS,
    device: str | None = None,
    views: Sequence[View] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Generator[PlanReport | DrawingReport | TrainingReport, None, None]:
    """Train the first head of the preset `name` on `count` procedural clips, drawn from the seed of `config`; the
    encoder is shown `views` of them, by default the preset's.

    Yields a `PlanReport`, a `DrawingReport` a clip, then what `train.train` yields. Each says how long the whole run
    takes, without the epochs, which take seconds: until the first clip is encoded, as the size of the model says. The
    last report names the checkpoint's folder, by default the preset's own, so that the model can be chosen by name. By
    then the folder is there, whole. Before, or if the generator is closed or the process killed, there is nothing but a
    hidden work folder beside it, which the next run removes. One process at a time trains into a folder. `should_stop`
    is asked before each clip, layer and step.

    Raises:
        StoppedError: once `should_stop` said yes; nothing is kept then.
        ModelError: if the preset has a head already, there is no folder for it, its encoders cannot be had, or the
            GPU's memory is too small.
        BusyError: if another process is training this head.
        CheckpointError: if `folder` holds anything, or cannot be written.
    """
    preset = model_presets().get(name)
    if preset is None:
        raise ModelError(f"no encoder {name!r} to train a first head for: choose vitl or vitg")
    if preset.refusal is None:
        raise ModelError(
            f"{name} has a trained head already, in {preset.checkpoint}: score with it or fine-tune it on labels; "
            "to train another first head, move that folder away"
        )
    if num_processes() > 1:
        raise ModelError("a first head is trained by one process: start it without accelerate launch")
    if folder is None and preset.checkpoint is None:
        raise ModelError(f"the first head has no place to go: {no_folder(CHECKPOINTS_VARIABLE)}, or give --out DIR")
    folder = Path(folder or preset.checkpoint or "")
    with _work_folder(folder, name) as work:
        settings = config or TrainConfig()
        for report in _reports(name, work, settings, count=count, device=device, views=views, should_stop=should_stop):
            if should_stop():
                raise StoppedError("stopped: nothing of the first head is kept")
            if isinstance(report, TrainingResult):
                report = replace(report, folder=report.folder.rename(folder))
            yield report


def _reports(
    name: str,
    work: Path,
    config: TrainConfig,
    *,
    count: int,
    device: str | None,
    views: Sequence[View] | None,
    should_stop: Callable[[], bool],
) -> Iterator[PlanReport | DrawingReport | TrainingReport]:
    """The run, within the folder `work`. The encoders come first: what goes wrong with them is known at once."""
    clips = work / "clips"
    clips.mkdir()
    with enough_memory(name):
        model, _ = load_base(name, device=device or training_device(), views=views, seed=config.seed)
        encoding = count * expected_seconds(model, inference_dtype(model.device))  # in which `train` encodes
        is_limited = model.device.type == "cpu" and any(view.num_frames is None for view in model.config.views)
        yield PlanReport(count, count * DRAWING_SECONDS + encoding, CPU_FRAMES if is_limited else None)
        records = yield from draw_clips(
            clips, count=count, seed=config.seed, size=FIRST_HEAD_SIZE, seconds_after=encoding
        )
        drawn = RecordSet(tuple(records), (), LabelRange(), num_rows=count)
        data, split = split_for_training(drawn, config, description=DESCRIPTION, kind="procedural")
        yield split
        yield from train(model, data, config, work / "checkpoint", cache=feature_cache(), should_stop=should_stop)


@contextmanager
def _work_folder(folder: Path, name: str) -> Iterator[Path]:
    """A new hidden folder beside `folder` for this process alone, gone afterwards; `folder` must be absent or empty.

    It holds the lock too. The system lets go of a lock when a process dies, so one that was left behind locks nobody
    out, and what lies beside it can be removed.
    """
    work = folder.parent / f".{folder.name}.partial"
    try:
        work.mkdir(parents=True, exist_ok=True)
        try:
            lock = file_lock(work / "lock", wait_seconds=0)
        except TimeoutError as error:
            raise BusyError(f"{name} is learning its first head in another process: wait for it") from error
        with lock:
            try:
                _remove_all_but_lock(work)
                if is_file(folder / CHECKPOINT_CONFIG_FILE):
                    raise CheckpointError(
                        f"{folder} holds a checkpoint already: score with it, or give another folder for the new one"
                    )
                if exists(folder) and (not is_folder(folder) or any(folder.iterdir())):
                    raise CheckpointError(f"{folder} is not empty; an empty or new folder was expected")
                yield work
            finally:
                _remove_all_but_lock(work)
                (work / "lock").unlink(missing_ok=True)
                shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be written: {why_not_written(error)}") from error


def _remove_all_but_lock(work: Path) -> None:
    for path in work.iterdir():
        if path.name != "lock":
            shutil.rmtree(path, ignore_errors=True)
