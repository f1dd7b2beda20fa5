"""What the custom resources that we use may say: the part of their definitions that our files touch.

Kubernetes' own schemas do not know them. Written from the documentation of KEDA 2.21 and of the Prometheus operator;
unknown fields are errors, because a cluster drops them silently.
"""

from typing import Any

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}


def _object(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1}


def _resource(version: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    head = {"apiVersion": {"const": version}, "kind": {"const": kind}, "metadata": {"type": "object"}}
    return _object(("apiVersion", "kind", "metadata", "spec"), **head, spec=spec)


_POLICY = _object(
    ("type", "value", "periodSeconds"), type={"enum": ["Pods", "Percent"]}, value=_COUNT, periodSeconds=_COUNT
)
_DIRECTION = _object(
    stabilizationWindowSeconds={"type": "integer", "minimum": 0, "maximum": 3600},
    selectPolicy={"enum": ["Max", "Min", "Disabled"]},
    policies=_list(_POLICY),
)
_AUTOSCALER = _object(name=_TEXT, behavior=_object(scaleUp=_DIRECTION, scaleDown=_DIRECTION))
_PROMETHEUS = _object(
    ("serverAddress", "query", "threshold"),
    serverAddress=_TEXT,
    query=_TEXT,
    threshold=_TEXT,
    activationThreshold=_TEXT,
    ignoreNullValues={"enum": ["true", "false"]},
)
_REDIS = _object(("address", "listName"), address=_TEXT, listName=_TEXT, listLength=_TEXT, activationListLength=_TEXT)


def _trigger(kind: str, metadata: dict[str, Any]) -> dict[str, Any]:
    return _object(
        ("type", "metadata"),
        type={"const": kind},
        metadata=metadata,
        metricType={"enum": ["AverageValue", "Value"]},
        authenticationRef=_object(("name",), name=_TEXT),
    )


_SCALED_OBJECT = _object(
    ("scaleTargetRef", "triggers"),
    scaleTargetRef=_object(("name",), apiVersion=_TEXT, kind=_TEXT, name=_TEXT),
    pollingInterval=_COUNT,
    cooldownPeriod=_COUNT,
    minReplicaCount=_COUNT,
    maxReplicaCount=_COUNT,
    fallback=_object(
        ("failureThreshold", "replicas"),
        failureThreshold=_COUNT,
        replicas=_COUNT,
        behavior={"enum": ["static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"]},
    ),
    advanced=_object(horizontalPodAutoscalerConfig=_AUTOSCALER),
    triggers=_list({"oneOf": [_trigger("prometheus", _PROMETHEUS), _trigger("redis", _REDIS)]}),
)
_AUTHENTICATION = _object(
    ("secretTargetRef",),
    secretTargetRef=_list(_object(("parameter", "name", "key"), parameter=_TEXT, name=_TEXT, key=_TEXT)),
)
_ENDPOINT = _object(
    ("port",),
    port=_TEXT,
    path=_TEXT,
    interval=_TEXT,
    authorization=_object(credentials=_object(("name", "key"), name=_TEXT, key=_TEXT)),
    relabelings=_list(_object(targetLabel=_TEXT, replacement=_TEXT)),
)
_POD_MONITOR = _object(
    ("selector", "podMetricsEndpoints"),
    selector=_object(matchLabels={"type": "object"}),
    podMetricsEndpoints=_list(_ENDPOINT),
)

SCHEMAS = {
    "ScaledObject": _resource("keda.sh/v1alpha1", "ScaledObject", _SCALED_OBJECT),
    "TriggerAuthentication": _resource("keda.sh/v1alpha1", "TriggerAuthentication", _AUTHENTICATION),
    "PodMonitor": _resource("monitoring.coreos.com/v1", "PodMonitor", _POD_MONITOR),
}
