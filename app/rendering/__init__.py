"""From stored effects to a picture: maps, colours, regions; formats/ has one output format per file."""
