"""Labelled clips are opened once before anything learns from them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from small_models import ffmpeg
from tables import messages, overall

from vjepa_demo.data.records import read_records
from vjepa_demo.schema import OpeningReport
from vjepa_demo.tasks import labels


def test_check_videos_drops_what_is_no_video_and_says_so_by_line(table, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=8:duration=0.5", videos / "good.mp4")
    (videos / "text.mp4").write_text("this is no video")
    (videos / "empty.mp4").write_bytes(b"")
    path = table("video,prompt,mos", "good,p,1", "text,p,2", "good,q,3", "empty,p,4", "none,p,5")
    *seen, found = labels.check_videos(read_records(path, videos))
    assert [each.line for each in found.records] == [2, 4]
    assert {line: texts[0].split(" ")[0] for line, texts in messages(found).items()} == {
        3: "text.mp4",
        5: "empty.mp4",
        6: "no",
    }
    assert seen == [OpeningReport(done, 3) for done in (1, 2, 3)]


def test_closing_the_check_opens_no_more_videos(table, folder, monkeypatch):
    opened, cancelled = [], threading.Event()

    def open_video(path, config):
        opened.append(path)
        assert path.stem == "0" or cancelled.wait(300)

    class Executor(ThreadPoolExecutor):
        def shutdown(self, wait=True, *, cancel_futures=False):
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            cancelled.set()
            super().shutdown()

    monkeypatch.setattr(labels, "load_clip", open_video)
    monkeypatch.setattr(labels, "ThreadPoolExecutor", Executor)
    check = labels.check_videos(read_records(table(*overall(*[3] * 40)), folder(*(f"{i}.mp4" for i in range(40)))))
    assert next(check) == OpeningReport(1, 40)
    check.close()
    assert len(opened) <= 1 + labels.CHECK_THREADS
