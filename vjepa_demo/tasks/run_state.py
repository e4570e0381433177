"""How far a training run is, kept on disk after each epoch: what a killed run is resumed from."""

from __future__ import annotations

import json
import math
import shutil
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from vjepa_demo.files import write_whole
from vjepa_demo.model.checkpoint import put_weights, read_tensors, trained_weights, write_tensors
from vjepa_demo.model.vjepa import VJEPAModel
from vjepa_demo.schema import CheckpointError, RecordError, StoppedError

WORK_FOLDER = ".training"  # inside the checkpoint's folder, until the run is over
NUMBERS = ("epoch", "best_epoch", "best_score")


class RunState:
    """The last whole epoch of the run in `folder`, and its best one with the weights of `model` after it.

    Under `accelerate launch` every process calls the methods alike; process 0 writes.
    """

    def __init__(self, folder: Path, model: VJEPAModel, accelerator: Accelerator) -> None:
        self._folder, self._model, self._accelerator = folder, model, accelerator
        self._work = folder / WORK_FOLDER
        self._file = self._work / "training_state.safetensors"
        self.epoch = self.best_epoch = 0
        self.best_score = -math.inf
        self.start: Tensor | None = None  # what `outputs` were before training, where the model could score
        self.outputs: list[Tensor] = []  # after each epoch, for the validation clips (N, 5)
        self._best_weights: dict[str, Tensor] = {}

    def begin(self, identity: str, *, resume: bool) -> None:
        """Make the work folder, empty but for a run that is resumed: `identity` names the run, and must be its own.

        Raises:
            CheckpointError: if there is no run to resume.
            RecordError: if the run to resume was another one.
        """
        path = self._work / "run.json"
        if resume:
            try:
                found = json.loads(path.read_text())
            except (OSError, ValueError) as error:
                raise CheckpointError(f"nothing to resume: {self._folder} holds no run that was killed") from error
            if found != identity:
                raise RecordError(
                    f"the run in {self._folder} had other labels, another model or other settings: "
                    "resume it with the same, or train into another folder"
                )
        elif self._accelerator.is_main_process:
            shutil.rmtree(self._work, ignore_errors=True)
            self._work.mkdir(parents=True)
            write_whole(path, json.dumps(identity))
        self._accelerator.wait_for_everyone()

    def restore(self, optimizer: torch.optim.Optimizer) -> None:
        """Put the model and `optimizer` where the last whole epoch left them, if there was one."""
        if not self._file.exists():
            return
        tensors, info = read_tensors(self._file)
        for name in NUMBERS:
            setattr(self, name, info[name])
        self.outputs = list(tensors.get("outputs", ()))  # older versions did not write them
        self.start = tensors.get("start")
        self._best_weights = _with_prefix(tensors, "best/")
        put_weights(self._model, _with_prefix(tensors, "now/"), source=self._file)
        moments: dict[int, dict[str, Tensor]] = defaultdict(dict)
        for name, value in _with_prefix(tensors, "optimizer/").items():
            index, _, moment = name.partition("/")
            moments[int(index)][moment] = value
        optimizer.load_state_dict({"state": dict(moments), "param_groups": optimizer.state_dict()["param_groups"]})

    def end_epoch(self, score: float, optimizer: torch.optim.Optimizer, outputs: Tensor) -> bool:
        """One more epoch is whole, as good as `score` says, with these `outputs` (N, 5): write all that the next one
        depends on, in one file, whole or not at all. Returns whether the epoch is the best so far."""
        self.epoch += 1
        self.outputs.append(outputs)
        is_best = score > self.best_score
        now = trained_weights(self._model)
        if is_best:
            self.best_score, self.best_epoch = score, self.epoch
            self._best_weights = {name: value.clone() for name, value in now.items()}
        if self._accelerator.is_main_process:
            tensors = {f"now/{name}": value for name, value in now.items()}
            tensors |= {f"best/{name}": value for name, value in self._best_weights.items()}
            tensors["outputs"] = torch.stack(self.outputs)
            tensors |= {} if self.start is None else {"start": self.start}
            for index, moments in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer/{index}/{name}": torch.as_tensor(value) for name, value in moments.items()}
            write_tensors(self._file, tensors, {name: getattr(self, name) for name in NUMBERS})
        return is_best

    def load_best(self) -> None:
        """Put the model where its best epoch left it.

        Raises:
            StoppedError: if not a single epoch was completed.
        """
        if not self.best_epoch:
            raise StoppedError("stopped before the first epoch ended: nothing was learned, nothing was saved")
        put_weights(self._model, self._best_weights, source=self._file)

    def remove(self) -> None:
        """Delete the work folder: the run is over."""
        shutil.rmtree(self._work)


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
