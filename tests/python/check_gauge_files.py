"""ILDG and NERSC files against an independent reader (gauge_files.py): check_gauge_files.py WRITER runs WRITER DIRECTORY first.

Every link of every configuration is compared with the npy file of the same run, which is read by hand too; every number beside the
fields with that run's table.
"""
import ast
import glob
import hashlib
import json
import os
import struct
import subprocess
import sys
import tempfile

from gauge_files import Bad, read_ildg, read_nersc, require, sites


def read_npy(path):
    """(shape, bytes of the data, dtype)"""
    with open(path, "rb") as file:
        data = file.read()
    length = struct.unpack("<H", data[8:10])[0]
    header = ast.literal_eval(data[10 : 10 + length].decode("latin1"))
    return header["shape"], data[10 + length :], header["descr"]


class Run:
    """The run as npy files have it."""

    def __init__(self, path):
        self.shape, self.data, _ = read_npy(path)
        _, table, descr = read_npy(path[: -len(".npy")] + ".table.npy")
        code = "<" + "".join({"<u8": "Q", "<f8": "d"}[kind] for _, kind in descr)
        names = [name for name, _ in descr]
        self.rows = [dict(zip(names, row)) for row in struct.iter_unpack(code, table)]
        with open(path[: -len(".npy")] + ".json", encoding="utf-8") as file:
            self.attributes = json.load(file)
        nt, nz, ny, nx = self.shape[2:6]
        self.extents = (nx, ny, nz, nt)
        self.field_bytes = len(self.data) // len(self.rows)

    def field(self, n):
        """The bytes of configuration n, and the link at (x, y, z, t, mu): C order [mu][t][z][y][x][row][column]."""
        raw = self.data[n * self.field_bytes : (n + 1) * self.field_bytes]
        nx, ny, nz, nt = self.extents

        def link(x, y, z, t, mu):
            first = (((mu * nt + t) * nz + z) * ny + y) * nx + x
            numbers = struct.unpack("<18d", raw[144 * first : 144 * (first + 1)])
            return [[complex(*numbers[2 * (3 * i + j) : 2 * (3 * i + j) + 2]) for j in range(3)] for i in range(3)]

        return raw, link


def check_record(name, record, run, n, sha256):
    row = run.rows[n]
    for key in ("index", "multiplicity", "log_weight", "log_q", "action"):
        require(record[key] == row[key], f"{name}: {key}")
    for key in run.attributes["observables"]:
        require(record["values"][key] == row[key], f"{name}: {key}")
    for key in ("seed", "model", "model_digest", "target", "target_digest", "beta", "mode", "numerics_class", "group"):
        require(record[key] == run.attributes[key], f"{name}: {key}")
    require(record["sha256"] == sha256, f"{name}: sha256")


def check_field(name, extents, field, run, n, rebuilt):
    require(extents == run.extents, f"{name}: extents {extents}")
    _, link = run.field(n)
    for site in sites(extents):
        for mu in range(4):
            here, there = field[(*site, mu)], link(*site, mu)
            require(here[:2] == there[:2], f"{name}: link {mu} at {site}")
            if rebuilt:
                require(all(abs(a - b) < 1e-14 for a, b in zip(here[2], there[2])), f"{name}: third row of link {mu} at {site}")
            else:
                require(here[2] == there[2], f"{name}: link {mu} at {site}")


def check_ildg(path, run, n):
    extents, field, record, records = read_ildg(path)
    check_field(path, extents, field, run, n, rebuilt=False)
    check_record(path, record, run, n, hashlib.sha256(run.field(n)[0]).hexdigest())
    require(all(len(payload) < 100_000 or kind == "ildg-binary-data" for kind, payload, *_ in records), f"{path}: a large text")


def check_nersc(path, run, n, rebuilt):
    extents, field, header = read_nersc(path)
    check_field(path, extents, field, run, n, rebuilt)
    with open(path + ".json", encoding="utf-8") as file:
        record = json.load(file)
    check_record(path, record, run, n, record["sha256"] if rebuilt else hashlib.sha256(run.field(n)[0]).hexdigest())
    require(int(header["SEQUENCE_NUMBER"]) == run.rows[n]["index"], f"{path}: SEQUENCE_NUMBER")


def check_that_it_fails(path, reader):
    """The reader is no yes-man: a bit anywhere in the field is seen."""
    with open(path, "rb") as file:
        data = bytearray(file.read())
    altered = path + ".altered"
    for at in (len(data) // 3, len(data) // 2):
        data[at] ^= 1
        with open(altered, "wb") as file:
            file.write(data)
        try:
            reader(altered)
        except Bad:
            continue
        sys.exit(f"FAILED: an altered byte {at} of {path} was not seen")
    os.remove(altered)


def main(writer):
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([writer, directory], check=True)
        run = Run(os.path.join(directory, "gauge.npy"))
        require(len(set(run.extents)) == 4, "unequal extents")
        for stem, suffix in (("gauge", "lime"), ("gauge", "nersc"), ("rows", "nersc")):
            files = sorted(glob.glob(os.path.join(directory, f"{stem}.*.{suffix}")))
            require(len(files) == len(run.rows), f"{len(files)} files {stem}.*.{suffix}")
            for n, path in enumerate(files):
                if suffix == "lime":
                    check_ildg(path, run, n)
                else:
                    check_nersc(path, run, n, rebuilt=stem == "rows")
            check_that_it_fails(files[0], read_ildg if suffix == "lime" else read_nersc)
            with open(os.path.join(directory, f"{stem}.{suffix}.json"), encoding="utf-8") as file:
                whole = json.load(file)
            require(whole["index"] == [row["index"] for row in run.rows], f"{stem}.{suffix}.json: index")
            require(whole["resume_token"] == run.attributes["resume_token"], f"{stem}.{suffix}.json: resume token")
            print(f"{len(files)} files {stem}.*.{suffix}: every byte is as the description says")


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except Bad as bad:
        sys.exit(f"FAILED: {bad}")
