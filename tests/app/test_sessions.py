"""What is kept for whom and how long, and what a program's URLs may bring: without a model or a browser."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from fakes import RESULT
from gradio.components.api_component import Api
from gradio.state_holder import SessionState, StateHolder

from vjepa_demo import tasks
from vjepa_demo.app import api_call, api_fields, visitors
from vjepa_demo.app.api_call import Call
from vjepa_demo.app.forget import IDLE_SECONDS, forget_idle_sessions
from vjepa_demo.app.session import LEAVING, Session, add_session
from vjepa_demo.app.visitors import Visitors
from vjepa_demo.config import MAX_KEPT_SESSIONS
from vjepa_demo.media import fetch
from vjepa_demo.schema import RecordError, StoppedError, VideoError, to_compare

UNBOUNDED = 1 << 40


@pytest.fixture(autouse=True)
def uploads(tmp_path, monkeypatch) -> Path:
    """Where Gradio keeps uploads, and serves downloads from."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    return tmp_path / "uploads"


# ---- URLs ------------------------------------------------------------------------------------------------------------


class Site(BaseHTTPRequestHandler):
    """Answers `/clip.mp4` with another text each time, `/9.mp4` with nine bytes, and others as their names say."""

    asked = 0

    def do_GET(self) -> None:
        Site.asked += 1
        body = f"content {Site.asked}".encode()
        match self.path:
            case "/gone.mp4":
                self.send_response(404)
            case "/moved.mp4":
                self.send_response(302)
                self.send_header("Location", "/clip.mp4")
            case "/inside.mp4":
                self.send_response(302)
                self.send_header("Location", f"http://localhost:{self.server.server_address[1]}/clip.mp4")
            case "/round.mp4":
                self.send_response(302)
                self.send_header("Location", "/round.mp4")
            case "/endless.mp4":
                body = b""
                self.send_response(200)
                self.end_headers()
                with contextlib.suppress(OSError):
                    while True:
                        self.wfile.write(b"\0" * 65536)
                return
            case path:
                self.send_response(200)
                size = path.removeprefix("/").removesuffix(".mp4")
                body = bytes(int(size)) if size.isdigit() else body
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def site(monkeypatch) -> Iterator[str]:
    """A site that counts as public by its number, and not by the name "localhost"."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    is_public = fetch.is_public

    async def found(_loop, host, *_, **__):
        return [(socket.AF_INET, 1, 6, "", ("127.0.0.1" if host == "127.0.0.1" else "10.0.0.1", 0))]

    monkeypatch.setattr("asyncio.base_events.BaseEventLoop.getaddrinfo", found)
    monkeypatch.setattr(fetch, "is_public", lambda ip: ip == "127.0.0.1" or is_public(ip))
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


VIDEO = api_fields.file_field("video")


@pytest.fixture
def calls() -> Iterator[Callable[[], AbstractContextManager[Call]]]:
    """Begins calls of one client, which keeps its connection."""
    known = Visitors()
    yield lambda: Call.of(known, program("a"))
    known.leave(program("a"))


def test_what_a_url_gives_is_fetched_anew_each_time_and_gone_with_the_call(site, calls):
    with calls() as call:
        first, second = (Path(call.file(VIDEO, f"{site}/clip.mp4")) for _ in range(2))
        assert first.name == second.name == "clip.mp4"
        assert first.read_bytes() != second.read_bytes()
        assert all(path.is_relative_to(call.folder) for path in (first, second))
    assert call.session.folder.exists()
    assert not first.exists()
    assert not second.exists()


def test_what_the_calls_of_a_client_fetch_is_limited_together(site, calls, monkeypatch):
    monkeypatch.setattr(api_call, "MAX_FETCHED_BYTES", 10_000)
    big = f"{site}/4000.mp4"
    with calls() as one:
        one.files(VIDEO, [big, big])
        message = r"\(the calls of a client may fetch 10 kB together, 2 kB are left\)"
        with calls() as other:
            assert other.session is one.session
            with pytest.raises(RecordError, match=message):
                other.file(VIDEO, f"{site}/2001.mp4")
            other.file(VIDEO, f"{site}/2000.mp4")
        with pytest.raises(RecordError, match=message):  # what the other call fetched is gone
            one.file(VIDEO, f"{site}/endless.mp4")
    with calls() as after:
        after.files(VIDEO, [big, big])
        assert list(after.session.folder.iterdir()) == [after.folder]
        assert after.session.fetched_bytes == 8000
    assert after.session.fetched_bytes == 0


def test_gradio_fetches_nothing_by_itself(site, calls):
    """`handle_file` of a URL is a file whose path is the URL: Gradio would keep it by the URL's name."""
    url = f"{site}/clip.mp4"
    asked = Site.asked
    assert asyncio.run(VIDEO.async_move_resource_to_block_cache(url)) == url
    assert Site.asked == asked
    given = {"path": url, "meta": {"_type": "gradio.FileData"}}
    with calls() as call:
        assert Path(call.file(VIDEO, given)).read_text().startswith("content")


def test_redirects_are_followed_to_public_hosts_alone(site, tmp_path):
    assert fetch.fetch(f"{site}/moved.mp4", tmp_path).read_text().startswith("content")
    with pytest.raises(RecordError, match="'localhost' is no host on the public internet"):
        fetch.fetch(f"{site}/inside.mp4", tmp_path)
    with pytest.raises(RecordError, match="more than 10 redirects"):
        fetch.fetch(f"{site}/round.mp4", tmp_path)


PRIVATE = (
    "127.0.0.1 127.1 2130706433 0x7f000001 0177.0.0.1 0 0.0.0.0 10.1.2.3 172.31.0.1 192.168.0.1 169.254.169.254 "
    "100.64.0.1 100.100.100.200 192.0.0.1 198.18.0.1 224.0.0.1 255.255.255.255 localhost localhost. LOCALHOST "
    "[::] [::1] [fe80::1] [fd00::1] [fec0::1] [ff02::1] [2001:db8::1] [::ffff:127.0.0.1] [::ffff:a00:1] [::127.0.0.1] "
    "[64:ff9b::7f00:1] [64:ff9b:1::a00:1] [2002:7f00:1::] [2001:0:4136:e378:8000:63bf:80ff:fffe] １２７.0.0.1"
)


@pytest.mark.parametrize("host", PRIVATE.split())
def test_no_private_host_is_asked(host, tmp_path):
    with pytest.raises(RecordError, match=r"no host on the public internet|Invalid I|Errno"):
        fetch.fetch(f"http://{host}/clip.mp4", tmp_path)


def test_public_addresses_stay_public():
    assert all(map(fetch.is_public, ("8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "2002:808:808::")))


def test_of_a_name_with_a_private_and_a_public_address_the_public_one_is_asked(monkeypatch, tmp_path):
    found = [(0, 0, 0, "", (address, 0)) for address in ("10.0.0.1", "192.0.2.1", "8.8.8.8")]

    async def resolve(*_: Any, **__: Any) -> list[Any]:
        return found

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)
    assert asyncio.run(fetch._transport("rebinding.example", ())).verified_ip == "8.8.8.8"
    found.pop()
    with pytest.raises(RecordError, match="no host on the public internet"):
        asyncio.run(fetch._transport("rebinding.example", ()))


@pytest.mark.parametrize(
    "url", ["ftp://host/x", "file:///etc/passwd", "gopher://host/", "//host/x", "data:text/plain,a"]
)
def test_nothing_but_http_is_fetched(url, tmp_path):
    with pytest.raises(RecordError, match="neither http nor https"):
        fetch.fetch(url, tmp_path)


def test_a_password_in_a_url_is_neither_sent_nor_repeated(tmp_path):
    with pytest.raises(RecordError, match="a name or a password") as caught:
        fetch.fetch("https://ann:secret@example.com/x", tmp_path)
    assert "secret" not in str(caught.value)


def test_another_status_than_200_is_named(site, tmp_path):
    with pytest.raises(RecordError, match=r"gone\.mp4' cannot be fetched \(the server answered with status 404\)"):
        fetch.fetch(f"{site}/gone.mp4", tmp_path)


def test_a_file_without_end_is_given_up_by_size_and_by_time(site, tmp_path):
    with pytest.raises(RecordError, match="larger than 1,000,000 bytes"):
        fetch.fetch(f"{site}/endless.mp4", tmp_path, max_bytes=10**6)
    with pytest.raises(RecordError, match=r"cannot be fetched in 0\.001 s"):
        fetch.fetch(f"{site}/endless.mp4", tmp_path, max_bytes=UNBOUNDED, seconds=0.001)


@pytest.mark.parametrize(
    "url", ["http://", "http://\udcff/\x00", "http://[/clip.mp4", "http://127.0.0.1:1/x", "http://a b/"]
)
def test_every_failure_of_the_network_is_said(site, calls, url):
    with calls() as call, pytest.raises(RecordError, match="cannot be") as caught:
        call.file(VIDEO, url)
    str(caught.value).encode()


@pytest.mark.parametrize(
    ("path", "name"), [("/a/b%20c.mp4", "b c.mp4"), ("/%2e%2e", "file"), ("/", "file"), ("/a%00.mp4", "a_.mp4")]
)
def test_a_fetched_file_has_the_urls_name(path, name):
    assert fetch._name(f"http://host{path}?x=1") == name


def test_clips_to_compare_are_counted_before_any_is_fetched():
    assert to_compare(["a", "b"], ["x"]) == [("a", "x"), ("b", "x")]
    assert to_compare(["a", "b"], ["x", "y"]) == [("a", "x"), ("b", "y")]
    for number in (0, 1, 5):
        with pytest.raises(RecordError, match=f"got {number} videos?; 2 to 4"):
            to_compare(["a"] * number, ["x"])
    for prompts in ([], ["x"] * 3):
        with pytest.raises(RecordError, match="one prompt for all, or one for each"):
            to_compare(["a", "b"], prompts)


# ---- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        (api_fields.TEXT, None, "x is null; a text was expected"),
        (api_fields.TEXT, ["a"], "a text"),
        (api_fields.YES_OR_NO, "yes", "true or false"),
        (api_fields.COUNT, 1.5, "a whole number"),
        ({**api_fields.COUNT, "minimum": 1, "maximum": 100}, 101, "a whole number from 1 to 100"),
        ({**api_fields.NUMBER, "minimum": 0}, "3", 'x is "3"; a number from 0'),
        ({**api_fields.NUMBER, "minimum": 0}, True, "a number"),
        (api_fields.NUMBER, float("nan"), "a number"),
        (api_fields.a_list(api_fields.TEXT), [1], "a list of texts"),
        ({"type": "string", "enum": ["a", "b"]}, "c", "one of a, b"),
        ({"type": "string", "enum": ["a", "b"]}, ["a"], "one of a, b"),
    ],
)
def test_a_value_of_another_type_is_refused_in_words(schema, value, expected):
    with pytest.raises(RecordError) as caught:
        api_fields.checked("x", schema, value)
    assert expected in str(caught.value)


def test_values_of_the_documented_type_are_passed_on():
    assert api_fields.checked("x", api_fields.COUNT, 3.0) == 3
    assert api_fields.checked("x", {"anyOf": [api_fields.a_list(api_fields.TEXT), api_fields.TEXT]}, "a") == "a"
    assert isinstance(api_fields.value_field("x", api_fields.TEXT), Api)


# ---- visitors --------------------------------------------------------------------------------------------------------


def program(name: str, kind: str = "api") -> SimpleNamespace:
    """A request of a client that says when it leaves, or of another `kind`."""
    return SimpleNamespace(headers={"x-gradio-user": kind}, session_hash=name)


def opened(known: Visitors, name: str) -> Session:
    with known.session(program(name)) as session:
        assert session.folder.exists()
        return session


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    now = SimpleNamespace(seconds=0.0)

    def monotonic() -> float:
        now.seconds += 1
        return now.seconds

    monkeypatch.setattr(visitors, "time", SimpleNamespace(monotonic=monotonic))
    return now


@pytest.fixture
def known(clock) -> Iterator[Visitors]:
    known = Visitors()
    yield known
    for kept in known._kept.values():
        kept.session.close()


def test_so_many_sessions_are_kept_and_the_one_used_longest_ago_goes(clock):
    known = Visitors()
    sessions = [opened(known, str(number)) for number in range(MAX_KEPT_SESSIONS)]
    assert opened(known, "0") is sessions[0]  # used last now
    with known.session(program("1")) as running:
        newest = [opened(known, f"new {number}") for number in range(MAX_KEPT_SESSIONS - 2)]
        assert running is sessions[1]
        assert not running.closed.is_set()
        assert not sessions[0].closed.is_set()
        assert all(session.closed.is_set() for session in sessions[2:])
        assert not any(session.folder.exists() for session in sessions[2:])
        newest.append(opened(known, "one more"))
        assert sessions[0].closed.is_set()
    for session in (running, *newest):
        session.close()


def test_where_all_have_a_call_running_another_gets_a_session_for_this_call(clock):
    known = Visitors()
    with contextlib.ExitStack() as calls:
        sessions = [calls.enter_context(known.session(program(str(number)))) for number in range(MAX_KEPT_SESSIONS)]
        with known.session(program("other")) as other:
            assert other.folder.exists()
        assert not other.folder.exists()
        assert not any(session.closed.is_set() for session in sessions)
    for session in sessions:
        session.close()


def test_a_session_is_forgotten_a_day_after_its_last_use_and_never_in_a_call(known, clock):
    with known.session(program("a")) as used:
        clock.seconds += visitors.KEEP_SECONDS + 1
        opened(known, "b")
        assert not used.closed.is_set()
    clock.seconds += visitors.KEEP_SECONDS - 10
    assert opened(known, "a") is used
    clock.seconds += visitors.KEEP_SECONDS - 10
    assert opened(known, "a") is used
    clock.seconds += visitors.KEEP_SECONDS + 1
    opened(known, "b")
    assert used.closed.is_set()


def test_who_only_scores_is_not_kept(known):
    with known.session(program("a"), keep=False) as session:
        assert session.folder.exists()
    assert not session.folder.exists()
    assert known._kept == {}
    kept = opened(known, "a")
    with known.session(program("a"), keep=False) as session:
        assert session is kept
    assert kept.folder.exists()


@pytest.mark.parametrize("kind", ["", "mcp"])
def test_of_a_call_without_a_session_the_downloads_stay_unless_it_fails(known, kind):
    with known.session(program("a", kind)) as session:
        done = session.download_path("scores.csv")
        done.touch()
    assert done.exists()
    call = known.session(program("a", kind))
    session = call.__enter__()
    assert session.folder.exists()
    failed = session.download_path("scores.csv")
    failed.touch()
    with pytest.raises(RecordError):
        call.gen.throw(RecordError("no"))
    assert not failed.parent.exists()
    assert not session.folder.exists()


# ---- one session -----------------------------------------------------------------------------------------------------


def test_a_session_that_ends_deletes_what_was_made_for_it_and_no_upload(uploads):
    upload = uploads / "hash" / "clip.mp4"  # equal files are there once, whoever brought them
    upload.parent.mkdir(parents=True)
    upload.touch()
    session, other = Session(), Session()
    assert session.folder != other.folder
    made = session.download_path("scores.csv")
    made.touch()
    session.close()
    assert upload.exists()
    assert not made.parent.exists()
    assert not session.folder.exists()
    assert other.folder.exists()
    other.close()


def test_a_visitor_has_a_session_from_the_first_event_on_and_its_end_is_told(monkeypatch):
    """Whoever clicks before the page has loaded, and the page that loads then, have the same one."""
    with gr.Blocks(analytics_enabled=False) as app:
        state = add_session(app)
    ann, bob = SessionState(app), SessionState(app)
    session = ann[state._id]
    assert session.folder.exists()
    assert bob[state._id] is not session
    [load] = app.fns.values()
    assert load.outputs == [state]
    ann[state._id] = load.fn(ann[state._id])
    assert ann[state._id] is session
    [(_, kept, _)] = ann.state_components
    deleting, may_delete = session.delete, threading.Event()
    monkeypatch.setattr(session, "delete", lambda: may_delete.wait(60) and deleting())
    state.delete_callback(kept)  # in the event loop, which waits for nothing
    assert session.closed.is_set()
    assert session.folder.exists()
    (thread,) = (each for each in threading.enumerate() if each.name == LEAVING)
    may_delete.set()
    thread.join(60)
    assert not session.folder.exists()


def test_of_a_session_that_gradio_forgets_without_a_word_nothing_stays():
    session = Session()
    folder = session.folder
    assert folder.exists()
    del session
    gc.collect()
    assert not folder.exists()


def test_a_session_that_ended_makes_no_folder():
    session = Session()
    session.close()
    with pytest.raises(StoppedError, match="the session has ended: reload the page"):
        session.new_run()


def test_of_a_sessions_runs_the_last_that_ended_stays():
    session = Session()
    archives = []
    for _ in range(3):
        folder = session.new_run()
        folder.mkdir()
        archives.append(session.end_run(folder))
        archives[-1].touch()
        assert session.model.checkpoint == folder
    assert [path.name for path in session.folder.iterdir()] == ["run-3"]
    assert [archive.exists() for archive in archives] == [False, False, True]
    session.new_run().mkdir()  # one that fails leaves the last that ended
    assert session.model.checkpoint.exists()
    assert archives[-1].exists()
    session.close()
    assert not archives[-1].exists()


def test_of_buttons_that_are_pressed_at_once_one_run_starts():
    session, pressed = Session(), threading.Barrier(8)

    def press(_: int) -> str:
        pressed.wait(300)
        try:
            with session.batch.run.claimed():
                return "started"
        except RecordError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        answers = sorted(pool.map(press, range(8)))
    assert answers == ["a batch runs already: wait until it has ended, or stop it"] * 7 + ["started"]
    session.batch.run.release()
    with pytest.raises(RecordError, match="damaged"), session.batch.run.claimed():
        raise RecordError("the zip is damaged")  # what prepares the run fails: the place is free again
    with session.batch.run.claimed(), session.training.run.claimed():  # which is another run
        pass
    assert session.batch.run.is_running
    session.close()


def test_the_visitors_own_model_is_loaded_once_by_calls_at_once(monkeypatch, tmp_path):
    session, loaded, both = Session(), [], threading.Barrier(2)

    def load(*_: object, **__: object) -> object:
        loaded.append(SimpleNamespace(name="mine", trained_on=RESULT.trained_on))
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(0.2)  # a second load would come here too
        return loaded[-1]

    monkeypatch.setattr("vjepa_demo.tasks.score.load_scorer", load)
    session.model.checkpoint = tmp_path
    threads = [threading.Thread(target=session.own_scorer, args=["mine"]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(loaded) == 1
    assert session.own_scorer("mine") is loaded[0]
    session.close()


# ---- previews --------------------------------------------------------------------------------------------------------


def test_of_two_calls_for_one_video_one_makes_the_preview(monkeypatch, tmp_path):
    made, visitor = [], Session()
    both = threading.Barrier(2)

    def write(video, preview):
        made.append(video)
        preview.write_bytes(b"copy")
        return True

    def ask():
        both.wait(300)
        visitor.make_preview("clip.avi")

    monkeypatch.setattr(tasks, "write_preview", write, raising=False)
    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == ["clip.avi"]
    assert Path(visitor.played("clip.avi")).read_bytes() == b"copy"
    assert visitor.played("other.avi") == "other.avi"
    visitor.close()
    assert not Path(visitor.played("clip.avi")).exists()


@pytest.mark.parametrize("error", [None, VideoError("broken")])
def test_of_what_has_no_preview_nothing_is_left(monkeypatch, error):
    visitor = Session()

    def write(video, preview):
        if error:
            raise error
        return False

    monkeypatch.setattr(tasks, "write_preview", write, raising=False)
    visitor.make_preview("clip.mp4")
    assert visitor.played("clip.mp4") == "clip.mp4"
    assert visitor.downloads == []


def test_a_visitor_who_leaves_while_a_preview_is_made_leaves_nothing(monkeypatch):
    visitor, places = Session(), []

    def write(video, preview):
        places.append(preview)
        visitor.close()
        preview.write_bytes(b"")  # its folder is gone
        return True

    monkeypatch.setattr(tasks, "write_preview", write, raising=False)
    with pytest.raises(StoppedError, match="the session has ended"):
        visitor.make_preview("clip.avi")
    assert not places[0].parent.exists()
    with pytest.raises(StoppedError, match="the session has ended"):
        visitor.make_preview("another.avi")


# ---- what Gradio keeps -----------------------------------------------------------------------------------------------


def test_a_session_that_nobody_needs_is_forgotten():
    with gr.Blocks() as app:
        kept = gr.State("what a visitor made")
    holder = StateHolder()
    holder.set_blocks(app)
    forget_idle_sessions(holder)
    for name in ("curl", "a visitor", "curl, just now"):
        assert holder[name] is holder[name]
    assert holder["a visitor"][kept._id] == "what a visitor made"
    for name in ("curl", "a visitor"):
        holder.time_last_used[name] -= timedelta(seconds=IDLE_SECONDS + 1)
    holder.delete_all_expired_state()
    assert set(holder.session_data) == set(holder.time_last_used) == {"a visitor", "curl, just now"}
