"""A first head for an encoder that has none: fine-tuning on procedural clips, by command or at the first start.

No public weights exist for the head, so `vitl` and `vitg` cannot score as they come from the Hub. `bootstrap_head` is the
run itself, a generator of reports. `Bootstrapper` runs it in the background of a server and says how far it is.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from vjepa_demo.config import (
    BOOTSTRAP_CLIPS,
    BOOTSTRAP_MODEL,
    BOOTSTRAP_VARIABLE,
    CHECKPOINT_CONFIG_FILE,
    ModelPreset,
    TrainConfig,
    View,
    model_presets,
)
from vjepa_demo.data.split import split_records
from vjepa_demo.files import file_lock
from vjepa_demo.model.checkpoint import load_base
from vjepa_demo.model.features import feature_store
from vjepa_demo.model.vjepa import default_device
from vjepa_demo.procedural import clips as procedural_clips
from vjepa_demo.schema import (
    BusyError,
    CheckpointError,
    DemoError,
    DrawingReport,
    EncodingReport,
    EpochReport,
    FirstHead,
    ModelError,
    TrainingReport,
    TrainingResult,
    VideoRecord,
)
from vjepa_demo.tasks.launch import num_processes
from vjepa_demo.tasks.train import train
from vjepa_demo.wording import first_head_line

DESCRIPTION = "moving textures and shapes with known degradations, drawn by this program"

logger = logging.getLogger(__name__)


# ---- one run ---------------------------------------------------------------------------------------------------------


def bootstrap_head(
    name: str,
    folder: str | Path | None = None,
    config: TrainConfig | None = None,
    *,
    count: int = BOOTSTRAP_CLIPS,
    device: str | None = None,
    views: Sequence[View] | None = None,
) -> Generator[DrawingReport | TrainingReport, None, None]:
    """Train the first head of the preset `name` on `count` procedural clips, drawn from the seed of `config`; the
    encoder is shown `views` of them, by default the preset's.

    Yields a `DrawingReport` a clip, then what `train.train` yields; the last report names the checkpoint's folder, by
    default the preset's own, so that the model can be chosen by name. By then the folder is there, whole. Before, or if
    the generator is closed or the process killed, there is nothing but a hidden work folder beside it, which the next
    run removes. One process at a time trains into a folder.

    Raises:
        ModelError: if the preset has a head already, its encoders cannot be had, or the GPU's memory is too small.
        BusyError: if another process is training this head.
        CheckpointError: if `folder` holds anything, or cannot be written.
    """

    preset = _headless_preset(name)
    if num_processes() > 1:
        raise ModelError("a first head is trained by one process: start it without accelerate launch")
    folder = Path(folder or preset.checkpoint)
    with _work_folder(folder, name) as work:
        for report in _reports(name, work, config or TrainConfig(), count=count, device=device, views=views):
            if isinstance(report, TrainingResult):
                report = replace(report, folder=report.folder.rename(folder))
            yield report


def _headless_preset(name: str) -> ModelPreset:
    preset = model_presets().get(name)
    if preset is None:
        raise ModelError(f"no encoder {name!r} to train a first head for: choose vitl or vitg")
    if preset.refusal is None:
        raise ModelError(
            f"{name} has a trained head already, in {preset.checkpoint}: score with it or fine-tune it on labels; "
            "to train another first head, move that folder away"
        )
    return preset


def _reports(
    name: str, work: Path, config: TrainConfig, *, count: int, device: str | None, views: Sequence[View] | None
) -> Iterator[DrawingReport | TrainingReport]:
    """The run, within the folder `work`. The encoders come first: what goes wrong with them is known at once."""

    from vjepa_demo.tasks.train import TrainingData, training_device

    clips = work / "clips"
    clips.mkdir()
    try:
        torch.manual_seed(config.seed)  # the new head
        model, _ = load_base(name, device=device or training_device(), views=views)
        records = yield from _draw(clips, count=count, seed=config.seed)
        split = split_records(records, validation_fraction=config.validation_fraction, seed=config.seed)
        data = TrainingData(split.train, split.validation, DESCRIPTION, kind="procedural")
        yield from train(model, data, config, work / "checkpoint", base_weights=None, store=feature_store())
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"the GPU's memory is too small for {name}, or in use: free some, or take a smaller model"
        ) from error


def _draw(folder: Path, *, count: int, seed: int) -> Generator[DrawingReport, None, list[VideoRecord]]:
    """Draws the clips; returns their records."""

    begin, records = time.perf_counter(), []
    for record in procedural_clips.make_records(folder, count=count, seed=seed, size=procedural_clips.FIRST_HEAD_SIZE):
        records.append(record)
        left = (time.perf_counter() - begin) / len(records) * (count - len(records))
        yield DrawingReport(len(records), count, left)
    return records


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
                _check_vacant(folder)
                yield work
            finally:
                _remove_all_but_lock(work)
                (work / "lock").unlink(missing_ok=True)
                shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be written: {error.strerror or error}") from error


def _remove_all_but_lock(work: Path) -> None:
    for path in work.iterdir():
        if path.name != "lock":
            shutil.rmtree(path, ignore_errors=True)


def _check_vacant(folder: Path) -> None:
    if (folder / CHECKPOINT_CONFIG_FILE).is_file():
        raise CheckpointError(
            f"{folder} holds a checkpoint already: score with it, or give another folder for the new one"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CheckpointError(f"{folder} is not empty; an empty or new folder was expected")


# ---- in the background -----------------------------------------------------------------------------------------------


class Bootstrapper:
    """Trains a missing first head in the background of a server, at most once. Safe for many threads.

    $VJEPA_DEMO_BOOTSTRAP says of which model: without it `vitg`, the default where there is a GPU, and only there;
    `vitl` or `vitg` that one, GPU or not; `0` none.
    """

    def __init__(
        self,
        *,
        has_gpu: Callable[[], bool] | None = None,
        config: TrainConfig | None = None,
        count: int = BOOTSTRAP_CLIPS,
    ) -> None:
        self._has_gpu, self._config, self._count = has_gpu or _has_gpu, config, count
        self._state = FirstHead("waiting")
        self._cancelled = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin where a head is wanted and missing; returns at once. Nothing more happens when called again."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="bootstrap", daemon=True)
                self._thread.start()

    def state(self) -> FirstHead:
        """How far it is now."""
        state = self._state
        if state.phase in ("elsewhere", "failed") and model_presets()[state.name].refusal is None:
            return FirstHead("done", state.name)
        if self._cancelled.is_set() and not state.is_settled:
            return FirstHead("stopping", state.name)
        return state

    def cancel(self) -> None:
        """Stop at the next clip or epoch; nothing of the run is kept."""
        self._cancelled.set()

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended."""
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        try:
            self._tell(self._learn())
        except BusyError as error:
            logger.info("%s", error)
            self._tell(FirstHead("elsewhere", self._state.name))
        except DemoError as error:
            logger.error("bootstrap of %s: %s", self._state.name, error)
            self._fail(_without_folders(str(error)))
        finally:  # of another error threading.excepthook logs the traceback
            if self._state.phase != "elsewhere" and not self._state.is_settled:
                self._fail("it ended with an error, which the server's log tells")

    def _learn(self) -> FirstHead:
        """Runs it, telling how far it is; returns how it ended."""
        name = self._wanted()
        if name is None or model_presets()[name].refusal is None:
            return FirstHead("idle", name or BOOTSTRAP_MODEL)
        self._tell(FirstHead("loading", name))
        reports = bootstrap_head(name, config=self._config, count=self._count)
        for report in reports:
            self._tell(_state_after(report, name))
            if self._cancelled.is_set() and not self._state.is_settled:
                reports.close()
                return FirstHead("stopped", name)
        return FirstHead("done", name)

    def _wanted(self) -> str | None:
        """
        Raises:
            ModelError: if the setting is none of those that there are.
        """
        setting = os.environ.get(BOOTSTRAP_VARIABLE, "").strip()
        if setting == "0":
            return None
        if setting in model_presets():
            return setting
        if setting:
            raise ModelError(f"{BOOTSTRAP_VARIABLE} is {setting[:40]!r}; 0, vitl or vitg was expected")
        return BOOTSTRAP_MODEL if self._has_gpu() else None

    def _tell(self, state: FirstHead) -> None:
        if state.phase not in (self._state.phase, "failed") and first_head_line(
            state
        ):  # a failure is logged as an error
            logger.info("%s", first_head_line(state))
        self._state = state

    def _fail(self, problem: str) -> None:
        self._tell(FirstHead("failed", self._state.name, problem=problem))


def _state_after(report: DrawingReport | TrainingReport, name: str) -> FirstHead:

    if isinstance(report, DrawingReport):
        return FirstHead("drawing", name, report.done, report.total, report.seconds_left)
    if isinstance(report, EncodingReport):
        return FirstHead("encoding", name, report.done, report.total, report.seconds_left)
    if isinstance(report, EpochReport):
        return FirstHead("learning", name, report.epoch, report.epochs, report.seconds_left)
    return FirstHead("done", name)


def _without_folders(message: str) -> str:
    """`message` for a page that anybody may see: without the folders of this machine."""
    for preset in model_presets().values():
        message = message.replace(f"{preset.checkpoint.parent}{os.sep}", "")
    return message


def _has_gpu() -> bool:

    return default_device() == "cuda"
