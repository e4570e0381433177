from __future__ import annotations

import json
import random
import shutil
import stat
import struct
import zipfile
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from hub_server import Repo
from huggingface_hub import constants
from small_models import CROP, FRAMES, TRAINED_ON

from vjepa_demo.config import ModelConfig, ZipLimits
from vjepa_demo.model import checkpoint as checkpoint_module
from vjepa_demo.model.checkpoint import (
    find_checkpoint,
    find_public_checkpoint,
    load_checkpoint,
    model_card,
    note_measured,
    open_checkpoint_zip,
    read_checkpoint,
    save_checkpoint,
    zip_checkpoint,
)
from vjepa_demo.model.vjepa import OptimizedMOSHead, VJEPAModel
from vjepa_demo.schema import CheckpointError, TrainedOn
from vjepa_demo.wording import caution


@pytest.fixture
def folder(checkpoint_folder, tmp_path):
    """A copy that a test may break."""
    return shutil.copytree(checkpoint_folder, tmp_path / "copy")


def edit_config(folder, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_save_then_load_scores_the_same(base_encoder, text_encoder, tmp_path):
    model = VJEPAModel(str(base_encoder), str(text_encoder), device="cpu", freeze_ratio=0.5, head_hidden=16)
    save_checkpoint(model, tmp_path, trained_on=TRAINED_ON)
    loaded = load_checkpoint(read_checkpoint(tmp_path), device="cpu")
    video, text = torch.randn(1, 3, FRAMES, CROP, CROP), model.encode_text(["a cat"])
    with torch.no_grad():
        torch.testing.assert_close(loaded(video, text), model(video, text))
    assert loaded.config == model.config


def test_looks_come_back_and_one_look_is_not_written(looks_folder, checkpoint_folder):
    assert load_checkpoint(read_checkpoint(looks_folder), device="cpu").clip_config.looks == 2
    said = [json.loads((folder / "config.json").read_text())["model"] for folder in (looks_folder, checkpoint_folder)]
    assert said[0]["looks"] == 2
    assert "looks" not in said[1]
    assert read_checkpoint(checkpoint_folder).model.looks == 1


def test_what_it_was_trained_on_comes_back(checkpoint_folder):
    assert read_checkpoint(checkpoint_folder).trained_on == TRAINED_ON


def test_the_clips_it_learned_from_come_back_and_are_told_nowhere_else(base_encoder, text_encoder, tmp_path):
    model = VJEPAModel(str(base_encoder), str(text_encoder), device="cpu", freeze_ratio=0.5, head_hidden=16)
    digests = ("0123456789ab", "fedcba987654")
    save_checkpoint(model, tmp_path, trained_on=replace(TRAINED_ON, digests=digests))
    trained_on = read_checkpoint(tmp_path).trained_on
    assert trained_on.digests == digests
    card = (tmp_path / "README.md").read_text()
    assert not any(digest in text for digest in digests for text in (card, str(trained_on), repr(trained_on)))


def test_a_checkpoint_of_before_that_remembers_no_clips_is_read(folder):
    trained_on = json.loads((folder / "config.json").read_text())["trained_on"]
    del trained_on["digests"]
    edit_config(folder, trained_on=trained_on)
    assert read_checkpoint(folder).trained_on.digests == ()


def test_a_moved_checkpoint_finds_its_own_encoders(folder):
    assert str(folder) in load_checkpoint(read_checkpoint(folder), device="cpu").config.video_encoder


def test_only_what_was_trained_is_saved(base_encoder, text_encoder, tmp_path):
    from safetensors import safe_open

    model = VJEPAModel(str(base_encoder), str(text_encoder), device="cpu")
    for name, value in model.named_parameters():
        value.requires_grad_(name.startswith("head."))
    save_checkpoint(model, tmp_path, trained_on=TRAINED_ON)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert all(name.startswith("head.net.") for name in file.keys())  # noqa: SIM118 (it is no dict)


def test_a_head_of_the_full_size_vitg_is_small(base_encoder, text_encoder, tmp_path):
    model = VJEPAModel(str(base_encoder), str(text_encoder), device="cpu")
    model.freeze_video_encoder()
    model.freeze_text_encoder()
    model.head = OptimizedMOSHead(1408, 1024)  # the widths of ViT-g and BGE-Large
    save_checkpoint(model, tmp_path, trained_on=TRAINED_ON)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 10e6


def test_saving_leaves_no_partial_file(checkpoint_folder):
    assert sorted(path.name for path in checkpoint_folder.iterdir() if path.is_file()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]


def test_the_model_card_tells_data_metrics_and_limits(base_encoder, text_encoder, tmp_path):
    model = VJEPAModel(str(base_encoder), str(text_encoder), device="cpu")
    trained_on = TrainedOn("procedural", 6000, "moving shapes", {"Temporal": 0.71}, 400)
    save_checkpoint(model, tmp_path, trained_on=trained_on)
    card = (tmp_path / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0")
    assert "6,000 procedural clips: moving shapes" in card
    assert "| Temporal | 0.710 |" in card
    assert "| Overall | undefined |" in card
    assert "seen no human label" in card
    assert caution(trained_on) in card
    assert "400 clips with prompts that were not trained on" in card
    save_checkpoint(model, tmp_path, trained_on=replace(trained_on, num_shared_prompts=None))
    assert "400 clips that were not trained on, nor what they show" in (tmp_path / "README.md").read_text()


def test_what_is_measured_later_goes_into_the_checkpoint_and_its_card(folder):
    before = read_checkpoint(folder)
    note_measured(folder, {"blur of real clips, Spearman": "0.93 (at least 0.90)"})
    after = read_checkpoint(folder)
    assert after.trained_on.measured == {"blur of real clips, Spearman": "0.93 (at least 0.90)"}
    assert replace(after, trained_on=replace(after.trained_on, measured={})) == before
    assert "| blur of real clips, Spearman | 0.93 (at least 0.90) |" in (folder / "README.md").read_text()


def test_the_model_card_names_the_models_it_was_made_from():
    card = model_card(ModelConfig(), TRAINED_ON)
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["base_model"] == ["facebook/vjepa2-vitg-fpc64-384-ssv2", "BAAI/bge-large-en-v1.5"]
    assert front["library_name"] == "vjepa-demo"
    own = model_card(ModelConfig("./video_encoder", "/home/me/bge: x"), TRAINED_ON)
    assert "base_model" not in yaml.safe_load(own.split("---\n")[1])


def test_the_model_card_says_that_the_model_beats_prompts_alone_only_where_its_lead_is_clear():
    def card(**settings):
        return model_card(ModelConfig(), replace(TRAINED_ON, vquala_score=0.7, no_video_baseline=0.5, **settings))

    clear, unclear = card(lead=0.2, lead_standard_error=0.05), card(lead=0.2, lead_standard_error=0.15)
    assert "The model beats the no-video baseline: VQualA score 0.700" in clear
    assert "beats" not in unclear
    assert "does not clearly beat the no-video baseline" in unclear
    assert "beats" not in card()  # of a checkpoint that keeps no lead


def test_the_model_card_says_what_is_known_of_an_older_checkpoint():
    def card(score, baseline):
        return model_card(ModelConfig(), replace(TRAINED_ON, vquala_score=score, no_video_baseline=baseline))

    assert "VQualA score 0.700, no-video baseline 0.500." in card(0.7, 0.5)
    assert card(0.4, 0.5).count("not beat") == 1
    assert "The model does not beat it." in card(0.4, 0.5)
    assert "Do not rely on the scores of this model." in card(0.4, 0.5)
    assert "no-video baseline not known." in card(0.4, None)
    assert "VQualA score and no-video baseline: not known." in card(None, None)


def test_the_model_card_says_that_nobody_declared_whose_labels_they_are():
    card = model_card(ModelConfig(), replace(TRAINED_ON, kind="undeclared"))
    assert "12 labelled clips: twelve clips of a test" in card
    assert "Nobody said who gave its labels." in card
    assert "human" not in card


def test_the_model_card_says_how_labels_were_mapped():
    assert "The labels, from 0 to 100, were mapped linearly to 1 to 5." in model_card(
        ModelConfig(), TRAINED_ON, (0, 100)
    )
    assert "The labels are scores from 1 to 5." in model_card(ModelConfig(), TRAINED_ON)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "something-else"}, "was not written by this program"),
        ({"format_version": 99}, "format version 99; this program reads 1"),
        ({"dimensions": ["Overall"]}, r"is for the dimensions \['Overall'\]"),
        ({"model": {"video_encoder": "x", "surprise": 1}}, "does not describe a model"),
        ({"trained_on": {}}, "does not describe a model"),
        ({"trained_on": {"kind": "made up", "num_clips": 1, "description": ""}}, "kind is 'made up'"),
        ({"trained_on": {"kind": "human", "num_clips": "12", "description": ""}}, "num_clips is '12'"),
        ({"model": {"freeze_ratio": "x"}}, "freeze_ratio is 'x'"),
        ({"model": {"head_hidden": "x"}}, "head_hidden is 'x'"),
        ({"model": {"video_encoder": None}}, "video_encoder is None"),
        ({"model": {"num_frames": -4}}, "num_frames is -4"),
    ],
)
def test_a_foreign_config_is_refused_with_the_reason(folder, changes, message):
    edit_config(folder, **changes)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(folder)


def test_an_encoder_alone_is_no_checkpoint(base_encoder):
    with pytest.raises(CheckpointError, match="an encoder alone cannot score"):
        read_checkpoint(base_encoder)


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_broken_config_is_refused(folder, content):
    (folder / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_checkpoint(folder)


def test_a_folder_without_config_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"is not a checkpoint: it has no config\.json"):
        read_checkpoint(tmp_path)


def test_truncated_weights_are_refused(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="copy the whole folder again"):
        load_checkpoint(read_checkpoint(folder), device="cpu")


def test_missing_weights_are_refused(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="No such file"):
        load_checkpoint(read_checkpoint(folder), device="cpu")


def test_weights_of_another_shape_are_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    config["model"]["head_hidden"] = 32
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="does not fit its model"):
        load_checkpoint(read_checkpoint(folder), device="cpu")


@pytest.mark.parametrize(
    ("source", "message"),
    [("./../elsewhere", "outside the checkpoint"), ("video_encoder", "a Hub id .*, an absolute folder, or ./name")],
)
def test_an_encoder_that_is_nowhere_it_may_be_is_refused(folder, source, message):
    config = json.loads((folder / "config.json").read_text())
    config["model"]["video_encoder"] = source
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(read_checkpoint(folder), device="cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head_hidden": 10**9}, "head_hidden is 1000000000"),
        ({"head_hidden": "8"}, "head_hidden is '8'"),
        ({"head_hidden": True}, "head_hidden is True"),
        ({"num_frames": -1}, "num_frames is -1"),
        ({"freeze_ratio": 7}, "freeze_ratio is 7"),
        ({"pooling": ["mean"]}, "pooling is"),
        ({"text_encoder": None}, "text_encoder is None"),
    ],
)
def test_values_that_no_checkpoint_has_are_refused(folder, changes, message):
    edit_config(folder, model=json.loads((folder / "config.json").read_text())["model"] | changes)
    with pytest.raises(CheckpointError, match=f"does not describe a model: {message}"):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_clips": "many"}, "num_clips is 'many'"),
        ({"srocc": {"Overall": "<b>"}}, "srocc is {'Overall': '<b>'}"),
        ({"kind": "both"}, "kind is 'both'"),
    ],
)
def test_figures_that_are_no_figures_are_refused(folder, changes, message):
    edit_config(folder, trained_on=json.loads((folder / "config.json").read_text())["trained_on"] | changes)
    with pytest.raises(CheckpointError, match=f"does not describe a model: {message}"):
        read_checkpoint(folder)


def test_a_second_checkpoint_over_the_same_encoders_takes_memory_for_what_was_trained_alone(folder, tmp_path):
    encoders = str(folder / "video_encoder"), str(folder / "text_encoder")
    model = VJEPAModel.from_config(ModelConfig(*encoders), device="cpu")
    save_checkpoint(model, tmp_path / "head", trained_on=TRAINED_ON)
    model.set_trainable(top_layers=True, text=False)
    with torch.no_grad():
        model.venc.layer[3].mlp.fc1.weight.add_(1)
    save_checkpoint(model, tmp_path / "top", trained_on=TRAINED_ON)
    head, top = (load_checkpoint(read_checkpoint(tmp_path / name), device="cpu") for name in ("head", "top"))
    there = {parameter.data_ptr() for parameter in head.parameters()}
    own = {name: value for name, value in top.named_parameters() if value.data_ptr() not in there}
    head_weights = {name for name in dict(top.named_parameters()) if name.startswith("head.")}
    assert own.keys() == head_weights | {"venc.layer.3.mlp.fc1.weight"}, "what equals the encoder's own stays shared"
    assert torch.equal(own["venc.layer.3.mlp.fc1.weight"], head.venc.layer[3].mlp.fc1.weight + 1)


# ---- on the Hub ------------------------------------------------------------------------------------------------------


@pytest.fixture
def heads_folder(base_encoder, text_encoder, tmp_path) -> Path:
    """A checkpoint that rests on encoders of presets, and holds none."""
    model = VJEPAModel.from_config(ModelConfig(str(base_encoder), str(text_encoder)), device="cpu")
    save_checkpoint(model, tmp_path / "heads", trained_on=TRAINED_ON, model_config=ModelConfig())
    return tmp_path / "heads"


def test_of_a_repository_that_is_no_checkpoint_nothing_but_the_configuration_is_asked_for(hub, base_encoder, tmp_path):
    foreign = {**files_of(base_encoder), "README.md": b"---\nlicense: mit\n---\n", "text_encoder/vocab.txt": b"a"}
    hub.repos["models/you/encoder"] = Repo(foreign)
    for find in (find_checkpoint, partial(find_public_checkpoint, folder=tmp_path / "cache", max_bytes=2**30)):
        with pytest.raises(CheckpointError, match=r"you/encoder: config\.json was not written by this program"):
            find("you/encoder")
    assert hub.fetched() == {"config.json"}


def test_what_this_machine_may_read_is_not_given_to_a_stranger_while_the_hub_does_not_answer(
    hub, heads_folder, tmp_path, monkeypatch
):
    hub.repos["models/me/secret"] = Repo(files_of(heads_folder), private=True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
    monkeypatch.setenv("HF_TOKEN", "hf_me")
    assert find_checkpoint("me/secret", token=None).trained_on == TRAINED_ON
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert find_checkpoint("me/secret", token=None).trained_on == TRAINED_ON  # its owner, from the cache
    for token in (False, "hf_you"):
        with pytest.raises(CheckpointError, match="me/secret"):
            find_checkpoint("me/secret", token=token)
    with pytest.raises(CheckpointError, match="me/secret"):
        find_public_checkpoint("me/secret", tmp_path / "cache", max_bytes=2**30)


def test_an_encoder_that_is_not_allowed_is_refused_before_any_weight_is_asked_for(hub, heads_folder, tmp_path):
    edit_config(heads_folder, model=asdict(ModelConfig("evil/encoder")))
    hub.repos["models/you/scores"] = Repo(files_of(heads_folder))
    with pytest.raises(CheckpointError, match="you/scores rests on evil/encoder"):
        find_public_checkpoint("you/scores", tmp_path / "cache", max_bytes=2**30)
    assert hub.fetched() == {"config.json"}


def test_files_of_an_encoder_are_asked_for_only_where_the_configuration_names_them(hub, heads_folder, folder, tmp_path):
    hub.repos["models/you/heads"] = Repo(files_of(heads_folder) | {"video_encoder/model.safetensors": bytes(1000)})
    assert find_public_checkpoint("you/heads", tmp_path / "cache", max_bytes=2**30).trained_on == TRAINED_ON
    assert hub.fetched() == {"config.json", "model.safetensors", "README.md"}
    hub.requests.clear()
    hub.repos["models/you/whole"] = Repo(files_of(folder))
    assert files_of(find_checkpoint("you/whole").folder) == files_of(folder)
    assert hub.fetched() == files_of(folder).keys()


def test_weights_come_from_the_commit_whose_configuration_was_read(hub, heads_folder, monkeypatch):
    repo = hub.repos["models/you/heads"] = Repo(files_of(heads_folder))
    read = checkpoint_module.read_checkpoint

    def change_meanwhile(folder):
        monkeypatch.setattr(checkpoint_module, "read_checkpoint", read)
        repo.files["model.safetensors"] = b"other weights"
        repo.commit("change")
        return read(folder)

    monkeypatch.setattr(checkpoint_module, "read_checkpoint", change_meanwhile)
    found = find_checkpoint("you/heads")
    assert (found.folder / "model.safetensors").read_bytes() == files_of(heads_folder)["model.safetensors"]


def test_a_repository_with_a_configuration_and_no_weights_is_refused(hub, heads_folder):
    hub.repos["models/you/half"] = Repo({"config.json": files_of(heads_folder)["config.json"]})
    with pytest.raises(CheckpointError, match=r"you/half is not whole: it has no model\.safetensors"):
        find_checkpoint("you/half")


# ---- zips ------------------------------------------------------------------------------------------------------------


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_zip(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def assert_refused(zip_path: Path, message: str) -> None:
    """The zip is refused for this reason, and nothing of it is left."""
    target = zip_path.parent / "opened"
    before = {path for path in zip_path.parent.rglob("*") if path != target}
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint_zip(zip_path, target)
    assert set(zip_path.parent.rglob("*")) == before


def test_a_zipped_checkpoint_opens_byte_for_byte(folder, tmp_path):
    zip_checkpoint(folder, tmp_path / "scores.zip")
    opened = open_checkpoint_zip(tmp_path / "scores.zip", tmp_path / "opened")
    assert opened == replace(read_checkpoint(folder), folder=tmp_path / "opened")
    assert files_of(tmp_path / "opened") == files_of(folder)
    load_checkpoint(opened, device="cpu")


def test_a_zip_holds_the_checkpoint_alone(folder, tmp_path):
    expected = files_of(folder).keys()
    (folder / ".training").mkdir()
    for name in (".training/model.safetensors", "labels.csv", "video_encoder/modeling.py", "optimizer.pt"):
        (folder / name).write_bytes(b"x")
    zip_checkpoint(folder, tmp_path / "scores.zip")
    with zipfile.ZipFile(tmp_path / "scores.zip") as archive:
        assert set(archive.namelist()) == expected


def test_the_same_zip_may_be_in_one_top_folder_as_systems_make_it(folder, tmp_path):
    files = {f"my scores/{name}": data for name, data in files_of(folder).items()}
    extra = {"__MACOSX/my scores/._config.json": b"", "my scores/.DS_Store": b"", "my scores/": b""}
    zip_path = write_zip(tmp_path / "scores.zip", {**extra, **files}, zipfile.ZIP_DEFLATED)
    open_checkpoint_zip(zip_path, tmp_path / "opened")
    assert files_of(tmp_path / "opened") == files_of(folder)


@pytest.mark.parametrize("damage", ["weights", "encoder", "local encoder"])
def test_a_checkpoint_that_is_not_whole_is_not_zipped(folder, tmp_path, damage):
    if damage == "weights":
        (folder / "model.safetensors").write_bytes(b"short")
    elif damage == "encoder":
        (folder / "video_encoder" / "model.safetensors").unlink()
    else:
        edit_config(folder, model={"video_encoder": "/srv/encoder", "text_encoder": "./text_encoder"})
    message = {"weights": "copy the whole", "encoder": "video_encoder has no config.json or no weights"}
    with pytest.raises(CheckpointError, match=message.get(damage, "names the encoder '/srv/encoder'")):
        zip_checkpoint(folder, tmp_path / "scores.zip")
    assert list(tmp_path.glob("*.zip*")) == list(tmp_path.glob(".*.partial")) == []


@pytest.mark.parametrize("name", ["../evil.json", "/etc/config.json", "a/../../config.json", "C:\\evil", "..\\evil"])
def test_a_path_that_leads_out_of_the_zip_is_refused(folder, tmp_path, name):
    assert_refused(write_zip(tmp_path / "s.zip", {**files_of(folder), name: b"x"}), r"s\.zip: the path .* leads out")


def test_a_link_in_a_zip_is_refused(folder, tmp_path):
    zip_path = write_zip(tmp_path / "s.zip", files_of(folder))
    link = zipfile.ZipInfo("video_encoder/vocab.txt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(zip_path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert_refused(zip_path, r"s\.zip: “video_encoder/vocab\.txt” is a link")


@pytest.mark.parametrize("name", ["model.py", "head.pkl", "inner.zip", "a/b/config.json", "video_encoder/modeling.py"])
def test_what_is_no_part_of_a_checkpoint_is_refused(folder, tmp_path, name):
    zip_path = write_zip(tmp_path / "s.zip", {**files_of(folder), name: b"x"})
    assert_refused(zip_path, f"s.zip holds '{name}', which is no part of a checkpoint")


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_zip_without_a_checkpoint_is_refused(folder, tmp_path, missing):
    files = files_of(folder)
    del files[missing]
    assert_refused(write_zip(tmp_path / "s.zip", files), f"s.zip is not a checkpoint: it has no {missing}")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_that_is_there_twice_is_refused(folder, tmp_path):
    zip_path = write_zip(tmp_path / "s.zip", files_of(folder))
    with zipfile.ZipFile(zip_path, "a") as archive:
        archive.writestr("config.json", b"{}")
    assert_refused(zip_path, r"s\.zip holds one path twice \(config\.json\)")


def test_a_bomb_is_refused_while_it_unpacks(folder, tmp_path):
    files = {**files_of(folder), "README.md": bytes(50 * 2**20)}
    assert_refused(write_zip(tmp_path / "s.zip", files, zipfile.ZIP_DEFLATED), r"s\.zip grows more than 100 times")


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (ZipLimits(3, 10**9, 10**9, 100), "holds .* files; 3 at most"),
        (ZipLimits(99, 1000, 10**9, 100), "is larger than 9.31e-07 GiB"),
        (ZipLimits(99, 10**9, 1000, 100), "holds more than 9.31e-07 GiB"),
    ],
)
def test_limits_hold_for_the_bytes_that_come_out(folder, tmp_path, monkeypatch, limits, message):
    monkeypatch.setattr("vjepa_demo.model.checkpoint.CHECKPOINT_ZIP_LIMITS", limits)
    assert_refused(write_zip(tmp_path / "s.zip", files_of(folder)), message)


def test_a_zip_that_lies_about_its_sizes_is_refused(folder, tmp_path):
    zip_path = write_zip(tmp_path / "s.zip", {**files_of(folder), "README.md": bytes(10**6)}, zipfile.ZIP_DEFLATED)
    zip_path.write_bytes(zip_path.read_bytes().replace(struct.pack("<I", 10**6), struct.pack("<I", 10)))
    assert_refused(zip_path, r"s\.zip is damaged or not a zip")


def test_a_file_without_a_name_is_refused(folder, tmp_path):
    assert_refused(write_zip(tmp_path / "s.zip", {**files_of(folder), ".": b"x"}), "holds a file without a name")


def test_any_damage_is_refused_or_harmless(folder, tmp_path):
    zip_checkpoint(folder, tmp_path / "s.zip")
    whole, expected, rng = (tmp_path / "s.zip").read_bytes(), files_of(folder), random.Random(0)
    directory = whole.index(b"PK\1\2")
    for trial in range(60):
        data = bytearray(whole)
        data[rng.randrange(directory, len(data))] = rng.randrange(256)
        (tmp_path / "s.zip").write_bytes(data)
        target = tmp_path / str(trial)
        try:
            open_checkpoint_zip(tmp_path / "s.zip", target)
        except CheckpointError:
            assert not target.exists()
        else:
            assert files_of(target).items() <= expected.items()
    assert not list(tmp_path.glob(".partial*"))


def test_a_zip_with_a_password_is_refused(folder, tmp_path):
    zip_path = write_zip(tmp_path / "s.zip", files_of(folder))
    data = bytearray(zip_path.read_bytes())
    data[data.rindex(b"PK\1\2") + 8] |= 1  # the flag of an encrypted entry
    zip_path.write_bytes(data)
    assert_refused(zip_path, "is encrypted; pack it without a password")


def test_a_zip_packed_with_another_method_is_refused(folder, tmp_path):
    assert_refused(write_zip(tmp_path / "s.zip", files_of(folder), zipfile.ZIP_LZMA), "unusual method; use plain zip")


@pytest.mark.parametrize("data", [b"", b"not a zip", b"PK\3\4" + bytes(100)])
def test_what_is_no_zip_is_refused(tmp_path, data):
    (tmp_path / "s.zip").write_bytes(data)
    assert_refused(tmp_path / "s.zip", r"s\.zip is damaged or not a zip")


def test_a_truncated_zip_is_refused(folder, tmp_path):
    zip_checkpoint(folder, tmp_path / "s.zip")
    whole = (tmp_path / "s.zip").read_bytes()
    for share in (0.3, 0.9, 0.999):
        (tmp_path / "s.zip").write_bytes(whole[: int(len(whole) * share)])
        assert_refused(tmp_path / "s.zip", r"s\.zip is damaged or not a zip")


def test_a_flipped_bit_is_refused(folder, tmp_path):
    zip_checkpoint(folder, tmp_path / "s.zip")
    data = bytearray((tmp_path / "s.zip").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "s.zip").write_bytes(data)
    assert_refused(tmp_path / "s.zip", r"s\.zip is damaged or not a zip \(Bad CRC-32")


def test_a_zip_that_is_not_there_is_refused(tmp_path):
    assert_refused(tmp_path / "s.zip", r"s\.zip cannot be extracted: No such file")


def test_weights_of_another_checkpoint_in_a_zip_are_refused(folder, tmp_path):
    files = files_of(folder)
    other = files["model.safetensors"][:-4] + b"abcd"
    zip_path = write_zip(tmp_path / "s.zip", {**files, "model.safetensors": other})
    assert_refused(zip_path, r"s\.zip: model\.safetensors is not what config\.json was written with")


@pytest.mark.parametrize("source", ["/srv/encoder", "./../encoder", "./other", "~/encoder", "encoder", "https://x/y"])
def test_a_zip_cannot_name_a_folder_of_this_machine(folder, tmp_path, source):
    model = json.loads((folder / "config.json").read_text())["model"]
    edit_config(folder, model=model | {"video_encoder": source})
    zip_path = write_zip(tmp_path / "s.zip", files_of(folder))
    assert_refused(zip_path, r"s\.zip: config\.json names the encoder .*; an id on the Hub")


def test_a_relative_folder_that_looks_like_a_hub_id_is_refused(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "somebody" / "encoder").mkdir(parents=True)
    model = json.loads((folder / "config.json").read_text())["model"]
    edit_config(folder, model=model | {"video_encoder": "somebody/encoder"})
    assert_refused(write_zip(tmp_path / "s.zip", files_of(folder)), "names the encoder 'somebody/encoder'")


def test_a_zip_is_not_opened_over_other_files(folder, tmp_path):
    zip_checkpoint(folder, tmp_path / "s.zip")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="full is not empty"):
        open_checkpoint_zip(tmp_path / "s.zip", tmp_path / "full")
    assert files_of(tmp_path / "full") == {"mine.txt": b"mine"}
