"""The default model of a page, $VJEPA_DEMO_MODEL: who may read it, when it is the default, what answers before."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import FakeScorer
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from hub_server import Repo
from huggingface_hub import constants
from pages import PROMPT, ROOT, page_of

from vjepa_demo import tasks
from vjepa_demo.app.model_choice import (
    base_names,
    base_of,
    default_now,
    load_scorer,
    model_choices,
    refusal,
    source_of,
)
from vjepa_demo.app.page import build_app
from vjepa_demo.app.session import Session
from vjepa_demo.schema import CheckpointError, ModelError
from vjepa_demo.tasks import hosted as hosted_module

CLIP = ROOT / "assets" / "examples" / "clean.mp4"


@pytest.fixture
def hosted(monkeypatch, tmp_path):
    """The page's own model by its setting, in a process that knows none yet."""
    monkeypatch.setattr(hosted_module, "_hosted", {})

    def of(setting: str) -> tasks.Hosted | None:
        monkeypatch.setenv("VJEPA_DEMO_MODEL", setting)
        return tasks.hosted_model()

    return of


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def chosen_when_the_page_opens() -> set[str]:
    """What a new visitor finds chosen in the Score and the Fine-tune tab."""
    app = build_app(lambda name: FakeScorer())
    (choose,) = [each.fn for each in app.fns.values() if each.name == "choose_default"]
    return {dropdown.value for dropdown in choose(Session()).values()}


def test_demo_answers_until_a_private_model_is_loaded_with_the_secret_of_the_space(
    hub, hosted, checkpoint_folder, monkeypatch
):
    hub.repos["models/me/mine"] = Repo(files_of(checkpoint_folder), private=True, readers={"me"})
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
    monkeypatch.setenv("HF_TOKEN", "hf_me")
    model = hosted("me/mine")
    with page_of(load_scorer) as address:
        client = Client(address, verbose=False)

        def answer(**model: str) -> str:
            return client.predict(video=handle_file(CLIP), prompt=PROMPT, **model, api_name="/score")["model"]

        assert answer() == "demo"
        with pytest.raises(AppError, match="me/mine is being loaded: wait a little, or choose demo"):
            answer(model="me/mine")
        assert chosen_when_the_page_opens() == {"demo"}
        assert refusal("me/mine") == "me/mine is being loaded: wait a little, or choose demo"
        with pytest.raises(ModelError, match="me/mine is being loaded"):
            load_scorer("me/mine")
        assert model.line == "demo answers until me/mine, the model of this page, is loaded"
        model.load()
        assert answer() == answer(model="me/mine") == "me/mine"
        assert chosen_when_the_page_opens() == {"me/mine", "demo"}  # which learning starts from
        client.close()
    assert (refusal("me/mine"), model.line) == (None, "")
    assert model_choices()[0] == ("me/mine: the model of this page", "me/mine")
    assert source_of("me/mine") == ("me/mine", None)
    assert source_of("demo") == ("demo", False)  # no other model is read with the secret
    assert "me/mine" not in base_names()
    with pytest.raises(ModelError, match="me/mine is private, and whoever fine-tunes a model can download it"):
        base_of("me/mine")


def test_a_model_that_everybody_may_read_can_be_fine_tuned_as_everybody_may_read_it(
    hub, hosted, checkpoint_folder, monkeypatch
):
    hub.repos["models/me/mine"] = Repo(files_of(checkpoint_folder))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
    monkeypatch.setenv("HF_TOKEN", "hf_me")
    model = hosted("me/mine")
    with pytest.raises(ModelError, match="me/mine is being loaded"):
        base_of("me/mine")
    model.load()
    assert base_of("me/mine") == ("me/mine", False)
    assert base_names()[0] == "me/mine"
    hub.repos["models/me/mine"].private, hub.repos["models/me/mine"].readers = True, {"me"}
    for failing in (0, 503):  # nor from the cache, while the Hub does not answer
        hub.failing = failing
        with pytest.raises(CheckpointError, match="me/mine: "):
            tasks.find_checkpoint(*base_of("me/mine")[:1], token=base_of("me/mine")[1])


def test_where_it_cannot_be_loaded_demo_answers_and_everybody_sees_why(hub, hosted):
    model = hosted("me/gone")
    model.load()
    assert default_now("demo") == "demo"
    assert model.line.startswith("demo answers: me/gone, the model of this page, could not be loaded: ")
    assert refusal("me/gone") == f"me/gone could not be loaded: {model.problem}. Choose demo"
    assert model_choices()[0][0].endswith("(could not be loaded)")


def test_a_folder_shows_its_last_name_alone(hosted, checkpoint_folder, tmp_path):
    model = hosted(str(checkpoint_folder))
    model.load()
    assert model.scorer().name == model.shown == checkpoint_folder.name
    assert source_of(model.shown) == (str(checkpoint_folder), None)
    assert base_of(model.shown) == (str(checkpoint_folder), False)
    broken = tmp_path / "broken"
    broken.mkdir()
    model = hosted(str(broken))
    model.load()
    assert "broken" in model.problem
    assert str(tmp_path) not in model.line


def test_a_page_with_a_model_of_its_own_trains_no_other_by_itself(hosted, checkpoint_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("VJEPA_DEMO_CHECKPOINTS", str(tmp_path))
    monkeypatch.delenv("VJEPA_DEMO_BOOTSTRAP")
    hosted(str(checkpoint_folder))
    bootstrapper = tasks.Bootstrapper(has_gpu=lambda: True)
    bootstrapper.start()
    bootstrapper.join()
    assert bootstrapper.state().phase == "idle"


def test_a_preset_is_no_model_of_its_own(hosted):
    assert hosted("vitl") is None
    assert hosted("") is None
