"""One row of the results."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """What was measured.

    Attributes:
        what: in a sentence.
        value: with its unit.
        target: what it should be; empty where there is none.
        met: whether it is; None where there is no target.
    """

    what: str
    value: str
    target: str = ""
    met: bool | None = None

    def markdown(self) -> str:
        """Return a line of a table."""
        mark = {True: "yes", False: "**no**", None: ""}[self.met]
        return f"| {self.what} | {self.value} | {self.target} | {mark} |"
