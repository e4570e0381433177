"""What one visitor has: a folder of their own, their clips, scores and checkpoint. Gone when the session ends.

What was uploaded is not theirs alone: Gradio keeps equal files once, whoever brings them, and deletes them after a day.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import gradio as gr
from gradio.utils import get_upload_folder

from vjepa_demo.app.events import AT_ONCE
from vjepa_demo.app.turns import Turns
from vjepa_demo.schema import ModelError, RecordError

if TYPE_CHECKING:
    from vjepa_demo.app.history import ScoredClip
    from vjepa_demo.data.records import RecordSet
    from vjepa_demo.tasks.batch import BatchTable, RowResult
    from vjepa_demo.tasks.score import Scorer

BatchOrder = Literal["latest", "errors", "best", "worst"]  # which rows of a batch are shown first
MINE = "mine"  # the value of the Score tab's model choice that stands for the visitor's own checkpoint


@dataclass(eq=False)
class Batch:
    """What a visitor scores row by row: the rows, where their scores are written, and those there are."""

    table: BatchTable
    out: Path
    scorer: Scorer | None = None  # None until it was begun
    results: list[RowResult] = field(default_factory=list)
    order: BatchOrder = "latest"

    @property
    def model(self) -> str:
        return "" if self.scorer is None else self.scorer.name

    @property
    def num_left(self) -> int:
        return len(self.table.rows) - len(self.results)

    @property
    def is_stopped(self) -> bool:
        """Whether it was begun and not brought to its end."""
        return self.scorer is not None and self.num_left > 0


@dataclass(frozen=True)
class Staged:
    """What Score all would score. Until then the batch before it stays, with all its scores."""

    inputs: tuple[Any, ...] = ((), None, "", None)  # that were checked: videos, table, prompt, range of the labels
    table: BatchTable | None = None
    problem: str = ""  # why what was added is no table

    @property
    def num_usable(self) -> int:
        return 0 if self.table is None else sum(row.problem is None for row in self.table.rows)


@dataclass(eq=False)
class Session:
    """Held by Gradio for one visitor alone: nobody else can name it, and its folder's name is not told."""

    records: RecordSet | None = None
    checked: tuple[Any, ...] | None = None  # the uploads that `records` are of: labels, videos, range of the labels
    description: str = ""
    kind: Literal["human", "procedural"] = "human"
    checkpoint: Path | None = None
    scorer: Scorer | None = None
    scorer_of: Path | None = None  # the checkpoint trained here that `scorer` has; None for one from elsewhere
    loading: threading.Lock = field(default_factory=threading.Lock)  # the visitor's own checkpoint
    downloads: list[Path] = field(default_factory=list)  # folders of files that the session made to be fetched
    archive: Path | None = None  # of the checkpoint, among the downloads
    checks: Turns = field(default_factory=Turns)  # one of what was added at a time: each begins with an empty folder
    stop: threading.Event = field(default_factory=threading.Event)
    closed: threading.Event = field(default_factory=threading.Event)
    is_training: bool = False
    runs: int = 0
    history: list[ScoredClip] = field(default_factory=list)  # newest first
    shown: ScoredClip | None = None  # in the Score tab
    problem: str = ""  # why there are no scores in it, until that is shown
    batch: Batch | None = None  # the last that was begun
    batches: int = 0
    staged: Staged = field(default_factory=Staged)
    unpacked: tuple[tuple[str, ...], list[Path]] | None = None  # uploads, with a folder in place of each zip
    stop_batch: threading.Event = field(default_factory=threading.Event)
    is_scoring: bool = False  # a batch
    _folder: tempfile.TemporaryDirectory[str] | None = None  # which is deleted with this object, if not before
    _making: threading.Lock = field(default_factory=threading.Lock)  # the folder

    @property
    def folder(self) -> Path:
        """For this visitor alone; made when it is first asked for.

        Raises:
            RecordError: if there is none yet, and the visitor has left.
        """
        with self._making:
            if self._folder is None:
                self._check_open()
                self._folder = tempfile.TemporaryDirectory(prefix="vjepa-demo-", ignore_cleanup_errors=True)
            return Path(self._folder.name)

    def or_else(self, load_scorer: Callable[[str], Scorer]) -> Callable[[str], Scorer]:
        """`load_scorer`, but for `MINE` this visitor's own scorer.

        Raises (when called):
            ModelError: if this visitor has none.
        """

        def load(name: str) -> Scorer:
            if name != MINE:
                return load_scorer(name)
            if self.scorer is None:
                raise ModelError("your own model is gone: train or load it again, or choose demo")
            return self.scorer

        return load

    def own_scorer(self, shown_as: str) -> Scorer | None:
        """The scorer of the checkpoint that was trained here, loaded now if need be, once; None if there is none."""
        from vjepa_demo.tasks.score import load_scorer

        with self.loading:
            if self.checkpoint is None:
                return None
            if self.scorer is None or self.scorer_of != self.checkpoint:
                self.scorer, self.scorer_of = load_scorer(str(self.checkpoint), shown_as=shown_as), self.checkpoint
            return self.scorer

    def new_run(self) -> Path:
        """The folder of the next training run."""
        self.runs += 1
        return self.folder / f"run-{self.runs}"

    def end_run(self, checkpoint: Path) -> Path:
        """A run has given `checkpoint`: what the runs before it left goes. Returns where its zip is to be written."""
        with self.loading:
            self.checkpoint = checkpoint
        for folder in set(self.folder.glob("run-*")) - {checkpoint}:
            shutil.rmtree(folder, ignore_errors=True)
        if self.archive is not None:
            self.downloads.remove(self.archive.parent)
            shutil.rmtree(self.archive.parent, ignore_errors=True)
        self.archive = self.download_path(f"checkpoint-{self.runs}.zip")
        return self.archive

    def download_path(self, name: str) -> Path:
        """Where to write a file that the visitor is to download: Gradio serves it, nobody can guess it, and it is
        deleted with the session."""
        folder = Path(get_upload_folder(), secrets.token_hex(32))
        folder.mkdir(parents=True)
        self.downloads.append(folder)
        return folder / name

    def new_batch(self, table: BatchTable) -> Batch:
        """What is scored from now on; the scores there were go."""
        if self.batch is not None:
            self.batch.out.unlink(missing_ok=True)
        self.batches += 1
        self.batch = Batch(table, self.folder / f"scores-{self.batches}.csv")
        return self.batch

    def close(self) -> None:
        """Stop what runs and delete what was made for the visitor."""
        self.closed.set()
        self.stop.set()
        self.stop_batch.set()
        self.delete()

    def delete(self) -> None:
        """Delete the folder and the downloads; a run that was still writing calls it once more."""
        with self._making:
            if self._folder is not None:
                self._folder.cleanup()
        for folder in self.downloads:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def deleted_if_closed(self) -> Iterator[None]:
        """Around a run: a visitor who left meanwhile leaves nothing; what the run wrote since goes too."""
        try:
            yield
        finally:
            if self.closed.is_set():
                self.delete()

    def should_stop(self) -> bool:
        """Whether the visitor pressed Stop beside the training.

        Raises:
            RecordError: if the visitor left: what runs for them is to be abandoned.
        """
        return self._is_pressed(self.stop)

    def should_stop_batch(self) -> bool:
        """`should_stop` of the batch."""
        return self._is_pressed(self.stop_batch)

    def _is_pressed(self, stop: threading.Event) -> bool:
        self._check_open()
        return stop.is_set()

    def _check_open(self) -> None:
        if self.closed.is_set():
            raise RecordError("the session has ended: reload the page")


class _New:
    """Every deep copy is a session of its own. (A `Session` would not do: Gradio takes a dataclass apart.)"""

    def __deepcopy__(self, memo: dict[int, Any]) -> Session:
        return Session()


def add_session(app: gr.Blocks) -> gr.State:
    """The visitor's session, closed when they have left. It is there from their first event on, which may come before
    the page's load event: Gradio copies a state's value for a visitor when an event of theirs first needs it."""
    state = gr.State(delete_callback=Session.close)
    state.value = _New()  # the constructor would have copied it
    # Gradio tells the end of those alone that an event has given back.
    app.load(lambda session: session, state, state, **AT_ONCE)
    return state
