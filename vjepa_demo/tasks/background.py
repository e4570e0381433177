"""A missing first head, learned in the background of a server while other models answer."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from vjepa_demo.config import (
    BOOTSTRAP_CLIPS,
    BOOTSTRAP_MODEL,
    BOOTSTRAP_VARIABLE,
    MODEL_VARIABLE,
    TrainConfig,
    model_presets,
    on_zero_gpu,
)
from vjepa_demo.schema import (
    BusyError,
    DemoError,
    DrawingReport,
    EncodingReport,
    EpochReport,
    FirstHead,
    ModelError,
    PlanReport,
    RunPhase,
    StoppedError,
    TrainingResult,
)
from vjepa_demo.wording import first_head_line

logger = logging.getLogger(__name__)


class Bootstrapper:
    """Trains a missing first head in the background of a server, at most once. Safe for many threads.

    $VJEPA_DEMO_BOOTSTRAP says of which model: without it `vitg`, the default where there is a GPU, and only there, and
    not where $VJEPA_DEMO_MODEL is another default;
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
        """Stop before the next clip, layer or step; nothing of the run is kept."""
        self._cancelled.set()

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended."""
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        try:
            self._tell(self._learn())
        except StoppedError:
            self._tell(FirstHead("stopped", self._state.name))
        except BusyError as error:
            logger.info("%s", error)
            self._tell(FirstHead("elsewhere", self._state.name))
        except DemoError as error:
            logger.error("bootstrap of %s: %s", self._state.name, error)
            problem = str(error)  # anybody may see the page: the folders of this machine are not for it
            for preset in model_presets().values():
                if preset.checkpoint is not None:
                    problem = problem.replace(f"{preset.checkpoint.parent}{os.sep}", "")
            self._tell(FirstHead("failed", self._state.name, problem=problem))
        finally:  # of another error threading.excepthook logs the traceback
            if self._state.phase != "elsewhere" and not self._state.is_settled:
                problem = "it ended with an error, which the server's log tells"
                self._tell(FirstHead("failed", self._state.name, problem=problem))

    def _learn(self) -> FirstHead:
        """Runs it, telling how far it is; returns how it ended.

        Raises:
            DemoError: if the setting is none of those that there are, or the run fails.
        """
        setting = os.environ.get(BOOTSTRAP_VARIABLE, "").strip()
        name: str | None = setting
        if not setting:
            has_default = bool(os.environ.get(MODEL_VARIABLE, "").strip())  # a page with a model needs no other
            name = None if has_default or not self._has_gpu() else BOOTSTRAP_MODEL
        elif setting == "0":
            name = None
        elif setting not in model_presets():
            raise ModelError(f"{BOOTSTRAP_VARIABLE} is {setting[:40]!r}; 0, vitl or vitg was expected")
        if name is None or model_presets()[name].refusal is None:
            return FirstHead("idle", name or BOOTSTRAP_MODEL)
        if on_zero_gpu():  # only where the setting asks for it: this process has no GPU of its own
            raise ModelError(model_presets()[name].refusal)
        self._tell(FirstHead("loading", name))
        from vjepa_demo.tasks.bootstrap import bootstrap_head  # loads torch: the page is served before

        reports = bootstrap_head(name, config=self._config, count=self._count, should_stop=self._cancelled.is_set)
        for report in reports:
            if isinstance(report, PlanReport):
                self._tell(FirstHead("drawing", name, 0, report.num_clips, report.seconds))
            elif isinstance(report, EpochReport):
                self._tell(FirstHead("learning", name, report.epoch, report.epochs, report.seconds_left))
            elif isinstance(report, DrawingReport | EncodingReport):
                phase: RunPhase = "drawing" if isinstance(report, DrawingReport) else "encoding"
                self._tell(FirstHead(phase, name, report.done, report.total, report.seconds_left))
            elif isinstance(report, TrainingResult):
                self._tell(FirstHead("done", name))
            if self._cancelled.is_set() and not self._state.is_settled:
                reports.close()
                return FirstHead("stopped", name)
        return FirstHead("done", name)

    def _tell(self, state: FirstHead) -> None:
        line = first_head_line(state)
        if line and state.phase not in (self._state.phase, "failed"):  # a failure is logged as an error
            logger.info("%s", line)
        self._state = state


def _has_gpu() -> bool:
    from vjepa_demo.tasks.launch import default_device  # loads torch: the page is served before

    return default_device() == "cuda"
