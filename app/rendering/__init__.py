"""From stored effects to images: maps, colours, regions; formats/ has one output format per file."""
