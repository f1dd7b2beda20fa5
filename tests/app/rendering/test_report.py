import re

import httpx2
import pytest

from tests.conftest import SAMPLES


@pytest.fixture(scope="module")
def explained(http: httpx2.Client) -> dict[str, object]:
    fields = {"model": "shapes", "masks": "512", "seed": "302"}  # its own, because it is audited here
    with (SAMPLES / "star.jpg").open("rb") as image:
        answer = http.post(
            "/v1/explanations", data=fields, files={"image": image}, headers={"Prefer": "wait=60"}, timeout=90
        )
    body: dict[str, object] = answer.json()
    return body


def test_a_report_holds_pictures_figures_parameters_and_provenance(
    http: httpx2.Client, explained: dict[str, object]
) -> None:
    answer = http.get(f"/v1/explanations/{explained['id']}/report.html")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    for text in (
        "\u201cstar\u201d",
        "Reliability",
        "change of the probability",
        "(standard error)",
        str(explained["id"]),
    ):
        assert text in answer.text
    assert len(re.findall(r'src="data:image/(?:jpeg|png);base64,[A-Za-z0-9+/=]{80,}"', answer.text)) == 3


def test_a_report_needs_nothing_else_and_runs_nothing(http: httpx2.Client, explained: dict[str, object]) -> None:
    answer = http.get(f"/v1/explanations/{explained['id']}/report.html")
    assert re.findall(r'(?:src|href)="(?!data:)', answer.text) == []
    assert "<script" not in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_there_is_no_report_of_what_does_not_exist(http: httpx2.Client) -> None:
    assert http.get("/v1/explanations/0123456789abcdef/report.html").status_code == 404


def test_a_report_holds_what_an_audit_found(http: httpx2.Client, explained: dict[str, object]) -> None:
    here = f"/v1/explanations/{explained['id']}"
    before = http.get(f"{here}/report.html").text
    audit = http.post(f"{here}/audit", headers={"Prefer": "wait=60"}).json()
    report = http.get(f"{here}/report.html").text
    assert "<h2>Audit</h2>" not in before
    assert "<h2>Audit</h2>" in report
    assert f"It took {audit['passes']:,} pictures." in report
    for check in audit["checks"]:
        assert check["sentence"].replace("'", "&#x27;") in report.replace("'", "&#x27;")
    assert audit["limits"] in report
