"""check_kubernetes.py SOURCE_DIR: renders deploy/kubernetes and checks it: every object against Kubernetes' own schemas (package
kubernetes-validate; said when it is not there), and what schemas cannot know: probes, times, labels, arguments that the server takes."""
import pathlib
import re
import sys

import yaml

from kustomize import containers, pod_spec, render

CUSTOM = {"PodMonitor"}  # has no schema in Kubernetes itself
VERSION = "1.31"


class Checker:
    def __init__(self, objects, flags, tls):
        self.objects, self.flags, self.tls, self.problems = objects, flags, tls, []

    def expect(self, condition, text):
        if not condition:
            self.problems.append(text)

    def named(self, kind, name):
        found = [o for o in self.objects if o["kind"] == kind and o["metadata"]["name"] == name]
        self.expect(len(found) == 1, f"{len(found)} objects {kind} {name}")
        return found[0]

    def deployment(self, thing):
        name, spec = thing["metadata"]["name"], pod_spec(thing)
        labels = thing["spec"]["template"]["metadata"]["labels"]
        self.expect(thing["spec"]["selector"]["matchLabels"].items() <= labels.items(), f"{name}: its selector does not select its pods")
        self.expect(spec["securityContext"]["runAsNonRoot"] is True, f"{name}: may run as root")
        volumes = {v["name"] for v in spec.get("volumes", [])}
        for container in containers(thing):
            where = f"{name}/{container['name']}"
            security = container["securityContext"]
            self.expect(security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"] and
                        security["capabilities"] == {"drop": ["ALL"]}, f"{where}: not restricted")
            self.expect("memory" in container["resources"]["limits"], f"{where}: no memory limit")
            self.expect(":" in container["image"], f"{where}: image without a version")
            mounts = {m["name"] for m in container.get("volumeMounts", [])}
            self.expect(mounts <= volumes, f"{where}: mounts {mounts - volumes}, which are no volumes")
            if container["name"] == "server":
                self.server(where, spec, container)

    def server(self, where, spec, container):
        flags = dict((a.lstrip("-").split("=", 1) + [""])[:2] for a in container["args"])
        for flag in flags:
            self.expect(flag in self.flags, f"{where}: the server has no --{flag}")
        drain = sum(float(flags.get(f, d)) for f, d in (("grace-seconds", 0), ("drain-seconds", 30)))
        drain += float(container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["", "0"])[1])
        # 10 s: the watchdog behind the drain.
        self.expect(spec["terminationGracePeriodSeconds"] >= drain + 10,
                    f"{where}: terminationGracePeriodSeconds {spec['terminationGracePeriodSeconds']}, a drain lasts {drain} and 10 s")
        ports = {p["name"]: p["containerPort"] for p in container["ports"]}
        self.expect(flags["listen"].endswith(f":{ports['grpc']}") and flags["metrics"].endswith(f":{ports['metrics']}"), f"{where}: ports")
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if self.tls:
                command = container[probe]["exec"]["command"]
                self.expect(command[0] == "haarflow" and command[-1] == "healthcheck" and f"--server=localhost:{ports['grpc']}" in command and
                            {c.split("=")[0] for c in command if c.startswith("--tls")} == {"--tls-ca", "--tls-cert", "--tls-key"}, f"{where}: {probe}")
            else:
                self.expect(container[probe]["grpc"]["port"] == ports["grpc"], f"{where}: {probe}")
        self.expect(("insecure" in flags) != ({"tls-cert", "tls-key", "tls-client-ca"} <= flags.keys()), f"{where}: insecure, or all of TLS")
        self.expect(self.tls != ("insecure" in flags), f"{where}: {'insecure in spite of TLS' if self.tls else 'TLS, which was not meant'}")
        mounts = {m["mountPath"]: m for m in container["volumeMounts"]}
        store = next((m for p, m in mounts.items() if flags["store"].startswith(p)), {})
        self.expect(flags["role"] != "sampler" or store.get("readOnly") is True, f"{where}: a sampler's store is not read-only")

    def certificates(self):
        """Every file below /tls that is named is one that the init container copies there, from the secret."""
        for thing in self.objects:
            for container in containers(thing):
                named = set(re.findall(r"/tls/[a-z.]+", " ".join([*container.get("args", []), *str(container.get("readinessProbe", "")).split()])))
                copied = {f"/tls/{name}" for name in ("tls.crt", "tls.key", "ca.crt")}
                self.expect(named <= copied, f"{container['name']}: {named - copied}")
                self.expect(not named or any(m["mountPath"] == "/tls" for m in container["volumeMounts"]), f"{container['name']}: /tls is not mounted")
            if pod_spec(thing):
                first = pod_spec(thing)["initContainers"][0]
                self.expect(first["name"] == "certificates" and "chmod 600 /tls/tls.key" in first["command"][-1], "the key is not made the server's own")
                secrets = [v["secret"] for v in pod_spec(thing)["volumes"] if "secret" in v]
                self.expect([s["secretName"] for s in secrets] == ["haarflow-tls"], f"secrets: {secrets}")

    def whole(self):
        for thing in self.objects:
            if thing["kind"] == "Deployment":
                self.deployment(thing)
        pods = [o["spec"]["template"]["metadata"]["labels"] for o in self.objects if o["kind"] == "Deployment"]
        for thing in self.objects:
            name = f"{thing['kind']} {thing['metadata']['name']}"
            if thing["kind"] == "Service":
                self.expect(any(thing["spec"]["selector"].items() <= p.items() for p in pods), f"{name} selects no pods")
            if thing["kind"] == "PodDisruptionBudget":
                self.expect(any(thing["spec"]["selector"]["matchLabels"].items() <= p.items() for p in pods), f"{name} selects no pods")
        self.expect(self.named("Service", "haarflow-samplers")["spec"].get("clusterIP") == "None", "the samplers' service is not headless")
        scaled = self.named("HorizontalPodAutoscaler", "haarflow-sampler")["spec"]
        sampler = self.named("Deployment", scaled["scaleTargetRef"]["name"])
        self.expect("replicas" not in sampler["spec"], "replicas of the samplers belong to the autoscaler")
        self.expect(scaled["metrics"][0]["pods"]["metric"]["name"] == "haarflow_queue_depth", "not scaled on queue depth")
        self.expect(scaled["minReplicas"] > 1, "one sampler, and a disruption budget of one")


def schema_problems(objects):
    try:
        import kubernetes_validate
    except ImportError:
        print("kubernetes-validate is not installed: only our own checks")
        return []
    problems = []
    for thing in objects:
        if thing["kind"] in CUSTOM:
            continue
        try:
            kubernetes_validate.validate(thing, VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            where = "/".join(map(str, error.path))
            problems.append(f"{thing['kind']} {thing['metadata']['name']}: {where}: {error.message}")
    print(f"{sum(o['kind'] not in CUSTOM for o in objects)} objects against the strict schemas of Kubernetes {VERSION}")
    return problems


def main():
    root = pathlib.Path(sys.argv[1])
    flags = set(re.findall(r'"--([a-z-]+)[,"]', (root / "server/config/server_config.cc").read_text()))
    problems = []
    for directory in ("base", "overlays/gpu", "overlays/tls"):
        objects = render(root / "deploy/kubernetes" / directory)
        print(f"deploy/kubernetes/{directory}: {', '.join(sorted(o['kind'] + ' ' + o['metadata']['name'] for o in objects))}")
        checker = Checker(objects, flags, directory.endswith("tls"))
        checker.whole()
        if checker.tls:
            checker.certificates()
        gpu = [c["resources"]["limits"].get("nvidia.com/gpu") for o in objects for c in containers(o) if "--device=cuda:0" in c.get("args", [])]
        checker.expect(gpu == (["1"] if "gpu" in directory else []), f"GPU limits: {gpu}")
        problems += [f"{directory}: {p}" for p in schema_problems(objects) + checker.problems]
        yaml.safe_dump_all(objects)
    if problems:
        sys.exit("\n".join(problems))


main()
