"""How the demo models were trained, and their sample pictures drawn."""
