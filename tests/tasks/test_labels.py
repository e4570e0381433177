"""Labelled clips are opened once before anything learns from them."""

from __future__ import annotations

import threading

import pytest
from small_models import ffmpeg
from tables import messages, overall

from vjepa_demo.data.records import read_records
from vjepa_demo.schema import OpeningReport, StoppedError
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


@pytest.mark.parametrize("how", ["closed", "stopped"])
def test_an_ended_check_opens_no_more_videos_and_ends_those_that_it_has_opened(how, table, folder, monkeypatch):
    opened, stopped = [], threading.Event()

    def open_video(path, config, *, should_stop):
        """All but the first take for ever."""
        opened.append(path)
        while path.stem != "0" and not should_stop():
            pass
        if path.stem != "0":
            raise StoppedError("stopped")

    monkeypatch.setattr(labels, "load_clip", open_video)
    records = read_records(table(*overall(*[3] * 40)), folder(*(f"{i}.mp4" for i in range(40))))
    check = labels.check_videos(records, should_stop=stopped.is_set)
    assert next(check) == OpeningReport(1, 40)
    if how == "closed":
        check.close()
    else:
        stopped.set()
        with pytest.raises(StoppedError):
            next(check)
    assert len(opened) <= 1 + labels.CHECK_THREADS
