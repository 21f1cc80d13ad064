"""An independent reader of ILDG/LIME and NERSC files of SU(3) gauge fields, from the formats' descriptions alone: standard library only.

A field is a dictionary {(x, y, z, t, mu): [[complex] * 3] * 3}.
"""
import json
import struct
import xml.etree.ElementTree as xml
import zlib


class Bad(Exception):
    """What a file says of itself is not so."""


def require(condition, message):
    if not condition:
        raise Bad(message)


# ---------------------------------------------------------------------------------------------------------------- LIME


def lime_records(data):
    """[(type, payload, message begins, message ends)]; checks every byte between the payloads."""
    records, at = [], 0
    while at < len(data):
        require(len(data) - at >= 144, "a LIME header is cut")
        magic, version, flags, reserved, length = struct.unpack(">IHBBQ", data[at : at + 16])
        require(magic == 0x456789AB and version == 1, "magic or version")
        require(flags & 0x3F == 0 and reserved == 0, "reserved bits")
        name = data[at + 16 : at + 144]
        kind = name.split(b"\0", 1)[0]
        require(name == kind.ljust(128, b"\0") and len(kind) <= 127, "the type is not padded by zeros")
        payload = data[at + 144 : at + 144 + length]
        require(len(payload) == length, "a payload is cut")
        padding = data[at + 144 + length : at + 144 + length + (8 - length % 8) % 8]
        require(len(padding) == (8 - length % 8) % 8 and not any(padding), "padding")
        records.append((kind.decode("ascii"), payload, bool(flags & 0x80), bool(flags & 0x40)))
        at += 144 + length + len(padding)
    require(records and records[0][2] and records[-1][3], "the first record begins a message, the last ends one")
    for one, other in zip(records, records[1:]):
        require(one[3] == other[2], "the end of a message is the begin of the next")
    return records


def lime_bytes(records):
    """The file that these records make."""
    out = b""
    for kind, payload, begins, ends in records:
        out += struct.pack(">IHBBQ", 0x456789AB, 1, 0x80 * begins + 0x40 * ends, 0, len(payload))
        out += kind.encode("ascii").ljust(128, b"\0") + payload + bytes(-len(payload) % 8)
    return out


# --------------------------------------------------------------------------------------------------------------- fields


def sites(extents):
    """(x, y, z, t) with x fastest and t slowest: the order in files."""
    nx, ny, nz, nt = extents
    return [(x, y, z, t) for t in range(nt) for z in range(nz) for y in range(ny) for x in range(nx)]


def decode(data, extents, rows, code):
    """`code`: struct's for one number, with its byte order."""
    size = struct.calcsize(code)
    per_link = 6 * rows
    require(len(data) == len(sites(extents)) * 4 * per_link * size, "the field has another size")
    numbers = struct.unpack(code[0] + str(len(data) // size) + code[1], data)
    field, at = {}, 0
    for site in sites(extents):
        for mu in range(4):
            flat = [complex(numbers[at + 2 * k], numbers[at + 2 * k + 1]) for k in range(3 * rows)]
            link = [flat[3 * row : 3 * row + 3] for row in range(rows)]
            if rows == 2:
                (a, b, c), (d, e, f) = link
                link.append([(b * f - c * e).conjugate(), (c * d - a * f).conjugate(), (a * e - b * d).conjugate()])
            field[(*site, mu)] = link
            at += per_link
    return field


def multiply(a, b):
    return [[sum(a[i][k] * b[k][j] for k in range(3)) for j in range(3)] for i in range(3)]


def adjoint(a):
    return [[a[j][i].conjugate() for j in range(3)] for i in range(3)]


def traces(field, extents):
    """Means of Re Tr / 3: plaquettes, links."""
    plaquettes, links = [], []
    for site in sites(extents):
        ahead = [tuple((c + (k == mu)) % extents[k] for k, c in enumerate(site)) for mu in range(4)]
        for mu in range(4):
            links.append(sum(field[(*site, mu)][i][i].real for i in range(3)) / 3)
            for nu in range(mu + 1, 4):
                there = multiply(field[(*site, mu)], field[(*ahead[mu], nu)])
                back = multiply(field[(*site, nu)], field[(*ahead[nu], mu)])
                loop = multiply(there, adjoint(back))
                plaquettes.append(sum(loop[i][i].real for i in range(3)) / 3)
    return sum(plaquettes) / len(plaquettes), sum(links) / len(links)


def rotate(word, by):
    return ((word << by) | (word >> (32 - by))) & 0xFFFFFFFF if by else word


def scidac_sums(data, site_bytes):
    suma = sumb = 0
    for rank in range(len(data) // site_bytes):
        crc = zlib.crc32(data[rank * site_bytes : (rank + 1) * site_bytes])
        suma ^= rotate(crc, rank % 29)
        sumb ^= rotate(crc, rank % 31)
    return suma, sumb


# ---------------------------------------------------------------------------------------------------------------- files


def read_ildg(path):
    """(extents x y z t, field, haarflow's record or None, all records)"""
    with open(path, "rb") as file:
        data = file.read()
    records = lime_records(data)
    require(lime_bytes(records) == data, "the records do not make the file")
    payloads = {kind: payload for kind, payload, _, _ in records}
    order = [kind for kind, *_ in records]
    require(order.index("ildg-format") < order.index("ildg-binary-data"), "ildg-format comes before the field")
    require(payloads["ildg-data-lfn"].startswith(b"lfn://"), "logical file name")
    name = "{http://www.lqcd.org/ildg}"
    form = xml.fromstring(payloads["ildg-format"])
    require(form.tag == name + "ildgFormat" and form.find(name + "field").text == "su3gauge", "ildg-format")
    require(form.find(name + "precision").text == "64" and form.find(name + "version").text == "1.0", "precision and version")
    extents = tuple(int(form.find(name + key).text) for key in ("lx", "ly", "lz", "lt"))
    field = decode(payloads["ildg-binary-data"], extents, 3, ">d")
    sums = xml.fromstring(payloads["scidac-checksum"])
    suma, sumb = scidac_sums(payloads["ildg-binary-data"], 576)
    require((int(sums.find("suma").text, 16), int(sums.find("sumb").text, 16)) == (suma, sumb), "scidac-checksum")
    info = xml.fromstring(payloads["scidac-record-xml"])
    plaquette, link_trace = traces(field, extents)
    require(abs(float(info.find("plaq").text) - plaquette) < 1e-13, "plaq")
    require(abs(float(info.find("linktr").text) - link_trace) < 1e-13, "linktr")
    private = xml.fromstring(payloads["scidac-private-record-xml"])
    require((private.find("typesize").text, private.find("datacount").text, private.find("colors").text) == ("144", "4", "3"), "scidacRecord")
    dims = xml.fromstring(payloads["scidac-private-file-xml"]).find("dims").text
    require(tuple(map(int, dims.split())) == extents, "dims")
    own = payloads.get("haarflow-configuration")
    return extents, field, json.loads(own) if own else None, records


def read_nersc(path):
    """(extents x y z t, field, header)"""
    with open(path, "rb") as file:
        data = file.read()
    end = data.index(b"END_HEADER\n") + len(b"END_HEADER\n")
    lines = data[:end].decode("ascii").split("\n")
    require(lines[0] == "BEGIN_HEADER", "begins with BEGIN_HEADER")
    header = dict(line.split(" = ", 1) for line in lines[1:-2])
    rows = {"4D_SU3_GAUGE_3x3": 3, "4D_SU3_GAUGE": 2}[header["DATATYPE"]]
    require(header["FLOATING_POINT"] == "IEEE64BIG", "FLOATING_POINT")
    require(all(header[f"BOUNDARY_{i}"] == "PERIODIC" for i in range(1, 5)), "boundaries")
    extents = tuple(int(header[f"DIMENSION_{i}"]) for i in range(1, 5))
    words = struct.unpack(f">{(len(data) - end) // 4}I", data[end:])
    require(int(header["CHECKSUM"], 16) == sum(words) % 2**32, "CHECKSUM")
    field = decode(data[end:], extents, rows, ">d")
    plaquette, link_trace = traces(field, extents)
    require("." in header["PLAQUETTE"] and abs(float(header["PLAQUETTE"]) - plaquette) < 1e-13, "PLAQUETTE")
    require("." in header["LINK_TRACE"] and abs(float(header["LINK_TRACE"]) - link_trace) < 1e-13, "LINK_TRACE")
    return extents, field, header
