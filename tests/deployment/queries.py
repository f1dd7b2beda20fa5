"""What a PromQL expression asks for: metrics, and the labels that they must have."""

from typing import Any, NamedTuple

import promql_parser


class Asked(NamedTuple):
    """One metric of an expression, and the labels that it is matched or grouped by."""

    metric: str
    labels: frozenset[str]


def asked_for(expression: str) -> list[Asked]:
    """Return every metric of an expression.

    Raises:
        ValueError: if it is not PromQL.
    """
    return _below(promql_parser.parse(expression.replace("$__rate_interval", "5m")), frozenset())


def _below(node: Any, groups: frozenset[str]) -> list[Asked]:
    if isinstance(node, promql_parser.MatrixSelector):
        return _below(node.vector_selector, groups)
    if isinstance(node, promql_parser.VectorSelector):
        return [Asked(str(node.name), groups | {matcher.name for matcher in node.matchers.matchers})]
    if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
        groups = groups | frozenset(node.modifier.labels)
    return [one for child in _children(node) for one in _below(child, groups)]


def _children(node: Any) -> list[Any]:
    if isinstance(node, promql_parser.Call):
        return list(node.args)
    if isinstance(node, promql_parser.BinaryExpr):
        return [node.lhs, node.rhs]
    if isinstance(node, (promql_parser.NumberLiteral, promql_parser.StringLiteral)):
        return []
    return [node.expr]
