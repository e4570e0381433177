"""What the endpoints take and give: files of the caller's own, values of the type that is documented, and answers."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
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

from vjepa_demo.app.events import shown_errors
from vjepa_demo.app.visitors import is_mcp
from vjepa_demo.config import DIMENSIONS, SCORE_MAX, SCORE_MIN
from vjepa_demo.media.fetch import fetch
from vjepa_demo.schema import RecordError

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


def value_field(name: str, schema: Schema, default: Any = None) -> Api:
    """A parameter for a value of `schema`, of which nothing else is passed on; optional with a `default`.

    Gradio's own fields fail on some values without words. Not a class of its own: Gradio writes a file for each.
    """

    def preprocess(payload: Any) -> Any:
        with shown_errors(str):
            return checked(name, schema, payload)

    field = Api(default, schema, label=name)
    field.preprocess = preprocess  # type: ignore[method-assign]
    return field


def choice_field(name: str, choices: Sequence[str], default: str) -> Api:
    """A parameter for one of `choices`."""
    return value_field(name, {"type": "string", "enum": list(choices)}, default)


def checked(name: str, schema: Schema, value: Any) -> Any:
    """`value`, a whole number as an int.

    Raises:
        RecordError: if `schema` does not allow it.
    """
    if not _is_allowed(schema, value):
        given = json.dumps(value)
        given = given if len(given) <= 100 else f"{given[:100]}.."
        raise RecordError(f"{name} is {given}; {_in_words(schema)} was expected")
    return int(value) if schema.get("type") == "integer" else value


def _is_allowed(schema: Schema, value: Any) -> bool:
    if "anyOf" in schema:
        return any(_is_allowed(each, value) for each in schema["anyOf"])
    match schema["type"]:
        case "array":
            return isinstance(value, list) and all(_is_allowed(schema["items"], each) for each in value)
        case "boolean":
            return isinstance(value, bool)
        case "string":
            return isinstance(value, str) and value in schema.get("enum", [value])
        case kind:
            is_number = type(value) in (int, float) and math.isfinite(value)
            is_kind = is_number and (kind == "number" or value == int(value))
            return is_kind and schema.get("minimum", value) <= value <= schema.get("maximum", value)


def _in_words(schema: Schema) -> str:
    if "anyOf" in schema:
        return " or ".join(map(_in_words, schema["anyOf"]))
    if "enum" in schema:
        return f"one of {', '.join(schema['enum'])}"
    names = {"array": "a list of texts", "boolean": "true or false", "string": "a text", "number": "a number"}
    bounds = [f"{word} {schema[key]:g}" for word, key in (("from", "minimum"), ("to", "maximum")) if key in schema]
    return " ".join([names.get(schema["type"], "a whole number"), *bounds])


def answer_field(schema: Schema) -> Api:
    """What an endpoint gives: JSON that `schema` describes."""
    return Api(None, schema, label="answer")


def file_field(name: str) -> Api:
    """A parameter for a file that the caller uploaded or has the URL of; `given_file` makes a path of it.

    Not a `gr.File`: of those Gradio's MCP server knows no lists, neither in the schema that it tells nor in what it
    passes on, and it takes no URL of an upload to a server that is not on the public internet.
    """
    return _unfetched(Api(None, FILE, label=name))


def files_field(name: str) -> Api:
    """A parameter for several such files."""
    return _unfetched(Api(None, a_list(FILE), label=name))


def _unfetched(field: Api) -> Api:
    """`field`, for which Gradio fetches no URL: it would give what it fetched from there before."""
    move = field.async_move_resource_to_block_cache

    async def move_files(url_or_file_path: str | Path | None) -> str | None:
        is_url = isinstance(url_or_file_path, str) and is_http_url_like(url_or_file_path)
        return str(url_or_file_path) if is_url else await move(url_or_file_path)

    field.async_move_resource_to_block_cache = move_files  # type: ignore[method-assign]
    return field


def given_file(field: Api, given: Any, folder: Path) -> str:
    """The path of the file that a caller gave for `field`; what is fetched comes into `folder`.

    Raises:
        RecordError: for what is neither an upload of theirs nor a URL that can be fetched.
    """
    if is_file_obj_with_meta(given):
        if not is_http_url_like(given["path"]):  # Gradio has checked that it was uploaded
            return given["path"]
        given = given["path"]
    if not given:
        raise RecordError(f"no {field.label}: upload a file first")
    if not isinstance(given, str) or not (is_http_url_like(given) or given.startswith("data:")):
        raise RecordError(f"{field.label} is {str(given)[:100]!r}, which is no file: upload it, or give its URL")
    try:
        if given.startswith("data:"):
            path: str | None = save_base64_to_cache(given, get_upload_folder())
        else:
            path = _uploaded_file(given)
        return str(field.move_resource_to_block_cache(path)) if path else str(fetch(given, folder))
    except (ValueError, OSError) as error:
        raise RecordError(f"{given[:100]!r} cannot be read ({error}): upload the file instead") from error


def given_list(given: Any) -> list[Any]:
    """What a caller gave for several files, none of them fetched."""
    return given if isinstance(given, list) else [given]


def given_files(field: Api, given: Any, folder: Path) -> list[str]:
    """The paths of the files that a caller gave for `field`.

    Raises:
        RecordError: as `given_file` does, and if there are none.
    """
    return [given_file(field, each, folder) for each in given_list(given) or [None]]


def _uploaded_file(url: str) -> str | None:
    """The path of the file that somebody uploaded here and that `url` gives out; None for any other `url`.

    Nobody gets at more by it than by the path itself, which Gradio takes from whoever knows it.
    """
    _, _, path = url.partition(FILE_ROUTE)
    file = Path(unquote(path)).resolve()
    return str(file) if file.is_relative_to(Path(get_upload_folder()).resolve()) and file.is_file() else None


def download(field: Api, path: Path, request: gr.Request) -> dict[str, Any]:
    """What the answer `field` says of a file in the upload folder, for the caller to fetch within a day."""
    field.temp_files.add(str(path))  # Gradio deletes those
    url = _url(path, request) if is_mcp(request) else None  # else Gradio adds it
    return FileData(path=str(path), url=url, orig_name=path.name, size=path.stat().st_size).model_dump()


def _url(path: Path, request: gr.Request) -> str:
    assert request.request is not None  # every call comes over HTTP
    root = get_root_url(request.request, get_api_call_path(request.request), None)
    return f"{root}{FILE_ROUTE}{encode_file_path(path)}"
