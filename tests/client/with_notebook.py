"""Run by the tests in Jupyter's environment: a notebook that uses the client, executed by a real kernel.

Reads `{"url", "picture", "packages"}` from its input, and writes the MIME types of what each cell shows.
"""

import json
import sys

import nbformat
from nbclient import NotebookClient

asked = json.load(sys.stdin)
CELLS = [
    f"import sys; sys.path += {asked['packages']!r}",
    f"from rise_client import AsyncClient, Client; url, picture = {asked['url']!r}, {asked['picture']!r}",
    "Client(url).explain(picture, model='shapes', masks=256).wait()",
    "one = await AsyncClient(url).explain(picture, model='shapes', masks=256); await one.wait()",
    "client = Client(url); client.explain(picture, model='shapes', masks=1_000_000, until=1, seed=301)",
    "client.explain(picture, model='shapes', masks=1_000_000, until=1, seed=301).cancel()",
]
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in CELLS])
NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
shown = [[output.get("data", {"error": output}) for output in cell.outputs] for cell in notebook.cells]
json.dump(shown, sys.stdout)
