"""One entry of the models file: what an operator may declare about a model.

What the source contains already (preprocessing, labels, task) need not be declared; what is declared here wins.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from app.contract.schemas import JsonObject, RequestModel, Task
from workers.blackbox import Activation, Channels, Interpolation, Resize

Pixels = Annotated[int, Field(ge=1, le=8192)]
Precision = Literal["float32", "float16", "bfloat16"]
Packed = Literal["boxes-scores", "boxes-objectness-scores", "boxes-score-label"]
BoxFormat = Literal["xyxy", "xywh", "cxcywh"]
BoxUnit = Literal["pixels", "fraction"]


class PreprocessingEntry(RequestModel):
    """How a picture becomes the model's input; see `Preprocessing` in `workers/blackbox/__init__.py`."""

    size: Pixels | tuple[Pixels, Pixels] | None = Field(None, description="Side, or height and width, in pixels.")
    resize: Resize | None = None
    shortest_side: Pixels | None = None
    longest_side: Pixels | None = None
    interpolation: Interpolation | None = None
    mean: Annotated[list[float], Field(min_length=1, max_length=3)] | None = None
    std: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1, max_length=3)] | None = None
    channels: Channels | None = None
    stretched_to: tuple[Pixels, Pixels] | None = None
    side_multiple: Pixels | None = None


class OutputsEntry(RequestModel):
    """What a model's raw outputs mean; see `workers/model_io/outputs.py`. Outputs are named or given by their place."""

    activation: Activation | None = Field(None, description="What turns raw scores into probabilities.")
    scores: str | None = Field(None, description="Output with the scores of classes.")
    boxes: str | None = Field(None, description="Output with boxes.")
    labels: str | None = Field(None, description="Output with the class index of each proposal.")
    objectness: str | None = Field(None, description="Output with the objectness of each proposal.")
    packed: Packed | None = Field(None, description="One output holds all of it, side by side.")
    columns_first: bool | None = Field(None, description="The packed output is [batch, numbers, proposals].")
    extra_columns: int | None = Field(
        None, ge=0, description="Numbers behind the classes of a packed output: coefficients of masks, keypoints."
    )
    box_format: BoxFormat | None = None
    box_unit: BoxUnit | None = Field(None, description="Of the model's input.")
    background: Literal["none", "first", "last"] | None = Field(None, description="Place of the class 'no object'.")


class LimitsEntry(RequestModel):
    """How much of a model a request may ask for."""

    batch: int | None = Field(None, ge=1, le=4096, description="Masked images per forward pass; default: measured.")
    masks: int | None = Field(None, ge=1, description="Masks of one explanation.")


class ModelEntry(RequestModel):
    """One model of the models file."""

    loader: Annotated[str, AfterValidator(lambda name: name.replace("_", "-"))] = Field(
        description="A file of `workers/models/`."
    )
    source: str = Field(description="What the loader takes: a path relative to the models file, a name, an address.")
    task: Task | None = Field(None, description="Where the source does not say it.")
    labels: list[str] | str | None = Field(
        None, description="Names of the classes: a list, or a file with one name a line or a JSON list."
    )
    preprocessing: PreprocessingEntry = PreprocessingEntry()
    outputs: OutputsEntry = OutputsEntry()
    precision: Precision | None = Field(None, description="Default: as the source has it, float32 on a CPU.")
    tolerance: float = Field(
        0.02, ge=0, le=1, description="How far half precision may move a probability from what float32 gives."
    )
    channels_last: bool = Field(False, description="Memory layout; often faster for convolutions.")
    compile: bool = Field(False, description="Compile the model when it is loaded (`torch.compile`).")
    device: str | None = Field(None, description="auto, cpu, cuda, ...; default: `RISE_DEVICE`.")
    trained_with_masks: bool = Field(
        False, description="It has seen pictures with black parts in training; black is then what hides by default."
    )
    needs: list[str] = Field(
        default_factory=list, description="Python modules without which the entry is left out, with a line in the log."
    )
    preload: bool = Field(True, description="Keep it loaded from the start; else it is loaded when first asked for.")
    limits: LimitsEntry = LimitsEntry()
    options: JsonObject = Field(default_factory=dict, description="What this loader alone understands.")

    def identity(self) -> str:
        """Return as text the part of the entry that can change a map: it is part of the model's digest."""
        return self.model_dump_json(exclude={"preload", "limits", "device", "tolerance", "needs", "trained_with_masks"})


class NoOptions(RequestModel):
    """The options of a loader that has none."""
