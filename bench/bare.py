"""The least that a FastAPI application can do with the same requests: what the rates of the service stand beside."""

from fastapi import FastAPI, Request
from starlette.datastructures import UploadFile

app = FastAPI()


@app.post("/upload", status_code=202)
async def upload(request: Request) -> dict[str, int]:
    async with request.form() as form:
        image = form["image"]
        assert isinstance(image, UploadFile)
        return {"bytes": len(await image.read())}


@app.get("/status/{name}")
async def status(name: str) -> dict[str, str]:
    return {"id": name, "status": "succeeded"}


@app.get("/livez")
async def livez() -> dict[str, str]:
    return {"status": "alive"}
