"""haarflow: exact lattice field configurations on demand, from a haarflow-server.

>>> import haarflow
>>> client = haarflow.connect()                                    # 127.0.0.1:50151, or $HAARFLOW_SERVER
>>> for batch in client.sample("u1-l16-b2", 10_000, seed=1):       # numpy arrays, exact for exp(-S)/Z
...     work(batch.fields, batch.multiplicity, batch.observables["plaquette"])
>>> client.measure("u1-l16-b2")["plaquette"].value
>>> client.log_z("u1-l16-b2", error=5e-4).value
>>> client.retune("phi4-l6-e1", {"lambda": 6}, ess=0.95).wait(print)

`haarflow.series` makes time series for pyerrors, `haarflow.files` reads what ``haarflow sample -o FILE.h5`` wrote, and
`haarflow.report` (``haarflow report FILE|MODEL``) makes a page of it.
"""

from . import files, report, series
from .admin import Admin, Refreshed, ServerStatus
from .client import Client, connect
from .connection import Retry
from .errors import CorruptData, HaarflowError, JobFailed, RequestRefused, ServerUnavailable
from .jobs import Job, JobHandle
from .records import Batch, LogZ, Measurement, Model, Run, Statistics, concatenate
from .statistics import Autocorrelation, Estimate, effective_sample_size, gamma_method, log_mean_weight, weighted_mean
from .stream import SampleStream
from .theory import parameters, with_changes

__version__ = "0.1.0"

__all__ = [
    "Admin", "Autocorrelation", "Batch", "Client", "CorruptData", "Estimate", "HaarflowError", "Job", "JobFailed", "JobHandle", "LogZ",
    "Measurement", "Model", "Refreshed", "RequestRefused", "Retry", "Run", "SampleStream", "ServerStatus", "ServerUnavailable", "Statistics", "concatenate",
    "connect", "effective_sample_size", "files", "gamma_method", "log_mean_weight", "parameters", "report", "series", "weighted_mean", "with_changes",
]
