"""What a stranger can reach, take and use up: the page as it is served, asked by two of them."""

from __future__ import annotations

import asyncio
import errno
import threading
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import httpx
import pytest
from fakes import FakeScorer
from pages import page_of

from vjepa_demo import config, tasks
from vjepa_demo.app import guard
from vjepa_demo.app.events import shown_errors, without_folders
from vjepa_demo.app.guard import GuardedBlocks, visitor_of
from vjepa_demo.app.page import build_app
from vjepa_demo.app.session import Session
from vjepa_demo.app.session import _owned as owned_by_sessions
from vjepa_demo.config import ASSETS, MAX_BODY_BYTES, PROJECT_ROOT
from vjepa_demo.media.isolated import load_clip
from vjepa_demo.schema import FolderError, ModelError, RecordError, VideoError

FILE = {"meta": {"_type": "gradio.FileData"}}
OPENED = (
    "/ /config /theme.css /favicon.ico /gradio_api/info /gradio_api/openapi.json /gradio_api/app_id /gradio_api/user "
    "/gradio_api/mcp/schema /gradio_api/queue/status /manifest.json"
)
CLOSED = (
    "/openapi.json /docs /redoc /monitoring /monitoring/summary /monitoring/x /pwa_icon/9999 /gradio_api/token "
    "/gradio_api/runs /gradio_api/run-history/buckets /gradio_api/deep_link?session_hash=a /gradio_api/dev/reload "
    "/gradio_api/proxy=https://x.hf.space/ /gradio_api/file=http://example.com/ /gradio_api/file=HTTPS://example.com/ "
    "/gradio_api/file/etc/passwd /gradio_api/stream/a/b/1/playlist.m3u8 /gradio_api/custom_component/a/client/b/c "
    "/gradio_api/vibe-code /gradio_api/profiling/traces /study-clips/a /.env /gradio_api/ /gradio_api"
)
POSTED = (
    "/gradio_api/process_recording /gradio_api/stream/a /gradio_api/vibe-edit /gradio_api/undo-vibe-edit "
    "/gradio_api/run-history/connect /gradio_api/profiling/clear /config /"
)


class Held(FakeScorer):
    """Scores nothing before it is told to."""

    go = threading.Event()

    def score(self, *arguments, **named):
        assert self.go.wait(300)
        return super().score(*arguments, **named)


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """The address of a page behind a proxy, with small limits; and its folder of uploads."""
    uploads = tmp_path_factory.mktemp("strangers") / "uploads"
    settings = {"UPLOAD_GB": 0.002, "VISITOR_GB": 0.003, "TOTAL_GB": 0.1, "VISITOR_REQUESTS": 40, "VISITOR_JOBS": 2}
    with pytest.MonkeyPatch.context() as patch, ExitStack() as served:
        patch.setenv("GRADIO_TEMP_DIR", str(uploads))
        with pytest.MonkeyPatch.context() as at_start:
            for name, value in settings.items():
                at_start.setenv(f"VJEPA_DEMO_MAX_{name}", str(value))
            at_start.setenv("VJEPA_DEMO_PROXIES", "1")
            address = served.enter_context(page_of(lambda _: Held()))
        yield address, uploads


def stranger(address: str, number: int) -> httpx.Client:
    """Somebody with an address of their own, who claims to have another."""
    return httpx.Client(base_url=address, timeout=300, headers={"X-Forwarded-For": f"8.8.8.8, 203.0.113.{number}"})


def upload(client: httpx.Client, content: bytes, name: str = "clip.mp4") -> httpx.Response:
    return client.post("/gradio_api/upload", files={"files": (name, content)})


def checked(client: httpx.Client, value: Any, *, session: str) -> httpx.Response:
    """What the Score tab answers to `value` in each of its fields, when it says whether its button can be pressed."""
    (handler,) = (each for each in client.get("/config").json()["dependencies"] if each["api_name"] == "readiness")
    event = {"data": [value] * len(handler["inputs"]), "fn_index": handler["id"], "session_hash": session}
    return client.post("/gradio_api/run/predict", json=event)


# ---- what is served --------------------------------------------------------------------------------------------------


def test_what_the_page_does_not_use_is_not_served(server):
    with httpx.Client(base_url=server[0], timeout=300) as client:
        assert {path: client.get(path).status_code for path in CLOSED.split()} == dict.fromkeys(CLOSED.split(), 404)
        assert {path: client.post(path).status_code for path in POSTED.split()} == dict.fromkeys(POSTED.split(), 404)
        assert {path: client.get(path).status_code for path in OPENED.split()} == dict.fromkeys(OPENED.split(), 200)
        assert client.put("/gradio_api/upload").status_code == 404
        assert client.post("/gradio_api/queue/join", content=b" " * (MAX_BODY_BYTES + 1)).status_code == 413


def test_no_file_of_this_machine_is_served(server):
    address, uploads = server
    secret = uploads.parent / "secret.txt"
    secret.write_text("secret")
    with httpx.Client(base_url=address, timeout=300) as client:
        for path in ("/etc/passwd", secret, f"{uploads}/../secret.txt", f"{PROJECT_ROOT}/app.py", "/proc/self/environ"):
            assert client.get(f"/gradio_api/file={path}").status_code == 403


def test_no_handler_takes_a_file_that_was_not_uploaded_and_no_answer_names_a_folder(server):
    """Every private handler that runs at once gets forged values of every kind for all of its fields."""
    address, _ = server
    forged = [{**FILE, "path": path} for path in ("/etc/passwd", "x", "https://example.com/x.mp4")] + [{"a": 1}]
    with httpx.Client(base_url=address, timeout=300) as client:
        handlers = [each for each in client.get("/config").json()["dependencies"] if not each["queue"]]
        assert len(handlers) > 50
        for handler in handlers:
            for value in forged[: 4 if handler["id"] % 8 == 0 else 1]:
                event = {"data": [value] * len(handler["inputs"]), "fn_index": handler["id"], "session_hash": "forger"}
                answer = client.post("/gradio_api/run/predict", json={**event, "event_data": {"a": 1}})
                assert answer.status_code in (200, 500)
                for folder in (str(PROJECT_ROOT), "/site-packages/", "Traceback"):
                    assert folder not in answer.text


def test_a_private_handler_fetches_no_url(server):
    with httpx.Client(base_url=server[0], timeout=300) as client:
        answer = checked(client, {**FILE, "path": "https://example.com/x.mp4"}, session="a")
        assert answer.json()["error"] == "a URL is no upload: download the file, then add it here"


# ---- whose is what ---------------------------------------------------------------------------------------------------


def test_equal_uploads_lie_apart_where_nobody_can_guess(server):
    address, uploads = server
    with stranger(address, 1) as ann, stranger(address, 2) as bob:
        (mine,), (theirs,) = upload(ann, b"the same").json(), upload(bob, b"the same").json()
        assert mine != theirs
        folder = uploads / Path(mine).relative_to(uploads).parts[0]
        assert folder.stat().st_mode & 0o777 == uploads.stat().st_mode & 0o777 == 0o700
        assert bob.get(f"/gradio_api/file={mine}").content == b"the same"  # only who was told the name
        guess = uploads / Path(mine).relative_to(folder)  # where Gradio would have kept it
        assert bob.get(f"/gradio_api/file={guess}").status_code == 403


def test_uploads_go_with_the_session_whose_page_named_them(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    folders = [tmp_path / f"upload-{number}" for number in range(2)]
    for folder in folders:
        folder.mkdir()
    session, other = Session(), Session()
    session.own_uploads([guard._upload_folder(str(folders[0] / "sha" / "clip.mp4"))])
    other.own_uploads(folders)  # the first is somebody's already
    other.close()
    assert [folder.exists() for folder in folders] == [True, False]
    session.close()
    assert not folders[0].exists()
    outside = (str(tmp_path / "sha" / "clip.mp4"), str(tmp_path), "clip.mp4", "/etc/passwd")
    assert not any(map(guard._upload_folder, outside))


def test_a_page_that_names_an_upload_owns_it(server):
    address, _ = server
    with stranger(address, 3) as ann:
        (path,) = upload(ann, b"mine").json()
        assert guard._upload_folder(path) not in owned_by_sessions
        checked(ann, {**FILE, "path": path}, session="owner")
    assert guard._upload_folder(path) in owned_by_sessions


# ---- how much --------------------------------------------------------------------------------------------------------


def test_an_upload_and_all_of_a_visitors_are_limited_and_what_is_refused_leaves_nothing(server):
    address, uploads = server
    with stranger(address, 4) as ann, stranger(address, 5) as bob:
        before = set(uploads.iterdir())
        answer = upload(ann, b"x" * 2_000_001)
        assert (answer.status_code, answer.text) == (
            413,
            "the file is larger than 2 MB, which is what an upload may have",
        )
        assert set(uploads.iterdir()) == before
        assert upload(ann, b"x" * 1_900_000).status_code == 200
        answer = upload(ann, b"x" * 1_900_000)
        assert (answer.status_code, "your uploads would take more than 3 MB" in answer.text) == (413, True)
        chunks = (b"x" * 1000 for _ in range(1900))  # whose size nobody says before
        head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n'
        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        answer = ann.post("/gradio_api/upload", content=iter([head, *chunks, b"\r\n--b--\r\n"]), headers=kind)
        assert answer.status_code == 413
        assert upload(bob, b"x" * 1_900_000).status_code == 200
        assert len(set(uploads.iterdir()) - before) == 2


def test_a_full_disk_is_said_and_leaves_nothing(server, monkeypatch):
    address, uploads = server
    before = set(uploads.iterdir())

    async def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "/secret/folder")

    monkeypatch.setattr(guard.GradioMultiPartParser, "parse", full)
    with stranger(address, 6) as ann:
        answer = upload(ann, b"x")
    assert (answer.status_code, answer.text) == (507, guard.DISK_FULL)
    assert set(uploads.iterdir()) == before
    with pytest.raises(gr.Error, match="the disk of this server is full"), shown_errors():
        raise OSError(errno.ENOSPC, "No space left on device", "/secret/folder")


def test_a_form_field_is_no_file(server):
    address, uploads = server
    before = set(uploads.iterdir())
    with stranger(address, 12) as ann:
        answer = ann.post("/gradio_api/upload", files={"files": (None, b"kept in memory by Gradio")})
        assert (answer.status_code, "Too many fields" in answer.text) == (400, True)
        assert ann.post("/gradio_api/upload", content=b"x").status_code == 400
    assert set(uploads.iterdir()) == before


def test_one_visitor_who_asks_too_often_waits_alone(server, monkeypatch):
    address, _ = server
    monkeypatch.setattr(guard, "monotonic", lambda: 0.0)  # nothing comes back meanwhile
    with stranger(address, 7) as ann, stranger(address, 8) as bob:
        answers = [ann.post("/gradio_api/cancel", content=b"{}") for _ in range(60)]
        assert sum(answer.status_code != 429 for answer in answers) == 40
        assert "too many requests" in answers[-1].json()["detail"]
        assert bob.post("/gradio_api/cancel", content=b"{}").status_code != 429


def test_what_costs_the_server_more_than_a_file_is_counted_and_no_name_of_an_upload_stays(server, monkeypatch):
    address, _ = server
    monkeypatch.setattr(guard, "MAX_TRACKED", 3)
    monkeypatch.setattr(guard, "monotonic", lambda: 0.0)
    with stranger(address, 13) as ann, stranger(address, 14) as bob:
        progress = "/gradio_api/upload_progress"
        for query in ("", "?upload_id=", f"?upload_id={'a' * 65}", "?upload_id=a&upload_id=b", "?upload_id=%0A"):
            assert ann.get(f"{progress}{query}").status_code == 404
        for number in range(6):
            files = {"files": ("a.mp4", b"x")}
            assert bob.post(f"/gradio_api/upload?upload_id=bob{number}", files=files).status_code == 200
        assert "done" in bob.get(f"{progress}?upload_id=bob5").text
        names = [name for name in guard.file_upload_statuses._signals if name.startswith("bob")]
        assert "bob0" not in names
        assert len(names) <= 4
        answers = [ann.get("/gradio_api/info").status_code for _ in range(60)]
        assert (answers.count(200), answers[-1]) == (40, 429)
        assert ann.get("/theme.css").status_code == 200


def test_one_visitor_has_so_many_jobs_at_once(server):
    address, _ = server
    with stranger(address, 9) as ann, stranger(address, 10) as bob:
        (clip,) = upload(ann, (ASSETS / "examples" / "clean.mp4").read_bytes()).json()
        job = {"data": [{**FILE, "path": clip}, "a cat", "demo"]}
        ids = [ann.post("/gradio_api/call/score", json=job).json()["event_id"] for _ in range(2)]
        tool = {"name": "score", "arguments": {"video": f"{address}/gradio_api/file={clip}", "prompt": "a cat"}}
        rpc = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": tool}
        accept = {"Accept": "application/json, text/event-stream", "X-Vjepa-Demo-Visitor": "203.0.113.99"}
        for _ in range(20):  # Gradio's MCP server gives this one 5 seconds, on a busy machine too
            told = ann.post("/gradio_api/mcp/", json=rpc, headers=accept).text
            if "timed out" not in told:
                break
        assert "429" in told  # nor by way of MCP
        answer = ann.post("/gradio_api/call/score", json=job)
        assert (answer.status_code, answer.json()["detail"][:32]) == (429, "2 jobs of yours wait or run alre")
        ids.append(bob.post("/gradio_api/call/score", json=job).json()["event_id"])
        Held.go.set()
        for event in ids:
            assert "event: complete" in bob.get(f"/gradio_api/call/score/{event}").text
        assert ann.post("/gradio_api/call/score", json=job).status_code == 200


@pytest.mark.parametrize(
    ("client", "forwarded", "proxies", "visitor"),
    [
        ("203.0.113.1", "", 0, "203.0.113.1"),
        ("203.0.113.1", "8.8.8.8", 0, "203.0.113.1"),  # which anybody can write
        ("10.0.0.1", "8.8.8.8, 203.0.113.1", 1, "203.0.113.1"),
        ("10.0.0.1", "8.8.8.8, 203.0.113.1, 10.0.0.2", 2, "203.0.113.1"),
        ("10.0.0.1", "", 1, "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "", 0, "2001:db8:1::/48"),
        ("::ffff:203.0.113.1", "", 0, "203.0.113.1"),
        ("10.0.0.1", "127.0.0.1", 1, "127.0.0.1"),  # only who is this machine is not counted
        ("127.0.0.1", "8.8.8.8", 0, "127.0.0.1"),  # a proxy on this machine that nobody set
        ("127.0.0.1", "", 0, None),
        ("::1", "", 1, None),
        ("testclient", "", 0, "testclient"),
    ],
)
def test_a_visitor_is_known_by_the_address_that_the_last_proxy_saw(client, forwarded, proxies, visitor):
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    assert visitor_of({"client": (client, 1), "headers": headers}, proxies) == visitor


def test_what_the_mcp_server_asks_is_its_callers_whatever_they_write(caplog):
    """It asks this server from this machine, with the headers that it got."""
    asked: list[dict] = []

    async def app(scope, *_):
        asked.append(scope)

    checks = guard.Guard(app, GuardedBlocks(), replace(config.Limits(), visitor_requests=10), 0)
    forged = [(b"x-forwarded-for", b"203.0.113.9"), (guard.FOR_VISITOR, b"0 203.0.113.9")]
    scope = {"type": "http", "path": "/gradio_api/mcp/", "method": "POST", "client": ("192.168.0.7", 1)}
    server = SimpleNamespace(auth=None)
    asyncio.run(checks({**scope, "app": server, "headers": forged}, None, None))
    (passed_on,) = asked
    assert visitor_of({**passed_on, "client": ("127.0.0.1", 1)}, 0) == "192.168.0.7"
    assert visitor_of({"client": ("127.0.0.1", 1), "headers": forged}, 0) == "127.0.0.1"
    assert [name for name, _ in passed_on["headers"]].count(guard.FOR_VISITOR) == 1
    asyncio.run(checks({**scope, "app": server, "headers": []}, None, None))
    assert caplog.text.count("address is 192.168.0.7, which is private: if a proxy stands before this page") == 1


# ---- who may ---------------------------------------------------------------------------------------------------------


def test_a_page_with_a_login_shows_nothing_without_and_has_no_part_that_is_off(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "monotonic", lambda: 0.0)  # no try comes back meanwhile
    monkeypatch.setenv("VJEPA_DEMO_AUTH", "ann:pass:word")
    monkeypatch.setenv("VJEPA_DEMO_OFF", "training, rating,batch")
    monkeypatch.setenv("VJEPA_DEMO_PROXIES", "1")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    with page_of(lambda _: FakeScorer()) as address, stranger(address, 11) as ann:
        asked = "info openapi.json queue/data?session_hash=a file=/x call/score/a heartbeat/a mcp/schema queue/status"
        for path in (*(f"/gradio_api/{each}" for each in asked.split()), "/config", "/study-clips/a/b"):
            assert ann.get(path).status_code == 401, path
        for path in ("upload", "queue/join", "call/score", "run/predict", "component_server", "cancel", "mcp/"):
            assert ann.post(f"/gradio_api/{path}").status_code == 401, path
        assert "score-button" not in ann.get("/").text
        assert ann.post("/login", data={"username": "ann", "password": "pass"}).status_code == 400
        cookie = ann.post("/login", data={"username": "ann", "password": "pass:word"}).cookies
        ann.headers["cookie"] = "; ".join(f"{name}={value}" for name, value in cookie.items())
        assert list(ann.get("/gradio_api/info").json()["named_endpoints"]) == ["/score", "/compare"]
        page = ann.get("/config").json()
        assert [each["props"]["id"] for each in page["components"] if each["type"] == "tabitem"] == [
            "score",
            "compare",
            "about",
        ]
        assert ann.get("/study-clips/a/b").status_code == 404
        tries = [ann.post("/login", data={"username": "ann", "password": str(n)}).status_code for n in range(12)]
        assert tries[-1] == 429


def test_a_part_behind_a_login_refuses_who_has_not_signed_in(monkeypatch):
    monkeypatch.setenv("VJEPA_DEMO_LOGIN", "batch")
    monkeypatch.setattr(guard, "can_sign_in", lambda: True)
    with GuardedBlocks() as blocks:
        field, button = gr.Number(), gr.Button()
        with blocks.part("batch"):
            button.click(lambda value: value + 1, field, field)
        button.click(lambda value: value + 2, field, field)
    signed_in = {"session": {"oauth_info": {"userinfo": {}}}}

    def asked(number: int, scope: dict) -> float:
        request = gr.Request(SimpleNamespace(scope=scope))
        return asyncio.run(blocks.process_api(number, [1], None, request))["data"][0]

    assert asked(0, signed_in) == 2
    assert asked(1, {}) == 3
    for scope in ({}, {"session": {}}):
        with pytest.raises(gr.Error, match="sign in first"):
            asked(0, scope)


def test_no_other_site_uses_a_visitors_sign_in():
    with GuardedBlocks() as blocks:
        pass
    checks = guard.Guard(None, blocks, config.Limits(), 0)
    asked = {"path": "/gradio_api/queue/join", "method": "POST", "client": ("203.0.113.1", 1)}
    server = SimpleNamespace(auth=None)

    def status(site: bytes, session: dict) -> int | None:
        headers = [(b"sec-fetch-site", site)] if site else []
        refused = checks._refusal({**asked, "app": server, "session": session, "headers": headers})
        return refused and refused[0]

    signed_in = {"oauth_info": {"userinfo": {}}}
    assert [status(site, signed_in) for site in (b"cross-site", b"same-site")] == [403, 403]
    assert [status(site, signed_in) for site in (b"same-origin", b"none", b"")] == [None] * 3
    assert status(b"cross-site", {}) is None


def test_where_nobody_can_sign_in_a_part_that_needs_it_is_off(monkeypatch):
    monkeypatch.setenv("VJEPA_DEMO_LOGIN", "rating,training")
    with GuardedBlocks() as blocks:
        assert [part for part in ("training", "rating", "batch") if blocks.has(part)] == ["batch"]


@pytest.mark.parametrize("off", ["training", "batch"])
def test_the_page_is_whole_without_a_part(off, monkeypatch):
    monkeypatch.setenv("VJEPA_DEMO_OFF", off)
    app = build_app(lambda _: FakeScorer())
    tabs = {block.id for block in app.blocks.values() if isinstance(block, gr.Tab)}
    assert tabs == {"score", "compare", "about", "batch", "rate", "finetune"} - {
        {"training": "finetune", "rating": "rate", "batch": "batch"}[part] for part in off.split(",")
    }
    names = {function.api_name for function in app.fns.values() if function.api_visibility == "public"}
    assert ("batch" in names, "fine_tune" in names, "rate_stats" in names) == (
        "batch" not in off,
        "training" not in off,
        "rating" not in off,
    )


# ---- settings and words ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "body", "status", "said"),
    [
        ("v2/score", {"video": None}, 422, "No value provided for required argument: prompt"),
        ("v2/score", {"modell": "demo"}, 422, "Parameter `modell` is not a valid key-word argument: /gradio_api/info"),
        ("v2/nothing", {}, 404, "There is no endpoint 'nothing'"),
        ("nothing", {"data": []}, 404, "There is no endpoint 'nothing'"),
    ],
)
def test_a_call_by_a_wrong_name_is_told_so(call, body, status, said, server, capfd):
    answer = httpx.post(f"{server[0]}/gradio_api/call/{call}", json=body, timeout=60)
    assert (answer.status_code, answer.text[: len(said)]) == (status, said)
    assert "Traceback" not in capfd.readouterr().err


def test_limits_are_set_by_the_environment_and_smaller_on_a_space(monkeypatch):
    assert config.limits() == config.HOME_LIMITS
    monkeypatch.setenv("SPACE_ID", "ann/space")
    assert config.limits() == config.SPACE_LIMITS
    assert config.num_proxies() == 1
    monkeypatch.setenv("VJEPA_DEMO_MAX_VISITOR_GB", "0.5")
    monkeypatch.setenv("VJEPA_DEMO_MAX_VIDEO_SECONDS", "0")
    found = config.limits()
    assert (found.visitor_bytes, found.video_seconds) == (5e8, float("inf"))
    for name, text in (("MAX_TABLE_ROWS", "many"), ("MAX_ZIP_FILES", "-1"), ("MAX_TOTAL_GB", "nan")):
        with monkeypatch.context() as patch:
            patch.setenv(f"VJEPA_DEMO_{name}", text)
            with pytest.raises(ValueError, match=f"VJEPA_DEMO_{name} is '{text}'; a number from 0 up"):
                config.limits()


@pytest.mark.parametrize(
    ("name", "text", "read", "wrong"),
    [
        ("VJEPA_DEMO_OFF", "batch,training", lambda: config.parts_of("VJEPA_DEMO_OFF"), "names 'learning'"),
        ("VJEPA_DEMO_AUTH", "ann:a:b", config.page_login, "is not of the form user:password"),
        ("VJEPA_DEMO_PROXIES", "2", config.num_proxies, "a whole number"),
        ("GRADIO_SERVER_PORT", "8080", config.page_port, "a whole number from 1 to 65535"),
    ],
)
def test_a_switch_that_says_nothing_sensible_fails(name, text, read, wrong, monkeypatch):
    monkeypatch.setenv(name, text)
    assert read() in (frozenset({"batch", "training"}), ("ann", "a:b"), 2, 8080)
    config.check_settings()
    monkeypatch.setenv(name, "learning")
    with pytest.raises(ValueError, match=wrong) as caught:
        config.check_settings()
    if name == "VJEPA_DEMO_AUTH":
        assert "learning" not in str(caught.value)  # it may be the password


def test_a_message_names_no_folder_of_this_machine_and_no_token(monkeypatch, tmp_path):
    monkeypatch.setenv("VJEPA_DEMO_STUDIES", str(tmp_path / "private" / "studies"))
    path = tmp_path / "private" / "studies" / "ab cd" / "study.json"
    error = ModelError(f"{path} cannot be read; {PROJECT_ROOT}/assets/demo: {Path.home()}, Bearer hf_abcdefghijkl")
    with pytest.raises(gr.Error) as caught, shown_errors(str):
        raise error
    assert caught.value.message == f"ab cd/study.json cannot be read; demo: {Path.home().name}, Bearer hf_..."
    assert without_folders("1/2 of a/b, https://example.com/a/b") == "1/2 of a/b, https://example.com/a/b"


# ---- limits of what is brought ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "value", "unit"),
    [("SECONDS", "0.5", "seconds"), ("FRAMES", "7", "frames"), ("MEGAPIXELS", "0.01", "mega")],
)
def test_a_video_beyond_a_limit_is_refused_before_it_is_decoded(limit, value, unit, monkeypatch):
    """In the process that decodes, which takes the settings of this one."""
    monkeypatch.setenv(f"VJEPA_DEMO_MAX_VIDEO_{limit}", value)
    with pytest.raises(VideoError, match=rf"clean\.mp4 has [\d.]+ {unit}.*; this machine takes {value}"):
        load_clip(ASSETS / "examples" / "clean.mp4", config.ClipConfig(num_frames=2, crop_size=16))


def test_a_table_and_a_zip_beyond_a_limit_are_refused(tmp_path, monkeypatch):
    table, archive = tmp_path / "t.csv", tmp_path / "z.zip"
    table.write_text("video_name,Prompt\n" + "a.mp4,a\n" * 4)
    with zipfile.ZipFile(archive, "w") as made:
        for number in range(4):
            made.writestr(f"{number}.mp4", b"x" * 1000)
    monkeypatch.setenv("VJEPA_DEMO_MAX_TABLE_ROWS", "4")
    monkeypatch.setenv("VJEPA_DEMO_MAX_ZIP_FILES", "4")
    assert len(tasks.read_batch(table, [tmp_path]).rows) == 4
    assert len(tasks.extract_videos(archive, tmp_path / "out", wanted=None).files) == 4
    monkeypatch.setenv("VJEPA_DEMO_MAX_VISITOR_GB", "0.000003")
    with pytest.raises(RecordError, match="holds more than"):
        tasks.extract_videos(archive, tmp_path / "too much", wanted=None)
    monkeypatch.setenv("VJEPA_DEMO_MAX_TABLE_ROWS", "3")
    monkeypatch.setenv("VJEPA_DEMO_MAX_ZIP_FILES", "3")
    with pytest.raises(RecordError, match=r"t\.csv has more than 3 rows"):
        tasks.read_batch(table, [tmp_path])
    with pytest.raises(RecordError, match=r"z\.zip holds 4 files; 3 at most"):
        tasks.extract_videos(archive, tmp_path / "too many", wanted=None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "t.csv", "z.zip"]


def test_a_visitor_whose_disk_space_is_used_up_begins_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setenv("VJEPA_DEMO_MAX_VISITOR_GB", "0.001")
    session = Session()
    session.new_run()
    (session.folder / "checkpoint").write_bytes(b"x" * 600_000)
    session.download_path("checkpoint.zip").write_bytes(b"x" * 600_000)
    with pytest.raises(FolderError, match="more than 1 MB, which is what one visitor may store"):
        session.new_run()
    session.close()
    monkeypatch.setenv("VJEPA_DEMO_MAX_TOTAL_GB", "0.0000001")
    (tmp_path / "upload").write_bytes(b"x" * 1000)
    with pytest.raises(FolderError, match="for all visitors together"):
        Session().new_run()
