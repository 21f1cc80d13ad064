"""Reads files of configurations the way a user would, and recomputes what they say.

check_files.py WRITER         runs WRITER DIRECTORY first, then checks the files that it wrote
check_files.py FILE...        checks files that `haarflow sample` wrote
"""
import hashlib
import json
import os
import subprocess
import sys
import tempfile

import h5py
import numpy as np


def require(condition, message):
    if not condition:
        sys.exit("FAILED: " + message)


def plaquette(links):
    """Mean cos of the plaquette angle: links [n, mu, ..., y, x], mu = 0 shifts the last axis."""
    links = links.astype(np.float64)
    dims = links.shape[1]
    planes = []
    for mu in range(dims):
        for nu in range(mu + 1, dims):
            a, b = links[:, mu], links[:, nu]
            planes.append(a + np.roll(b, -1, axis=-1 - mu) - np.roll(a, -1, axis=-1 - nu) - b)
    return np.mean(np.cos(planes), axis=(0, *range(2, dims + 2)))


def matrix_plaquette(links):
    """Mean Re Tr P / N: links [n, mu, ..., y, x, row, column]."""
    links = links.astype(np.complex128)
    dims, colours = links.shape[1], links.shape[-1]
    planes = []
    for mu in range(dims):
        for nu in range(mu + 1, dims):
            a, b = links[:, mu], links[:, nu]
            right, left = a @ np.roll(b, -1, axis=-3 - mu), b @ np.roll(a, -1, axis=-3 - nu)
            planes.append(np.sum(right * left.conj(), axis=(-2, -1)).real / colours)
    return np.mean(planes, axis=(0, *range(2, dims + 2)))


def observables(fields, attributes):
    """What can be recomputed from the fields."""
    if attributes["theory"] == "u1_wilson":
        return {"plaquette": plaquette(fields)}
    if attributes["theory"] == "sun_wilson":
        mean = matrix_plaquette(fields)
        known = {"plaquette": mean}
        if attributes["rectangle"] == 0:
            lattice = attributes["lattice"]
            known["action"] = -attributes["beta"] * np.prod(lattice) * len(lattice) * (len(lattice) - 1) / 2 * mean
        return known
    phi = fields.astype(np.float64)
    if attributes["components"] == 1:
        phi = phi[:, None]  # one axis for components
    sites = tuple(range(1, phi.ndim - 1))
    square = np.sum(phi**2, axis=1)
    neighbours = sum(np.sum(phi * np.roll(phi, -1, axis=axis), axis=1) for axis in range(2, phi.ndim))
    action = -attributes["hop"] * neighbours + attributes["quadratic"] * square + attributes["quartic"] * square**2
    return {"phi_squared": square.mean(axis=sites), "energy": -neighbours.mean(axis=sites) / len(attributes["lattice"]),
            "action": action.sum(axis=sites)}


def check_theory(name, fields, attributes):
    lattice = tuple(attributes["lattice"])
    if attributes["theory"] == "u1_wilson":
        shape, axes = (len(lattice), *lattice), "n,mu,"
        require(attributes["group"] == "U(1)" and "beta" in attributes, f"{name}: theory")
        require(np.all(np.abs(fields) <= np.pi * (1 + 1e-6)), f"{name}: angles out of range")
    elif attributes["theory"] == "sun_wilson":
        colours = int(attributes["colours"])
        shape, axes = (len(lattice), *lattice, colours, colours), "n,mu,"
        require(attributes["group"] == f"SU({colours})" and {"beta", "rectangle"} <= set(attributes), f"{name}: theory")
        unit = fields.astype(np.complex128) @ fields.astype(np.complex128).conj().swapaxes(-2, -1) - np.eye(colours)
        tolerance = 1e-13 if attributes["precision"] == "float64" else 1e-6
        require(np.max(np.abs(unit)) < tolerance, f"{name}: links are not unitary")
        require(np.max(np.abs(np.linalg.det(fields.astype(np.complex128)) - 1)) < tolerance, f"{name}: determinants are not 1")
    else:
        require(attributes["theory"] == "phi4" and {"hop", "quadratic", "quartic", "lambda"} <= set(attributes), f"{name}: theory")
        pair = attributes["components"] == 2
        shape, axes = ((2, *lattice), "n,component,") if pair else (lattice, "n,")
    convention = {"u1_wilson": 1, "phi4": 2, "sun_wilson": 3}[attributes["theory"]]
    require(attributes["convention_version"] == convention, f"{name}: conventions")
    require(fields.shape[1:] == shape, f"{name}: shape {fields.shape}")
    matrix = ",row,column" if attributes["theory"] == "sun_wilson" else ""
    require(attributes["axes"] == axes + ",".join("tzyx"[-len(lattice):]) + matrix, f"{name}: axes {attributes['axes']}")


def check(name, fields, columns, attributes):
    n = fields.shape[0]
    metropolis = attributes["mode"] == "METROPOLIS"
    check_theory(name, fields, attributes)
    dtype = attributes["precision"]
    if attributes["theory"] == "sun_wilson":
        dtype = {"float64": "complex128", "float32": "complex64"}[dtype]
    require(str(fields.dtype) == dtype, f"{name}: dtype {fields.dtype}")
    require(hashlib.sha256(np.ascontiguousarray(fields).tobytes()).hexdigest() == attributes["sha256"], f"{name}: fields' SHA-256")
    require(hashlib.sha256(attributes["target"].encode()).hexdigest() == attributes["target_digest"], f"{name}: target digest")
    require(len(attributes["model_digest"]) == 64, f"{name}: model digest")
    require(isinstance(int(attributes["seed"]), int), f"{name}: seed")
    for column in ("index", "log_weight", "log_q", "action", *attributes["observables"]):
        require(columns[column].shape == (n,), f"{name}: column {column}")
    require(np.all(np.diff(columns["index"].astype(np.int64)) > 0), f"{name}: indices do not ascend")
    log_weight = -columns["action"] - columns["log_q"]
    require(np.allclose(columns["log_weight"], log_weight, rtol=0, atol=1e-9), f"{name}: log_weight is not -S - log q")
    if metropolis:
        require(int(columns["multiplicity"].sum()) == int(attributes["steps"]), f"{name}: multiplicities do not add up")
    tolerance = 1e-12 if attributes["precision"] == "float64" else 1e-6
    recomputed = observables(fields, attributes)
    if attributes["model"] == "fake":
        recomputed.pop("action", None)  # made up
    known = [key for key in recomputed if key in attributes["observables"] or key == "action"]
    require(known or attributes["model"] != "fake", f"{name}: nothing to compare")
    for key in known:
        difference = np.max(np.abs(recomputed[key] - columns[key]) / (1 + np.abs(recomputed[key])))
        require(difference < tolerance, f"{name}: {key} differs by {difference}")
    print(f"{name}: {n} configurations, mode {attributes['mode']}, {fields.dtype}: good")


def check_hdf5(path):
    with h5py.File(path, "r") as file:
        attributes = {key: value for key, value in file.attrs.items()}
        dataset = attributes["dataset"]
        require(dataset == ("field" if attributes["theory"] == "phi4" else "links"), f"{path}: dataset {dataset}")
        require(file[dataset].chunks is not None, f"{path}: fields are not chunked")
        require(isinstance(attributes["axes"], str), f"{path}: strings are not strings")
        require(attributes["reliable"].dtype == bool, f"{path}: reliable is no Boolean")
        require(attributes["resume_token"].tobytes(), f"{path}: no resume token")
        require(("multiplicity" in file) == (attributes["mode"] == "METROPOLIS"), f"{path}: multiplicity")
        columns = {key: file[key][:] for key in file if key not in (dataset, "observables")}
        for key in file["observables"]:
            columns[key] = file["observables"][key][:]
        check(os.path.basename(path), file[dataset][:], columns, attributes)


def check_npy(path):
    stem = path[: -len(".npy")]
    with open(stem + ".json", encoding="utf-8") as text:
        attributes = json.load(text)
    fields = np.load(path, mmap_mode="r", allow_pickle=False)
    table = np.load(stem + ".table.npy", allow_pickle=False)
    require(bytes.fromhex(attributes["resume_token"]), f"{path}: no resume token")
    check(os.path.basename(path), np.asarray(fields), {key: table[key] for key in table.dtype.names}, attributes)


def check_file(path):
    (check_npy if path.endswith(".npy") else check_hdf5)(path)


def main(arguments):
    if arguments and arguments[0].endswith((".h5", ".hdf5", ".npy")):
        for path in arguments:
            check_file(path)
        return
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([arguments[0], directory], check=True)
        for name in ("chain.h5", "chain.npy", "weighted.hdf5", "weighted.npy", "scalar.h5", "scalar.npy", "pair.h5", "su3.h5", "su3.npy",
                     "su2.h5", "su2.npy"):
            check_file(os.path.join(directory, name))


if __name__ == "__main__":
    main(sys.argv[1:])
