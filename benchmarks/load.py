"""What a crowd does to the page: answers, seconds, memory, and a queue that is full.

    python -m benchmarks.load [--visitors N] [--requests N] [--memory-requests N] [--clips N] [--seconds N]

Starts `app.py` with the model `demo`, as a process of its own on 127.0.0.1, and talks to its API as curl does:

1. N visitors at once, each with N requests, three scores to one comparison; beside them one fine-tuning on the sample
   data set. Each answer is checked against scores that this program computed before.
2. Requests of eight visitors one after the other, for the memory of the page and what it started, at intervals.
3. More requests at once than the queue holds.

The exit status is 1 if a promise is broken: a request failed, an answer was another's, memory grew, or the full queue
did not say so. `--seconds` ends phases 1 and 2 early, and what was not asked by then is said.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import linear_regression, quantiles
from typing import Any

import httpx
import psutil

from vjepa_demo import tasks
from vjepa_demo.config import (
    ASSETS,
    BOOTSTRAP_VARIABLE,
    CACHE_VARIABLE,
    DIMENSIONS,
    MAX_WAITING,
    PROJECT_ROOT,
    wait_passively,
)

SAMPLE = ASSETS / "sample"
API = "/gradio_api"
TOLERANCE = 0.002  # of a score: other threads add numbers up in another order
COMPARED_SHARE = 0.25  # of the requests
MEMORY_VISITORS, MEMORY_SAMPLES = 8, 20
WARM_SHARE = 0.3  # of the samples of memory that do not count: pools and caches fill
MAX_GROWTH_MB = 8.0  # in 1,000 requests
BEYOND = 60  # requests more than the queue holds
PATIENCE_SECONDS = 600.0
Reference = dict[tuple[int, str], dict[str, float]]  # the scores of a clip, by its number, for a prompt


@dataclass
class Counts:
    """What happened to the requests of a phase."""

    seconds: list[float] = field(default_factory=list)  # of those that were answered
    failures: Counter[str] = field(default_factory=Counter)  # by what was answered
    others: list[str] = field(default_factory=list)  # answers that are not to what was asked
    not_asked: int = 0


class Server:
    """`app.py` as a process of its own, with folders of its own."""

    def __init__(self, address: str, process: psutil.Process) -> None:
        self.address, self._process = address, process

    def megabytes(self) -> tuple[float, float]:
        """RSS and USS (memory that nobody else shares) of the process and those that it started."""
        rss = uss = 0
        for each in (self._process, *self._process.children(recursive=True)):
            try:
                found = each.memory_full_info()
            except psutil.NoSuchProcess:
                continue
            rss, uss = rss + found.rss, uss + found.uss
        return rss / 1e6, uss / 1e6

    def cpu_seconds(self) -> float:
        """Of the process and those that it started."""
        times = [each.cpu_times() for each in (self._process, *self._process.children(recursive=True))]
        return sum(each.user + each.system for each in times)


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """The page, as `python app.py` serves it, with all that it keeps in `folder`."""
    names = {CACHE_VARIABLE: "features", "VJEPA_DEMO_STUDIES": "studies", "VJEPA_DEMO_CHECKPOINTS": "checkpoints"}
    places = {name: str(folder / place) for name, place in names.items()}
    environment = os.environ | places | {"GRADIO_TEMP_DIR": str(folder / "uploads"), "TMPDIR": str(folder)}
    environment |= {BOOTSTRAP_VARIABLE: "0", "GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_ANALYTICS_ENABLED": "False"}
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "app.py"], cwd=PROJECT_ROOT, env=environment, stderr=output)
    try:
        address = None
        while address is None:
            if process.poll() is not None:
                raise SystemExit(f"app.py ended:\n{log.read_text(errors='replace')}")
            time.sleep(0.2)
            found = re.search(r"the page is on (http://127\.0\.0\.1:\d+)", log.read_text(errors="replace"))
            address = found and found[1]
        yield Server(address, psutil.Process(process.pid))
        if process.poll() is not None:
            raise SystemExit(f"app.py ended:\n{log.read_text(errors='replace')[-4000:]}")
        if "Traceback" in (text := log.read_text(errors="replace")):
            print("tracebacks in the server's log:", text[text.index("Traceback") :][:3000], sep="\n")
    finally:
        process.terminate()
        process.wait()


class Caller:
    """Talks to the API as curl does."""

    def __init__(self, client: httpx.AsyncClient, reference: Reference, clips: Sequence[bytes]) -> None:
        self._client, self._reference, self._clips = client, reference, clips

    async def upload(self, name: str, data: bytes) -> dict[str, Any]:
        """A file as the endpoints take it."""
        posted = await self._client.post(f"{API}/upload", files={"files": (name, data)})
        return {"path": posted.raise_for_status().json()[0], "meta": {"_type": "gradio.FileData"}, "orig_name": name}

    async def call(self, endpoint: str, **arguments: Any) -> tuple[str, Any]:
        """The kind of the last event of a call, and its data; of a call that is not taken the status."""
        posted = await self._client.post(f"{API}/call/v2/{endpoint}", json=arguments)
        if posted.status_code != httpx.codes.OK:
            return str(posted.status_code), posted.text
        kind, data = "nothing", "null"
        async with self._client.stream("GET", f"{API}/call/v2/{endpoint}/{posted.json()['event_id']}") as lines:
            async for line in lines.aiter_lines():
                if line.startswith("event: ") and line != "event: heartbeat":
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: ") and kind != "nothing":
                    data = line.removeprefix("data: ")
        return kind, json.loads(data)

    async def ask(self, counts: Counts, names: Sequence[str], numbers: Sequence[int], prompt: str) -> None:
        """One request: the clips at `numbers` under `names`, scored, or compared where there are several."""
        try:
            files = [await self.upload(name, self._clips[number]) for name, number in zip(names, numbers, strict=True)]
            await self.ask_again(counts, files, names, numbers, prompt)
        except httpx.HTTPError as error:
            counts.failures[f"{type(error).__name__}: {error}"[:100]] += 1

    async def ask_again(
        self,
        counts: Counts,
        files: Sequence[dict[str, Any]],
        names: Sequence[str],
        numbers: Sequence[int],
        prompt: str,
    ) -> None:
        """`ask`, of `files` that are there already."""
        begin = time.perf_counter()
        if len(files) == 1:
            kind, data = await self.call("score", video=files[0], prompt=prompt, model="demo")
        else:
            kind, data = await self.call("compare", videos=list(files), prompts=prompt, model="demo")
        if kind != "complete" or not isinstance(data[0], dict):
            counts.failures[f"{kind}: {str(data)[:100]}"] += 1
            return
        counts.seconds.append(time.perf_counter() - begin)
        results = [data[0]] if len(files) == 1 else data[0]["results"]
        for name, number, result in zip(names, numbers, results, strict=True):
            expected, scores = self._reference[number, prompt], result["scores"]
            is_near = all(abs(scores[each] - expected[each]) <= TOLERANCE for each in DIMENSIONS)
            if (result["video"], result["prompt"]) != (name, prompt) or not is_near:
                counts.others.append(f"{name}, {prompt}: {result['video']}, {result['prompt']}, {scores}, {expected}")


# ---- the phases ------------------------------------------------------------------------------------------------------


def prompts_of(visitor: int, requests: int) -> list[str]:
    words = ("timber", "a red ball", "waves at night", "a street", "slow clouds", "paper", "a dancing cube")
    return [f"{words[(visitor + index) % len(words)]}, {visitor} {index}" for index in range(requests)]


def plan(visitors: int, requests: int, num_clips: int) -> list[list[tuple[tuple[int, ...], str]]]:
    """For each visitor what to ask: numbers of clips, and the prompt."""
    draw = random.Random(0)  # noqa: S311
    return [
        [
            (tuple(draw.sample(range(num_clips), 2 if draw.random() < COMPARED_SHARE else 1)), prompt)
            for prompt in prompts_of(visitor, requests)
        ]
        for visitor in range(visitors)
    ]


def expected_scores(asked: set[tuple[int, str]], clips: Sequence[bytes], folder: Path) -> Reference:
    """What each of `asked` should be answered, computed here, by one thing at a time."""
    os.environ[CACHE_VARIABLE] = str(folder / "expected")
    scorer, found = tasks.get_scorer("demo"), {}
    for number, prompt in sorted(asked):
        path = folder / f"{number}.mp4"
        if not path.exists():
            path.write_bytes(clips[number])
        found[number, prompt] = dict(scorer.score(path, prompt, with_frames=False).scores)
    return found


async def crowd(
    caller: Caller, asked: list[list[tuple[tuple[int, ...], str]]], until: float
) -> tuple[Counts, tuple[str, Any]]:
    """All visitors at once, each with one request after the other; and the last event of a fine-tuning beside them."""
    counts, done = Counts(), 0

    async def visit(visitor: int) -> None:
        nonlocal done
        for index, (numbers, prompt) in enumerate(asked[visitor]):
            if time.perf_counter() > until:
                counts.not_asked += len(asked[visitor]) - index
                return
            names = [f"visitor{visitor} request{index} {side}.mp4" for side in range(len(numbers))]
            await caller.ask(counts, names, numbers, prompt)
            done += 1
            if done % max(1, sum(map(len, asked)) // 10) == 0:
                print(f"  {done} requests, {counts.failures.total()} failed", flush=True)

    async def train() -> tuple[str, Any]:
        with tempfile.TemporaryFile() as packed:
            with zipfile.ZipFile(packed, "w") as archive:
                for path in sorted(SAMPLE.glob("*.mp4")):
                    archive.write(path, path.name)
            packed.seek(0)
            videos = await caller.upload("sample.zip", packed.read())
        labels = await caller.upload("labels.csv", (SAMPLE / "labels.csv").read_bytes())
        return await caller.call("fine_tune", labels=[labels], videos=[videos], model="demo", epochs=5)

    training = asyncio.create_task(train())
    await asyncio.gather(*(visit(visitor) for visitor in range(len(asked))))
    return counts, await training


async def repeat(
    caller: Caller, server: Server, requests: int, prompts: Sequence[str], until: float
) -> tuple[Counts, list[tuple[int, float, float]]]:
    """`requests` scores of clips and prompts that are known by now; and after how many requests the memory was what."""
    counts, samples, asked = Counts(), [(0, *server.megabytes())], 0
    names = [f"known {number}.mp4" for number in range(MEMORY_VISITORS)]
    files = [await caller.upload(name, caller._clips[number]) for number, name in enumerate(names)]

    async def visit(number: int) -> None:
        nonlocal asked
        while asked < requests and time.perf_counter() < until:
            asked += 1
            prompt = prompts[asked % len(prompts)]
            try:
                await caller.ask_again(counts, [files[number]], [names[number]], [number], prompt)
            except httpx.HTTPError as error:
                counts.failures[f"{type(error).__name__}: {error}"[:100]] += 1
            if asked >= (samples[-1][0] + requests / MEMORY_SAMPLES):
                samples.append((asked, *server.megabytes()))
                print("  {} requests: RSS {:.0f} MB, USS {:.0f} MB".format(*samples[-1]), flush=True)

    await asyncio.gather(*(visit(number) for number in range(MEMORY_VISITORS)))
    counts.not_asked = requests - asked
    return counts, samples


async def overflow(caller: Caller, reference_clip: bytes) -> Counter[str]:
    """More requests at once than the queue holds, of clips that are new and so take a while; how many ended how."""
    count = MAX_WAITING + BEYOND
    files = [await caller.upload(f"new {index}.mp4", reference_clip + index.to_bytes(8)) for index in range(count)]
    calls = (caller.call("score", video=file, prompt="a crowd", model="demo") for file in files)
    return Counter(kind if kind == "complete" else f"{kind}: {data}" for kind, data in await asyncio.gather(*calls))


# ---- what it says ----------------------------------------------------------------------------------------------------


def told(counts: Counts, wall: float, cpu: float) -> None:
    answered = len(counts.seconds)
    p50, p95 = (quantiles(counts.seconds, n=20)[place] for place in (9, 18)) if answered > 1 else (0.0, 0.0)
    print(
        f"  {answered} answered, {counts.failures.total()} failed, {len(counts.others)} with another's answer, "
        f"{counts.not_asked} not asked; p50 {p50:.2f} s, p95 {p95:.2f} s; {wall:.0f} s, "
        f"{cpu / wall:.2f} of {os.cpu_count()} processors"
    )
    for text, number in counts.failures.most_common(5):
        print(f"  failed {number} times: {text}")
    for text in counts.others[:5]:
        print(f"  another's answer: {text}")


def slope(samples: Sequence[tuple[int, float, float]], column: int) -> float:
    """Megabytes that memory grows in 1,000 requests: a straight line through all samples but the first ones."""
    rest = samples[int(WARM_SHARE * len(samples)) :]
    if len(rest) < 3:
        return 0.0
    return 1000 * linear_regression([each[0] for each in rest], [each[column] for each in rest]).slope


async def measure(options: argparse.Namespace, folder: Path) -> list[str]:
    """Runs the phases; returns the promises that were broken."""
    originals = sorted(SAMPLE.glob("*.mp4"))
    clips = [
        originals[index % len(originals)].read_bytes() + index.to_bytes(8)
        for index in range(max(options.clips, MEMORY_VISITORS))
    ]
    asked = plan(options.visitors, options.requests, len(clips))
    pairs = {(number, prompt) for each in asked for numbers, prompt in each for number in numbers}
    repeated = prompts_of(options.visitors, 16)
    pairs |= {(number, prompt) for number in range(MEMORY_VISITORS) for prompt in repeated}
    print(f"computing {len(pairs)} scores of {len(clips)} clips to compare with", flush=True)
    reference = expected_scores(pairs, clips, folder)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
    broken = []
    with serving(folder) as server:
        async with httpx.AsyncClient(base_url=server.address, timeout=PATIENCE_SECONDS, limits=limits) as client:
            caller = Caller(client, reference, clips)
            first = Counts()
            await caller.ask(first, ["first.mp4"], [0], repeated[0])  # loads the model
            print(f"{options.visitors} visitors, {options.requests} requests each, one fine-tuning", flush=True)
            begin, cpu = time.perf_counter(), server.cpu_seconds()
            counts, (ended, last) = await crowd(caller, asked, begin + options.seconds)
            told(counts, time.perf_counter() - begin, server.cpu_seconds() - cpu)
            is_trained = ended == "complete" and isinstance(last[0], dict) and last[0].get("phase") == "done"
            print(f"  the fine-tuning ended: {'with a checkpoint' if is_trained else f'{ended}: {last}'}")
            broken += ["the fine-tuning failed"] if not is_trained else []

            print(f"{options.memory_requests} requests of {MEMORY_VISITORS} visitors", flush=True)
            begin, cpu = time.perf_counter(), server.cpu_seconds()
            again, samples = await repeat(caller, server, options.memory_requests, repeated, begin + options.seconds)
            told(again, time.perf_counter() - begin, server.cpu_seconds() - cpu)
            rss, uss = slope(samples, 1), slope(samples, 2)
            print(f"  memory grows by {rss:+.1f} MB RSS, {uss:+.1f} MB USS in 1,000 requests")
            broken += [f"memory grows by {uss:.1f} MB in 1,000 requests"] if uss > MAX_GROWTH_MB else []
            for phase in (first, counts, again):
                broken += [f"{phase.failures.total()} requests failed"] if phase.failures else []
                broken += [f"{len(phase.others)} answers were another's"] if phase.others else []

            print(f"{MAX_WAITING + BEYOND} requests at once; the queue holds {MAX_WAITING}", flush=True)
            ends = await overflow(caller, clips[0])
            for text, number in ends.most_common():
                print(f"  {number} times {text}")
            full = sum(number for text, number in ends.items() if text.startswith("503") and "full" in text)
            if not full or full + ends["complete"] < ends.total():
                broken.append("a full queue did not say so")
            after = Counts()
            await caller.ask(after, ["after.mp4"], [0], repeated[0])
            broken += ["it did not answer after the queue had been full"] if not after.seconds else []
    return broken


def main() -> int:
    wait_passively()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=50, help="visitors at once (default: 50)")
    parser.add_argument("--requests", type=int, default=10, help="requests of each (default: 10)")
    parser.add_argument("--memory-requests", type=int, default=2000, help="of the second phase (default: 2000)")
    parser.add_argument("--clips", type=int, default=60, help="different clips (default: 60)")
    parser.add_argument("--seconds", type=float, default=600, help="limit of each of the phases 1 and 2 (default: 600)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vjepa-demo-load-", ignore_cleanup_errors=True) as folder:
        broken = asyncio.run(measure(options, Path(folder)))
    print(*(f"BROKEN: {each}" for each in broken), sep="\n")
    print("all promises are kept" if not broken else f"{len(broken)} promises are broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
