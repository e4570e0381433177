"""What one visitor has: a folder of their own, their clips, scores and checkpoint. Gone when the session ends.

The uploads that the visitor's page has named go with it; others, such as those of programs, after a day.
"""

from __future__ import annotations

import math
import secrets
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakSet

import gradio as gr
from gradio.utils import get_upload_folder

from vjepa_demo import tasks
from vjepa_demo.app.events import AT_ONCE
from vjepa_demo.app.turns import Turns
from vjepa_demo.config import limits
from vjepa_demo.files import held_bytes
from vjepa_demo.schema import (
    BatchTable,
    FolderError,
    LabelSource,
    ModelError,
    PredictedClip,
    RecordError,
    RecordSet,
    RowResult,
    StoppedError,
    TrainedOn,
    VideoError,
    VideoScores,
)
from vjepa_demo.wording import bytes_text

if TYPE_CHECKING:
    from vjepa_demo.tasks import JobFollower, Scorer

BatchOrder = Literal["latest", "errors", "best", "worst"]  # which rows of a batch are shown first
MINE = "mine"  # the value of the model choice that stands for the visitor's own checkpoint
MAX_REMEMBERED = 12  # scored clips
FOLDER_PREFIX = "vjepa-demo-session-"  # in the system's folder of temporary files
LEAVING = "visitor leaves"  # the name of a thread
NOTHING = "nothing to score: add videos, and a table or a prompt"


# ---- scored clips ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScoredClip:
    """A clip that was scored: its file, the value of the model choice, the scores without frames, and as HTML the
    frames that the model saw and one of them as a small picture."""

    video: Path
    model: str
    result: VideoScores
    strip: str
    picture: str
    key: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def identity(self) -> tuple[Any, ...]:
        """Equal for the same clip with the same prompt and model; a model that scores otherwise is another."""
        return (
            self.video.name,
            self.result.sha256,
            self.result.prompt,
            self.result.model,
            tuple(self.result.scores.values()),
        )


@dataclass(eq=False)
class ScoreHistory:
    """The clips that were scored in the Score tab, newest first, and the one whose scores are shown there.

    `problem` is why the last clip got no scores, until the tab has shown it.
    """

    clips: list[ScoredClip] = field(default_factory=list)
    shown: ScoredClip | None = None
    problem: str = ""

    def remember(self, clip: ScoredClip) -> None:
        """Put `clip` first, in place of the same one, and keep the newest `MAX_REMEMBERED`."""
        self.shown = clip
        self.clips = [clip, *(each for each in self.clips if each.identity != clip.identity)][:MAX_REMEMBERED]

    def find(self, key: str) -> ScoredClip:
        """The clip with this key.

        Raises:
            RecordError: if it is no longer there.
        """
        for clip in self.clips:
            if clip.key == key:
                return clip
        raise RecordError("this clip is no longer in the history: score it again")


# ---- runs ------------------------------------------------------------------------------------------------------------


class Stoppable:
    """What a visitor can stop, and what ends when they leave."""

    def __init__(self, closed: threading.Event, stop: threading.Event | None = None) -> None:
        """`closed` tells that the visitor has left, `stop` (by default a new event) that they pressed Stop."""
        self._closed, self.stop = closed, stop or threading.Event()

    def should_stop(self) -> bool:
        """Whether the visitor pressed Stop.

        Raises:
            StoppedError: if the visitor has left: what runs for them is to be abandoned.
        """
        _check_open(self._closed)
        return self.stop.is_set()


class Run(Stoppable):
    """A place for one long run of a visitor, from the press of its button until its end is shown."""

    def __init__(self, closed: threading.Event, already_running: str) -> None:
        """`already_running` is what a second run is refused with."""
        super().__init__(closed)
        self._already_running = already_running
        self._claimed = threading.Lock()

    @property
    def is_running(self) -> bool:
        return self._claimed.locked()

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Take the place before a run is prepared, and keep it unless the preparation fails. Of two buttons that are
        pressed at once, one is refused before anything slow happens.

        Raises:
            RecordError: if the place is taken.
        """
        if not self._claimed.acquire(blocking=False):
            raise RecordError(self._already_running)
        self.stop.clear()
        try:
            yield
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give the place back, if it is taken."""
        if self._claimed.locked():
            self._claimed.release()


def _check_open(closed: threading.Event) -> None:
    if closed.is_set():
        raise StoppedError("the session has ended: reload the page")


# ---- training, and the visitor's own model ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Checked:
    """What labelled clips were read from: a table and its videos, or where `videos` is None a data set on the Hub."""

    labels: str
    videos: tuple[str, ...] | None
    label_range: str | None = None


@dataclass(eq=False)
class Training:
    """The labelled clips that were checked in the Fine-tune tab, and the run that learns from them.

    `checked` is what `records` were read from, `fetched` the data set of the Hub whose files the session has. `kind` is
    "procedural" for the sample data set; of other data the visitor says who gave the labels when the training starts.
    `points` are what the curves of the last run show: epoch, loss, validation loss, VQualA score. `worst` are the
    clips that the last run predicted worst.
    """

    run: Run
    records: RecordSet | None = None
    checked: Checked | None = None
    fetched: Checked | None = None
    description: str = ""
    kind: LabelSource = "undeclared"
    num_runs: int = 0
    points: list[tuple[int, float | None, float | None, float | None]] = field(default_factory=list)
    worst: tuple[PredictedClip, ...] = ()


@dataclass(eq=False)
class OwnModel:
    """The checkpoint that was trained in this session, and the scorer that the model choice calls "mine".

    The scorer may be of a checkpoint from elsewhere, whose files are in `folder` if they are kept; `scorer_of` is the
    checkpoint trained here that it has, else None. `scorer` is None before there is one, and where it had to make room
    for those of other visitors: `load` gives it again.
    """

    checkpoint: Path | None = None
    archive: Path | None = None  # the checkpoint as a zip, to be downloaded
    scorer: Scorer | None = None
    load: Callable[[], Scorer] | None = None
    scorer_of: Path | None = None
    folder: Path | None = None
    name: str = ""  # of the scorer
    trained_on: TrainedOn | None = None
    used: float = 0.0  # when the scorer was asked for last
    loading: threading.Lock = field(default_factory=threading.Lock)


@dataclass(eq=False)
class Renting:
    """The job on rented hardware that is followed for the visitor, and the place of one that is being started."""

    starting: Run
    follower: JobFollower | None = None

    def follow(self, follower: JobFollower | None) -> None:
        """Follow this job from now on, in place of the last; what is followed no more goes on at the Hub."""
        before, self.follower = self.follower, follower
        if before is not None:
            before.close()


# ---- batches ---------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Batch:
    """What a visitor scores row by row: the rows, where their scores are written, and those there are."""

    table: BatchTable
    out: Path
    scorer: Scorer | None = None  # None until it was begun
    results: list[RowResult] = field(default_factory=list)
    order: BatchOrder = "latest"
    is_stopped: bool = False  # whether a run of it has ended with rows left

    @property
    def num_left(self) -> int:
        return len(self.table.rows) - len(self.results)


@dataclass(frozen=True)
class Added:
    """What the visitor added to be scored. Equal additions compare equal, whether the page says None or "" for none."""

    videos: tuple[str, ...] = ()
    table: str | None = None
    prompt: str = ""
    label_range: str | None = None


@dataclass(frozen=True)
class Staged:
    """What Score all would score. Until it is pressed, the batch before it stays, with all its scores."""

    added: Added = Added()  # what was checked
    table: BatchTable | None = None
    problem: str = ""  # why what was added is no table

    @property
    def num_usable(self) -> int:
        return 0 if self.table is None else sum(row.problem is None for row in self.table.rows)


@dataclass(eq=False)
class BatchState:
    """The last batch that was begun, what the next would score, and the run that scores.

    `unpacked` holds the last uploads, the same with a folder in place of each zip, and what else the zips hold.
    """

    run: Run
    last: Batch | None = None
    staged: Staged = field(default_factory=Staged)
    unpacked: tuple[tuple[str, ...], list[Path], list[str]] | None = None


# ---- all together ----------------------------------------------------------------------------------------------------


_owned: set[Path] = set()  # folders of uploads, each deleted with one session
_owned_lock = threading.Lock()
_sessions: WeakSet[Session] = WeakSet()  # those that live
_sessions_lock = threading.Lock()


class Session:
    """What Gradio holds for one visitor. Nobody else can name it, and nobody is told its folder's name."""

    def __init__(self) -> None:
        self.closed = threading.Event()
        self.checks = Turns()  # one check of what was added at a time: each begins with an empty folder
        self.downloads: list[Path] = []  # folders of files that the session made to be downloaded
        self._uploads: set[Path] = set()  # their folders
        self.fetching = threading.Lock()  # one file is fetched at a time for the visitor's calls of the API
        self.fetched_bytes = 0  # of the files that these calls have fetched and still use
        self._previews: dict[str, str] = {}  # the file to play, by the file that it shows
        self._previewing = threading.Lock()
        self.history = ScoreHistory()
        self.scoring, self.comparing = Stoppable(self.closed), Stoppable(self.closed)
        self.model = OwnModel()
        self.training = Training(Run(self.closed, "a training runs already: wait until it has ended, or stop it"))
        self.renting = Renting(Run(self.closed, "a job is being started already: wait until it is there"))
        self.batch = BatchState(Run(self.closed, "a batch runs already: wait until it has ended, or stop it"))
        self._folder: tempfile.TemporaryDirectory[str] | None = None  # deleted with this object, if not before
        self._making_folder = threading.Lock()
        with _sessions_lock:
            _sessions.add(self)

    @property
    def folder(self) -> Path:
        """For this visitor alone; made when it is first asked for.

        Raises:
            StoppedError: if there is none yet, and the visitor has left.
        """
        with self._making_folder:
            if self._folder is None:
                self.check_open()
                self._folder = tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX, ignore_cleanup_errors=True)
            return Path(self._folder.name)

    def check_room(self) -> None:
        """Before something large is written for the visitor.

        Raises:
            FolderError: if what was made for this visitor, or for all, takes as much of the disk as it may.
        """
        allowed = limits()
        if allowed.visitor_bytes < math.inf:
            with self._making_folder:
                folders = [*self.downloads, *([] if self._folder is None else [Path(self._folder.name)])]
            if sum(map(held_bytes, folders)) > allowed.visitor_bytes:
                most = bytes_text(int(allowed.visitor_bytes))
                raise FolderError(
                    f"what was made for you takes more than {most}, which is what one visitor may store: download what "
                    "you need, then reload the page"
                )
        if allowed.total_bytes < math.inf and total_bytes() > allowed.total_bytes:
            raise FolderError("this server holds as much as it may for all visitors together: try again in an hour")

    def download_path(self, name: str) -> Path:
        """Where to write a file that the visitor is to download: Gradio serves it, nobody can guess it, and it is
        deleted with the session."""
        folder = Path(get_upload_folder(), secrets.token_hex(32))
        folder.mkdir(mode=0o700, parents=True)
        self.downloads.append(folder)
        return folder / name

    def own_uploads(self, folders: Iterable[Path]) -> None:
        """These folders of uploads are deleted with the session, but for those that are another's."""
        with _owned_lock:
            mine = set(folders) - _owned
            _owned.update(mine)
            self._uploads |= mine

    def make_preview(self, video: str) -> None:
        """Make a small copy for the page to play, where browsers have no decoder for `video`. Of a file that cannot be
        read none is made: scoring explains what is wrong with it.

        Raises:
            StoppedError: if the visitor has left.
        """
        with self._previewing, self.deleted_if_closed():
            if video in self._previews:
                return
            self.check_open()
            self.check_room()
            self._previews[video] = video
            preview = self.download_path("preview.mp4")
            try:
                with suppress(VideoError):
                    if tasks.write_preview(video, preview):
                        self._previews[video] = str(preview)
            except FileNotFoundError:  # the visitor has left, and all that was theirs is deleted
                self.check_open()
                raise
            if self._previews[video] == video:
                self.downloads.remove(preview.parent)
                preview.parent.rmdir()

    def played(self, video: str) -> str:
        """The file that the page plays for `video`: its preview where one was made, else itself."""
        return self._previews.get(video, video)

    def served(self, video: str) -> str:
        """A file that the page can play for `video`, wherever that lies: its preview where one is needed, itself among
        the uploads, else a copy, because Gradio serves no other folder.

        Raises:
            RecordError: if `video` is no longer there.
            StoppedError: if the visitor has left.
        """
        self.make_preview(video)
        with self._previewing, self.deleted_if_closed():
            if self._previews[video] == video and not Path(video).is_relative_to(get_upload_folder()):
                self.check_open()
                copy = self.download_path(Path(video).name)
                try:
                    shutil.copyfile(video, copy)
                except OSError as error:
                    raise RecordError(f"{Path(video).name} cannot be played: it is no longer on this server") from error
                self._previews[video] = str(copy)
        return self._previews[video]

    def scorer(self, model: str, load_scorer: Callable[[str], Scorer]) -> Scorer:
        """What `load_scorer` gives for `model`, but for `MINE` this visitor's own scorer, loaded again if need be.

        Raises:
            ModelError: if this visitor has none.
            CheckpointError: if its files are no longer there.
        """
        if model != MINE:
            return load_scorer(model)
        own = self.model
        with own.loading:
            if own.load is None:
                raise ModelError("your own model is gone: train or load it again, or choose demo")
            return self._own_scorer(own.load, of=own.scorer_of, folder=own.folder)

    def own_scorer(self, shown_as: str) -> Scorer | None:
        """The scorer of the checkpoint that was trained here, loaded now if need be, once; None if there is none."""
        own = self.model
        with own.loading:
            if own.checkpoint is None:
                return None
            load = partial(tasks.load_scorer, str(own.checkpoint), shown_as=shown_as)
            return self._own_scorer(load, of=own.checkpoint)

    def bring_scorer(self, load: Callable[[], Scorer], folder: Path | None = None) -> Scorer:
        """What `load` gives is the visitor's own model, of a checkpoint from elsewhere: `folder` holds its files, where
        `load` needs any of the session's."""
        with self.model.loading:
            return self._own_scorer(load, folder=folder, is_new=True)

    def _own_scorer(
        self, load: Callable[[], Scorer], *, of: Path | None = None, folder: Path | None = None, is_new: bool = False
    ) -> Scorer:
        """The scorer that `load` gives, unless the visitor has that of the same checkpoint. `loading` is held."""
        own = self.model
        scorer = None if is_new or own.scorer_of != of or own.folder != folder else own.scorer
        if scorer is None:
            scorer = load()
            if own.folder is not None and own.folder != folder:
                shutil.rmtree(own.folder, ignore_errors=True)
            own.scorer, own.load, own.scorer_of, own.folder = scorer, load, of, folder
            own.name, own.trained_on = scorer.name, scorer.trained_on
        own.used = time.monotonic()
        _make_room()
        return scorer

    def new_run(self) -> Path:
        """The folder of the next training run."""
        self.check_room()
        self.training.num_runs += 1
        return self.folder / f"run-{self.training.num_runs}"

    def end_run(self, checkpoint: Path) -> Path:
        """Make `checkpoint` the visitor's own and delete what earlier runs left. Returns where to write its zip."""
        own = self.model
        with own.loading:
            own.checkpoint = checkpoint
        for folder in set(self.folder.glob("run-*")) - {checkpoint, own.scorer_of}:
            shutil.rmtree(folder, ignore_errors=True)
        if own.archive is not None:
            self.downloads.remove(own.archive.parent)
            shutil.rmtree(own.archive.parent, ignore_errors=True)
        own.archive = self.download_path(f"checkpoint-{self.training.num_runs}.zip")
        return own.archive

    def new_batch(self, staged: Staged) -> None:
        """Score the staged table from now on, in place of the last batch and its scores.

        Raises:
            RecordError: if it has no row that can be scored.
        """
        if staged.table is None or not staged.num_usable:
            raise RecordError(staged.problem or NOTHING)
        out = self.folder / "scores.csv"
        out.unlink(missing_ok=True)
        self.batch.last = Batch(staged.table, out)

    def check_open(self) -> None:
        """
        Raises:
            StoppedError: if the visitor has left.
        """
        _check_open(self.closed)

    def close(self) -> None:
        """Stop what runs and delete what was made for the visitor."""
        self.closed.set()
        self.training.run.stop.set()
        self.batch.run.stop.set()
        self.renting.follow(None)
        self.delete()

    def leave(self) -> None:
        """The same in a thread: gigabytes are deleted, and Gradio tells this within its event loop."""
        self.closed.set()
        threading.Thread(target=self.close, name=LEAVING).start()

    def delete(self) -> None:
        """Delete the folder, the downloads and the uploads; a run that was still writing calls it once more."""
        with self._making_folder:
            if self._folder is not None:
                self._folder.cleanup()
        for folder in (*self.downloads, *self._uploads):
            shutil.rmtree(folder, ignore_errors=True)
        with _owned_lock:
            _owned.difference_update(self._uploads)
            self._uploads.clear()

    @contextmanager
    def deleted_if_closed(self) -> Iterator[None]:
        """Around a run: if the visitor has left meanwhile, what the run wrote since then is deleted too."""
        try:
            yield
        finally:
            if self.closed.is_set():
                self.delete()


def _make_room() -> None:
    """Where the models of all visitors take more memory than they may, those that were used longest ago go."""
    most = limits().models_bytes
    if most == math.inf:
        return
    with _sessions_lock:
        owners = sorted((each.model for each in _sessions if each.model.scorer is not None), key=lambda own: own.used)
    while len(owners) > 1 and _weight_bytes(owners) > most:
        owners.pop(0).scorer = None


def _weight_bytes(owners: Iterable[OwnModel]) -> int:
    """What the scorers of `owners` take of the memory, beside what those of the page take."""
    weights: dict[int, int] = {}
    for own in owners:
        scorer = own.scorer  # another thread may take it away
        weights |= {} if scorer is None else scorer.weights()
    hosted = tasks.hosted_model()
    of_page = [*tasks.loaded_scorers(), *([hosted.scorer()] if hosted is not None and hosted.is_ready else [])]
    shared = {address for scorer in of_page for address in scorer.weights()}
    return sum(num_bytes for address, num_bytes in weights.items() if address not in shared)


def total_bytes() -> int:
    """What the folders of uploads and of all sessions hold."""
    sessions = Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*")
    return held_bytes(get_upload_folder()) + sum(map(held_bytes, sessions))


def close_sessions() -> None:
    """Close the sessions of all visitors and programs: the server ends, and what runs for them is to stop."""
    with _sessions_lock:
        sessions = list(_sessions)
    for session in sessions:
        session.close()


class _New:
    """Every deep copy is a session of its own: Gradio copies the value of a `gr.State` for each visitor."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Session:
        return Session()


def add_session(app: gr.Blocks) -> gr.State:
    """The visitor's session, closed when they have left. It is there from their first event on, which may come before
    the page's load event: Gradio copies a state's value for a visitor when an event of theirs first needs it."""
    state = gr.State(delete_callback=Session.leave)
    state.value = _New()  # the constructor would have copied it
    # Gradio calls `delete_callback` only for a state that an event has returned.
    app.load(lambda session: session, state, state, **AT_ONCE)
    return state
