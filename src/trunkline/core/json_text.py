"""JSON that is passed on as text: checked as strictly as every reader's parser will, without being made into objects.

What a check costs must follow from the size of the text alone, whatever is in it. So nothing here builds the value: a
hundred bytes of `1e308` cost a parser that rounds exactly a hundred times what a hundred letters do.
"""

from __future__ import annotations

import json
import re

import msgspec

from trunkline.errors import RequestError

_validate = msgspec.json.Decoder(msgspec.Raw).decode
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_ALIKE = bytes.maketrans(b"{}", b"[]")

# The smallest decimal that no double can hold (IEEE 754: halfway between the largest one and 2**1024), 309 digits.
_TOO_LARGE = str(2**1024 - 2**970).encode()
_CLASSES = bytes(ord("0") if byte in b"0123456789" else ord("e") if byte in b"eE" else ord(".") for byte in range(256))
_LONG = b"0" * 300
_LARGE_NUMBER = re.compile(rb"([0-9]+)(?:\.([0-9]+))?(?:[eE]\+?([0-9]{3,}))?")


def check_json(text: bytes, bytes_max: int, depth_max: int) -> bytes:
    """Return one JSON value (RFC 8259) as text without line breaks.

    Args:
        bytes_max: The largest text that is allowed.
        depth_max: How many levels of arrays and objects are allowed.

    Raises:
        RequestError: `too_large`, `bad_json` (also for a number that no double can hold) or `too_deep`.
    """
    if len(text) > bytes_max:
        raise RequestError("too_large", f"data of {len(text)} bytes, at most {bytes_max} allowed")
    try:
        _validate(text)
        if not text.isascii():
            text.decode()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError("bad_json", f"data is not JSON: {error}") from None
    except RecursionError:
        raise too_deep(depth_max) from None
    if text[:1] == text[-1:] == b'"':  # one string, which nothing below is about
        return text
    if deeper_than(text, depth_max):
        raise too_deep(depth_max)
    if _has_too_large_number(text):
        raise RequestError("bad_json", "data has a number that is larger than a double can hold (1.8e308)")
    # A line break can stand between tokens only. It would end an SSE field, so it goes.
    return msgspec.json.format(text, indent=-1) if b"\n" in text or b"\r" in text else text


def refuse_repeated_keys(text: bytes) -> None:
    """Refuse a text that is known to be JSON, and in which an object has a key twice: readers differ in what it means
    (RFC 8259 section 4), so a hook that looks at one value would let another one through.

    Raises:
        RequestError: `bad_json`.
    """
    _decode_pairs(text.decode())


def _refuse_repeats(pairs: list[tuple[str, None]]) -> None:
    if len(dict(pairs)) < len(pairs):
        raise RequestError("bad_json", "an object has a key twice: it is not clear which of them counts")


_decode_pairs = json.JSONDecoder(object_pairs_hook=_refuse_repeats, parse_int=bool, parse_float=bool).decode


def too_deep(depth_max: int | None = None) -> RequestError:
    """Return the answer to JSON that is nested deeper than is allowed, or than it can be read at all."""
    most = "allowed" if depth_max is None else f"{depth_max} levels"
    return RequestError("too_deep", f"data is nested deeper than {most}")


def deeper_than(text: bytes, levels: int) -> bool:
    """Return whether a JSON text, which is known to be one, is nested deeper than that."""
    # No text can be deeper than it has opening brackets, so nearly all are settled by counting.
    if text.count(b"[") + text.count(b"{") <= levels:
        return False
    brackets = _STRING.sub(b"", text).translate(_ALIKE, _NO_BRACKETS)
    for _ in range(levels):
        brackets = brackets.replace(b"[]", b"")  # takes off the innermost level of each branch
        if not brackets:
            return False
    return bool(brackets)


def _has_too_large_number(text: bytes) -> bool:
    classes = text.translate(_CLASSES, b"+")
    if b"0e000" not in classes and (len(text) < len(_LONG) or _LONG not in classes):
        return False
    # Each number is looked at once, however often it stands there.
    return any(_is_too_large(*number) for number in set(_LARGE_NUMBER.findall(_STRING.sub(b"", text))))


def _is_too_large(whole: bytes, fraction: bytes, exponent: bytes) -> bool:
    """Return whether whole.fraction × 10**exponent rounds to infinity. Leading zeros of the exponent may be many."""
    if not exponent and len(whole) < len(_TOO_LARGE):
        return False
    digits = (whole + fraction).lstrip(b"0")
    exponent = exponent.lstrip(b"0")
    if not digits:
        return False
    if len(exponent) > 8:  # no text is so long that the zeros of its fraction could make up for that
        return True
    point = len(digits) - len(fraction) + int(exponent or b"0")  # the number is 0.digits × 10**point
    return point > len(_TOO_LARGE) or (point == len(_TOO_LARGE) and digits >= _TOO_LARGE)
