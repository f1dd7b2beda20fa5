"""With which codes a worker ends by itself, and what that means to whoever starts it again."""

STALLED = 70
BROKEN_DEVICE = 71

DESCRIPTIONS = {
    STALLED: "ended itself because a model made no progress; its log says which",
    BROKEN_DEVICE: "ended itself because its device broke under a model; its log says which",
}
