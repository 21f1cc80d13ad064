"""What `kubectl kustomize` renders, for the part of the format that deploy/kubernetes uses: resources, namespace, labels, images, and JSON
patches of targets. Anything else in a kustomization is an error here, so that nothing is silently left out."""
import copy
import pathlib
import re

import yaml

KNOWN = {"apiVersion", "kind", "namespace", "labels", "resources", "images", "patches"}


class KustomizeError(Exception):
    pass


def render(directory):
    directory = pathlib.Path(directory)
    kustomization = yaml.safe_load((directory / "kustomization.yaml").read_text())
    if unknown := set(kustomization) - KNOWN:
        raise KustomizeError(f"{directory}: not understood here: {', '.join(sorted(unknown))}")
    objects = []
    for resource in kustomization.get("resources", []):
        path = directory / resource
        objects += render(path) if path.is_dir() else [o for o in yaml.safe_load_all(path.read_text()) if o]
    # Without YAML's shared nodes: a patch of one is not one of the other.
    objects = [copy.deepcopy(o) for o in objects]
    for patch in kustomization.get("patches", []):
        apply_patch(objects, patch)
    for thing in objects:
        if "namespace" in kustomization and thing["kind"] != "Namespace":
            thing["metadata"]["namespace"] = kustomization["namespace"]
        for entry in kustomization.get("labels", []):
            thing["metadata"].setdefault("labels", {}).update(entry["pairs"])
        for container in containers(thing):
            for image in kustomization.get("images", []):
                name = container["image"].split(":")[0]
                if name == image["name"]:
                    container["image"] = f"{image.get('newName', name)}:{image['newTag']}"
    return objects


def pod_spec(thing):
    return thing["spec"]["template"]["spec"] if thing["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job") else None


def containers(thing):
    spec = pod_spec(thing)
    return spec.get("initContainers", []) + spec["containers"] if spec else []


def apply_patch(objects, patch):
    kind, name = patch["target"]["kind"], patch["target"]["name"]
    chosen = [o for o in objects if o["kind"] == kind and re.fullmatch(name, o["metadata"]["name"])]
    if not chosen:
        raise KustomizeError(f"a patch is for {kind} {name}, which is not there")
    for thing in chosen:
        for operation in yaml.safe_load(patch["patch"]):
            apply_operation(thing, operation)


def apply_operation(thing, operation):
    *parents, last = [p.replace("~1", "/").replace("~0", "~") for p in operation["path"].strip("/").split("/")]
    for part in parents:
        thing = thing[int(part)] if isinstance(thing, list) else thing[part]
    key = last if isinstance(thing, dict) else len(thing) if last == "-" else int(last)
    there = key in thing if isinstance(thing, dict) else key < len(thing)
    value = copy.deepcopy(operation.get("value"))
    if operation["op"] == "replace" and there:
        thing[key] = value
    elif operation["op"] == "add":
        thing.insert(key, value) if isinstance(thing, list) else thing.__setitem__(key, value)
    elif operation["op"] == "remove" and there:
        del thing[key]
    else:
        raise KustomizeError(f"cannot {operation['op']} {operation['path']}")
