"""What a service does that knows `app/openapi.json` alone: run by the environment that the client was generated in.

    python with_generated_client.py ADDRESS IMAGE MAP

It explains an image, follows the events to the end, and writes the map as `.npy`; then it starts one that it cancels.
It prints what it saw as JSON.
"""

import base64
import json
import sys
from pathlib import Path
from typing import Any

from generated import Client
from generated.api.explanations import cancel_explanation, create_explanation, follow_explanation, get_explanation
from generated.api.maps import get_map
from generated.models import (
    ExplanationForm,
    ImageByBase64,
    ImageById,
    Problem,
    RiseExplanationRequest,
)
from generated.types import File


def _events(client: Client, explanation_id: str) -> list[str]:
    """Return the names of an explanation's events, when it has ended."""
    text = follow_explanation.sync_detailed(explanation_id, client=client).content.decode()
    return [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]


def _explained(client: Client, image: Path, into: Path) -> dict[str, Any]:
    with image.open("rb") as content:
        form = ExplanationForm(
            model="shapes", image=File(content, image.name), masks=8_000, until=1.0, targets='[{"label": "ring"}]'
        )
        created = create_explanation.sync(client=client, body=form)
    events = _events(client, created.id)
    seen = get_explanation.sync(created.id, client=client)
    into.write_bytes(get_map.sync_detailed(created.id, "0.npy", client=client).content)
    return {"events": events, "status": seen.status.value, "name": seen.targets[0].name, "width": seen.image.width}


def _cancelled(client: Client, image: Path) -> dict[str, Any]:
    source = ImageByBase64(base64=base64.b64encode(image.read_bytes()).decode())
    request = RiseExplanationRequest(image=source, model="shapes", masks=1_000_000, until=1.0, seed=11)
    created = create_explanation.sync(client=client, body=request)
    stopped = cancel_explanation.sync(created.id, client=client)
    return {"status": stopped.status.value, "events": _events(client, created.id)}


def _refused(client: Client) -> dict[str, Any]:
    request = RiseExplanationRequest(image=ImageById(id="none"), model="shapez")
    problem = create_explanation.sync(client=client, body=request)
    return {"code": problem.code, "field": problem.errors[0].field} if isinstance(problem, Problem) else {}


def main(address: str, image: Path, into: Path) -> None:
    """Create, follow, fetch, cancel."""
    with Client(base_url=address, timeout=None) as client:
        explained, cancelled = _explained(client, image, into), _cancelled(client, image)
        print(json.dumps({"explained": explained, "cancelled": cancelled, "refused": _refused(client)}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
