"""The text of a request's body, by what its Content-Type says (RFC 9110 section 8.3)."""

from __future__ import annotations

from email.message import Message

from trunkline.errors import RequestError

JSON = "application/json"
TEXT = "text/plain"
# What browsers, shells and scripts send. No other codec of Python's is to be had by naming it.
_CHARSETS = {
    "utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "utf-8", "ascii": "utf-8",
    "iso-8859-1": "iso-8859-1", "latin1": "iso-8859-1", "windows-1252": "cp1252", "iso-8859-15": "iso-8859-15",
}  # fmt: skip


def parse_content_type(value: str) -> tuple[str, str]:
    """Return the media type, lower case, and the charset; both are empty where nothing is said.

    Raises:
        RequestError: `unsupported_media_type`: it is no Content-Type.
    """
    message = Message()
    message["Content-Type"] = value
    if not value.strip():
        return "", ""
    kind = value.partition(";")[0].strip().lower()
    if message.get_content_type() != kind:
        raise RequestError("unsupported_media_type", f"send {JSON} or {TEXT}, not {value[:100]!r}")
    return kind, (message.get_content_charset() or "").lower()


def decode_text(body: bytes, charset: str) -> str:
    """Return the body of a text.

    Raises:
        RequestError: `unsupported_media_type`: that charset is not known here; `bad_json`: the body is not in it.
    """
    codec = _CHARSETS.get(charset or "utf-8")
    if codec is None:
        raise RequestError("unsupported_media_type", f"send text as UTF-8, not as {charset[:40]!r}")
    try:
        return body.decode(codec)
    except UnicodeDecodeError:
        raise RequestError("bad_json", f"the text is not {charset or 'UTF-8'}") from None


def check_json_charset(charset: str) -> None:
    """Check that a body's charset is UTF-8, as for all JSON that is exchanged (RFC 8259 section 8.1).

    Raises:
        RequestError: `unsupported_media_type`: it says to be something else.
    """
    if _CHARSETS.get(charset or "utf-8") != "utf-8":
        raise RequestError("unsupported_media_type", f"JSON is UTF-8, not {charset[:40]!r}")
