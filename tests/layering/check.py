#!/usr/bin/env python3
"""Every #include "core|server|client/..." must belong to the library itself or to one that it links, directly or not."""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
sources, links, owner = {}, {}, {}  # target -> files, target -> linked targets, file -> target

for cmake in list(root.glob("core/**/CMakeLists.txt")) + list(root.glob("server/**/CMakeLists.txt")) + list(root.glob("client/**/CMakeLists.txt")):
    text = re.sub(r"#.*", "", cmake.read_text())
    folder = cmake.parent.relative_to(root)
    for call in re.finditer(r"haarflow_library\(\s*(\w+)(.*?)\)", text, re.S):
        name, body = call.group(1), call.group(2)
        words = re.split(r"\s+", body.strip())
        mode = None
        sources[name], links[name] = set(), set()
        for word in words:
            if word in ("SOURCES", "DEPS", "PRIVATE_DEPS"):
                mode = word
            elif mode == "SOURCES":
                sources[name].add(str(folder / word))
            else:
                links[name].add(word)

# A header belongs to the library whose source has its name; one without a source to the first library of its folder.
for name, files in sources.items():
    for f in files:
        owner[f] = name
        header = root / (f.rsplit(".", 1)[0] + ".h")
        if header.exists():
            owner[str(header.relative_to(root))] = name
for name, files in sources.items():
    for folder in {str(pathlib.Path(f).parent) for f in files}:
        for header in (root / folder).glob("*.h"):
            owner.setdefault(str(header.relative_to(root)), name)


def reachable(name, seen=None):
    seen = set() if seen is None else seen
    for other in links.get(name, ()):
        if other not in seen:
            seen.add(other)
            reachable(other, seen)
    return seen


errors = []
for path, name in sorted(owner.items()):
    for include in re.findall(r'^#include "((?:core|server|client)/[^"]+)"', (root / path).read_text(), re.M):
        if include not in owner:
            if not (root / include).exists():
                errors.append(f"{path}: {include} does not exist")
            continue
        if owner[include] != name and owner[include] not in reachable(name):
            errors.append(f"{path} ({name}) includes {include} of {owner[include]}, which it does not link")
print("\n".join(errors) if errors else f"{len(owner)} files of {len(sources)} libraries include only what they link")
sys.exit(bool(errors))
