"""KServe's own client asks an explainer: `kserve_client.py URL MODEL BODY.json` prints what it got or raised."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from kserve import InferenceRESTClient, RESTConfig


async def asked(url: str, model: str, body: Any) -> dict[str, Any]:
    client = InferenceRESTClient(RESTConfig(protocol="v1", timeout=90))
    try:
        ready = await client.is_model_ready(url, model)
        return {"ready": ready, **await client.explain(url, model_name=model, data=body)}
    except Exception as error:
        return {"raised": str(error)}
    finally:
        await client.close()


if __name__ == "__main__":
    address, name, file = sys.argv[1:]
    print(json.dumps(asyncio.run(asked(address, name, json.loads(Path(file).read_text())))))
