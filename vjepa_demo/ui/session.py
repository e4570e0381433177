"""What one visitor has: a folder of their own, their labelled clips, their checkpoint. Gone when the session ends."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vjepa_demo.schema import ModelError, RecordError

if TYPE_CHECKING:
    from vjepa_demo.records import RecordSet
    from vjepa_demo.scorer import Scorer

MINE = "mine"  # the value of the Score tab's model choice that stands for the visitor's own checkpoint


@dataclass(eq=False)
class Session:
    """Held by Gradio for one visitor alone: nobody else can name it, and its folder's name is not told."""

    folder: Path
    records: RecordSet | None = None
    description: str = ""
    kind: Literal["human", "procedural"] = "human"
    checkpoint: Path | None = None
    scorer: Scorer | None = None
    scorer_of: Path | None = None  # the checkpoint trained here that `scorer` has; None for one from elsewhere
    uploads: set[Path] = field(default_factory=set)
    stop: threading.Event = field(default_factory=threading.Event)
    closed: threading.Event = field(default_factory=threading.Event)
    is_training: bool = False
    runs: int = 0

    @classmethod
    def open(cls) -> Session:
        return cls(Path(tempfile.mkdtemp(prefix="vjepa-demo-")))

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

    def close(self) -> None:
        """Stop what runs and delete what the visitor brought and made."""
        self.closed.set()
        self.stop.set()
        self.delete()

    def delete(self) -> None:
        """Delete the folder and the uploads; a run that was still writing calls it once more."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for upload in self.uploads:
            upload.unlink(missing_ok=True)

    def should_stop(self) -> bool:
        """Whether the visitor pressed Stop.

        Raises:
            RecordError: if the visitor left: what runs for them is to be abandoned.
        """
        if self.closed.is_set():
            raise RecordError("the session has ended")
        return self.stop.is_set()
