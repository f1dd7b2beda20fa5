"""`rise-serve check`: a model that is new here, looked at through photographs, and what looks wrong."""

import json
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console

from app.cli.explain_backends import encode_map
from app.cli.worker_cli import worker_command
from app.contract.images.decoding import decode
from app.contract.schemas import ExplanationRecord, ModelCard, Prediction
from app.contract.storage.object_store import BlobStore
from app.rendering.renderer import Renderer

_WIDTH = 480
_GAP = 8
_LINE = 16
_LETTER = 7  # pixels of the width of one, at most on average


def check(
    model: Annotated[str, typer.Argument(help="Id of a model in the models file.")],
    photos: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, readable=True)],
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("check.png"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Load a model, say what is assumed about it, draw what it sees in photographs, and say what looks wrong.

    Ends with code 0 where nothing looks wrong, 1 where something does, 2 where the model does not load.
    """
    with tempfile.TemporaryDirectory(prefix="rise-") as folder:
        command = worker_command("check", model, *map(str, photos), "--into", folder)
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
        if done.returncode:
            raise typer.Exit(done.returncode)
        found = json.loads(done.stdout)
        _stack([_row(one) for one in found["photos"]]).save(out)
    warnings = [*found["warnings"], *(words for one in found["photos"] for words in one["warnings"])]
    if as_json:
        sys.stdout.write(json.dumps({**found, "picture": str(out)}) + "\n")
    else:
        _print(ModelCard.model_validate(found["model"]), found, out)
    raise typer.Exit(1 if warnings else 0)


def _print(card: ModelCard, found: Any, out: Path) -> None:
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"{card.id}: {card.task}, {len(card.labels)} classes, {card.batch} images at once")
    for one in card.assumptions:
        console.print(f"  {one.what} = {one.value} ({one.source})")
    usual = ", ".join(one.what for one in card.assumptions if one.source == "convention")
    if usual:
        console.print(f"  only usual, and said nowhere: {usual}; compare with how the model was trained")
    for photo in found["photos"]:
        console.print(f"{photo['photo']}: {', '.join(_words(photo['predictions'], 5)) or 'nothing'}")
        for words in photo["warnings"]:
            console.print(f"  WARNING: {words}")
    for words in found["warnings"]:
        console.print(f"WARNING: {words}")
    console.print(f"what it sees: {out}")


def _words(predictions: list[Any], count: int) -> list[str]:
    named = [Prediction.model_validate(one) for one in predictions[:count]]
    return [f"{one.name} {one.score:.3f}" for one in named]


def _row(photo: Any) -> Image.Image:
    """Return a photograph with boxes and classes, what the model is shown of it, and the map over it, side by side."""
    folder = Path(photo["folder"])
    image = decode(Path(photo["photo"]).read_bytes())
    panels = [
        ("photograph", _with_boxes(image, photo["predictions"])),
        ("what the model is shown", Image.open(folder / "input.png")),
    ]
    if (folder / "record.json").exists():
        record = ExplanationRecord.model_validate_json((folder / "record.json").read_text())
        overlay = folder / "overlay.png"
        overlay.write_bytes(
            Renderer(BlobStore(folder.as_uri())).render_target(record, 0, lambda map_: encode_map("overlay.png", map_))
        )
        panels.append((f"why: {record.targets[0].name}", Image.open(overlay)))
    return _side_by_side(
        panels, [*_words(photo["predictions"], 5), *(f"WARNING: {words}" for words in photo["warnings"])]
    )


def _with_boxes(image: Image.Image, predictions: list[Any]) -> Image.Image:
    drawn = image.copy()
    pen = ImageDraw.Draw(drawn)
    width = max(2, max(image.size) // 200)
    font = ImageFont.load_default(max(12, max(image.size) // 40))
    for one in map(Prediction.model_validate, predictions):
        if one.box is not None:
            pen.rectangle(one.box, outline="red", width=width)
            place = one.box[0] + width, one.box[1] + width
            words = f"{one.name} {one.score:.2f}"
            pen.rectangle(pen.textbbox(place, words, font=font), fill="white")
            pen.text(place, words, fill="red", font=font)
    return drawn


def _side_by_side(panels: list[tuple[str, Image.Image]], lines: list[str]) -> Image.Image:
    scaled = [(title, _fitted(panel.convert("RGB"))) for title, panel in panels]
    height, width = max(panel.height for _, panel in scaled), len(scaled) * (_WIDTH + _GAP)
    written = [(part, line) for line in lines for part in textwrap.wrap(line, width // _LETTER)]
    below = _LINE * len(written) + _GAP
    sheet = Image.new("RGB", (width, _LINE + height + below), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for place, (title, panel) in enumerate(scaled):
        left = place * (_WIDTH + _GAP)
        pen.text((left, 0), title, fill="black", font=font)
        sheet.paste(panel, (left, _LINE))
    for number, (part, line) in enumerate(written):
        color = "red" if line.startswith("WARNING") else "black"
        pen.text((0, _LINE + height + _GAP // 2 + _LINE * number), part, fill=color, font=font)
    return sheet


def _fitted(panel: Image.Image) -> Image.Image:
    return panel.resize((_WIDTH, max(1, round(panel.height * _WIDTH / panel.width))), Image.Resampling.BILINEAR)


def _stack(rows: list[Image.Image]) -> Image.Image:
    """Return rows one under the other."""
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height + _GAP for row in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height + _GAP
    return sheet
