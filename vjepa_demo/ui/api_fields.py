"""What the endpoints take and give: files of the caller's own, and answers whose fields are documented."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote

import gradio as gr
from gradio.components.api_component import Api
from gradio.data_classes import FileData
from gradio.processing_utils import save_base64_to_cache
from gradio.route_utils import API_PREFIX, get_api_call_path, get_root_url
from gradio.utils import get_upload_folder
from gradio_client.utils import encode_file_path, is_file_obj_with_meta, is_http_url_like
from httpx import HTTPError

from vjepa_demo.config import DIMENSIONS, SCORE_MAX, SCORE_MIN
from vjepa_demo.schema import RecordError
from vjepa_demo.ui.visitors import is_mcp

Schema = dict[str, Any]
FILE_ROUTE = f"{API_PREFIX}/file="

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer"}
YES_OR_NO: Schema = {"type": "boolean"}


def an_object(**fields: Schema) -> Schema:
    """A JSON object with these fields."""
    return {"type": "object", "properties": fields}


def a_list(items: Schema) -> Schema:
    """A JSON list of such items."""
    return {"type": "array", "items": items}


def said(schema: Schema, description: str) -> Schema:
    """`schema` with a word on what it means."""
    return {**schema, "description": description}


SCORES = an_object(
    **{name: said({**NUMBER, "minimum": SCORE_MIN, "maximum": SCORE_MAX}, "1 to 5") for name in DIMENSIONS}
)
FILE: Schema = {
    "anyOf": [
        an_object(path=TEXT, meta=an_object(_type={"const": "gradio.FileData"})),
        said(TEXT, "URL: http, https, or data"),
    ]
}
DOWNLOAD = an_object(path=TEXT, url=TEXT, orig_name=TEXT, size=COUNT)


def answer_field(schema: Schema) -> Api:
    """What an endpoint gives: JSON that `schema` describes."""
    return Api(None, schema, label="answer")


def file_field(name: str) -> Api:
    """A parameter for a file that the caller uploaded or has the URL of; `given_file` makes a path of it.

    Not a `gr.File`: of those Gradio's MCP server knows no lists, neither in the schema that it tells nor in what it
    passes on, and it takes no URL of an upload to a server that is not on the public internet.
    """
    return Api(None, FILE, label=name)


def files_field(name: str) -> Api:
    """A parameter for several such files."""
    return Api(None, a_list(FILE), label=name)


def given_file(field: Api, given: Any) -> str:
    """The path of the file that a caller gave for `field`.

    Raises:
        RecordError: for what is neither an upload of theirs nor a URL that can be fetched.
    """
    if is_file_obj_with_meta(given):  # Gradio has checked that it was uploaded
        return given["path"]
    if not given:
        raise RecordError(f"no {field.label}: upload a file first")
    if not isinstance(given, str) or not (is_http_url_like(given) or given.startswith("data:")):
        raise RecordError(f"{field.label} is {str(given)[:100]!r}, which is no file: upload it, or give its URL")
    try:
        if given.startswith("data:"):
            given = save_base64_to_cache(given, get_upload_folder())
        return str(field.move_resource_to_block_cache(_uploaded_file(given)))
    except (ValueError, OSError, HTTPError) as error:
        raise RecordError(f"{given[:100]} cannot be fetched ({error}): upload the file instead") from error


def given_files(field: Api, given: Any) -> list[str]:
    """The paths of the files that a caller gave for `field`.

    Raises:
        RecordError: as `given_file` does, and if there are none.
    """
    several = given if isinstance(given, list) else [given]
    return [given_file(field, each) for each in several or [None]]


def _uploaded_file(url: str) -> str:
    """The path of the file that somebody uploaded here and that `url` gives out; any other `url` as it is.

    Nobody gets at more by it than by the path itself, which Gradio takes from whoever knows it.
    """
    _, _, path = url.partition(FILE_ROUTE)
    file = Path(unquote(path)).resolve()
    return str(file) if file.is_relative_to(Path(get_upload_folder()).resolve()) and file.is_file() else url


def download(field: Api, path: Path, request: gr.Request) -> dict[str, Any]:
    """What the answer `field` says of a file in the upload folder, for the caller to fetch within a day."""
    field.temp_files.add(str(path))  # Gradio deletes those
    url = _url(path, request) if is_mcp(request) else None  # else Gradio adds it
    return FileData(path=str(path), url=url, orig_name=path.name, size=path.stat().st_size).model_dump()


def _url(path: Path, request: gr.Request) -> str:
    assert request.request is not None  # every call comes over HTTP
    root = get_root_url(request.request, get_api_call_path(request.request), None)
    return f"{root}{FILE_ROUTE}{encode_file_path(path)}"
