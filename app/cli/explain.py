"""`rise-serve explain`: an image explained on this machine, or by a service."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import httpx2
import typer

from app.cli.explain_backends import FinishedExplanation, explain_in_process, explain_on_server
from app.cli.output import print_answer
from rise_client import ServiceError


def explain(  # noqa: PLR0913, PLR0917 - these are options of a command
    image: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    model: Annotated[str, typer.Option(help="Id of a model in the models file, or of the service.")],
    out: Annotated[Path, typer.Option(help="Folder for the maps.")] = Path("result"),
    method: Annotated[str | None, typer.Option(help="rise, ...; the default fits the model.")] = None,
    target: Annotated[list[str] | None, typer.Option(help="A label, or top:N; may be repeated.")] = None,
    masks: Annotated[int | None, typer.Option(help="Upper bound of masks.")] = None,
    until: Annotated[float | None, typer.Option(help="Stop at this reliability.")] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any other parameter; may be repeated.")
    ] = None,
    audit: Annotated[
        bool, typer.Option("--audit", help="Audit it, too: other fills, finer cells, jumps; about 1,200 passes more.")
    ] = False,
    server: Annotated[
        str | None, typer.Option(envvar="RISE_SERVER", help="Ask this service instead of computing here.")
    ] = None,
    key: Annotated[str | None, typer.Option(envvar="RISE_KEY", help="API key for the service.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Explain an image, on this machine or by a service; write the map as .npz and the overlay."""
    fields = {"model": model, "method": method, "targets": _targets(target), "masks": masks, "until": until}
    fields |= {"audit": audit or None}  # before the parameters, which may say it, too
    fields |= {name: value_of(value) for name, _, value in (text.partition("=") for text in parameter or [])}
    given = {name: value for name, value in fields.items() if value is not None}
    answer = explain_in_process(image, given) if server is None else _ask(server, key, image, given)
    files = _write_maps(answer, out)
    print_answer(answer, files, as_json=as_json)


def _ask(server: str, key: str | None, image: Path, fields: dict[str, Any]) -> FinishedExplanation:
    """Ask a service; end with code 2 and a sentence where it refuses or does not answer."""
    try:
        return explain_on_server(server, key, image, fields)
    except (ServiceError, httpx2.HTTPError, httpx2.InvalidURL) as error:
        sys.stderr.write(f"rise-serve: {reason_of(error, server)}\n")
        raise typer.Exit(2) from error


def reason_of(error: Exception, server: str) -> str:
    """Return why a service gave no answer, in words."""
    if isinstance(error, ServiceError):
        return error.detail
    if not server.lower().startswith(("http://", "https://")):
        return f"{server} is not the address of a service: it must begin with http:// or https://"
    return f"{server} does not answer: {error}"


def _targets(given: list[str] | None) -> Any:
    if not given:
        return None
    if len(given) == 1 and given[0].startswith("top:"):
        return given[0]
    return [{"label": int(label) if label.isdigit() else label} for label in given]


def value_of(text: str) -> Any:
    """Return the value of a parameter: JSON, or the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _write_maps(answer: FinishedExplanation, out: Path) -> list[dict[str, str]]:
    """Write the archive and the overlay of every target that has a map; return their paths, none for another target."""
    out.mkdir(parents=True, exist_ok=True)
    files = []
    for target in answer.targets:
        endings = ("npz", "overlay.png") if target.error is None else ()
        paths = {ending: out / f"{target.index}.{ending}" for ending in endings}
        for ending, path in paths.items():
            path.write_bytes(answer.map_as(target.index, ending))
        files.append({ending.partition(".")[0]: str(path) for ending, path in paths.items()})
    return files
