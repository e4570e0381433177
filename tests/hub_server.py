"""A Hub on 127.0.0.1 that speaks the routes this program uses, from memory: https://huggingface.co/docs/hub/api."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

PAGE = 4  # files in one page of a listing
LARGE = (".safetensors", ".mp4", ".webm", ".mov", ".gif")  # of a new repository's .gitattributes


def digest(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@dataclass
class Repo:
    """A repository with one branch; `readers` None is everybody; `gated` shows it to all and gives it to `readers`."""

    files: dict[str, bytes]
    private: bool = False
    gated: bool = False
    readers: set[str] | None = None
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.commit("initial commit")

    def commit(self, message: str) -> str:
        self.commits.append((message, dict(self.files)))
        return self.sha(-1)

    def sha(self, index: int) -> str:
        message, files = self.commits[index]
        return digest(repr((index % len(self.commits), message, sorted(files))).encode())

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        revisions = {self.sha(index): files for index, (_, files) in enumerate(self.commits)}
        sha = self.sha(-1) if revision == "main" else revision
        return (sha, revisions[sha]) if sha in revisions else None


class Job:
    """A job of `owner` on rented hardware: what was asked for, its stage, and its log. `run` runs its command here."""

    def __init__(self, owner: str, wanted: dict[str, Any]) -> None:
        self.owner, self.wanted = owner, wanted
        self.id = digest(repr((owner, wanted, time.monotonic_ns())).encode())[:24]
        self.stage = "SCHEDULING"
        self.lines: list[str] | None = ["===== Job started at 2026-01-01 00:00:00 ====="]  # None: not to be had
        self._process: subprocess.Popen[str] | None = None

    def run(self, hub: str, folder: Path) -> None:
        """Run the command in a process of its own, as on a new machine: nothing but its environment and secrets, and a
        home in `folder`. The image's `apt-get` and `uv run` do nothing but start this Python."""
        tools, home = folder / "tools", folder / "home"
        tools.mkdir(parents=True)
        home.mkdir()
        for name, script in {
            "apt-get": "exit 0",
            "uv": f'until [ "$1" = python ]; do shift; done; shift; exec {shlex.quote(sys.executable)} "$@"',
        }.items():
            (tools / name).write_text(f"#!/bin/sh\n{script}\n")
            (tools / name).chmod(0o755)
        environment = {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "HOME": str(home),
            "TMPDIR": str(home),
            "HF_ENDPOINT": hub,
            "HF_HUB_DISABLE_XET": "1",  # its upload speaks to a server of its own
            "OMP_NUM_THREADS": "1",
            **self.wanted["environment"],
            **self.wanted["secrets"],
        }
        self._process = subprocess.Popen(
            self.wanted["command"],
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.stage = "RUNNING"
        threading.Thread(target=self._follow, args=[self._process], daemon=True).start()

    def _follow(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        assert self.lines is not None
        self.lines += (line.rstrip("\n") for line in process.stdout)
        if self.stage == "RUNNING":
            self.stage = "ERROR" if process.wait() else "COMPLETED"

    def cancel(self) -> None:
        self.stage = "CANCELED"
        if self._process is not None:
            self._process.kill()

    def info(self) -> dict[str, Any]:
        """What the Hub says of it: of its secrets the names alone."""
        return {
            "id": self.id,
            "createdAt": "2026-01-01T00:00:00.000Z",
            "dockerImage": self.wanted["dockerImage"],
            "command": self.wanted["command"],
            "arguments": [],
            "environment": self.wanted["environment"],
            "flavor": self.wanted["flavor"],
            "status": {"stage": self.stage, "message": None},
            "durations": {"schedulingSecs": 1, "runningSecs": 90, "totalSecs": 91},
            "owner": {"id": digest(self.owner.encode()), "name": self.owner, "type": "user"},
        }


HARDWARE: list[dict[str, Any]] = [
    {
        "name": name,
        "prettyName": title,
        "cpu": "8 vCPU",
        "ram": "30 GB",
        "ephemeralStorage": "100 GB",
        "accelerator": vram and {"type": "gpu", "model": "X", "quantity": gpus, "vram": vram, "manufacturer": "Nvidia"},
        "unitCostMicroUSD": cost,
        "unitCostUSD": cost / 1e6,
        "unitLabel": "minute",
    }
    for name, title, gpus, vram, cost in (
        ("cpu-basic", "CPU Basic", "0", None, 167),
        ("l4x1", "1x Nvidia L4", "1", "24 GB", 13_333),
        ("l4x4", "4x Nvidia L4", "4", "96 GB", 63_333),
    )
]


class HubServer(ThreadingHTTPServer):
    """`repos` by "models/owner/name" or "datasets/owner/name"; `accounts` by token; `requests` as "METHOD path"."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, Repo] = {}
        self.accounts = {"hf_me": "me", "hf_you": "you"}
        self.lfs: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.failing: int | None = None  # a status that every request gets
        self.refuses_content = False  # of large files
        self.jobs: dict[str, Job] = {}
        self.job_folder: Path | None = None  # where jobs run; without one they wait for a machine for ever
        self.job_status = 200  # what an order for a job is answered with
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def fetched(self) -> set[str]:
        """The files whose content was asked for."""
        return {unquote(each.split("/resolve/")[1].partition("/")[2]) for each in self.requests if "/resolve/" in each}


class Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes: 40 ms a request otherwise

    def log_message(self, *arguments: Any) -> None: ...

    def route(self) -> None:
        path = urlsplit(self.path).path
        self.server.requests.append(f"{self.command} {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        self.account = self.server.accounts.get(token)
        if self.server.failing is not None:
            return self.refuse(self.server.failing, "")
        if token and self.account is None and not path.startswith("/lfs/"):
            return self.refuse(401, "", "Invalid credentials in Authorization header")
        for method, pattern, answer in ROUTES:
            if self.command == method and (match := re.fullmatch(pattern, path)):
                return answer(self, body, **{name: unquote(value or "") for name, value in match.groupdict().items()})
        return self.refuse(404, "")

    do_GET = do_HEAD = do_POST = do_PUT = route

    def answer(self, value: Any, status: int = 200, **headers: str) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, status: int, code: str, message: str = "refused") -> None:
        self.answer({"error": message}, status, X_Error_Code=code, X_Error_Message=message)

    def find(self, repo: str, *, content: bool = True) -> Repo | None:
        """The repository if this account may see it (and its `content`); else the Hub's refusal is sent."""
        found = self.server.repos.get(repo)
        allowed = found is not None and (found.readers is None or self.account in found.readers)
        if found is None or (not allowed and not found.gated):
            self.refuse(404 if self.account else 401, "RepoNotFound", "Repository not found")
            return None
        if content and not allowed:
            self.refuse(403 if self.account else 401, "GatedRepo", "Access to this repository is restricted")
            return None
        return found

    def info(self, body: bytes, repo: str, revision: str = "") -> None:
        if (found := self.find(repo, content=False)) is None:
            return None
        if (at := found.at(revision or "main")) is None:
            return self.refuse(404, "RevisionNotFound", "Invalid rev id")
        sha, files = at
        front = files.get("README.md", b"").decode().split("---\n")
        siblings = [{"rfilename": name, "size": len(data), "blobId": digest(data)} for name, data in files.items()]
        card = yaml.safe_load(front[1]) if len(front) > 2 else None
        repo_id = repo.partition("/")[2]
        return self.answer(
            {"id": repo_id, "sha": sha, "private": found.private, "siblings": siblings, "cardData": card, "tags": []}
        )

    def auth_check(self, body: bytes, repo: str) -> None:
        if self.find(repo) is not None:
            self.answer({})

    def tree(self, body: bytes, repo: str, revision: str) -> None:
        """Page by page, as the Hub does."""
        if (found := self.find(repo, content=False)) is None or (at := found.at(revision)) is None:
            return
        entries = [
            {"type": "file", "path": name, "size": len(data), "oid": digest(data)} for name, data in at[1].items()
        ]
        start = int(dict(each.split("=") for each in urlsplit(self.path).query.split("&")).get("cursor", 0))
        link = f'<{self.server.url}{urlsplit(self.path).path}?cursor={start + PAGE}>; rel="next"'
        more = start + PAGE < len(entries)
        self.answer(entries[start : start + PAGE], **({"Link": link} if more else {}))

    def resolve(self, body: bytes, repo: str, revision: str, path: str) -> None:
        repo = repo if repo.startswith("datasets/") else f"models/{repo}"
        if (found := self.find(repo)) is None:
            return None
        if (at := found.at(revision)) is None:
            return self.refuse(404, "RevisionNotFound")
        if path not in at[1]:
            return self.refuse(404, "EntryNotFound")
        data = at[1][path]
        return self.answer(data, ETag=f'"{digest(data)}"', X_Repo_Commit=at[0])

    def create(self, body: bytes) -> None:
        wanted = json.loads(body)
        owner = wanted.get("organization") or self.account
        if self.account is None or owner != self.account:
            return self.refuse(403 if self.account else 401, "", "You don't have the rights")
        repo_id, private = f"{owner}/{wanted['name']}", wanted.get("visibility") == "private"
        readers = {owner} if private else None
        kind = wanted.get("type", "model")
        made = Repo({".gitattributes": b""}, private=private, readers=readers)
        self.server.repos[f"{kind}s/{repo_id}"] = made
        return self.answer({"url": f"{self.server.url}/{'datasets/' if kind == 'dataset' else ''}{repo_id}"})

    def validate(self, body: bytes) -> None:
        content = json.loads(body)["content"]
        assert isinstance(yaml.safe_load(content.split("---\n")[1]), dict)
        self.answer({"errors": [], "warnings": []})

    def may_write(self, repo: str) -> Repo | None:
        if (found := self.find(repo)) is None:
            return None
        if self.account is None or repo.split("/")[1] != self.account:
            self.refuse(403, "", "You don't have write access")
            return None
        return found

    def preupload(self, body: bytes, repo: str, revision: str) -> None:
        if (found := self.may_write(repo)) is None:
            return
        modes = [
            {
                "path": each["path"],
                "uploadMode": "lfs" if each["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
                "oid": digest(found.files[each["path"]]) if each["path"] in found.files else None,
            }
            for each in json.loads(body)["files"]
        ]
        self.answer({"files": modes})

    def batch(self, body: bytes, repo: str) -> None:
        objects = [
            {**each, "actions": {"upload": {"href": f"{self.server.url}/lfs/{each['oid']}"}}}
            for each in json.loads(body)["objects"]
        ]
        self.answer({"transfer": "basic", "objects": objects})

    def put(self, body: bytes, oid: str) -> None:
        if self.server.refuses_content:
            return self.refuse(403, "")
        assert hashlib.sha256(body).hexdigest() == oid
        self.server.lfs[oid] = body
        return self.answer({})

    def commit(self, body: bytes, repo: str, revision: str) -> None:
        if (found := self.may_write(repo)) is None:
            return
        header, *operations = [json.loads(line) for line in body.splitlines()]
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "file":
                found.files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                found.files[value["path"]] = self.server.lfs[value["oid"]]
            else:
                assert operation["key"] == "deletedFile"
                del found.files[value["path"]]
        sha = found.commit(header["value"]["summary"])
        page = repo.removeprefix("models/")
        self.answer({"commitUrl": f"{self.server.url}/{page}/commit/{sha}", "commitOid": sha})

    def whoami(self, body: bytes) -> None:
        if self.account is None:
            return self.refuse(401, "", "Invalid user token.")
        return self.answer({"type": "user", "name": self.account, "orgs": []})

    def hardware(self, body: bytes) -> None:
        self.answer(HARDWARE)

    def start_job(self, body: bytes, owner: str) -> None:
        if self.account != owner or self.server.job_status != 200:
            return self.refuse(403 if self.account != owner else self.server.job_status, "")
        job = Job(owner, json.loads(body))
        self.server.jobs[job.id] = job
        if self.server.job_folder is not None:
            job.run(self.server.url, self.server.job_folder / job.id)
        return self.answer(job.info())

    def find_job(self, owner: str, job_id: str) -> Job | None:
        job = self.server.jobs.get(job_id)
        if job is None or self.account != owner or job.owner != owner:
            self.refuse(404, "", "Job not found")
            return None
        return job

    def job(self, body: bytes, owner: str, job_id: str) -> None:
        if job := self.find_job(owner, job_id):
            self.answer(job.info())

    def job_logs(self, body: bytes, owner: str, job_id: str) -> None:
        """Server-sent events: the log so far, or the last lines of it."""
        if (job := self.find_job(owner, job_id)) is None:
            return None
        if job.lines is None:
            return self.refuse(500, "")
        tail = int(dict(each.split("=") for each in urlsplit(self.path).query.split("&") if each).get("tail", 0))
        events = [{"data": line, "timestamp": "2026-01-01T00:00:00.000Z"} for line in job.lines[-tail:]]
        sent = ": keep-alive\n\n" + "".join(f"data: {json.dumps(event)}\n\n" for event in events)
        return self.answer(sent.encode(), Content_Type="text/event-stream")

    def end_job(self, body: bytes, owner: str, job_id: str) -> None:
        if job := self.find_job(owner, job_id):
            job.cancel()
            self.answer(job.info())


ID = r"[\w.-]+/[\w.-]+"
REPO = rf"/api/(?P<repo>(?:models|datasets)/{ID})"
JOB = r"/api/jobs/(?P<owner>[\w.-]+)/(?P<job_id>\w+)"
ROUTES: list[tuple[str, str, Any]] = [
    ("GET", "/api/whoami-v2", Handler.whoami),
    ("GET", "/api/jobs/hardware", Handler.hardware),
    ("POST", r"/api/jobs/(?P<owner>[\w.-]+)", Handler.start_job),
    ("GET", JOB, Handler.job),
    ("GET", f"{JOB}/logs", Handler.job_logs),
    ("POST", f"{JOB}/cancel", Handler.end_job),
    ("GET", rf"{REPO}(?:/revision/(?P<revision>[^/]+))?", Handler.info),
    ("GET", f"{REPO}/auth-check", Handler.auth_check),
    ("GET", f"{REPO}/tree/(?P<revision>[^/]+)", Handler.tree),
    ("POST", "/api/repos/create", Handler.create),
    ("POST", "/api/validate-yaml", Handler.validate),
    ("POST", f"{REPO}/preupload/(?P<revision>[^/]+)", Handler.preupload),
    ("POST", f"{REPO}/commit/(?P<revision>[^/]+)", Handler.commit),
    ("POST", rf"/(?P<repo>(?:datasets/)?{ID})\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", r"/lfs/(?P<oid>\w+)", Handler.put),
    *(
        (method, rf"/(?P<repo>(?:datasets/)?{ID})/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.resolve)
        for method in ("GET", "HEAD")
    ),
]
