"""Models behind services that answer labels and scores, as Hugging Face's do."""
