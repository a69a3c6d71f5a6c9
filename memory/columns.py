"""Columns for texts and JSON that come back as they went in, whichever database keeps them."""

import json
import math
from typing import Any

from sqlalchemy import JSON, Dialect, String, TypeDecorator


class AnyText(TypeDecorator[str]):
    """Text that keeps lone surrogates (such as bytes of a path that are not UTF-8).

    Plain text is stored as it is; text that SQLite or Postgres could not hold, or that starts with a quote,
    is stored as a JSON string.
    """

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        if value is None or (not value.startswith('"') and _is_plain(value)):
            return value
        return json.dumps(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        if value is None or not value.startswith('"'):
            return value
        return str(json.loads(value))


class AnyJson(TypeDecorator[Any]):
    """JSON that keeps every text and number that Python's JSON has.

    SQLite stores it as it is. Postgres refuses `Infinity`, and its operators stumble over NUL and lone
    surrogates: there a value with any of them is stored as an object with the one key ESCAPED, which holds
    its JSON as a string.
    """

    impl = JSON
    cache_ok = True
    ESCAPED = "escaped-json"

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        if dialect.name == "sqlite" or self._is_plain(value):
            return value
        return {self.ESCAPED: json.dumps(value)}

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        if dialect.name != "sqlite" and isinstance(value, dict) and value.keys() == {self.ESCAPED}:
            return json.loads(value[self.ESCAPED])
        return value

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        return self.impl_instance.coerce_compared_value(op, value)

    def _is_plain(self, value: Any) -> bool:
        match value:
            case str():
                return _is_plain(value)
            case float():
                return math.isfinite(value)
            case dict():
                escaped = value.keys() == {self.ESCAPED}
                return not escaped and all(_is_plain(key) and self._is_plain(value[key]) for key in value)
            case list() | tuple():
                return all(self._is_plain(item) for item in value)
        return True


def _is_plain(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in value
