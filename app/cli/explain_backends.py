"""Explanations for the command line: computed by a worker's code on this machine, or asked of a service."""

import json
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from app.cli.worker_cli import worker_command
from app.contract.schemas import AuditResult, ExplanationRecord, JsonObject, TargetResult
from app.contract.storage.object_store import BlobStore
from app.rendering.formats import RenderedMap, RenderOptions, formats
from app.rendering.renderer import Renderer
from rise_client import Client, Explanation


@dataclass(frozen=True)
class FinishedExplanation:
    """A finished explanation.

    Attributes:
        targets: what was explained.
        summary: everything else that is worth printing, as JSON.
        audit: what an audit found; None where none was asked for.
        map_as: the index of a target without an error and a format's ending -> the bytes of its map.
    """

    targets: list[TargetResult]
    summary: JsonObject
    map_as: Callable[[int, str], bytes]
    audit: AuditResult | None = None


def explain_in_process(image: Path, fields: dict[str, Any]) -> FinishedExplanation:
    """Explain an image on this machine; end with the worker's code where it refuses."""
    with tempfile.TemporaryDirectory(prefix="rise-") as folder:
        command = worker_command("explain", str(image), "--into", folder, "--fields", json.dumps(fields))
        code = subprocess.run(command, check=False).returncode
        if code:
            raise typer.Exit(code)
        record = ExplanationRecord.model_validate_json((Path(folder) / "record.json").read_text())
        renderer = Renderer(BlobStore(Path(folder).as_uri()))
        maps = {
            (target.index, ending): renderer.render_target(record, target.index, partial(encode_map, ending))
            for target in record.targets
            if target.error is None
            for ending in ("npz", "overlay.png")
        }
    summary = record.model_dump(mode="json", include={"request", "provenance", "consistency", "progress", "image"})
    return FinishedExplanation(record.targets, summary, lambda index, ending: maps[index, ending], record.audit)


def encode_map(ending: str, sheet: RenderedMap) -> bytes:
    """Return the bytes of a map in the format of an ending, such as `overlay.png`."""
    content: bytes = formats()[ending].encode(sheet, RenderOptions())
    return content


def explain_on_server(server: str, key: str | None, image: Path, fields: dict[str, Any]) -> FinishedExplanation:
    """Ask a service for an explanation and wait for it.

    Raises:
        ServiceError: if it refuses, or the explanation fails.
    """
    with Client(server, key) as client:
        explanation = client.explain(image, **fields)
        _show_progress(explanation)
        data = explanation.wait().data
        found = explanation.audit() if fields.get("audit") else None
        shown = [target.index for target in data.targets if target.error is None]
        maps = {(index, "npz"): explanation.archive(index) for index in shown}
        maps |= {(index, "overlay.png"): explanation.overlay(index) for index in shown}
    fields_shown = {"id", "method", "parameters", "provenance", "consistency", "progress", "image"}
    summary = data.model_dump(mode="json", include=fields_shown)
    targets = [TargetResult.model_validate(target.model_dump()) for target in data.targets]
    audit = AuditResult.model_validate(found.model_dump()) if found else None
    return FinishedExplanation(targets, summary, lambda index, ending: maps[index, ending], audit)


def _show_progress(explanation: Explanation) -> None:
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total} masks")
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(explanation.data.model.id, total=None)
        for report in explanation.progress():
            bar.update(task, total=report.total, completed=report.masks)
