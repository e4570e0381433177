"""The models that learn from studies on this page: one for each study, shared by its owner and all raters."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Generator
from contextlib import closing
from typing import TYPE_CHECKING

from vjepa_demo import tasks
from vjepa_demo.app.model_choice import source_of
from vjepa_demo.app.turns import in_turn
from vjepa_demo.schema import EncodingReport

if TYPE_CHECKING:
    from vjepa_demo.tasks import OpenStudy, StudyLearner

MAX_LEARNERS = 8  # that a process keeps; each has a model and the features of a study's clips

_learners: OrderedDict[str, _Place] = OrderedDict()  # by the link of their study, the last used last
_learners_lock = threading.Lock()  # held for moments: loading a model takes seconds


class _Place:
    def __init__(self) -> None:
        self.loading, self.reading = threading.Lock(), threading.Lock()
        self.learner: StudyLearner | None = None


def learner_of(study: OpenStudy, model: str) -> StudyLearner:
    """What learns from `study`, around `model`, with the clips that it has encoded so far; loaded now if need be."""
    return _loaded(_place(study), study, model)


def loaded_learner(study: OpenStudy) -> StudyLearner | None:
    """The same without waiting for anything: None until it is loaded."""
    place = _learners.get(study.study.id)
    return None if place is None else place.learner


def read_clips(study: OpenStudy, model: str) -> Generator[EncodingReport, None, None]:
    """A report each clip of `study` that is encoded for what learns from it; scoring has its turns in between.

    Who comes while another reads waits for that, and finds all of them encoded. It must not wait inside a turn: the
    other needs turns to go on.
    """
    place = _place(study)
    learner = _loaded(place, study, model)
    with place.reading, closing(in_turn(learner.encode())) as reports:
        yield from reports


def _loaded(place: _Place, study: OpenStudy, model: str) -> StudyLearner:
    with place.loading:
        if place.learner is None:
            name, token = source_of(model)
            place.learner = tasks.StudyLearner(study, name, token=token)
        return place.learner


def _place(study: OpenStudy) -> _Place:
    with _learners_lock:
        place = _learners.setdefault(study.study.id, _Place())
        _learners.move_to_end(study.study.id)
        while len(_learners) > MAX_LEARNERS:
            _learners.popitem(last=False)
        return place
