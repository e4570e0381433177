"""The default model of a page, $VJEPA_DEMO_MODEL: a checkpoint on the Hub or in a folder, loaded while `demo` answers.

Nothing here loads torch before the page is served, but on a ZeroGPU Space, where encoders are placed before that.
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from vjepa_demo.config import MODEL_VARIABLE, model_presets, on_zero_gpu
from vjepa_demo.files import is_folder
from vjepa_demo.schema import DemoError, ModelError

if TYPE_CHECKING:
    from vjepa_demo.tasks.score import Scorer

logger = logging.getLogger(__name__)


class Hosted:
    """The model `name`: `owner/name` on the Hub, read with this machine's own token, or a folder. Safe for threads.

    `shown` is what the page calls it: of a folder its last name, for the rest is of this machine.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.shown = Path(name).resolve().name if is_folder(name) else name
        self.problem = ""  # why it cannot be loaded, once that is known
        self.is_open = False  # whether visitors may have what it is made of; known once it is loaded
        self._scorer: Scorer | None = None
        self._lock = threading.Lock()
        self._settled = threading.Event()

    @property
    def is_ready(self) -> bool:
        return self._scorer is not None

    @property
    def is_settled(self) -> bool:
        """Whether it was loaded, or cannot be."""
        return self._settled.is_set()

    @property
    def refusal(self) -> str | None:
        """Why it cannot score now, and what to do; None where it can."""
        if self.is_ready:
            return None
        if self.is_settled:
            return f"{self.shown} could not be loaded: {self.problem}. Choose demo"
        return f"{self.shown} is being loaded: wait a little, or choose demo"

    @property
    def line(self) -> str:
        """Which model answers and why, for everybody who opens the page; empty where it is this one."""
        if self.is_ready:
            return ""
        if self.is_settled:
            return f"demo answers: {self.shown}, the model of this page, could not be loaded: {self.problem}"
        return f"demo answers until {self.shown}, the model of this page, is loaded"

    def start(self) -> None:
        """Load it in the background; returns at once."""
        threading.Thread(target=self.load, name="default model", daemon=True).start()

    def load(self) -> None:
        """Load it now, once. What goes wrong is logged and becomes its `problem`; `demo` answers then."""
        with self._lock:
            if self.is_settled:
                return
            try:
                self._scorer = self._load()
                self.is_open = self._everybody_may_read()
                logger.info("%s is loaded: it is the page's default", self.shown)
            except DemoError as error:
                logger.error("%s=%s: %s", MODEL_VARIABLE, self.name, error)
                # Anybody may see the page: the folders of this machine are not for it.
                problem = str(error).replace(f"{Path(self.name).absolute().parent}{os.sep}", "")
                self.problem = problem.rstrip(".")
            except Exception:
                logger.exception("%s=%s", MODEL_VARIABLE, self.name)
                self.problem = "it ended with an error, which the server's log tells"
            finally:
                self._settled.set()

    def scorer(self) -> Scorer:
        """
        Raises:
            ModelError: if it is not ready.
        """
        if self._scorer is None:
            raise ModelError(self.refusal)
        return self._scorer

    def as_base(self) -> str:
        """What a visitor's own model starts from, which they can download: with few steps that is this model itself.

        Raises:
            ModelError: if it is not ready, or is not for everybody to read.
        """
        if self.is_ready and not self.is_open:
            raise ModelError(
                f"{self.shown} is private, and whoever fine-tunes a model can download it: choose another to start from"
            )
        self.scorer()
        return self.name

    def _everybody_may_read(self) -> bool:
        """Whether the Hub gives it to everybody. A folder was put here by the owner of the page, for the page."""
        from vjepa_demo.tasks.score import find_checkpoint

        try:
            find_checkpoint(self.name, token=False)
        except DemoError as error:  # of one that is private, or where the Hub does not answer
            logger.info("nobody can fine-tune %s here: %s", self.shown, error)
            return False
        return True

    def _load(self) -> Scorer:
        from vjepa_demo.tasks.score import load_scorer  # loads torch: the page is served before

        if on_zero_gpu():
            from vjepa_demo.tasks.zero_gpu import place

            place(self.name, token=None)
        return load_scorer(self.name, shown_as=self.shown, token=None)


_hosted: dict[str, Hosted] = {}  # by the setting; one in a process but for tests
_hosted_lock = threading.Lock()


def hosted_model() -> Hosted | None:
    """The model that $VJEPA_DEMO_MODEL names, loaded or not; None where it names none, or a preset."""
    name = os.environ.get(MODEL_VARIABLE, "").strip()
    if not name or name in model_presets():
        return None
    with _hosted_lock:
        return _hosted.setdefault(name, Hosted(name))
