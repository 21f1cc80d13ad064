"""The figures of a report."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..statistics import Estimate, with_error
from .analysis import ObservableReport, WeightReport
from .exact import Density

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Picture", "observable_picture", "weight_picture"]

DATA, MEAN, EXACT, SECOND = "#3b6ea5", "#1b3a5c", "#c1440e", "#7a9a3d"
_MAX_POINTS = 4000

_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans", "font.size": 9, "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7, "xtick.major.width": 0.7, "ytick.major.width": 0.7,
    "legend.frameon": False, "legend.fontsize": 8, "figure.facecolor": "white", "svg.hashsalt": "haarflow", "axes.formatter.useoffset": False,
}


@dataclass(frozen=True)
class Picture:
    """A finished figure.

    Attributes
    ----------
    name : str
        For file names.
    svg : bytes
    png : bytes
        Empty where none was asked for.
    caption : str
    """

    name: str
    svg: bytes
    png: bytes
    caption: str


@contextmanager
def _figure(rows: int, columns: int, size: tuple[float, float]) -> Iterator[tuple[Figure, Any]]:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # No pyplot: nothing global is left behind, no display is asked for.
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size)
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"width_ratios": [1.35, 1][:columns]})
        # Fixed margins, in inches: an automatic layout draws every figure twice.
        width, height = size
        figure.subplots_adjust(left=0.75 / width, right=1 - 0.15 / width, bottom=0.5 / height, top=1 - 0.3 / height, wspace=0.2, hspace=0.45)
        yield figure, axes


def _render(figure: Figure, name: str, caption: str, png: bool) -> Picture:
    images = {}
    for kind, metadata in (("svg", {"Date": None}), *((("png", {"Software": None}),) if png else ())):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=150, metadata=metadata)
        images[kind] = buffer.getvalue()
    return Picture(name, images["svg"], images.get("png", b""), caption)


def _exact_line(axes: Axes, estimate: Estimate, horizontal: bool = True) -> None:
    """With a band where the value has an uncertainty."""
    if estimate.exact is None:
        return
    (axes.axhline if horizontal else axes.axvline)(estimate.exact, color=EXACT, lw=1.2, ls="--", label="exact", zorder=4)
    if estimate.exact_uncertainty > 0:
        low, high = estimate.exact - estimate.exact_uncertainty, estimate.exact + estimate.exact_uncertainty
        (axes.axhspan if horizontal else axes.axvspan)(low, high, color=EXACT, alpha=0.18, lw=0)


def _history(axes: Axes, o: ObservableReport, metropolis: bool) -> None:
    step = max(1, o.series.size // _MAX_POINTS)
    shown = np.arange(0, o.series.size, step)
    axes.plot(shown, o.series[shown], ".", ms=2.6, alpha=0.5, color=DATA, mec="none", rasterized=True)
    axes.plot(o.block_centre, o.block_mean, "-", lw=1.1, color=MEAN, label="means of blocks")
    _exact_line(axes, o.estimate)
    axes.set_title("History")
    axes.set_xlabel("chain step" if metropolis else "proposal")
    axes.set_ylabel(o.name)
    axes.set_xlim(0, o.series.size)
    axes.legend(loc="upper right", ncols=2)


def _running(axes: Axes, o: ObservableReport, metropolis: bool) -> None:
    axes.fill_between(o.running_at, o.running_mean - o.running_error, o.running_mean + o.running_error, color=DATA, alpha=0.25, lw=0,
                      label="one sigma")
    axes.plot(o.running_at, o.running_mean, color=MEAN, lw=1.3, label="mean of the first n")
    _exact_line(axes, o.estimate)
    late = o.running_at >= o.series.size / 50
    spread = float(np.max(np.abs(o.running_mean[late] - o.estimate.value) + 1.5 * o.running_error[late])) if late.any() else 0.0
    if o.estimate.exact is not None:
        spread = max(spread, 1.3 * abs(o.estimate.exact - o.estimate.value))
    if spread > 0:
        axes.set_ylim(o.estimate.value - spread, o.estimate.value + spread)
    axes.set_xscale("log")
    axes.set_title("Mean as the run grows")
    axes.set_xlabel("n, " + ("chain steps" if metropolis else "proposals"))
    axes.set_ylabel(f"<{o.name}>")
    axes.legend(loc="upper right", ncols=3)


def _distribution(axes: Axes, o: ObservableReport) -> None:
    h = o.histogram
    width = np.diff(h.edges)
    centre = (h.edges[1:] + h.edges[:-1]) / 2
    discrete = h.distribution is not None and not isinstance(h.distribution, Density)
    scale = np.ones_like(width) if discrete else width
    axes.bar(centre, h.probability / scale, width if not discrete else np.minimum(width, 0.8), color=DATA, alpha=0.35, lw=0, label="drawn")
    axes.errorbar(centre, h.probability / scale, h.error / scale, fmt="none", ecolor=MEAN, elinewidth=1)
    if isinstance(h.distribution, Density):
        axes.plot(h.distribution.x, h.distribution.y, color=EXACT, lw=1.4, label="exact")
        margin = 0.1 * (h.edges[-1] - h.edges[0])
        axes.set_xlim(h.edges[0] - margin, h.edges[-1] + margin)
        if h.distribution.y.max() > 3 * np.max(h.probability / scale):
            axes.set_ylim(0, 1.6 * np.max(h.probability / scale))  # an integrable singularity
    elif h.distribution is not None:
        inside = (h.distribution.x >= h.edges[0]) & (h.distribution.x <= h.edges[-1])
        axes.plot(h.distribution.x[inside], h.distribution.y[inside], "_", ms=11, mew=1.8, color=EXACT, label="exact")
    else:
        _exact_line(axes, o.estimate, horizontal=False)
    axes.set_title("Distribution")
    axes.locator_params(axis="x", nbins=7)
    axes.set_xlabel(o.name)
    axes.set_ylabel("probability" if discrete else "density")
    title = f"$\\chi^2$ = {h.chi_squared:.1f} / {h.degrees}, p = {h.p_value:.2g}" if h.degrees > 0 else None
    axes.legend(loc="best", title=title, title_fontsize=8)


def _correlation(axes: Axes, o: ObservableReport, metropolis: bool) -> None:
    c = o.correlation
    shown = int(min(c.rho.size - 1, max(2.5 * c.window, 12)))
    t = np.arange(shown + 1)
    # Madras and Sokal's variance of rho(t), for the errors that the eye needs.
    padded = np.concatenate([c.rho[: 3 * shown + 1], np.zeros(max(0, 3 * shown + 1 - c.rho.size))])
    error = [0.0]
    for lag in range(1, shown + 1):
        k = np.arange(1, 2 * shown - lag + 1)
        terms = padded[k + lag] + padded[np.abs(k - lag)] - 2 * padded[lag] * padded[k]
        error.append(math.sqrt(float(np.sum(terms**2)) / c.steps))
    axes.axhline(0, color="0.6", lw=0.7)
    axes.errorbar(t, c.rho[: shown + 1], error, fmt="o", ms=3, color=MEAN, elinewidth=0.8)
    if metropolis and c.window > 0:
        axes.axvspan(0, c.window + 0.5, color=DATA, alpha=0.12, lw=0)
        text = f"$\\tau_{{int}}$ = {with_error(o.estimate.tau_int, o.estimate.tau_int_error)}, window {c.window}"
    else:
        text = "independent: 0 from t = 1 on"
    axes.text(0.98, 0.95, text, transform=axes.transAxes, ha="right", va="top", fontsize=9)
    axes.set_xlim(-0.4, shown + 0.4)
    axes.set_title("Autocorrelation" if metropolis else "Autocorrelation of w (O - mean)")
    axes.set_xlabel("t, " + ("chain steps" if metropolis else "proposals"))
    axes.set_ylabel("$\\rho(t)$")


def observable_picture(o: ObservableReport, metropolis: bool, png: bool) -> Picture:
    """History, distribution, running mean, autocorrelation."""
    with _figure(2, 2, (10.5, 5.8)) as (figure, axes):
        _history(axes[0][0], o, metropolis)
        _distribution(axes[0][1], o)
        _running(axes[1][0], o, metropolis)
        _correlation(axes[1][1], o, metropolis)
        return _render(figure, o.name, _caption(o, metropolis), png)


def _caption(o: ObservableReport, metropolis: bool) -> str:
    text = f"{o.name} = {with_error(o.estimate.value, o.estimate.error)}"
    if o.estimate.exact is not None:
        uncertain = o.estimate.exact_uncertainty > 0
        text += f"; exact {with_error(o.estimate.exact, o.estimate.exact_uncertainty) if uncertain else f'{o.estimate.exact:.8g}'}"
        if o.estimate.pull is not None:
            text += f", {o.estimate.pull:+.2f} sigma off"
    if o.histogram.distribution is None:
        text += ". Its exact distribution is not known to this program"
    if o.source:
        text += f". The exact value is that of {o.source}"
    return text + (". Errors by the Gamma method." if metropolis else ". Errors by jackknife.")


def _weight_densities(axes: Axes, w: WeightReport) -> None:
    axes.set_title("Weights")
    axes.set_xlabel("log w - log Z")
    if not w.edges.size:
        axes.text(0.5, 0.5, "all weights are equal:\nthe flow is the target", transform=axes.transAxes, ha="center", va="center")
        axes.set_yticks([])
        return
    axes.stairs(w.proposals, w.edges, color=DATA, fill=True, alpha=0.3, baseline=1e-12, label="proposals, q")
    axes.stairs(w.target, w.edges, color=SECOND, lw=1.5, baseline=1e-12, label="target, p")
    if np.isfinite(w.variance) and w.variance > 0:
        x = np.linspace(w.edges[0], w.edges[-1], 400)
        for sign, color in ((-1, DATA), (1, SECOND)):
            y = np.exp(-((x - sign * w.variance / 2) ** 2) / (2 * w.variance)) / math.sqrt(2 * math.pi * w.variance)
            axes.plot(x, y, color=color, lw=1, ls=":", label="Gaussian of this ESS" if sign > 0 else None)
    axes.axvline(0, color="0.6", lw=0.7)
    # Tails are what matters: a weight that is rare and large.
    filled = np.concatenate([w.proposals[w.proposals > 0], w.target[w.target > 0]])
    axes.set_yscale("log")
    axes.set_ylim(0.5 * filled.min(), 4 * filled.max())
    axes.set_ylabel("density")
    axes.legend(loc="upper left")


def _multiplicities(axes: Axes, w: WeightReport) -> None:
    assert w.multiplicity is not None
    counts = np.bincount(w.multiplicity)
    m = np.flatnonzero(counts)
    axes.bar(m, counts[m], 0.8, color=DATA, alpha=0.6, lw=0)
    axes.set_yscale("log")
    axes.set_ylim(0.5, 2 * counts.max())
    axes.set_title("How long the chain stays")
    axes.set_xlabel("multiplicity of a state")
    axes.set_ylabel("states")
    from matplotlib.ticker import MaxNLocator
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _running_ess(axes: Axes, w: WeightReport) -> None:
    axes.plot(w.running_at, 100 * w.running_ess, color=MEAN, lw=1.3)
    axes.set_xscale("log")
    axes.set_ylim(0, 105)
    axes.set_title("ESS as the run grows")
    axes.set_xlabel("n, proposals")
    axes.set_ylabel("ESS of the first n / %")


def weight_picture(w: WeightReport, png: bool) -> Picture:
    """The weights' densities; multiplicities or running ESS."""
    with _figure(1, 2, (10.5, 3.0)) as (figure, axes):
        _weight_densities(axes[0][0], w)
        if w.multiplicity is not None:
            _multiplicities(axes[0][1], w)
        else:
            _running_ess(axes[0][1], w)
        caption = ("Left: log w - log Z of what the flow proposes (q) and of what is exact (p = w q / Z). A flow that missed a part of the target "
                   "would show a heavy right tail of p. ")
        caption += ("Right: multiplicities of the chain's states; a long tail is a state that is hard to leave." if w.multiplicity is not None else
                    "Right: steps down are single large weights.")
        return _render(figure, "weights", caption, png)
