"""The client: `connect` and what a server can be asked."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import grpc

from . import theory
from .admin import Admin
from .connection import DEFAULT_SERVER, Attempts, Connection, Retry, find_token
from .errors import CorruptData, HaarflowError, RequestRefused
from .jobs import Job, JobHandle
from .records import Batch, LogZ, Measurement, Mode, Model, Run, Statistics
from .statistics import Estimate
from .stream import SampleStream
from .v1 import model_pb2, sampler_pb2, sampler_pb2_grpc, tuning_pb2, tuning_pb2_grpc

__all__ = ["Client", "connect"]

Response = TypeVar("Response")
Progress = Callable[[int, int], None]
_MODES = {"metropolis": sampler_pb2.SAMPLE_MODE_METROPOLIS, "reweighted": sampler_pb2.SAMPLE_MODE_REWEIGHTED}
_PRECISIONS = {"float64": sampler_pb2.FIELD_PRECISION_FLOAT64, "float32": sampler_pb2.FIELD_PRECISION_FLOAT32}


def connect(server: str | None = None, *, token_file: str | os.PathLike[str] | None = None, tls: bool = False,
            ca_file: str | os.PathLike[str] | None = None, certificate_file: str | os.PathLike[str] | None = None,
            key_file: str | os.PathLike[str] | None = None, retry: Retry = Retry(), wait: float = 0.0, deadline: float = 10.0) -> Client:
    """A client of the server at an address. Connects lazily: the first call finds out.

    Parameters
    ----------
    server : str, optional
        ``"host:port"`` or ``"unix:/path"``; else $HAARFLOW_SERVER, else ``127.0.0.1:50151``.
    token_file : path, optional
        File with a token, mode 0600; else $HAARFLOW_TOKEN_FILE, else what ``haarflow login`` keeps. A token is never sent in clear
        beyond this host.
    tls : bool, optional
        TLS with the system's authorities. `ca_file` and `certificate_file` imply it.
    ca_file, certificate_file, key_file : path, optional
        PEM: authorities; certificate and key to show (mTLS).
    retry : Retry, optional
        Patience with a server that had answered and is away: it restarts.
    wait : float, optional
        Seconds to wait for a server that has never answered yet. 0: that is an error at once.
    deadline : float, optional
        Seconds for calls that return one message. Streams last as long as they are asked to.

    Returns
    -------
    Client

    Examples
    --------
    >>> client = haarflow.connect()
    >>> for batch in client.sample("u1-l16-b2", 10_000, seed=1):
    ...     work(batch.fields, batch.multiplicity)
    """
    address = server or os.environ.get("HAARFLOW_SERVER") or DEFAULT_SERVER
    return Client(Connection(address, token=find_token(token_file), tls=tls, ca_file=ca_file, certificate_file=certificate_file,
                             key_file=key_file, retry=retry, wait=wait, deadline=deadline))


class Client:
    """Asks one server, over one connection. Thread-safe. A context manager; made by `connect`.

    Attributes
    ----------
    admin : Admin
        What an operator does: promote, roll back, pin, unload.
    trace_id : str
        What the calls of this client have in common in the logs of servers; also in the messages of their errors.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sampler = sampler_pb2_grpc.SamplerServiceStub(connection.channel)
        self._tuning = tuning_pb2_grpc.TuningServiceStub(connection.channel)
        self.admin = Admin(connection)

    @property
    def address(self) -> str:
        return self._connection.address

    @property
    def trace_id(self) -> str:
        return self._connection.trace_id

    def close(self) -> None:
        """Closes the connection; streams that run end with an error."""
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---------------------------------------------------------------------------------------------------------- models

    def models(self) -> list[Model]:
        """The models of the server."""
        answer = self._connection.call(self._sampler.ListModels, sampler_pb2.ListModelsRequest())
        return [Model.of(info) for info in answer.models]

    def model(self, name: str) -> Model:
        """One of them; RequestRefused (NOT_FOUND) names those there are."""
        return Model.of(self._get_model(name).model)

    def spec(self, name: str) -> str:
        """The spec of a model as it is stored: text format of haarflow.v1.ModelSpec."""
        return str(self._get_model(name).spec_text.decode("utf-8"))

    def target(self, model: str, parameters: Mapping[str, float] | None = None,
               lattice: Iterable[int] | None = None) -> model_pb2.Target:
        """The target of a model, with other parameters or on another lattice: what calls take as `target`."""
        return theory.with_changes(self._get_model(model).model.target, parameters, lattice)

    def _get_model(self, name: str) -> Any:
        return self._connection.call(self._sampler.GetModel, sampler_pb2.GetModelRequest(name=name))

    # --------------------------------------------------------------------------------------------------------- drawing

    def sample(self, model: str = "", count: int = 0, *, target: model_pb2.Target | None = None,
               parameters: Mapping[str, float] | None = None, mode: Mode = "metropolis", seed: int | None = None, first_index: int = 0,
               burn_in: int | None = None, observables: Iterable[str] | None = None, fields: bool = True, dtype: str = "float64",
               resume: bytes | Batch | None = None, digest: str = "", bulk: bool = False, at_least: int = 1,
               on_resume: Callable[[HaarflowError], None] | None = None) -> SampleStream:
        """Draws exact configurations.

        Parameters
        ----------
        model : str
            A name; "" when `target` alone, or `resume`, says what is wanted.
        count : int
            Chain steps to deliver, the sum of multiplicities; REWEIGHTED: proposals.
        target : haarflow.v1.model_pb2.Target, optional
            What to be exact for; the model's own target when absent.
        parameters : mapping of str to float, optional
            The same by the parameters in which it differs from the model's target, ``{"beta": 1.9}``.
        mode : {"metropolis", "reweighted"}
            States of a chain whose stationary law is exp(-S)/Z, or independent proposals with log w.
        seed : int, optional
            64 bits. The same seed gives the same bits, within one numerics class. Absent: the server's choice, in `run.seed`.
        first_index : int, optional
            The chain looks at proposals first_index, first_index + 1, ... of the seed.
        burn_in : int, optional
            Chain steps before the first delivered one; absent: the server's default.
        observables : iterable of str, optional
            Columns to have; absent: the usual ones of the theory.
        fields : bool, optional
            False: observables and weights only.
        dtype : {"float64", "float32"}
            Of the fields (complex128 or complex64 for matrices); log q, action and log w are those of the float64 field.
        resume : bytes or Batch, optional
            A token, or the batch that it comes with: goes on after it, `count` steps more. With a token `observables` and `dtype` say
            anew what to have.
        digest : str, optional
            Hexadecimal: this version of the model and no other.
        bulk : bool, optional
            Give way to interactive work when the server is busy.
        at_least : int, optional
            Join what the server sends to batches of at least so many configurations.
        on_resume : callable, optional
            Called with the reason before each attempt to go on after a break.

        Returns
        -------
        SampleStream
            An iterator of `Batch`; its header has come, so that what the server refuses is an exception of this call.
        """
        if dtype not in _PRECISIONS:
            raise RequestRefused(f"dtype '{dtype}': give float64 or float32", "INVALID_ARGUMENT")
        request = sampler_pb2.SampleRequest(count=count, omit_fields=not fields, precision=_PRECISIONS[dtype])
        if isinstance(resume, Batch):
            observables = resume.run.observables if observables is None else observables
            request.resume_token = resume.token
            request.omit_fields = not (fields and resume.run.dtype)
            if resume.run.dtype in ("float32", "complex64"):
                request.precision = sampler_pb2.FIELD_PRECISION_FLOAT32
        elif resume is not None:
            request.resume_token = resume
        else:
            self._fill(request, model, target, parameters, mode, seed, first_index, burn_in, digest)
            if observables is None:
                observables = theory.default_columns(request.target if request.HasField("target") else self.target(model))
        if bulk:
            request.priority = sampler_pb2.PRIORITY_BULK
        request.observables.extend(observables or ())
        return SampleStream(self._connection, request, at_least, on_resume)

    def measure(self, model: str = "", observables: Iterable[str] | None = None, count: int = 10_000, *,
                target: model_pb2.Target | None = None, parameters: Mapping[str, float] | None = None, mode: Mode = "metropolis",
                seed: int | None = None, first_index: int = 0, burn_in: int | None = None, digest: str = "", bulk: bool = False,
                progress: Progress | None = None) -> Measurement:
        """Expectation values with errors, computed by the server: no field travels.

        Parameters
        ----------
        observables : iterable of str, optional
            ``"plaquette"``, ``"wilson_loop_2x2"``, ..., and functions of means, ``"binder_cumulant"``; absent: the usual ones.
        progress : callable, optional
            Called with (done, count).

        The other parameters are those of `sample`.

        Returns
        -------
        Measurement
            A mapping from names to `Estimate`. A server that restarts meanwhile begins again, with the same seed: the answer is the
            same.
        """
        request = sampler_pb2.MeasureRequest(count=count)
        self._fill(request, model, target, parameters, mode, seed, first_index, burn_in, digest)
        if observables is None:
            observables = theory.default_measurements(request.target if request.HasField("target") else self.target(model))
        request.observables.extend(observables)
        if bulk:
            request.priority = sampler_pb2.PRIORITY_BULK
        last, run = self._to_end(self._sampler.Measure, request, lambda m: m.done, count, progress)
        nan = float("nan")
        chain = run.mode == "metropolis"
        estimates = {e.observable: Estimate(e.value, e.error, e.tau_int if chain else nan, e.tau_int_error if chain else nan,
                                            e.exact if e.HasField("exact") else None) for e in last.estimates}
        return Measurement(run, estimates, Statistics.of(last.statistics))

    def log_z(self, model: str = "", samples: int = 65_536, *, error: float = 0.0, thermodynamics: bool = False,
              target: model_pb2.Target | None = None, parameters: Mapping[str, float] | None = None, seed: int | None = None,
              first_index: int = 0, digest: str = "", bulk: bool = False, progress: Progress | None = None) -> LogZ:
        """Estimates the logarithm of the partition function.

        Parameters
        ----------
        samples : int, optional
            Number of proposals, or their upper bound when `error` is given.
        error : float, optional
            Stop when the error is below; looked at only at doublings of n, so that luck cannot bias the answer.
        thermodynamics : bool, optional
            Also free energy, entropy, pressure and the derivatives by the parameters.

        The other parameters are those of `sample` and `measure`.

        Returns
        -------
        LogZ
        """
        request = sampler_pb2.EstimatePartitionFunctionRequest(samples=samples, error=error, thermodynamics=thermodynamics)
        self._fill(request, model, target, parameters, None, seed, first_index, None, digest)
        if bulk:
            request.priority = sampler_pb2.PRIORITY_BULK
        last, run = self._to_end(self._sampler.EstimatePartitionFunction, request, lambda m: m.done, samples, progress)
        if not last.final:
            raise CorruptData(f"the server at {self.address} ended the estimate of log Z without a result")
        return LogZ.of(last, run)

    def _fill(self, request: Any, model: str, target: model_pb2.Target | None, parameters: Mapping[str, float] | None, mode: str | None,
              seed: int | None, first_index: int, burn_in: int | None, digest: str) -> None:
        request.model = model
        if target is not None and parameters:
            target = theory.with_changes(target, parameters)
        elif parameters:
            target = self.target(model, parameters)
        if target is not None:
            request.target.CopyFrom(target)
        if mode is not None:
            if mode not in _MODES:
                raise RequestRefused(f"mode '{mode}': give metropolis or reweighted", "INVALID_ARGUMENT")
            request.mode = _MODES[mode]
        if seed is not None:
            request.seed = seed
        if burn_in is not None:
            request.burn_in = burn_in
        request.first_index = first_index
        try:
            request.model_digest = bytes.fromhex(digest)
        except ValueError as error:
            raise RequestRefused(f"digest '{digest[:80]}' is not hexadecimal", "INVALID_ARGUMENT") from error

    def _to_end(self, method: Callable[..., Any], request: Any, done: Callable[[Any], int], count: int,
                progress: Progress | None) -> tuple[Any, Run]:
        """The last message of a stream and its run. A broken one begins again under the name that the first header gave it."""
        attempts, run = Attempts(self._connection), None
        while True:
            call = method(request, metadata=self._connection.metadata)
            last = None
            try:
                for last in call:
                    self._connection.answered()
                    if last.HasField("header") and run is None:
                        run = Run.of(last.header)
                        request.seed, request.model_digest = last.header.seed, last.header.model_digest
                    if progress is not None:
                        progress(done(last), count)
            except grpc.RpcError as error:
                reason, pause = self._connection.error(error)
                if pause is None:
                    raise reason from None
                attempts.wait(reason, pause)
                continue
            finally:
                call.cancel()
            if last is None or run is None:
                raise CorruptData(f"the server at {self.address} ended the call without a result")
            return last, run

    # ------------------------------------------------------------------------------------------------------- re-tuning

    def retune(self, model: str, parameters: Mapping[str, float] | None = None, *, lattice: Iterable[int] | None = None, ess: float = 0.8,
               budget_seconds: float = 600.0, priority: int = 0, publish_as: str = "", key: str | None = None,
               any_model: bool = False) -> JobHandle:
        """Has a model trained for other parameters; it is served once it has the ESS asked for.

        Parameters
        ----------
        model : str
            Whose target, changed by `parameters` and `lattice`, is wanted, and whose versions training starts from.
        parameters : mapping of str to float, optional
        lattice : iterable of int, optional
            Other extents in array order.
        ess : float, optional
            That the result must have.
        budget_seconds : float, optional
            Of training and evaluation.
        priority : int, optional
            Larger first.
        publish_as : str, optional
            The model that the result becomes a version of; "": the server's choice.
        key : str, optional
            Idempotency key: the same key is the same job. Absent: a random one.
        any_model : bool, optional
            Start from the nearest of all models.

        Returns
        -------
        JobHandle
            ``handle.wait(progress)`` blocks until it has ended; ``for job in handle.watch()`` follows it.
        """
        request = tuning_pb2.RetuneRequest(
            idempotency_key=key or f"py-{uuid.uuid4().hex}", model="" if any_model else model, target=self.target(model, parameters, lattice),
            requested_ess=ess, budget_seconds=budget_seconds, priority=priority, publish_as=publish_as)
        return JobHandle(self._connection, self._connection.call(self._tuning.Retune, request))

    def job(self, job_id: str) -> JobHandle:
        """A job by its id."""
        return JobHandle(self._connection, self._connection.call(self._tuning.GetJob, tuning_pb2.GetJobRequest(job_id=job_id)))

    def cancel(self, job_id: str) -> Job:
        """Cancels a job: `JobHandle.cancel` by its id. RequestRefused (FAILED_PRECONDITION) for one that has ended otherwise."""
        return Job.of(self._connection.call(self._tuning.CancelJob, tuning_pb2.CancelJobRequest(job_id=job_id)))

    def jobs(self, count: int = 20) -> list[Job]:
        """The newest jobs first, at most `count`."""
        jobs: list[Job] = []
        request = tuning_pb2.ListJobsRequest()
        while len(jobs) < count:
            request.page_size = min(count - len(jobs), 1000)
            page = self._connection.call(self._tuning.ListJobs, request)
            jobs += [Job.of(job) for job in page.jobs]
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
        return jobs
