"""The exit codes of a worker that ends itself, and their descriptions for the process that restarts it."""

STALLED = 70
BROKEN_DEVICE = 71

DESCRIPTIONS = {
    STALLED: "ended itself because a model made no progress; its log says which",
    BROKEN_DEVICE: "ended itself because its device broke under a model; its log says which",
}
