"""A stand-in for a Databricks workspace: its HTTP interface, as far as a job of ours needs it, and a real Spark behind.

It speaks what the endpoints of the Jobs, Files and SCIM interfaces speak, asks for a token, and refuses what it does
not know. A submitted wheel is installed into a folder of its own and its entry point runs in a Spark session, with the
environment of the cluster that was asked for and nothing else. It can be told to fail as the real one does.

A volume's path is a folder of this machine: what the interface writes, the job reads, as on a cluster.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from databricks.bundles.jobs import ClusterSpec, Task

TOKEN = "dapi-of-a-service-principal"

RUN = """
import json, sys
from importlib.metadata import distribution
from pyspark.sql import SparkSession
given = json.loads(sys.argv.pop(1))
builder = SparkSession.builder.master("local[2]").appName(given["package"])
for name, value in given["conf"].items():
    builder = builder.config(name, value)
session = builder.getOrCreate()
(entry,) = [one for one in distribution(given["package"]).entry_points if one.name == given["entry_point"]]
try:
    entry.load()()
finally:
    session.stop()
"""


@dataclass
class Job:
    """One submitted run."""

    id: int
    request: dict[str, Any]
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    life: str = "PENDING"
    result: str = ""
    code: str = ""
    kind: str = ""
    message: str = ""

    def end(self, result: str, code: str, kind: str, message: str = "") -> None:
        """Say how it ended."""
        self.life, self.result, self.code, self.kind, self.message = "TERMINATED", result, code, kind, message


@dataclass
class Workspace:
    """What the server holds, and how it is to fail.

    Attributes:
        root: the only folder that the Files interface reaches.
        conf: properties of Spark that a cluster has by itself: Delta, the instance profile's access.
        refuse: answers to give instead of the next ones: status, by beginning of the path.
        fate: what becomes of the next job: "preempted" and "timed out" once it runs, "cancelled", "cluster error",
            "invalid cluster" before.
    """

    root: Path
    conf: dict[str, str]
    token: str = TOKEN
    refuse: list[tuple[str, int]] = field(default_factory=list)
    lose_answer: bool = False
    fate: str = ""
    jobs: dict[int, Job] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def submit(self, request: dict[str, Any]) -> int:
        """Take a job; the same one for the same idempotency token."""
        token = request.get("idempotency_token")
        if token in self.tokens:
            return self.tokens[token]
        (task,) = request["tasks"]
        # The typed models refuse a field that no task or cluster has.
        Task.from_dict({name: value for name, value in task.items() if name != "tags"})
        ClusterSpec.from_dict(task["new_cluster"])
        job = Job(1000 + len(self.jobs), request, Path(tempfile.mkdtemp(dir=self.root)))
        self.jobs[job.id] = job
        if token:
            self.tokens[token] = job.id
        fate, self.fate = self.fate, ""
        threading.Thread(target=self._work, args=(job, fate), daemon=True).start()
        return job.id

    def _work(self, job: Job, fate: str) -> None:
        (task,) = job.request["tasks"]
        if fate == "cancelled":
            job.end("CANCELED", "USER_CANCELED", "CLIENT_ERROR", "Run cancelled.")
            return
        if fate == "cluster error":
            job.end("FAILED", "CLUSTER_ERROR", "CLIENT_ERROR", "Cluster was terminated during the run.")
            return
        if fate == "invalid cluster":
            job.end("FAILED", "INVALID_CLUSTER_REQUEST", "CLIENT_ERROR", "The node type is not in the policy.")
            return
        (library,) = task["libraries"]
        if not Path(library["whl"]).is_file():
            job.end("FAILED", "LIBRARY_INSTALLATION_ERROR", "CLIENT_ERROR", f"No such file {library['whl']}")
            return
        site = job.folder / "site"
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site)]
        subprocess.run([*install, library["whl"]], check=True, capture_output=True, timeout=120)
        job.life = "RUNNING"
        wheel = task["python_wheel_task"]
        given = {"package": wheel["package_name"], "entry_point": wheel["entry_point"], "conf": self.conf}
        job.process = subprocess.Popen(
            [sys.executable, "-c", RUN, json.dumps(given), *wheel.get("parameters", [])],
            # Nothing of this process's own environment but where programs are.
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(job.folder),
                "PYTHONPATH": str(site),
                "PYSPARK_PYTHON": sys.executable,
                **task["new_cluster"].get("spark_env_vars", {}),
            },
            cwd=job.folder,
            stdout=(job.folder / "log").open("wb"),
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        if fate in ("preempted", "timed out"):
            time.sleep(4)
            os.killpg(job.process.pid, signal.SIGKILL)
        code = job.process.wait()
        if job.life == "TERMINATED":
            return
        if fate == "preempted":
            job.end("FAILED", "CLOUD_FAILURE", "CLOUD_FAILURE", "Spot instances were lost.")
        elif fate == "timed out":
            job.end("TIMEDOUT", "CANCELED", "CLIENT_ERROR", "Run exceeded its timeout.")
        elif code:
            job.end("FAILED", "RUN_EXECUTION_ERROR", "CLIENT_ERROR", "Workload failed, see run output for details")
        else:
            job.end("SUCCESS", "SUCCESS", "SUCCESS")

    def cancel(self, id: int) -> None:
        """End a job as a person asked."""
        job = self.jobs[id]
        job.end("CANCELED", "USER_CANCELED", "CLIENT_ERROR", "Run cancelled.")
        if job.process is not None and job.process.poll() is None:
            os.killpg(job.process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """End what still runs."""
        for job in self.jobs.values():
            if job.process is not None and job.process.poll() is None:
                os.killpg(job.process.pid, signal.SIGKILL)
                job.process.wait(10)

    def told(self, job: Job) -> dict[str, Any]:
        """A run, as the Jobs interface tells of it."""
        state: dict[str, Any] = {"life_cycle_state": job.life, "state_message": job.message}
        status: dict[str, Any] = {"state": "RUNNING" if job.life != "TERMINATED" else "TERMINATED"}
        if job.life == "TERMINATED":
            state["result_state"] = job.result
            status["termination_details"] = {"code": job.code, "type": job.kind, "message": job.message}
        return {
            "run_id": job.id,
            "run_name": job.request["run_name"],
            "run_type": "SUBMIT_RUN",
            "run_page_url": f"{self.url}/#job/{job.id}",
            "state": state,
            "status": status,
        }


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    workspace: Workspace


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def _handle(self) -> None:
        workspace = self.server.workspace
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), {name: values[0] for name, values in parse_qs(parts.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self._chunks()
        workspace.asked.append(f"{self.command} {path}")
        try:
            if self.headers.get("Authorization") != f"Bearer {workspace.token}":
                raise _Refused(401, "UNAUTHENTICATED", "Credential was not sent or was of an unsupported type.")
            for rule in workspace.refuse:
                if path.startswith(rule[0]):
                    workspace.refuse.remove(rule)
                    raise _Refused(rule[1], "TEMPORARILY_UNAVAILABLE", "Try again later.")
            answer = self._answer(workspace, path, query, body)
        except _Refused as refused:
            told = {"error_code": refused.code, "message": str(refused)}
            self._send(
                refused.status, json.dumps(told).encode(), "application/json", retry=refused.status in (429, 503)
            )
            return
        if workspace.lose_answer and path.endswith("/runs/submit"):
            workspace.lose_answer = False
            self.close_connection = True
            return
        if isinstance(answer, bytes):
            self._send(200, answer, "application/octet-stream")
        else:
            self._send(200, json.dumps(answer or {}).encode(), "application/json")

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle

    def _chunks(self) -> bytes:
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _send(self, status: int, body: bytes, kind: str, retry: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if retry:
            self.send_header("Retry-After", "1")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _answer(self, workspace: Workspace, path: str, query: dict[str, str], body: bytes) -> Any:
        if path.endswith("/preview/scim/v2/Me"):
            return {"userName": "darkroom", "id": "1"}
        for prefix, answer in (("/api/2.0/fs/files", self._files), ("/api/2.0/fs/directories", self._directories)):
            if path.startswith(prefix):
                place = Path(path.removeprefix(prefix))
                if not place.is_relative_to(workspace.root):
                    raise _Refused(404, "RESOURCE_DOES_NOT_EXIST", f"No volume has {place}")
                return answer(place, body)
        name = path.rpartition("/jobs/runs/")[2]
        answers: dict[str, Callable[[], Any]] = {
            "submit": lambda: {"run_id": self._submitted(workspace, json.loads(body))},
            "get": lambda: workspace.told(self._job(workspace, query["run_id"])),
            "list": lambda: {"runs": [workspace.told(job) for job in reversed(workspace.jobs.values())]},
            "cancel": lambda: workspace.cancel(self._job(workspace, json.loads(body)["run_id"]).id),
        }
        if name not in answers:
            raise _Refused(404, "ENDPOINT_NOT_FOUND", f"This server does not know {self.command} {path}")
        return answers[name]()

    def _submitted(self, workspace: Workspace, request: dict[str, Any]) -> int:
        try:
            return workspace.submit(request)
        except (KeyError, TypeError, ValueError) as error:
            raise _Refused(400, "INVALID_PARAMETER_VALUE", f"{type(error).__name__}: {error}") from error

    def _job(self, workspace: Workspace, id: str | int) -> Job:
        if int(id) not in workspace.jobs:
            raise _Refused(400, "INVALID_PARAMETER_VALUE", f"Run {id} does not exist.")
        return workspace.jobs[int(id)]

    def _files(self, place: Path, body: bytes) -> bytes | None:
        if self.command == "PUT":
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(body)
            return None
        if not place.is_file():
            raise _Refused(404, "NOT_FOUND", f"The file {place} does not exist.")
        if self.command == "DELETE":
            place.unlink()
            return None
        return place.read_bytes()

    def _directories(self, place: Path, body: bytes) -> Any:
        if self.command == "PUT":
            place.mkdir(parents=True, exist_ok=True)
            return None
        if not place.is_dir():
            raise _Refused(404, "NOT_FOUND", f"The directory {place} does not exist.")
        if self.command == "DELETE":
            if any(place.iterdir()):
                raise _Refused(400, "DIRECTORY_NOT_EMPTY", f"{place} is not empty")
            place.rmdir()
            return None
        return {
            "contents": [
                {"name": one.name, "path": str(one), "is_directory": one.is_dir(), "file_size": one.stat().st_size}
                for one in sorted(place.iterdir())
            ]
        }


class DatabricksStandIn:
    """The server, from `with` to its end; `workspace` is what it holds."""

    def __init__(self, root: Path, conf: dict[str, str]) -> None:
        self.workspace = Workspace(root, conf)

    def __enter__(self) -> Workspace:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.workspace = self.workspace
        self.workspace.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self.workspace

    def __exit__(self, *_: object) -> None:
        self.workspace.stop()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
        for job in self.workspace.jobs.values():
            shutil.rmtree(job.folder, ignore_errors=True)
