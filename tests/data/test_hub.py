"""The Hub calls, against a server on 127.0.0.1 that speaks the Hub's routes: nothing of huggingface_hub is patched
but its constants, which it reads from the environment when it is imported."""

from __future__ import annotations

import json
import logging
import shutil
import socket
import traceback

import pytest
from hub_server import Handler, Repo
from huggingface_hub import constants
from small_models import TRAINED_ON

from vjepa_demo.data.hub import HubRepo, fetch_files, list_dataset, parse_repo, upload_files
from vjepa_demo.model.checkpoint import find_checkpoint, load_checkpoint, push_checkpoint
from vjepa_demo.schema import CheckpointError, ModelError, RecordError, UploadingReport

ANY_SIZE = 2**30


@pytest.fixture
def dead_hub(online, monkeypatch):
    """An address at which nobody answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        yield


@pytest.fixture
def folder(checkpoint_folder, tmp_path):
    """A copy of the checkpoint, with what a run leaves beside it."""
    folder = shutil.copytree(checkpoint_folder, tmp_path / "copy")
    (folder / ".training").mkdir()
    (folder / ".training" / "training_state.safetensors").write_bytes(b"state")
    (folder / "notes.txt").write_text("mine")
    return folder


def contents(folder) -> dict[str, bytes]:
    """What belongs to a checkpoint, by its path."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.startswith((".", "notes"))}


# ---- checkpoints -----------------------------------------------------------------------------------------------------


def test_a_pushed_checkpoint_comes_back_byte_for_byte(hub, folder):
    url = push_checkpoint(folder, "me/scores", token="hf_me", private=False)
    pulled = find_checkpoint("me/scores")
    assert url == f"{hub.url}/me/scores"
    assert contents(pulled.folder) == contents(folder)
    assert pulled.trained_on == TRAINED_ON
    assert load_checkpoint(pulled, device="cpu").config.head_hidden == 8


def test_a_push_is_one_commit_of_the_checkpoint_alone(hub, folder):
    push_checkpoint(folder, "me/scores", token="hf_me")
    repo = hub.repos["models/me/scores"]
    assert [message for message, _ in repo.commits] == ["initial commit", "Upload a checkpoint trained on 12 clips"]
    assert repo.files.keys() - {".gitattributes"} == contents(folder).keys()
    assert repo.files["model.safetensors"] in hub.lfs.values()


def test_a_push_is_private_unless_asked_otherwise(hub, folder):
    push_checkpoint(folder, "me/scores", token="hf_me")
    assert hub.repos["models/me/scores"].private
    with pytest.raises(CheckpointError, match=r"me/scores: no such model repository on 127.0.0.1"):
        find_checkpoint("me/scores")
    assert find_checkpoint("me/scores", token="hf_me").trained_on == TRAINED_ON


def test_the_cache_does_not_give_a_stranger_what_an_account_may_read(hub, folder):
    push_checkpoint(folder, "me/scores", token="hf_me")
    find_checkpoint("me/scores", token="hf_me")
    for token in (False, "hf_you"):
        with pytest.raises(CheckpointError, match=r"no such model repository"):
            find_checkpoint("me/scores", token=token)
    repo = hub.repos["models/me/scores"]
    repo.gated = True
    for token in (False, "hf_you"):
        with pytest.raises(CheckpointError, match=r"me/scores is gated: ask for access on http"):
            find_checkpoint("me/scores", token=token)


def test_a_revision_can_be_asked_for(hub, folder):
    push_checkpoint(folder, "me/scores", token="hf_me", private=False)
    first = hub.repos["models/me/scores"].sha(-1)
    config = json.loads((folder / "config.json").read_text())
    config["trained_on"]["description"] = "more clips"
    (folder / "config.json").write_text(json.dumps(config))
    push_checkpoint(folder, "me/scores", token="hf_me", private=False)
    assert find_checkpoint("me/scores").trained_on.description == "more clips"
    assert find_checkpoint(f"me/scores@{first}").trained_on == TRAINED_ON
    with pytest.raises(CheckpointError, match=r"me/scores@v9: no such revision"):
        find_checkpoint("me/scores@v9")


def test_only_files_of_a_checkpoint_are_fetched(hub, folder):
    files = contents(folder)
    foreign = ("model.py", "pytorch_model.bin", "video_encoder/modeling.py", "head.pkl", "runs/1/model.safetensors")
    hub.repos["models/you/scores"] = Repo({**files, **dict.fromkeys(foreign, b"print('run')")})
    pulled = find_checkpoint("you/scores")
    assert hub.fetched() == files.keys()
    assert contents(pulled.folder) == files


def test_a_second_push_takes_away_what_the_first_one_had(hub, folder):
    push_checkpoint(folder, "me/scores", token="hf_me")
    repo = hub.repos["models/me/scores"]
    repo.files["picture.png"] = b"mine"
    repo.files["video_encoder/model.safetensors.index.json"] = b"{}"
    repo.commit("by hand")
    push_checkpoint(folder, "me/scores", token="hf_me")
    assert repo.files.keys() - {".gitattributes", "picture.png"} == contents(folder).keys()
    assert repo.files["picture.png"] == b"mine"


def test_a_model_of_another_kind_is_not_overwritten(hub, folder):
    hub.repos["models/me/llm"] = Repo({"config.json": b"{}", "README.md": b"---\nlibrary_name: transformers\n---\n"})
    with pytest.raises(CheckpointError, match=r"me/llm holds something other than a checkpoint of this program"):
        push_checkpoint(folder, "me/llm", token="hf_me", private=False)
    assert hub.repos["models/me/llm"].files["config.json"] == b"{}"


def test_a_private_push_to_a_public_repository_is_refused(hub, folder):
    push_checkpoint(folder, "me/scores", token="hf_me", private=False)
    with pytest.raises(CheckpointError, match=r"me/scores exists already and is public"):
        push_checkpoint(folder, "me/scores", token="hf_me", private=True)


@pytest.mark.parametrize(
    ("repo_id", "token", "message"),
    [
        ("me/scores", "hf_wrong", "127.0.0.1:[0-9]+ does not know this account: sign in again"),
        ("me/scores", False, "does not know this account: sign in again"),
        ("you/scores", "hf_me", "this account may not do that"),
        ("scores", "hf_me", "'scores' is no name of a repository; owner/name was expected"),
        ("me/scores@main", "hf_me", "is no name of a repository"),
        ("me/scores", "hf_me\n", "the token is empty or has a space in it"),
        ("me/scores", "", "the token is empty or has a space in it"),
    ],
)
def test_a_push_fails_with_the_reason(hub, folder, repo_id, token, message):
    with pytest.raises(CheckpointError, match=message):
        push_checkpoint(folder, repo_id, token=token)
    assert not hub.repos


def test_a_damaged_checkpoint_is_not_pushed(hub, folder):
    (folder / "model.safetensors").write_bytes(b"short")
    with pytest.raises(CheckpointError, match=r"copy the whole folder again"):
        push_checkpoint(folder, "me/scores", token="hf_me")
    assert hub.requests == []


def test_a_missing_repository_is_said_to_be_missing(hub):
    with pytest.raises(CheckpointError, match=r"me/nothing: no such model repository on 127.0.0.1:.* or it is private"):
        find_checkpoint("me/nothing")


@pytest.mark.parametrize("token", [False, "hf_you"])
def test_a_gated_repository_says_where_to_ask(hub, folder, token):
    hub.repos["models/me/gated"] = Repo(contents(folder), gated=True, readers={"me"})
    with pytest.raises(
        CheckpointError, match=rf"me/gated is gated: ask for access on {hub.url}/me/gated, then sign in"
    ):
        find_checkpoint("me/gated", token=token)
    assert hub.fetched() == set()


def test_an_encoder_alone_on_the_hub_cannot_score(hub, base_encoder):
    hub.repos["models/you/encoder"] = Repo(contents(base_encoder))
    with pytest.raises(CheckpointError, match=r"you/encoder: config\.json was not written by this program"):
        find_checkpoint("you/encoder")


def test_a_repository_without_a_checkpoint_is_refused(hub):
    hub.repos["models/you/poems"] = Repo({"poems.txt": b"roses"})
    with pytest.raises(CheckpointError, match=r"you/poems: .*it has no config\.json"):
        find_checkpoint("you/poems")


def test_a_checkpoint_from_the_hub_reads_no_folder_of_this_machine(hub, folder, base_encoder):
    config = json.loads((folder / "config.json").read_text())
    config["model"]["video_encoder"] = str(base_encoder)
    (folder / "config.json").write_text(json.dumps(config))
    hub.repos["models/you/scores"] = Repo(contents(folder))
    with pytest.raises(CheckpointError, match=r"you/scores: .* names the encoder .*an id on the Hub"):
        find_checkpoint("you/scores")
    with pytest.raises(CheckpointError, match=r"names the encoder"):
        push_checkpoint(folder, "me/scores", token="hf_me")


def test_a_checkpoint_that_is_too_large_is_not_fetched(hub, folder, monkeypatch):
    hub.repos["models/you/scores"] = Repo(contents(folder))
    monkeypatch.setattr("vjepa_demo.model.checkpoint.CHECKPOINT_MAX_BYTES", 100)
    with pytest.raises(CheckpointError, match=r"you/scores: .* would be fetched; at most 100 bytes are allowed"):
        find_checkpoint("you/scores")
    assert hub.fetched() == set()


def test_without_a_network_the_cache_answers(hub, folder, monkeypatch):
    push_checkpoint(folder, "me/scores", token="hf_me", private=False)
    find_checkpoint("me/scores")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert contents(find_checkpoint("me/scores", token=None).folder) == contents(folder)
    assert hub.requests == []
    with pytest.raises(CheckpointError, match=r"me/scores is not on this machine, and HF_HUB_OFFLINE forbids"):
        find_checkpoint("me/scores")  # for everybody: who read it before may have been allowed more
    with pytest.raises(CheckpointError, match=r"me/other is not on this machine, and HF_HUB_OFFLINE forbids"):
        find_checkpoint("me/other")


def test_a_hub_that_is_not_there_is_said_to_be_so(dead_hub, folder):
    with pytest.raises(CheckpointError, match=r"me/scores: 127.0.0.1:[0-9]+ cannot be reached: check the network"):
        find_checkpoint("me/scores")
    with pytest.raises(CheckpointError, match=r"cannot be reached"):
        push_checkpoint(folder, "me/scores", token="hf_me")
    with pytest.raises(RecordError, match=r"cannot be reached"):
        list_dataset(HubRepo("me/clips", "dataset"), token=False)


def test_a_hub_that_fails_is_said_to_fail(hub):
    hub.failing = 503
    with pytest.raises(CheckpointError, match=r"me/scores: 127.0.0.1:[0-9]+ answered with status 503: try again later"):
        find_checkpoint("me/scores")


@pytest.mark.parametrize("body", [b"<html>a login page</html>", b"\xff\xfe\xfd"])
def test_a_server_that_is_no_hub_is_said_to_be_none(hub, monkeypatch, body):
    monkeypatch.setattr(Handler, "do_GET", lambda handler: handler.answer(body))
    with pytest.raises(CheckpointError, match=r"me/scores: 127.0.0.1:[0-9]+ did not answer as the Hub does"):
        find_checkpoint("me/scores")


def test_a_bug_of_this_program_is_no_fault_of_the_hub(hub, folder, monkeypatch):
    hub.repos["models/you/scores"] = Repo(contents(folder))
    monkeypatch.setattr("vjepa_demo.data.hub.filter_repo_objects", lambda *_, **__: [].index("a bug"))
    with pytest.raises(ValueError, match="not in list"):
        find_checkpoint("you/scores")


def test_a_folder_that_cannot_be_written_is_said_to_be_so(hub, dataset, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(RecordError, match="you/clips: a file cannot be read or written on this machine: "):
        list(fetch_files(dataset, ["labels.csv"], tmp_path / "file", token=False, max_bytes=ANY_SIZE))


def test_a_token_is_neither_in_an_error_nor_in_the_log(hub, folder, caplog):
    caplog.set_level(logging.DEBUG)
    errors = []
    for token in ("hf_secret", "hf_secret\n"):
        with pytest.raises(CheckpointError) as caught:
            push_checkpoint(folder, "me/scores", token=token)
        errors += traceback.format_exception(caught.value)
    assert "secret" not in caplog.text + "".join(errors)


def test_a_folder_comes_before_a_repository_of_its_name(hub, folder, monkeypatch):
    monkeypatch.chdir(folder.parent.parent)
    assert find_checkpoint(f"{folder.parent.name}/{folder.name}").trained_on == TRAINED_ON
    assert hub.requests == []


def test_a_name_that_is_nothing_names_the_choices(hub):
    with pytest.raises(ModelError, match=r"choose one of demo, .*, or give a checkpoint folder, or owner/name"):
        find_checkpoint("nonsense")
    assert hub.requests == []


# ---- datasets --------------------------------------------------------------------------------------------------------

CLIPS = {f"videos/{number:02}.mp4": bytes([number]) * 100 for number in range(10)}
DATASET = {"README.md": b"", "labels.csv": b"video_name,Prompt\n", "loader.py": b"print('run')", **CLIPS}


@pytest.fixture
def dataset(hub):
    hub.repos["datasets/you/clips"] = Repo(dict(DATASET))
    return list_dataset(HubRepo("you/clips", "dataset"), token=False)


def test_a_listing_tells_every_file_and_fetches_none(hub, dataset):
    assert dataset.files == {name: len(data) for name, data in DATASET.items()}  # four pages of them
    assert hub.fetched() == set()


def test_only_the_named_files_are_fetched(hub, dataset, tmp_path):
    names = ["labels.csv", "videos/03.mp4", "videos/07.mp4"]
    paths = list(fetch_files(dataset, names, tmp_path, token=False, max_bytes=ANY_SIZE))
    assert hub.fetched() == set(names)
    assert paths == [tmp_path / name for name in names]
    assert [path.read_bytes() for path in paths] == [DATASET[name] for name in names]


def test_files_are_those_of_the_commit_that_was_listed(hub, dataset, tmp_path):
    hub.repos["datasets/you/clips"].files["labels.csv"] = b"changed"
    hub.repos["datasets/you/clips"].commit("change")
    (path,) = fetch_files(dataset, ["labels.csv"], tmp_path, token=False, max_bytes=ANY_SIZE)
    assert path.read_bytes() == DATASET["labels.csv"]


def test_a_file_that_the_dataset_lacks_is_named(hub, dataset, tmp_path):
    with pytest.raises(RecordError, match=r"you/clips has no file train\.csv at the commit "):
        list(fetch_files(dataset, ["train.csv"], tmp_path, token=False, max_bytes=ANY_SIZE))


def test_more_bytes_than_allowed_are_not_fetched(hub, dataset, tmp_path):
    with pytest.raises(RecordError, match=r"you/clips: .* would be fetched"):
        list(fetch_files(dataset, CLIPS, tmp_path, token=False, max_bytes=999))
    assert hub.fetched() == set()


def test_closing_the_iterator_ends_the_download(hub, tmp_path):
    clips = {f"{number}.mp4": b"x" for number in range(100)}
    hub.repos["datasets/you/many"] = Repo(clips)
    listing = list_dataset(HubRepo("you/many", "dataset"), token=False)
    paths = fetch_files(listing, clips, tmp_path, token=False, max_bytes=ANY_SIZE)
    next(paths)
    paths.close()
    assert 1 <= len(hub.fetched()) < 50


def test_a_dataset_that_may_not_be_read_is_refused(hub, tmp_path):
    hub.repos["datasets/me/clips"] = Repo(dict(DATASET), private=True, readers={"me"})
    hub.repos["datasets/me/gated"] = Repo(dict(DATASET), gated=True, readers={"me"})
    with pytest.raises(RecordError, match=r"me/clips: no such dataset repository on .*, or it is private"):
        list_dataset(HubRepo("me/clips", "dataset"), token="hf_you")
    listing = list_dataset(HubRepo("me/gated", "dataset"), token="hf_you")
    with pytest.raises(RecordError, match=rf"me/gated is gated: ask for access on {hub.url}/datasets/me/gated"):
        list(fetch_files(listing, ["labels.csv"], tmp_path, token="hf_you", max_bytes=ANY_SIZE))
    mine = list_dataset(HubRepo("me/clips", "dataset"), token="hf_me")
    assert list(fetch_files(mine, ["labels.csv"], tmp_path, token="hf_me", max_bytes=ANY_SIZE))


CARD = b"---\nlibrary_name: vjepa-demo\n---\n# Clips\n"


def upload(files: dict[str, bytes], *, repo_id: str = "me/clips", token="hf_me", private: bool = True) -> list:
    """What an upload of a data set yields; its old videos are taken away."""
    uploads = upload_files(
        *(repo_id, files),
        token=token,
        private=private,
        message="Upload clips",
        kind="dataset",
        is_ours=lambda path: path.endswith(".mp4"),
    )
    return list(uploads)


def test_an_uploaded_data_set_is_one_commit_and_says_how_far_it_is(hub):
    files = {"README.md": CARD, "labels.csv": b"video_name,Prompt\n", **CLIPS}
    told = upload(files)
    assert told == [UploadingReport(8, 12), UploadingReport(12, 12), f"{hub.url}/datasets/me/clips"]
    repo = hub.repos["datasets/me/clips"]
    assert hub.repos.keys() == {"datasets/me/clips"}
    assert repo.private
    assert [message for message, _ in repo.commits] == ["initial commit", "Upload clips"]
    assert {name: repo.files[name] for name in files} == files
    assert set(CLIPS.values()) == set(hub.lfs.values())


def test_a_second_upload_of_a_data_set_takes_away_its_old_files_alone(hub):
    upload({"README.md": CARD, **CLIPS})
    repo = hub.repos["datasets/me/clips"]
    repo.files["notes.txt"] = b"by hand"
    repo.commit("by hand")
    upload({"README.md": CARD, "videos/new.mp4": b"new"})
    assert repo.files == {".gitattributes": b"", "notes.txt": b"by hand", "README.md": CARD, "videos/new.mp4": b"new"}
    assert len(repo.commits) == 4


def test_a_data_set_of_another_kind_is_not_overwritten(hub):
    for number, card in enumerate((b"---\nlibrary_name: datasets\n---\n", b"# No front matter")):
        hub.repos[f"datasets/me/{number}"] = Repo({"README.md": card, "train.csv": b"a"})
        with pytest.raises(RecordError, match=f"me/{number} holds something other than a data set of this program"):
            upload({"README.md": CARD}, repo_id=f"me/{number}")
        assert hub.repos[f"datasets/me/{number}"].files["README.md"] == card


def test_a_private_upload_to_a_public_data_set_is_refused(hub):
    upload({"README.md": CARD, **CLIPS}, private=False)
    with pytest.raises(RecordError, match="me/clips exists already and is public"):
        upload({"README.md": CARD, "videos/new.mp4": b"new"})
    assert "videos/new.mp4" not in hub.repos["datasets/me/clips"].files


@pytest.mark.parametrize(
    ("repo_id", "token", "message"),
    [
        ("me/clips", "hf_wrong", "does not know this account: sign in again"),
        ("you/clips", "hf_me", "this account may not do that"),
        ("clips", "hf_me", "'clips' is no name of a repository; owner/name was expected, such as me/my-ratings"),
        ("me/clips", "hf_me\n", "the token is empty or has a space in it"),
    ],
)
def test_an_upload_of_a_data_set_fails_with_the_reason(hub, repo_id, token, message):
    with pytest.raises(RecordError, match=message):
        upload({"README.md": CARD}, repo_id=repo_id, token=token)
    assert not hub.repos


def test_of_an_upload_that_ends_early_nobody_sees_a_part(hub):
    uploads = upload_files(
        *("me/clips", {"README.md": CARD, **CLIPS}),
        token="hf_me",
        private=True,
        message="Upload",
        kind="dataset",
        is_ours=lambda path: True,
    )
    assert next(uploads) == UploadingReport(8, 11)
    uploads.close()
    assert hub.repos["datasets/me/clips"].files.keys() == {".gitattributes"}
    hub.refuses_content = True
    with pytest.raises(RecordError, match="me/clips: this account may not do that"):
        upload({"README.md": CARD, **CLIPS})
    hub.refuses_content = False
    assert hub.repos["datasets/me/clips"].files.keys() == {".gitattributes"}
    upload({"README.md": CARD, **CLIPS})
    assert hub.repos["datasets/me/clips"].files.keys() >= CLIPS.keys()


# ---- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "repo"),
    [
        ("me/scores", HubRepo("me/scores")),
        ("me/my.scores-2@v1.0", HubRepo("me/my.scores-2", revision="v1.0")),
        ("me/scores@refs/pr/1", HubRepo("me/scores", revision="refs/pr/1")),
        *(
            (name, None)
            for name in ("scores", "/me/scores", "./scores", "../scores", "a/b/c", "me/sco..res", "me/a@../b")
        ),
        *((name, None) for name in ("me/scores@", "me/ä", "me/scores\n", "C:/scores", "~/scores", "me/a--b")),
    ],
)
def test_a_repository_is_owner_and_name(name, repo):
    assert parse_repo(name) == repo
