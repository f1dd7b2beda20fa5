"""Status reads: conditional, current, and counted under their route."""

import httpx2

from tests.app.explanations.test_events import endless
from tests.support.api_requests import explain


def test_a_client_s_copy_of_an_explanation_is_right_until_the_explanation_changes(
    http: httpx2.Client, star: bytes
) -> None:
    here = endless(http, star, 823)
    before = http.get(here)
    assert before.headers["cache-control"] == "private, no-cache"
    http.post(f"{here}/cancel").raise_for_status()
    after = http.get(here, headers={"If-None-Match": before.headers["etag"]})
    assert (after.status_code, after.json()["status"]) == (200, "cancelled")
    same = http.get(here, headers={"If-None-Match": after.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    assert same.headers["etag"] == after.headers["etag"] != before.headers["etag"]


def test_status_reads_and_refused_creations_are_counted_under_their_route(http: httpx2.Client, star: bytes) -> None:
    assert http.get("/v1/explanations/nobody").status_code == 404
    assert explain(http, star, masks=-1).status_code == 422
    counts = http.get("/metrics").text
    assert 'rise_requests_total{method="GET",route="/v1/explanations/{explanation_id}",status="404"}' in counts
    assert 'rise_requests_total{method="POST",route="/v1/explanations",status="422"}' in counts
