"""What the ratings of a study teach a model, while people rate."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vjepa_demo.data.hub import Token
from vjepa_demo.model.ridge import Spread
from vjepa_demo.schema import EncodingReport, LabelSource
from vjepa_demo.schema.learning import Learned
from vjepa_demo.tasks.learn import Learner
from vjepa_demo.tasks.rate import OpenStudy, Unit
from vjepa_demo.wording import counted, listed

PEOPLE: LabelSource = "human"


class StudyLearner:
    """A model that learns from what all raters of `study` have answered so far. Safe for many threads.

    It learns from scores; a study of pairs is for `train`.

    Raises:
        ModelError, CheckpointError: as `Learner`.
    """

    def __init__(
        self, study: OpenStudy, name: str = "demo", *, device: str | None = None, token: Token = False
    ) -> None:
        self.study = study
        self._learner = Learner(name, device=device, token=token)
        self._records = {clip.key: study.record(clip.key) for clip in study.study.clips}
        self._hidden: dict[str, NDArray[np.float64]] = {}  # (1, h) of each clip that was encoded
        self._spread = Spread(np.empty((0, 1)))
        self._choosing = threading.Lock()

    def encode(self) -> Iterator[EncodingReport]:
        """A report a clip of the study: nothing is learned from a clip that was not encoded. Closing ends it."""
        return self._learner.encode(list(self._records.values()))

    def choose(self, left: Sequence[Unit]) -> Unit:
        """Which of the clips that are `left` to a rater would teach most, by "spread" (see `Learner.choose`); the first
        until one of them is encoded."""
        with self._choosing:
            for key, record in self._records.items():
                if key not in self._hidden and (hidden := self._learner.hidden(record)) is not None:
                    self._hidden[key] = hidden
            if len(self._hidden) > len(self._spread):
                self._spread = Spread(np.concatenate(list(self._hidden.values())))
            keys = {unit[0] for unit in left}
            is_left = np.array([key in keys for key in self._hidden], dtype=bool)  # the others were seen
            if not is_left.any():
                return left[0]
            chosen = list(self._hidden)[self._spread.farthest(is_left)]
        return next(unit for unit in left if unit[0] == chosen)

    def curve(self) -> tuple[Learned, ...]:
        """How well the model agrees with the raters after each of several numbers of rated clips; the last is after
        all of them. Nothing until ten clips have scores in one dimension.

        The ceiling is an estimate of the highest correlation that a perfect model would reach with such ratings.
        """
        ceiling = {name: each.ceiling.value for name, each in self.study.statistics().dimensions.items()}
        return tuple(self._learner.curve(self.study.rated_clips(), ceiling))

    def save(self, folder: str | Path) -> Learned:
        """Write what all ratings teach into a checkpoint in the new or empty `folder`; how well it agrees comes back.

        Raises:
            RecordError, FolderError, CheckpointError: as `Learner.save`.
        """
        rated = self.study.rated_clips()
        raters = sorted({rating.rater for rating in self.study.ratings()})
        who = listed(raters) if len(raters) <= 3 else counted(len(raters), "rater")
        description = f"“{self.study.study.title}”, rated by {who}"
        return self._learner.save(rated, folder, description=description, kind=PEOPLE)
