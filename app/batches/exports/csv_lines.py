"""Lines and cells of CSV files, in which spreadsheets take no text for a formula."""

import csv
import io
from collections.abc import Iterable


def csv_line(values: Iterable[object]) -> bytes:
    """Return a line of cells: numbers with six digits, nothing for None."""
    buffer = io.StringIO()
    csv.writer(buffer).writerow(map(_cell, values))
    return buffer.getvalue().encode()


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = "" if value is None else str(value)
    return f"'{text}" if isinstance(value, str) and text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text
