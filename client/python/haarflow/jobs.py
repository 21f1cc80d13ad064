"""Re-tuning: have the server train a model for other parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc

from .connection import Attempts, Connection
from .errors import CorruptData, JobFailed
from .v1 import tuning_pb2, tuning_pb2_grpc

__all__ = ["Job", "JobHandle"]

_ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")


@dataclass(frozen=True)
class Job:
    """A re-tuning job as it is at one moment.

    Attributes
    ----------
    id : str
    state : str
        ``"PENDING"``, ``"LEASED"``, ``"RUNNING"``, ``"SUCCEEDED"``, ``"FAILED"`` or ``"CANCELLED"``.
    error : str
        Why it failed.
    model, version : str, int
        What the result becomes a version of; 0 while nothing is published.
    start : str
        ``"name/version"`` that training starts from.
    requested_ess, ess, ess_error : float
        Asked for; reached by the published version on fresh samples.
    stage, step, total_steps, loss, progress_ess : str, int, int, float, float
        The trainer's latest word: where it is, its loss, and the ESS that it last measured.
    path : float
        Where on the way from the start's parameters (0) to the target's (1).
    seconds, seconds_left : float
        Of the budget.
    attempt : int
        Leases so far.
    worker : str
    message : haarflow.v1.tuning_pb2.Job
        All of it, events too.
    """

    id: str
    state: str
    error: str
    model: str
    version: int
    start: str
    requested_ess: float
    ess: float
    ess_error: float
    stage: str
    step: int
    total_steps: int
    loss: float
    progress_ess: float
    path: float
    seconds: float
    seconds_left: float
    attempt: int
    worker: str
    message: tuning_pb2.Job = field(repr=False, compare=False)

    @classmethod
    def of(cls, job: tuning_pb2.Job) -> Job:
        """From the wire."""
        p = job.progress
        state = tuning_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_")
        return cls(job.job_id, state, job.error, job.published_model, job.published_version, f"{job.start_model}/{job.start_version}",
                   job.request.requested_ess, job.ess, job.ess_error, p.stage, p.step, p.total_steps, p.loss, p.ess, p.path, p.seconds,
                   p.seconds_left, job.attempt, job.worker, job)

    @property
    def has_ended(self) -> bool:
        return self.state in _ENDED


class JobHandle:
    """A job of the server: ask for it, watch it, wait for it, cancel it. Made by `Client.retune` and `Client.job`."""

    def __init__(self, connection: Connection, job: tuning_pb2.Job) -> None:
        self._connection = connection
        self._stub = tuning_pb2_grpc.TuningServiceStub(connection.channel)
        self.latest = Job.of(job)

    @property
    def id(self) -> str:
        return self.latest.id

    def __repr__(self) -> str:
        return f"<job {self.id}: {self.latest.state}, {self.latest.model} from {self.latest.start}>"

    def refresh(self) -> Job:
        """The job as it is now."""
        answer = self._connection.call(self._stub.GetJob, tuning_pb2.GetJobRequest(job_id=self.id))
        self.latest = Job.of(answer)
        return self.latest

    def cancel(self) -> Job:
        """CANCELLED when this returns; RequestRefused for a job that has ended otherwise."""
        self.latest = Job.of(self._connection.call(self._stub.CancelJob, tuning_pb2.CancelJobRequest(job_id=self.id)))
        return self.latest

    def watch(self) -> Iterator[Job]:
        """The job now, and whenever it changes, until it has ended. Goes on when the server was away."""
        attempts = Attempts(self._connection)
        while True:
            call: Any = self._stub.WatchJob(tuning_pb2.WatchJobRequest(job_id=self.id), metadata=self._connection.metadata)
            try:
                for message in call:
                    self._connection.answered()
                    attempts.progress()
                    self.latest = Job.of(message)
                    yield self.latest
                if self.latest.has_ended:
                    return
                reason, pause = CorruptData(f"the server at {self._connection.address} stopped speaking of job {self.id}"), None
            except grpc.RpcError as error:
                reason, pause = self._connection.error(error)  # type: ignore[assignment]
            finally:
                call.cancel()
            if pause is None:
                raise reason
            attempts.wait(reason, pause)

    def wait(self, progress: Callable[[Job], None] | None = None) -> Job:
        """Blocks until the job has ended.

        Parameters
        ----------
        progress : callable, optional
            Called with every change.

        Returns
        -------
        Job
            SUCCEEDED: its version is published, and champion.

        Raises
        ------
        JobFailed
            It failed or was cancelled; the message says why.
        """
        for job in self.watch():
            if progress is not None:
                progress(job)
        job = self.refresh()
        if job.state != "SUCCEEDED":
            raise JobFailed(f"job {job.id} {job.state.lower()}{': ' if job.error else ''}{job.error}", job.state)
        return job
