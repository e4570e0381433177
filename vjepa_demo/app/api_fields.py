"""What the endpoints take and give, as JSON schemas: values that are checked, files, and answers."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gradio.components.api_component import Api
from gradio_client.utils import is_http_url_like
from pydantic import TypeAdapter

from vjepa_demo.app.events import shown_errors
from vjepa_demo.config import DIMENSIONS, SCORE_MAX, SCORE_MIN
from vjepa_demo.schema import RecordError, well_formed

Schema = dict[str, Any]

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


def schema_of(dataclass: type) -> Schema:
    """The schema of what `dataclasses.asdict` makes of a dataclass."""
    return TypeAdapter(dataclass).json_schema()


def described(schema: Schema, description: str) -> Schema:
    """`schema` with a word on what it means."""
    return {**schema, "description": description}


SCORES = an_object(
    **{name: described({**NUMBER, "minimum": SCORE_MIN, "maximum": SCORE_MAX}, "1 to 5") for name in DIMENSIONS}
)
FILE: Schema = {
    "anyOf": [
        an_object(path=TEXT, meta=an_object(_type={"const": "gradio.FileData"})),
        described(TEXT, "URL: http, https, or data"),
    ]
}
DOWNLOAD = an_object(path=TEXT, url=TEXT, orig_name=TEXT, size=COUNT)


def value_field(name: str, schema: Schema, default: Any = None) -> Api:
    """A parameter that takes what `schema` allows and nothing else; optional with a `default`.

    Gradio's own fields fail on some values without a message. No subclass: Gradio would write a file for each.
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
    """`value`, a whole number as an int, text `well_formed`.

    Raises:
        RecordError: if `schema` does not allow it.
    """
    if isinstance(value, str):
        value = well_formed(value)
    if isinstance(value, list):
        value = [well_formed(each) if isinstance(each, str) else each for each in value]
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


def file_field(name: str, *, several: bool = False, or_several: bool = False) -> Api:
    """A parameter for a file, or `several`, or one or several, that the caller uploaded or has the URL of;
    `Call.file` makes a path of it.

    Not a `gr.File`: Gradio's MCP server knows no lists of those, neither in the schema that it shows nor in what it
    passes on, and it refuses the URL of an upload to a server that is not on the public internet.
    """
    schema = a_list(FILE) if several else FILE
    if or_several:
        schema = {"anyOf": [*FILE["anyOf"], a_list(FILE)]}
    field = Api(None, schema, label=name)
    move = field.async_move_resource_to_block_cache

    async def move_files(url_or_file_path: str | Path | None) -> str | None:
        # Gradio would fetch a URL by itself, and later give what it fetched from there before.
        is_url = isinstance(url_or_file_path, str) and is_http_url_like(url_or_file_path)
        return str(url_or_file_path) if is_url else await move(url_or_file_path)

    field.async_move_resource_to_block_cache = move_files  # type: ignore[method-assign]
    return field
