"""Images and effects in an object store."""
