"""The static half of the page, over HTTP."""

import gzip
import re

import httpx2
import pytest
from pydantic import ValidationError

from app.contract.settings import Settings
from app.web.assets import FOLDER, bundle, page
from app.web.routes import content_security_policy
from tests.conftest import SAMPLES

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def addresses_in(html: str) -> list[str]:
    return re.findall(r'(?:href|src)="([^"#]+)"', html)


def test_browsers_get_the_page_and_programs_an_index_whose_links_work(http: httpx2.Client) -> None:
    assert "<app-header>" in http.get("/", headers=BROWSER).text
    for accept in ("application/json", "*/*"):
        links = http.get("/", headers={"Accept": accept}).json()["links"]
        assert [link for link in links.values() if http.get(link).status_code == 404] == []


@pytest.mark.parametrize(("path", "root"), [("index.html", "./"), ("embed.html", "../../")])
def test_pages_name_only_relative_addresses_that_exist(path: str, root: str) -> None:
    found = addresses_in(page(path, root=root).decode())
    assert any(address.endswith(".css") for address in found)
    own = [address for address in found if "/assets/" in address]
    folder = f"{root}assets/{bundle().digest}/"
    assert all(address.startswith(folder) for address in own)
    assert [address for address in found if ":" in address or address.startswith("/")] == []
    assert {address.removeprefix(folder) for address in own} <= bundle().assets.keys()


def test_modules_import_only_modules_that_exist() -> None:
    for module in FOLDER.rglob("*.js"):
        for name in re.findall(r'(?:from|import) "([^"]+)"', module.read_text()):
            assert (module.parent / name).is_file(), (module, name)


def test_assets_are_compressed_and_kept_for_long_under_the_address_of_their_content(http: httpx2.Client) -> None:
    address = next(link for link in addresses_in(http.get("/", headers=BROWSER).text) if link.endswith("main.js"))
    answer = http.get(f"/{address}", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert "immutable" in answer.headers["cache-control"]
    assert answer.content == (FOLDER / "main.js").read_bytes()
    again = http.get(f"/{address}", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = http.get("/assets/0123456789abcdef/main.js", headers={"Accept-Encoding": "identity"})
    assert (other.headers["cache-control"], "content-encoding" in other.headers) == ("no-cache", False)


def test_a_file_outside_of_the_folder_is_not_found(http: httpx2.Client) -> None:
    for path in ("missing.js", "..%2froutes.py", "%2e%2e%2froutes.py"):
        assert http.get(f"/assets/{bundle().digest}/{path}").status_code == 404


def test_the_icon_is_where_browsers_look_for_it(http: httpx2.Client) -> None:
    assert http.get("/favicon.ico").headers["content-type"] == "image/svg+xml"


def test_pages_run_nothing_inline_and_load_nothing_from_elsewhere(http: httpx2.Client) -> None:
    for path in ("/", "/ui/embed/0123"):
        answer = http.get(path, headers=BROWSER)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert not re.search(r"<script(?![^>]*src=)|\sstyle=|\son\w+=", answer.text)


def test_the_operator_says_who_may_show_the_viewer_in_a_frame() -> None:
    settings = Settings(frame_ancestors="https://labels.example.org, https://other.example.org:8443")
    assert content_security_policy(settings.frame_ancestors.replace(",", " ")).endswith(
        "frame-ancestors https://labels.example.org https://other.example.org:8443"
    )
    with pytest.raises(ValidationError):
        Settings(frame_ancestors="*; script-src *")


def test_the_first_load_is_at_most_150_kilobytes() -> None:
    code = [asset for name, asset in bundle().assets.items() if not name.startswith("samples/")]
    sizes = [len(gzip.compress(asset.content, 5)) for asset in code]
    pictures = [len(asset.content) for name, asset in bundle().assets.items() if name.startswith("samples/thumbnails")]
    assert sum(sizes) + sum(pictures) <= 150_000


@pytest.mark.parametrize("name", ["star.jpg", "several.jpg"])
def test_the_page_has_the_samples_that_the_models_were_made_for(name: str) -> None:
    assert (FOLDER / "samples" / name).read_bytes() == (SAMPLES / name).read_bytes()
