"""What one visitor has: a folder of their own, their clips, scores and checkpoint. Gone when the session ends."""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from vjepa_demo.schema import ModelError, RecordError
from vjepa_demo.ui.turns import Turns

if TYPE_CHECKING:
    from vjepa_demo.batch import BatchTable, RowResult
    from vjepa_demo.records import RecordSet
    from vjepa_demo.scorer import Scorer
    from vjepa_demo.ui.history import ScoredClip

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


@dataclass(eq=False)
class Session:
    """Held by Gradio for one visitor alone: nobody else can name it, and its folder's name is not told."""

    _all: ClassVar[weakref.WeakSet[Session]] = weakref.WeakSet()
    _lock: ClassVar[threading.Lock] = threading.Lock()

    folder: Path
    records: RecordSet | None = None
    description: str = ""
    kind: Literal["human", "procedural"] = "human"
    checkpoint: Path | None = None
    scorer: Scorer | None = None
    scorer_of: Path | None = None  # the checkpoint trained here that `scorer` has; None for one from elsewhere
    uploads: set[Path] = field(default_factory=set)
    checks: Turns = field(default_factory=Turns)  # one of what was added at a time: each begins with an empty folder
    stop: threading.Event = field(default_factory=threading.Event)
    closed: threading.Event = field(default_factory=threading.Event)
    is_training: bool = False
    runs: int = 0
    history: list[ScoredClip] = field(default_factory=list)  # newest first
    shown: ScoredClip | None = None  # in the Score tab
    batch: Batch | None = None
    batches: int = 0
    listed: tuple[tuple[str, ...], list[Path]] | None = None  # uploads, and the videos that they hold
    stop_batch: threading.Event = field(default_factory=threading.Event)
    is_scoring: bool = False  # a batch

    @classmethod
    def open(cls) -> Session:
        session = cls(Path(tempfile.mkdtemp(prefix="vjepa-demo-")))
        with cls._lock:
            cls._all.add(session)
        return session

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

    def new_run(self) -> Path:
        """The folder of the next training run; those before it stay until the session ends."""
        self.runs += 1
        return self.folder / f"run-{self.runs}"

    def new_batch(self, table: BatchTable) -> Batch:
        """What is to be scored from now on, in place of what was."""
        self.forget_batch()
        self.batches += 1
        self.batch = Batch(table, self.folder / f"scores-{self.batches}.csv")
        return self.batch

    def forget_batch(self) -> None:
        """Nothing is to be scored any more; the scores there were go too."""
        if self.batch is not None:
            self.batch.out.unlink(missing_ok=True)
        self.batch = None

    def close(self) -> None:
        """Stop what runs and delete what the visitor brought and made."""
        self.closed.set()
        self.stop.set()
        self.stop_batch.set()
        self.delete()

    def delete(self) -> None:
        """Delete the folder and the uploads; a run that was still writing calls it once more."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for upload in self.uploads - self._held_by_others():
            upload.unlink(missing_ok=True)

    def _held_by_others(self) -> set[Path]:
        """Uploads that other visitors brought too: Gradio keeps equal files once."""
        with self._lock:
            others = [each for each in self._all if each is not self and not each.closed.is_set()]
        return {upload for other in others for upload in other.uploads.copy()}

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
        if self.closed.is_set():
            raise RecordError("the session has ended")
        return stop.is_set()
