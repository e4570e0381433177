"""What the browser of a rater asks the server for: the functions behind rate.js, and the clips of a study.

They run outside Gradio's queue, so that an answer never waits for scoring, and know no session: who calls has the link
of a study and the secret of a rater. Each takes one JSON object and gives one; what went wrong is its "error".
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse

from vjepa_demo import tasks
from vjepa_demo.app import rate_html as fragments
from vjepa_demo.app.events import said
from vjepa_demo.app.learners import loaded_learner
from vjepa_demo.schema import BusyError, DemoError, FolderError, RecordError
from vjepa_demo.schema.rating import Rater, RatingItem

if TYPE_CHECKING:
    from vjepa_demo.tasks import OpenStudy

Asked = dict[str, Any]
CLIPS_ADDRESS = "/study-clips/{study_id}/{key}"
NUM_UPCOMING = 3  # items: the one that is judged when the answer arrives, and two that are loaded ahead


# ---- the functions ---------------------------------------------------------------------------------------------------


def _answered(does: Callable[[OpenStudy, Asked], Asked]) -> Callable[[Asked], Asked]:
    """`does` with the study that is asked for; an error is an answer too.

    "retry" says that the same can be asked again later, "ended" that the study takes no answers.
    """

    @functools.wraps(does)
    def answer(asked: Asked) -> Asked:
        study = None
        try:
            study = tasks.linked_study(_text(asked, "study"))
            return {**does(study, asked), "ended": study.ended}
        except DemoError as error:
            can_wait = isinstance(error, BusyError | FolderError)
            told = {"error": fragments.sentence(said(error)), "retry": can_wait}
            return told | ({"ended": study.ended} if study is not None and not can_wait else {})

    del answer.__wrapped__  # Gradio looks at the signature
    answer.__annotations__ = {}
    return answer


@_answered
def open_study(study: OpenStudy, asked: Asked) -> Asked:
    """What is rated, for who has the link: no names of files, nothing of what made them."""
    about = study.study
    return {
        "id": about.id,
        "kind": about.kind,
        "dimensions": list(about.dimensions),
        "about": fragments.invitation(about),
        "rows": fragments.rows(about),
        "thanks": fragments.ENDED,
    }


@_answered
def join_study(study: OpenStudy, asked: Asked) -> Asked:
    """A new rater; the secret comes back this once."""
    rater = study.join(_text(asked, "name"))
    return {"name": rater.name, "secret": rater.secret, **_state(study, rater)}


@_answered
def rater_state(study: OpenStudy, asked: Asked) -> Asked:
    """What the rater is shown next, and how far they are; "unknown" says that the study has no such rater."""
    rater = _rater(asked)
    return _state(study, rater, asked) if study.knows(rater) else {"unknown": True}


@_answered
def rate_item(study: OpenStudy, asked: Asked) -> Asked:
    """Record an answer; when this returns, it is on the disk."""
    rater, given, seconds = _rater(asked), asked.get("given"), asked.get("seconds")
    if given is not None and not isinstance(given, Mapping):
        raise RecordError("the answer is not an object of dimensions")
    is_time = isinstance(seconds, int | float) and 0 <= seconds < 1e6
    study.rate(rater, _text(asked, "token"), given, seconds=seconds if is_time else None)
    return _state(study, rater, asked)


@_answered
def undo_rating(study: OpenStudy, asked: Asked) -> Asked:
    """Take the last answer back; "undone" is its item."""
    rater = _rater(asked)
    item = study.undo(rater)
    return {"undone": None if item is None else _item(item), **_state(study, rater)}


@_answered
def clip_unplayable(study: OpenStudy, asked: Asked) -> Asked:
    """A browser could not play a clip; "skipped" says whether it is left out from now on."""
    rater = _rater(asked)
    study.progress(rater)  # only who rates may ask for that
    return {"skipped": tasks.check_unplayable(study, _text(asked, "key")), **_state(study, rater)}


RATER_CALLS = [open_study, join_study, rater_state, rate_item, undo_rating, clip_unplayable]


def _state(study: OpenStudy, rater: Rater, asked: Asked | None = None) -> Asked:
    """What comes next, in the study's order, and how far the rater is. What `asked` says is "showing" comes first."""
    learner = loaded_learner(study) if study.study.order == "chosen" else None  # until it is loaded by the owner's page
    choose = None if learner is None else learner.choose
    showing = (asked or {}).get("showing")
    items = study.upcoming(
        rater, count=NUM_UPCOMING, choose=choose, showing=showing if isinstance(showing, str) else None
    )
    progress = study.progress(rater)
    return {
        "items": [_item(item) for item in items],
        "done": progress.done,
        "total": progress.total,
        "judged": progress.num_judged,
        "text": fragments.progress_text(progress),
        "thanks": fragments.ENDED if study.ended else fragments.thanks(progress, study.study.kind),
    }


def _item(item: RatingItem) -> Asked:
    return {"token": item.token, "clips": list(item.clips), "prompt": item.prompt, "is_warm_up": item.is_warm_up}


def _rater(asked: Asked) -> Rater:
    return Rater(_text(asked, "name"), _text(asked, "secret"))


def _text(asked: Asked, name: str) -> str:
    value = asked.get(name) if isinstance(asked, Mapping) else None
    if not isinstance(value, str):
        raise RecordError(f"{name} is missing: reload the page")
    return value


# ---- the clips -------------------------------------------------------------------------------------------------------


def serve_clips(server: FastAPI) -> None:
    """Make `server` send the clips of a study to who has its link; a clip is known by its random key."""

    def send_clip(study_id: str, key: str) -> FileResponse:
        try:
            file: Path = tasks.linked_study(study_id).played_file(key)
        except DemoError as error:
            raise HTTPException(404, said(error)) from error
        if not file.is_file():
            raise HTTPException(404, "the video of this clip is gone")
        # The name on the disk is random; browsers may keep the file for as long as they rate.
        return FileResponse(file, headers={"Cache-Control": "private, max-age=3600"})

    server.add_api_route(CLIPS_ADDRESS, send_clip, methods=["GET"], include_in_schema=False)
    # Gradio's own routes end with one that takes every address.
    server.router.routes.insert(0, server.router.routes.pop())
