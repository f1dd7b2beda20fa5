"""The file of results: sections that are measured one by one and replaced one by one."""

import re
from pathlib import Path

TITLE = "# Results of `make bench`"


def read_sections(path: Path) -> dict[str, str]:
    """Return what stands under each `### ` heading of a file of results, by the heading; nothing if it is not there."""
    if not path.exists():
        return {}
    parts = re.split(r"^### (.+)\n", path.read_text(), flags=re.MULTILINE)
    return {title: body.strip() for title, body in zip(parts[1::2], parts[2::2], strict=True)}


def write_section(path: Path, title: str, body: str, order: list[str]) -> None:
    """Put what stands under one heading in place of what stood there, and leave the others as they are.

    Args:
        path: the file.
        title: the heading.
        body: what stands under it.
        order: all headings there are, as they shall follow each other; others are dropped.
    """
    sections = read_sections(path) | {title: body}
    parts = [f"### {heading}\n\n{sections[heading]}\n" for heading in order if heading in sections]
    path.write_text("\n".join([f"{TITLE}\n", *parts]))
