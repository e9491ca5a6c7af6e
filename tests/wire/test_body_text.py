import pytest

from trunkline.errors import RequestError
from trunkline.wire.body_text import check_json_charset, decode_text, parse_content_type


def test_media_types_and_charsets() -> None:
    assert parse_content_type("") == ("", "")
    assert parse_content_type("Text/Plain; Charset=ISO-8859-1") == ("text/plain", "iso-8859-1")
    for bad in ("x", "text", ";", "text plain"):
        with pytest.raises(RequestError) as caught:
            parse_content_type(bad)
        assert caught.value.code == "unsupported_media_type"


def test_texts() -> None:
    assert decode_text("grüß".encode(), "") == "grüß"
    assert decode_text("grüß".encode("latin-1"), "iso-8859-1") == "grüß"
    with pytest.raises(RequestError) as caught:
        decode_text(b"\xff", "")
    assert caught.value.code == "bad_json"
    for charset in ("utf-7", "utf-16", "punycode", "rot13"):
        with pytest.raises(RequestError) as caught:
            decode_text(b"x", charset)
        assert caught.value.code == "unsupported_media_type"


def test_json_is_utf_8() -> None:
    check_json_charset("utf-8")
    check_json_charset("")
    with pytest.raises(RequestError):
        check_json_charset("iso-8859-1")
