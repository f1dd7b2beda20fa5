"""The manifests are what Kubernetes takes, in the namespace of a careful operator."""

import copy
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.deployment.custom_resources import SCHEMAS
from tests.deployment.files import IMAGES, KUBERNETES, command_of, image_environment, kustomizations, manifests

OLDEST, NEWEST = "1.29", kubernetes_validate.latest_version()
MANIFESTS = list(manifests())
IDS = [f"{path}:{one['kind']}:{one['metadata']['name']}" for path, one in MANIFESTS]
WORKLOADS = {one["metadata"]["name"]: one for _, one in MANIFESTS if "template" in one.get("spec", {})}
needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


def check_schema(manifest: dict[str, Any], version: str) -> None:
    """Raise where a manifest is not of its kind's schema; unknown fields count."""
    if manifest["kind"] in SCHEMAS:
        jsonschema.validate(manifest, SCHEMAS[manifest["kind"]])
    else:
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("manifest", [one for _, one in MANIFESTS], ids=IDS)
def test_every_manifest_is_of_its_schema(manifest: dict[str, Any], version: str) -> None:
    check_schema(manifest, version)


@pytest.mark.parametrize("manifest", [one for _, one in MANIFESTS], ids=IDS)
def test_a_field_that_does_not_exist_is_found(manifest: dict[str, Any]) -> None:
    wrong = {**manifest, "spec": {**manifest["spec"], "replicaz": 2}}
    with pytest.raises((kubernetes_validate.ValidationError, jsonschema.ValidationError)):
        check_schema(wrong, NEWEST)


def pod(workload: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = workload["spec"]["template"]["spec"]
    return found


def containers(workload: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pod(workload)["containers"]
    return found


Rule = Callable[[dict[str, Any]], bool]
# The first five are what the Pod Security Standard `restricted` asks for.
POD_RULES: dict[str, Rule] = {
    "runs as somebody": lambda one: (
        pod(one)["securityContext"].get("runAsNonRoot") is True and pod(one)["securityContext"]["runAsUser"] > 0
    ),
    "has the runtime's seccomp profile": lambda one: (
        pod(one)["securityContext"].get("seccompProfile", {}).get("type") == "RuntimeDefault"
    ),
    "gains no privileges": lambda one: all(
        box["securityContext"].get("allowPrivilegeEscalation") is False for box in containers(one)
    ),
    "has no capabilities": lambda one: all(
        box["securityContext"].get("capabilities") == {"drop": ["ALL"]} for box in containers(one)
    ),
    "shares nothing with its host": lambda one: (
        not {"hostNetwork", "hostPID", "hostIPC"} & set(pod(one))
        and all({"hostPath"}.isdisjoint(volume) for volume in pod(one).get("volumes", []))
    ),
    "writes to volumes only": lambda one: all(
        box["securityContext"].get("readOnlyRootFilesystem") is True for box in containers(one)
    ),
    "has no account": lambda one: pod(one).get("automountServiceAccountToken") is False,
    "gets no variables from Services": lambda one: pod(one).get("enableServiceLinks") is False,
    "says what it needs": lambda one: all(
        {"cpu", "memory"} <= set(box["resources"]["requests"]) and "memory" in box["resources"]["limits"]
        for box in containers(one)
    ),
    "is given time to end": lambda one: pod(one).get("terminationGracePeriodSeconds", 0) >= 20,
    "is probed": lambda one: all({"startupProbe", "readinessProbe"} <= set(box) for box in containers(one)),
    "keeps secrets by reference": lambda one: all(
        "value" not in entry
        for box in containers(one)
        for entry in box.get("env", [])
        if any(word in entry["name"] for word in ("SECRET", "PASSWORD", "REDIS_URL"))
    ),
}


@pytest.mark.parametrize("name", list(WORKLOADS))
def test_every_workload_is_confined(name: str) -> None:
    assert [words for words, rule in POD_RULES.items() if not rule(WORKLOADS[name])] == []


def without(path: str) -> Callable[[dict[str, Any]], None]:
    def remove(workload: dict[str, Any]) -> None:
        *ancestors, last = path.split(".")
        place: Any = pod(workload)
        for name in ancestors:
            place = place[int(name) if name.isdigit() else name]
        del place[last]

    return remove


BREAKS: dict[str, Callable[[dict[str, Any]], None]] = {
    "runs as somebody": without("securityContext.runAsNonRoot"),
    "has the runtime's seccomp profile": without("securityContext.seccompProfile"),
    "gains no privileges": without("containers.0.securityContext.allowPrivilegeEscalation"),
    "has no capabilities": without("containers.0.securityContext.capabilities"),
    "shares nothing with its host": lambda one: pod(one).update(hostNetwork=True),
    "writes to volumes only": without("containers.0.securityContext.readOnlyRootFilesystem"),
    "has no account": without("automountServiceAccountToken"),
    "gets no variables from Services": without("enableServiceLinks"),
    "says what it needs": without("containers.0.resources.limits.memory"),
    "is given time to end": without("terminationGracePeriodSeconds"),
    "is probed": without("containers.0.readinessProbe"),
    "keeps secrets by reference": lambda one: containers(one)[0]["env"].append(
        {"name": "RISE_WEBHOOK_SECRET", "value": "hunter2"}
    ),
}


@pytest.mark.parametrize("words", list(POD_RULES))
def test_every_rule_is_seen_to_be_broken(words: str) -> None:
    broken = copy.deepcopy(WORKLOADS["rise-app"])
    BREAKS[words](broken)
    assert [name for name, rule in POD_RULES.items() if not rule(broken)] == [words]


def test_what_an_image_writes_is_a_volume() -> None:
    for workload in WORKLOADS.values():
        for box in containers(workload):
            if box["image"] in IMAGES:
                environment = image_environment(IMAGES[box["image"]])
                mounted = {mount["mountPath"] for mount in box["volumeMounts"]}
                assert {environment["HOME"], environment.get("XDG_CACHE_HOME", "/tmp")} <= mounted


def test_probes_are_the_checks_that_the_images_carry() -> None:
    healthcheck = command_of(IMAGES["rise-serve-workers"], "HEALTHCHECK")
    box = containers(WORKLOADS["rise-worker"])[0]
    probes = [box[name]["exec"]["command"] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert probes == [healthcheck] * 3


def test_kustomizations_name_every_file_and_no_other() -> None:
    for folder, found in kustomizations().items():
        resources = {name for name in found.get("resources", []) if not name.startswith("..")}
        there = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml", "without-prometheus.yaml"}
        assert resources == there, folder.name


def labels(workload: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return found


def selectors(name: str) -> Iterator[dict[str, str]]:
    for _, one in MANIFESTS:
        if one["kind"] == name:
            yield one["spec"]["selector"].get("matchLabels", one["spec"]["selector"])


@pytest.mark.parametrize("kind", ["Service", "PodDisruptionBudget", "PodMonitor"])
def test_what_selects_pods_finds_some(kind: str) -> None:
    for selector in selectors(kind):
        assert any(selector.items() <= labels(workload).items() for workload in WORKLOADS.values())


def test_every_workload_has_its_own_rule_for_the_network_beside_the_one_that_denies() -> None:
    policies = [one["spec"] for _, one in MANIFESTS if one["kind"] == "NetworkPolicy"]
    assert {
        "podSelector": {"matchLabels": {"app.kubernetes.io/part-of": "rise-serve"}},
        "policyTypes": ["Ingress", "Egress"],
    } in policies
    named = {name for one in policies for name in one["podSelector"]["matchLabels"].values()}
    assert named == {*WORKLOADS, "rise-serve"}


def test_every_workload_may_ask_the_server_and_the_server_lets_each_in() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for _, one in MANIFESTS if one["kind"] == "NetworkPolicy"}
    clients = set(WORKLOADS) - {"rise-valkey"}
    to_server = [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "rise-valkey"}}}]
    port = containers(WORKLOADS["rise-valkey"])[0]["ports"][0]["containerPort"]
    assert all(
        {"to": to_server, "ports": [{"protocol": "TCP", "port": port}]} in policies[one]["egress"] for one in clients
    )
    let_in = policies["rise-valkey"]["ingress"][0]["from"][0]["podSelector"]["matchExpressions"][0]["values"]
    assert set(let_in) == clients


def rendered(folder: Path) -> list[dict[str, Any]]:
    found = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return list(yaml.safe_load_all(found.stdout))


@needs_kubectl
def test_everything_together_renders_to_manifests_of_their_schemas(tmp_path: Path) -> None:
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    overlay = {"resources": ["../gpu"], "components": ["../keda", "../monitoring"]}
    (tmp_path / "kubernetes" / "all").mkdir()
    (tmp_path / "kubernetes" / "all" / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    found = rendered(tmp_path / "kubernetes" / "all")
    for manifest in found:
        check_schema(manifest, NEWEST)
    worker = next(one for one in found if one["kind"] == "Deployment" and one["metadata"]["name"] == "rise-worker")
    assert containers(worker)[0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert containers(worker)[0]["image"].endswith("-cuda")
    assert {"name": "RISE_DEVICE", "value": "cuda"} in containers(worker)[0]["env"]
    assert {entry["name"] for entry in containers(worker)[0]["env"]} >= {"RISE_REDIS_URL", "OMP_NUM_THREADS"}
