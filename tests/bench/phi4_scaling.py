#!/usr/bin/env python3
"""Critical slowing down of phi^4 samplers: a table (Markdown) and a plot (PNG, SVG) from one run of the benchmark phi4_scaling.

    tests/bench/phi4_scaling.py --models phi4-l6-e1,phi4-l8-e2,phi4-l16,phi4-l32      # builds nothing; needs build/release/bin/phi4_scaling
    tests/bench/phi4_scaling.py --json out/phi4-scaling.json                          # of a run that is there already

tau_int is in updates of each algorithm: trajectories, sweeps, proposals. The cost of an independent configuration is 2 tau_int updates, in
CPU seconds of one thread, for the slower of susceptibility and |M|. Break-even: after how many independent configurations the training
time on a model's card (plus that of the models it started from) is paid back. Installs matplotlib into .deps/venv when it is missing.
"""
import argparse
import json
import math
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
METHODS = {  # colour, marker, label
    "hmc": ("#0072b2", "o", "HMC, trajectories of length 1"),
    "hmc_long": ("#56b4e9", "s", r"HMC, trajectories of length $\xi$"),
    "fourier_hmc": ("#009e73", "^", "HMC, Fourier accelerated"),
    "cluster": ("#e69f00", "D", "Metropolis and clusters"),
    "flow": ("#d55e00", "*", "flow, independence Metropolis"),
}
NAMES = {"hmc": "HMC, length 1", "hmc_long": "HMC, length xi", "fourier_hmc": "HMC, Fourier", "cluster": "cluster", "flow": "flow"}
OBSERVABLES = ("susceptibility", "magnetisation_abs")


def run_benchmark(args, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [args.bench, "--output", str(path), "--seconds", str(args.seconds), "--lattices", args.lattices]
    if args.models:
        command += ["--store", args.store, "--models", args.models]
    if subprocess.run(command, env={"OMP_NUM_THREADS": "1"}).returncode != 0:
        sys.exit(f"error: {args.bench} failed; build it: cmake --build build/release --target phi4_scaling")


def cost(row):
    """CPU seconds of an independent configuration."""
    return max(row[o]["seconds_per_independent"] for o in OBSERVABLES)


def exponent(rows, value):
    """z of value ~ L^z by least squares of logarithms over L >= 8, with its standard error; None below three points."""
    points = [(math.log(r["lattice"]), math.log(value(r))) for r in rows if r["lattice"] >= 8]
    n = len(points)
    if n < 3:
        return None
    mx, my = (sum(p[i] for p in points) / n for i in (0, 1))
    sxx = sum((x - mx) ** 2 for x, _ in points)
    z = sum((x - mx) * (y - my) for x, y in points) / sxx
    rest = sum((y - my - z * (x - mx)) ** 2 for x, y in points)
    return z, math.sqrt(rest / (n - 2) / sxx)


def training_seconds(row, rows):
    """Of a model and of those it started from ("name/version ..." on its card) where they are in the same run."""
    total, seen = 0.0, set()
    by_model = {r["model"]: r for r in rows if r["method"] == "flow"}
    while row is not None and row["model"] not in seen:
        seen.add(row["model"])
        total += row["training_seconds"]
        start = row.get("lineage", "").split("/")[0]
        if start not in ("scratch", "") and start not in by_model and start not in seen:
            print(f"note: {row['model']} started from {start}, whose training time is not in this run", file=sys.stderr)
        row = by_model.get(start)
    return total


def rounded(value, error):
    """1.234(56) from a value and its error."""
    if not error > 0:
        return f"{value:.3g}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{digits}f}({round(error * 10 ** digits)})"


def table(rows):
    lines = ["| L | lambda | method | tau_int of chi | tau_int of abs(M) | acceptance | us/update | us/independent configuration |",
             "|---|---|---|---|---|---|---|---|"]
    for r in rows:
        name = r["model"] if r["method"] == "flow" else NAMES[r["method"]]
        # An estimate needs a chain of many autocorrelation times.
        short = "" if min(r[o]["chain_over_tau"] for o in OBSERVABLES) >= 200 else " (short chain)"
        lines.append(f"| {r['lattice']} | {r['lambda']:g} | {name} | {rounded(*r['susceptibility']['tau_int'])}{short} "
                     f"| {rounded(*r['magnetisation_abs']['tau_int'])} | {r['acceptance']:.3f} | {r['seconds_per_update'] * 1e6:.3g} "
                     f"| {cost(r) * 1e6:.3g} |")
    lines += ["", "Second-moment xi / L (cluster sampler): " + ", ".join(
        f"{r['lattice']}: {rounded(*r['xi_over_l'])}" for r in rows if r["method"] == "cluster" and r["critical"]), ""]
    for method in METHODS:
        line = [r for r in rows if r["method"] == method and r["critical"]]
        z, z_cost = exponent(line, lambda r: r["susceptibility"]["tau_int"][0]), exponent(line, cost)
        if z:
            lines.append(f"- {NAMES[method]}: tau_int of chi ~ L^{rounded(*z)}, CPU time of an independent configuration ~ "
                         f"L^{rounded(*z_cost)} (L >= 8)")
    return lines


def break_even(rows):
    lines = ["", "| model | L | lambda | ESS | acceptance | training, s | " + " | ".join(
        f"pays back against {NAMES[m]}" for m in METHODS if m != "flow") + " |", "|---" * 10 + "|"]
    for flow in (r for r in rows if r["method"] == "flow"):
        training = training_seconds(flow, rows)
        cells = []
        for method in METHODS:
            if method == "flow":
                continue
            other = next(r for r in rows if r["method"] == method and (r["lattice"], r["lambda"]) == (flow["lattice"], flow["lambda"]))
            gain = cost(other) - cost(flow)
            cells.append(f"{training / gain:,.0f} configurations" if gain > 0 else f"never ({cost(flow) / cost(other):.2g} x its cost)")
        lines.append(f"| {flow['model']} | {flow['lattice']} | {flow['lambda']:g} | {rounded(*flow['ess'])} | {flow['acceptance']:.3f} "
                     f"| {training:,.0f} | " + " | ".join(cells) + " |")
    return lines if len(lines) > 3 else []


def plot(rows, stem):
    import matplotlib
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "phi4_scaling"
    import matplotlib.pyplot as plt
    import matplotlib.ticker as ticker
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.6), constrained_layout=True)
    for method, (colour, marker, label) in METHODS.items():
        line = [r for r in rows if r["method"] == method and r["critical"]]
        if not line:
            continue
        extents = [r["lattice"] for r in line]
        style = dict(color=colour, marker=marker, label=label, markersize=9 if marker == "*" else 5, linewidth=1.2)
        for axis, o in zip(axes, OBSERVABLES):
            axis.errorbar(extents, [r[o]["tau_int"][0] for r in line], yerr=[r[o]["tau_int"][1] for r in line], capsize=2, **style)
        axes[2].plot(extents, [cost(r) * 1e6 for r in line], **style)
    titles = (r"$\tau_{\mathrm{int}}$ of $\chi_2$, updates", r"$\tau_{\mathrm{int}}$ of $|M|$, updates",
              r"one independent configuration, $\mu$s of CPU")
    all_extents = sorted({r["lattice"] for r in rows if r["critical"]})
    for axis, title in zip(axes, titles):
        axis.set(xscale="log", yscale="log", xlabel="L", title=title)
        axis.set_xticks(all_extents, [str(e) for e in all_extents])
        axis.xaxis.set_minor_locator(ticker.NullLocator())
        axis.grid(True, which="major", alpha=0.3)
    axes[0].axhline(0.5, color="grey", linewidth=0.8, linestyle=":")
    axes[1].axhline(0.5, color="grey", linewidth=0.8, linestyle=":")
    axes[0].legend(fontsize=8, loc="upper left")
    figure.suptitle(r"$\phi^4$ in two dimensions, $m^2=-4$, $\lambda(L)$ with $\xi/L = 0.25$")
    for suffix in (".png", ".svg"):
        figure.savefig(stem.with_suffix(suffix), dpi=150, metadata={"Date": None} if suffix == ".svg" else None)


def with_matplotlib():
    """Goes on in .deps/venv, with matplotlib in it."""
    try:
        import matplotlib  # noqa: F401
        return
    except ImportError:
        pass
    python = ROOT / ".deps/venv/bin/python"
    if pathlib.Path(sys.prefix).resolve() != python.parents[1].resolve():
        if not python.exists():
            sys.exit("error: there is no .deps/venv; run deploy/setup.sh, or install matplotlib for this Python")
        sys.exit(subprocess.run([str(python), __file__, *sys.argv[1:]]).returncode)
    if subprocess.run([sys.executable, "-m", "pip", "install", "-q", "matplotlib"]).returncode != 0:
        sys.exit("error: pip could not install matplotlib: is PyPI reachable?")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", default=str(ROOT / "build/release/bin/phi4_scaling"), help="the benchmark's binary")
    parser.add_argument("--store", default=str(ROOT / "deploy/models"), help="model store")
    parser.add_argument("--models", default="", help="flows, with ',' between")
    parser.add_argument("--lattices", default="6,8,10,12,14,16,20,24,32", help="extents of the critical line")
    parser.add_argument("--seconds", type=float, default=5, help="CPU seconds per method and lattice")
    parser.add_argument("--json", help="read this instead of running the benchmark")
    parser.add_argument("--output", default=str(ROOT / "out/phi4-scaling"), help="stem of the files: .json, .md, .png, .svg")
    args = parser.parse_args()
    with_matplotlib()
    stem = pathlib.Path(args.output)
    path = pathlib.Path(args.json) if args.json else stem.with_suffix(".json")
    if not args.json:
        run_benchmark(args, path)
    document = json.loads(path.read_text())
    rows = document["rows"]
    text = "\n".join(table(rows) + break_even(rows)) + f"\n\nOne thread, {document['numerics']}.\n"
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(".md").write_text(text)
    plot(rows, stem)
    print(text)


if __name__ == "__main__":
    main()
