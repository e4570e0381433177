"""The endpoints as programs use them: gradio_client, curl and an MCP client, against the real server and model."""

from __future__ import annotations

import asyncio
import base64
import csv
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes import RESULT, FakeScorer
from gradio_client import Client, handle_file
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from pages import PROMPT, ROOT, free_port, page_of, serving

from vjepa_demo import tasks
from vjepa_demo.app import api
from vjepa_demo.app.page import build_app, launch
from vjepa_demo.config import ASSETS, DIMENSIONS
from vjepa_demo.model.checkpoint import open_checkpoint_zip
from vjepa_demo.schema import Comparison, EncodingReport, LayersReport, ModelError, StoppedError, VideoError

SAMPLE = ASSETS / "sample"
EXAMPLES = [ASSETS / "examples" / f"{name}.mp4" for name in ("clean", "blurred", "unsteady")]
ENDPOINTS = ["/score", "/compare", "/batch", "/check_labels", "/fine_tune", "/evaluate", "/rate_stats", "/rate_export"]
MANUAL = (ROOT / "docs" / "api.md").read_text(encoding="utf-8").split("\n## Web API\n")[1].split("\n## ")[0]
QUICK_HEARTBEAT = {"GRADIO_IS_E2E_TEST": "1"}  # Gradio looks four times a second whether a client has left
REFUSED = "not enabled verbose error reporting"  # all that Gradio says of a path that nobody uploaded


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """Where the server keeps what visitors bring and make."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def server(folders) -> Iterator[str]:
    with serving(TMPDIR=str(folders), GRADIO_TEMP_DIR=str(folders / "uploads"), **QUICK_HEARTBEAT) as address:
        yield address


@pytest.fixture
def client(server) -> Iterator[Client]:
    client = Client(server, verbose=False)
    yield client
    client.close()


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """The videos of the sample data set's first 14 rows."""
    path = tmp_path_factory.mktemp("zip") / "clips.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(14):
            archive.write(SAMPLE / f"clip_{number:04}.mp4", f"clips/clip_{number:04}.mp4")
    return path


@pytest.fixture(scope="module")
def labels(tmp_path_factory) -> Path:
    """Those rows, and one without a video."""
    path = tmp_path_factory.mktemp("labels") / "mine.csv"
    lines = (SAMPLE / "labels.csv").read_text().splitlines()
    path.write_text("\n".join([*lines[:15], "gone.mp4,a cat,1,2,3,4,5"]) + "\n")
    return path


def upload(address: str, *paths: Path) -> list[str]:
    """Where the server put the files."""
    files = [("files", (path.name, path.read_bytes())) for path in paths]
    return httpx.post(f"{address}/gradio_api/upload", files=files).raise_for_status().json()


def call(address: str, name: str, **arguments: Any) -> tuple[str, Any]:
    """The last event of a call as curl makes it, and its data."""
    body, header = json.dumps(arguments), {"Content-Type": "application/json"}  # lone surrogates as "\\ud83d"
    posted = httpx.post(f"{address}/gradio_api/call/v2/{name}", content=body, headers=header)
    event = posted.raise_for_status().json()["event_id"]
    answer = httpx.get(f"{address}/gradio_api/call/v2/{name}/{event}", timeout=300).text
    kind, data = re.findall(r"event: (\w+)\ndata: (.*)\n", answer)[-1]
    return kind, json.loads(data)


def with_mcp(address: str, use: Callable[[ClientSession], Any]) -> Any:
    """What `use` gives for a session with the server's MCP tools."""

    async def run() -> Any:
        async with (
            streamable_http_client(f"{address}/gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            return await use(session)

    return asyncio.run(run())


def call_tool(address: str, name: str, **arguments: Any) -> tuple[bool, str]:
    """Whether a tool failed, and its text."""
    result = with_mcp(address, lambda session: session.call_tool(name, arguments))
    return result.isError, result.content[0].text


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, "nothing happened for a minute"
        time.sleep(0.05)


# ---- what there is ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def blocks():
    return build_app(lambda _: FakeScorer())


def test_these_are_public_and_all_else_is_private(blocks):
    info = blocks.get_api_info(all_endpoints=True)
    assert list(info["named_endpoints"]) == ENDPOINTS
    assert info["unnamed_endpoints"] == {}
    public = [f"/{fn.api_name}" for fn in blocks.fns.values() if fn.api_visibility != "private"]
    assert public == ENDPOINTS


def test_every_endpoint_and_argument_is_typed_and_documented(server):
    tools = with_mcp(server, lambda session: session.list_tools()).tools
    assert [f"/{tool.name}" for tool in tools] == ENDPOINTS
    for tool in tools:
        assert "Returns: " in tool.description
        assert ",," not in tool.description  # lines are joined with commas
        for name, schema in tool.inputSchema["properties"].items():
            assert schema["description"].endswith("."), name  # a description of several lines loses all but the first
            assert "type" in schema or "anyOf" in schema
    score = tools[0].inputSchema
    assert list(score["properties"]) == ["video", "prompt", "model"]
    assert score["properties"]["model"]["enum"] == ["demo", "vitl", "vitg", "mine"]
    assert score["required"] == ["video", "prompt"]


def test_answers_are_typed(server):
    endpoints = Client(server, verbose=False).view_api(return_format="dict", print_info=False)["named_endpoints"]
    (score,) = endpoints["/score"]["returns"]
    assert "scores: dict(Traditional: float (1 to 5), Alignment: float (1 to 5)" in score["python_type"]["type"]
    assert "list[filepath | str]" in str(endpoints["/batch"]["parameters"])


def test_the_page_starts_without_the_mcp_extra(blocks, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    blocks = build_app(lambda _: FakeScorer())
    launch(blocks, server_name="127.0.0.1", server_port=free_port())
    assert not blocks.mcp_server
    assert httpx.get(f"{blocks.local_url}gradio_api/mcp/schema").status_code == 404
    blocks.close(verbose=False)


# ---- scores ----------------------------------------------------------------------------------------------------------


def test_python_curl_and_mcp_score_like_the_command_line_to_the_last_digit(run, server, client, world):
    (by_command,) = json.loads(run("score", world, "--prompt", PROMPT, "--model", "demo", "--json").stdout)
    answer = client.predict(video=handle_file(world), prompt=PROMPT, api_name="/score")
    assert answer["scores"] == by_command["scores"]
    assert (answer["video"], answer["prompt"], answer["model"]) == ("world.mp4", PROMPT, "demo")
    assert list(answer["not_meaningful"]) == ["Alignment"]  # the model knows no planets
    assert "It learned from drawn clips, not from people" in answer["caution"]
    assert "procedural clips" in answer["trained_on"]

    (path,) = upload(server, world)
    url = f"{server}/gradio_api/file={path}"
    uploaded = {"path": path, "meta": {"_type": "gradio.FileData"}}
    for video in (uploaded, url):
        kind, (answer,) = call(server, "score", video=video, prompt=PROMPT)
        assert (kind, answer["scores"], answer["video"]) == ("complete", by_command["scores"], "world.mp4")

    data = f"data:video/mp4;base64,{base64.b64encode(world.read_bytes()).decode()}"
    for video in (url, data):
        failed, text = call_tool(server, "score", video=video, prompt=PROMPT)
        assert not failed
        assert json.loads(text)["scores"] == by_command["scores"]


def test_compare_gives_what_the_command_gives(run, server, client):
    prompt = "a red ball on grass"
    done = run("compare", *EXAMPLES, "--prompt", prompt, "--model", "demo", "--json")
    expected = Comparison.from_dict(json.loads(done.stdout))
    answer = client.predict(videos=[handle_file(path) for path in EXAMPLES], prompts=[prompt], api_name="/compare")
    answers = [answer]
    urls = [f"{server}/gradio_api/file={path}" for path in upload(server, *EXAMPLES)]
    answers.append(json.loads(call_tool(server, "compare", videos=urls, prompts=[prompt])[1]))
    for answer in answers:
        comparison = Comparison.from_dict(answer)  # the page opens it too
        assert [result.scores for result in comparison.results] == [result.scores for result in expected.results]
        assert (comparison.best, comparison.differences) == (expected.best, expected.differences)
        assert [result.video for result in comparison.results] == [path.name for path in EXAMPLES]


def test_each_clip_may_have_its_own_prompt(client):
    prompts = ["a red ball", "a blue cube"]
    videos = [handle_file(path) for path in EXAMPLES[:2]]
    answer = client.predict(videos=videos, prompts=prompts, api_name="/compare")
    assert [result["prompt"] for result in answer["results"]] == prompts
    with pytest.raises(Exception, match="got 2 prompts for 3 videos"):
        client.predict(videos=[*videos, videos[0]], prompts=prompts, api_name="/compare")


def test_batch_streams_rows_and_writes_the_commands_csv(run, server, client, labels, clips, tmp_path):
    out = tmp_path / "scores.csv"
    done = run("batch", labels, "--videos", clips, "--out", out, "--model", "demo")
    assert done.returncode == 1  # a row has an error
    videos, table = [handle_file(clips)], handle_file(labels)
    *rows, last = client.submit(videos=videos, table=table, api_name="/batch")
    assert [row["row"]["line"] for row in rows] == list(range(2, 17))
    assert "gone.mp4" in rows[-1]["row"]["error"]
    assert Path(last["scores"]).read_bytes() == out.read_bytes()
    assert (last["done"], last["errors"], last["evaluation"]["n"]) == (15, 1, 14)

    urls = [f"{server}/gradio_api/file={path}" for path in upload(server, labels, clips)]
    answer = json.loads(call_tool(server, "batch", table=urls[0], videos=urls[1:])[1])
    assert httpx.get(answer["scores"]["url"]).content == out.read_bytes()
    assert answer["all"] == last["all"]


def test_a_batch_of_videos_with_one_prompt(client):
    videos = [handle_file(path) for path in EXAMPLES]
    *_, last = client.submit(videos=videos, prompt="a red ball on grass", api_name="/batch")
    with Path(last["scores"]).open(newline="") as file:
        table = {row["video_name"]: row for row in csv.DictReader(file)}
    alone = client.predict(video=videos[1], prompt="a red ball on grass", api_name="/score")
    assert {name: float(table["blurred.mp4"][name]) for name in DIMENSIONS} == alone["scores"]


def test_half_of_an_emoji_in_a_prompt_is_the_replacement_character(server):
    """As a program sends it that cuts a prompt at a number of UTF-16 units."""
    uploaded = [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in upload(server, *EXAMPLES[:2])]
    kind, (answer, *_) = call(server, "score", video=uploaded[0], prompt="a red ball \ud83d")
    assert (kind, answer["prompt"]) == ("complete", "a red ball \ufffd")
    _, (compared, *_) = call(server, "compare", videos=uploaded, prompts=["a \udfff", "\ud83d\ude00"])
    assert [result["prompt"] for result in compared["results"]] == ["a \ufffd", "\U0001f600"]
    kind, (*_, batch) = call(server, "batch", videos=uploaded, prompt="a red ball \ud83d")
    assert (kind, batch["done"], batch["errors"]) == ("complete", 2, 0)
    assert "'\\ud83d'" in call(server, "score", video="\ud83d", prompt="x")[1]["error"]
    assert 'model is "\\ufffd"' in call(server, "score", video=uploaded[0], prompt="x", model="\ud83d")[1]["error"]


def test_a_zip_with_one_prompt_is_scored_and_what_else_it_holds_is_named(server, tmp_path):
    with zipfile.ZipFile(tmp_path / "clips.zip", "w") as archive:
        archive.write(EXAMPLES[0], "a/clean.qt")
        archive.writestr("a/notes.txt", "x")
    (path,) = upload(server, tmp_path / "clips.zip")
    uploaded = {"path": path, "meta": {"_type": "gradio.FileData"}}
    kind, (*_, last) = call(server, "batch", videos=[uploaded], prompt="a red ball")
    assert (kind, last["done"], last["errors"]) == ("complete", 1, 0)
    assert last["notes"] == ["Skipped 1 file whose name does not end as a video's does: a/notes.txt."]


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [str(ROOT / "assets/examples/clean.mp4"), "/etc/hostname"])
def test_no_path_on_the_server_is_read(server, path):
    """Not even one that the page itself serves."""
    uploaded = {"path": path, "meta": {"_type": "gradio.FileData"}}
    assert call(server, "score", video=uploaded, prompt="x") == ("error", {"error": None})
    for video in ({"path": path}, path, f"file://{path}"):
        kind, data = call(server, "score", video=video, prompt="x")
        assert (kind, "which is no file: upload it" in data["error"]) == ("error", True)
    for videos in ([path], [uploaded]):
        assert call(server, "batch", videos=videos, prompt="x")[0] == "error"
    inside = f"{server}/gradio_api/file=/gradio_api/file={path}"
    for url in (f"{server}/gradio_api/file={path}", inside):
        failed, text = call_tool(server, "score", video=url, prompt="x")
        assert failed
        assert "cannot be fetched" in text or REFUSED in text


def test_what_is_wrong_is_said_in_plain_text(server, client, world, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(Exception, match="cannot be read as a video"):
        client.predict(video=handle_file(tmp_path / "text.mp4"), prompt="x", api_name="/score")
    with pytest.raises(Exception, match="prompt is empty"):
        client.predict(video=handle_file(world), prompt=" ", api_name="/score")
    with pytest.raises(Exception, match="no videos: upload a file first"):
        client.predict(videos=[], prompt="x", api_name="/batch")
    assert "'<b>'" in call(server, "score", video="<b>", prompt="x")[1]["error"]  # not &lt;b&gt;
    assert call_tool(server, "score", video="<b>", prompt="x")[0]


WRONG = [
    ("score", {"prompt": None}, "prompt is null; a text"),
    ("score", {"model": None}, "model is null; one of demo, vitl, vitg, mine"),
    ("score", {"model": ["demo"]}, 'model is ["demo"]; one of'),
    ("score", {"video": 5}, "'5', which is no file"),
    ("compare", {"prompts": [1]}, "prompts is [1]; a list of texts or a text"),
    ("compare", {"prompts": {"a": 1}}, "a list of texts or a text"),
    ("compare", {"videos": ["http://192.0.2.1/never-asked"] * 5}, "got 5 videos; 2 to 4"),
    ("batch", {"label_range": None}, "label_range is null; one of detect it"),
    ("batch", {"label_range": {}}, "label_range is {}; one of"),
    ("batch", {"videos": 5}, "'5', which is no file"),
    ("fine_tune", {"epochs": "x"}, 'epochs is "x"; a whole number from 1 to 100'),
    ("fine_tune", {"learning_rate": [1]}, "learning_rate is [1]; a number from 1e-07 to 0.1"),
    ("fine_tune", {"validation_share": None}, "validation_share is null; a number from 0 to 0.5"),
    ("fine_tune", {"seed": -1}, "seed is -1; a whole number from 0"),
    ("fine_tune", {"procedural": True, "human": True}, "procedural and human are both true"),
    ("fine_tune", {"procedural": "yes"}, 'procedural is "yes"; true or false'),
    ("fine_tune", {"scope": "all"}, 'scope is "all"; one of head, top'),
    ("evaluate", {"label_range": "0 to 7"}, 'label_range is "0 to 7"; one of'),
]


@pytest.mark.parametrize(("name", "wrong", "said"), WRONG, ids=[f"{name} {wrong}" for name, wrong, _ in WRONG])
def test_a_value_of_the_wrong_type_is_named(server, name, wrong, said):
    given = {"score": {"video": "x", "prompt": "x"}, "compare": {"videos": ["x", "x"], "prompts": ["x"]}}
    given |= {"batch": {"videos": ["x"]}}
    kind, data = call(server, name, **{**given.get(name, {"labels": "x", "videos": ["x"]}), **wrong})
    assert kind == "error"
    assert said in data["error"]


def test_no_queue_of_the_page_waits_for_a_program(blocks):
    """Programs also fetch, which takes as long as somebody else's server wants."""
    public = {fn.concurrency_id for fn in blocks.fns.values() if fn.api_visibility != "private"}
    private = {fn.concurrency_id for fn in blocks.fns.values() if fn.api_visibility == "private"}
    assert not public & private


# ---- fine-tuning -----------------------------------------------------------------------------------------------------


def test_check_labels_says_what_would_be_used(client, labels, clips):
    answer = client.predict(labels=handle_file(labels), videos=[handle_file(clips)], api_name="/check_labels")
    assert (answer["num_rows"], answer["num_used"]) == (15, 14)
    assert answer["num_labels"] == dict.fromkeys(DIMENSIONS, 14)
    assert [problem["line"] for problem in answer["problems"]] == [16]
    assert answer["label_range"] == {"low": 1.0, "high": 5.0, "declared": False}


def test_check_labels_takes_labels_and_pairs_together(client, labels, clips, tmp_path):
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("video_a,video_b,prompt,Overall\nclip_0000,clip_0001,a cat,a\nclip_0002,clip_0003,a cat,same\n")
    tables = [handle_file(labels), handle_file(pairs)]
    answer = client.predict(labels=tables, videos=[handle_file(clips)], api_name="/check_labels")
    assert (answer["num_used"], answer["num_clips"], answer["num_pairs"]) == (16, 14, 2)
    assert answer["num_answers"] == {"Overall": {"a": 1, "b": 0, "same": 1}}
    alone = client.predict(labels=handle_file(pairs), videos=[handle_file(clips)], api_name="/check_labels")
    assert (alone["num_used"], alone["num_clips"], alone["num_pairs"], alone["problems"]) == (2, 0, 2, [])


def fine_tune(client: Client, labels: Path, clips: Path, **settings: Any) -> Any:
    return client.submit(
        labels=handle_file(labels),
        videos=[handle_file(clips)],
        validation_share=0.5,
        human=True,
        **settings,
        api_name="/fine_tune",
    )


def test_from_labels_to_a_model_that_scores_for_this_client_alone(run, server, client, labels, clips, tmp_path):
    *reports, last = fine_tune(client, labels, clips, epochs=2)
    assert [report["done"] for report in reports if report["phase"] == "reading"] == list(range(1, 15))
    assert [report["epoch"] for report in reports if report["phase"] == "epoch"] == [1, 2]
    assert set(last["evaluation"]["dimensions"]) == set(DIMENSIONS)
    assert "no_video_baseline" in last["evaluation"]
    assert "VQualA score" in last["meaning"]
    assert [problem["line"] for problem in last["problems"]] == [16]
    checkpoint = open_checkpoint_zip(last["checkpoint"], tmp_path / "opened")
    assert (checkpoint.trained_on.kind, checkpoint.trained_on.description) == ("human", "mine.csv")

    asked = {"video": handle_file(EXAMPLES[0]), "prompt": "a red ball on grass", "api_name": "/score"}
    mine, demo = (client.predict(**asked, model=name) for name in ("mine", "demo"))
    done = run("score", EXAMPLES[0], "--prompt", asked["prompt"], "--json", "--model", tmp_path / "opened")
    assert mine["scores"] == json.loads(done.stdout)[0]["scores"] != demo["scores"]
    assert mine["model"] == "mine"
    data = {"labels": handle_file(labels), "videos": [handle_file(clips)], "api_name": "/evaluate"}
    judged = client.predict(**data, model="mine")["evaluation"], client.predict(**data, model="demo")["evaluation"]
    assert judged[0] != judged[1]
    by_command = run("evaluate", labels, "--videos", clips, "--json", "--model", "demo")
    assert judged[1] == json.loads(by_command.stdout)

    with pytest.raises(Exception, match='there is no model "mine"'):
        Client(server, verbose=False).predict(**asked, model="mine")


def test_what_a_client_made_goes_when_it_leaves(server, folders, labels, clips):
    client = Client(server, verbose=False)
    before = set(folders.glob("vjepa-demo-*"))
    list(fine_tune(client, labels, clips, epochs=1))
    (folder,) = set(folders.glob("vjepa-demo-*")) - before
    archives = set((folders / "uploads").rglob("checkpoint-1.zip"))
    client.close()
    wait_until(lambda: not folder.exists())
    wait_until(lambda: len({path for path in archives if path.exists()}) == len(archives) - 1)


def test_callers_that_never_say_goodbye_keep_no_model_and_leave_nothing_but_the_file(server, folders, labels, clips):
    before = set(folders.glob("vjepa-demo-*"))
    urls = [f"{server}/gradio_api/file={path}" for path in upload(server, labels, clips)]
    asked = {"labels": urls[0], "videos": urls[1:], "epochs": 1, "validation_share": 0.5, "procedural": True}
    kind, (answer,) = call(server, "fine_tune", **asked)
    failed, text = call_tool(server, "fine_tune", **asked)
    assert (kind, failed) == ("complete", False)
    for report in (answer, json.loads(text)):
        assert report["phase"] == "done"
        assert httpx.get(report["checkpoint"]["url"]).content[:2] == b"PK"
    assert set(folders.glob("vjepa-demo-*")) == before
    failed, text = call_tool(server, "score", video=urls[0], prompt="x", model="mine")
    assert failed
    assert "over MCP and curl it is not kept" in text


# ---- with runs that the test holds back ------------------------------------------------------------------------------


class HeldBack:
    """A run that reports without end until it is closed or told to stop."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def __call__(self, *_: Any, should_stop: Callable[[], bool], **__: Any) -> Iterator[Any]:
        try:
            while not should_stop():
                time.sleep(0.01)
                yield EncodingReport(1, 2, 1.0)
        finally:
            self.closed.set()


@pytest.fixture(scope="module")
def scorers() -> Iterator[tuple[list[FakeScorer], str]]:
    """What scores on a server in this process is the last of these; and its address."""
    made = [FakeScorer()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(*next(iter(QUICK_HEARTBEAT.items())))
        with page_of(lambda _: made[-1]) as address:
            yield made, address


def test_a_cancelled_call_ends_its_run(scorers, monkeypatch, labels, clips):
    run = HeldBack()
    monkeypatch.setattr("vjepa_demo.tasks.train.fine_tune", run)
    client = Client(scorers[1], verbose=False)
    job = fine_tune(client, labels, clips)
    assert next(iter(job))["phase"] == "reading"
    assert not run.closed.is_set()
    job.cancel()
    assert run.closed.wait(300)

    run.closed.clear()
    job = fine_tune(client, labels, clips)  # the turn is free again
    assert next(iter(job))["phase"] == "reading"
    client.close()  # without a word
    assert run.closed.wait(300)


class Endless(FakeScorer):
    """A scorer for which a batch never ends."""

    name, model_id, trained_on = "demo", "demo@0a1b2c3d", RESULT.trained_on
    ended = threading.Event()

    def score_all(self, requests, **_):
        try:
            while True:
                time.sleep(0.01)
                yield VideoError("no")
        finally:
            self.ended.set()


def test_a_cancelled_batch_ends_its_run(scorers):
    made, address = scorers
    made.append(Endless())
    client = Client(address, verbose=False)
    (path,) = upload(address, EXAMPLES[0])
    url = f"{address}/gradio_api/file={path}"
    job = client.submit(videos=[url] * 1000, prompt="x", api_name="/batch")
    assert next(iter(job))["total"] == 1000
    job.cancel()
    assert Endless.ended.wait(300)
    client.close()


class Failing(FakeScorer):
    """A scorer that breaks at the second row."""

    name, model_id, trained_on = "demo", "demo@0a1b2c3d", RESULT.trained_on

    def score_all(self, requests, **_):
        yield VideoError("no")
        raise ModelError("the model is damaged")


def test_a_batch_that_fails_leaves_no_file(scorers):
    made, address = scorers
    made.append(Failing())
    client = Client(address, verbose=False)
    uploads = Path(os.environ["GRADIO_TEMP_DIR"])
    before = set(uploads.rglob("*.csv"))  # of other tests, and templates to download from the page
    asked = {"videos": [handle_file(EXAMPLES[0])] * 2, "prompt": "x", "api_name": "/batch"}
    with pytest.raises(Exception, match="the model is damaged"):
        client.predict(**asked)
    (path,) = upload(address, EXAMPLES[0])
    url = f"{address}/gradio_api/file={path}"
    assert call(address, "batch", videos=[url] * 2, prompt="x")[0] == "error"
    assert set(uploads.rglob("*.csv")) <= before
    client.close()


def test_an_evaluation_takes_turns_with_batches(scorers, monkeypatch, labels, clips):
    """It scores many clips, so no single score waits for it: neither for its slot nor for the machine."""
    taken = []

    def in_turn(reports):
        for report in reports:
            taken.append(report)
            yield report

    class Quick(FakeScorer):
        trained_on = RESULT.trained_on

        def score_all(self, requests, **_):
            yield from (replace(RESULT, video=video, prompt=prompt) for video, prompt in requests)

    monkeypatch.setattr(api, "in_turn", in_turn)
    scorers[0].append(Quick())
    client = Client(scorers[1], verbose=False)
    asked = {"labels": handle_file(labels), "videos": [handle_file(clips)], "api_name": "/evaluate"}
    told = list(client.submit(**asked))
    assert [each["done"] for each in told] == list(range(1, 15))
    assert told[-1]["evaluation"]["n"] == 14
    assert len(taken) == 15  # each clip, and the metrics
    client.close()


class Encoding(FakeScorer):
    """A scorer that encodes until it is stopped."""

    name, model_id, trained_on = "demo", "demo@0a1b2c3d", RESULT.trained_on

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.ended = threading.Event(), threading.Event()

    def score(self, video, prompt, *, on_step, on_layer, should_stop, with_frames):
        on_step("video")
        on_layer(LayersReport(8, 24, 18.0))
        self.begun.set()
        try:
            while not should_stop():
                time.sleep(0.01)
        finally:
            self.ended.set()
        raise StoppedError("stopped")


@pytest.mark.parametrize("leave", ["cancel", "close"])
def test_a_call_that_nobody_waits_for_stops_encoding(scorers, leave):
    made, address = scorers
    scorer = Encoding()
    made.append(scorer)
    client = Client(address, verbose=False)
    job = client.submit(video=handle_file(EXAMPLES[0]), prompt="x", api_name="/score")
    assert scorer.begun.wait(300)
    while not (told := job.status().progress_data):
        assert not scorer.ended.is_set()
    assert told[0].desc == "Encoding the video: about 18 s left"
    assert not scorer.ended.is_set()
    job.cancel() if leave == "cancel" else client.close()
    assert scorer.ended.wait(300)
    client.close()
    made.pop()


# ---- the manual ------------------------------------------------------------------------------------------------------


def snippet(language: str, address: str) -> str:
    return re.search(rf"```{language}\n(.*?)```", MANUAL, re.DOTALL).group(1).replace("http://127.0.0.1:7860", address)


def test_the_python_snippet_runs(server, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(ROOT)
    exec(snippet("python", server))
    printed = capsys.readouterr().out
    assert "3 of 3" in printed
    assert "VQualA score" in printed
    for name in ("scores.csv", "checkpoint-1.zip"):
        (path,) = re.findall(rf"(\S+{name})", printed)
        assert Path(path).is_file()
    assert printed.count("'Overall'") == 3  # of /score, /compare and "mine"


def test_the_curl_snippet_runs(server):
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", snippet("sh", server)], cwd=ROOT, capture_output=True, text=True
    )
    assert "event: complete" in done.stdout, done.stderr
    data = json.loads(re.search(r"data: (\[\{.*)", done.stdout).group(1))
    assert tuple(data[0]["scores"]) == DIMENSIONS


def test_the_agents_configuration_works(server):
    servers = json.loads(snippet("json", server))["mcpServers"]
    upload_tool = servers["upload"]
    assert upload_tool["args"][:3] == ["--from", "gradio[mcp]", "gradio"]  # what uvx fetches; here it is installed
    gradio = str(Path(sys.executable).with_name("gradio"))

    async def upload_clip() -> str:
        parameters = StdioServerParameters(command=gradio, args=[*upload_tool["args"][3:-1], str(EXAMPLES[0].parent)])
        async with stdio_client(parameters) as (read, write), ClientSession(read, write) as session:
            await session.initialize()
            result = await session.call_tool("upload_file_to_gradio", {"file": str(EXAMPLES[0])})
            return result.content[0].text

    url = asyncio.run(upload_clip())
    assert servers["video-quality"]["url"] == f"{server}/gradio_api/mcp/"
    failed, text = call_tool(server, "score", video=url, prompt="a red ball on grass")
    assert not failed
    assert json.loads(text)["video"] == "clean.mp4"


# ---- rating ----------------------------------------------------------------------------------------------------------


def test_the_owner_of_a_study_gets_its_statistics_and_tables(server, client, clips, tmp_path, monkeypatch):
    with zipfile.ZipFile(clips) as archive:
        archive.extractall(tmp_path)
    table = tasks.batch_of_files(sorted((tmp_path / "clips").iterdir())[:4], "a ball")
    *_, (made, owner) = tasks.keep_study(table, dimensions=("Overall",))
    link = f"http://somewhere/?study={made.study.id}"
    assert "nobody has rated anything" in call(server, "rate_export", study=link, owner=owner)[1]["error"]
    study = tasks.linked_study(made.study.id)
    rater = study.join("Ann")
    while items := study.upcoming(rater, count=1):
        study.rate(rater, items[0].token, {"Overall": 4})
    for given in (link, made.study.id):
        answer = client.predict(given, owner, api_name="/rate_stats")
        assert (answer["num_raters"], answer["num_answers"]) == (1, 5)
        assert [clip["mos"] for clip in answer["dimensions"]["Overall"]["clips"]] == [4.0] * 4
    answer = client.predict(link, owner, api_name="/rate_export")
    assert answer["tables"] == ["labels.csv", "ratings.csv", "scores.csv"]
    with zipfile.ZipFile(answer["ratings"]) as archive:
        assert archive.read("labels.csv") == (study.export(tmp_path / "out")[0]).read_bytes()


def test_a_study_is_nobody_elses(server, clips, tmp_path):
    with zipfile.ZipFile(clips) as archive:
        archive.extractall(tmp_path)
    *_, (made, _) = tasks.keep_study(tasks.batch_of_files([tmp_path / "clips" / "clip_0000.mp4"], "a ball"))
    for name in ("rate_stats", "rate_export"):
        assert "only who made this study may do that" in str(call(server, name, study=made.study.id, owner="guess"))
        assert "this link leads to no study" in str(call(server, name, study="guess", owner="guess"))
