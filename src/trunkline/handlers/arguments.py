"""The arguments and results of calls: JSON on the wire, the handler's own types inside.

A handler takes the call, and the data of it if it has a second parameter. The annotation of that parameter says what
the data must be: anything that msgspec can decode, or models of Pydantic, also inside other types. Without one it is
plain JSON.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

import msgspec

from trunkline.errors import ConfigError, RequestError

MESSAGE_MAX = 1000  # characters of what is said about arguments that do not fit


class CallHandler:
    """A function of the application that answers calls.

    Raises:
        ConfigError: Its parameters or annotations are not what they should be.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        name = getattr(function, "__qualname__", repr(function))
        try:
            parameters = [
                parameter
                for parameter in inspect.signature(function).parameters.values()
                if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
            ]
        except (TypeError, ValueError) as error:
            raise ConfigError(f"call: {name} is no function: {error}") from None
        if not 1 <= len(parameters) <= 2:
            raise ConfigError(f"call: {name} takes the call, and perhaps its data; it has {len(parameters)} parameters")
        self._takes_data = len(parameters) == 2
        wanted: Any = Any
        if self._takes_data and parameters[1].annotation is not inspect.Parameter.empty:
            wanted = parameters[1].annotation
            if isinstance(wanted, str):
                wanted = self._resolved(function, parameters[1].name, name)
        try:
            self._decoder = msgspec.json.Decoder(wanted, dec_hook=_as_model)
        except TypeError as error:
            raise ConfigError(f"call: {name}: its data cannot be decoded as {wanted}: {error}") from None

    @staticmethod
    def _resolved(function: Callable[..., Any], parameter: str, name: str) -> Any:
        try:
            return get_type_hints(function, include_extras=True)[parameter]
        except (NameError, TypeError) as error:
            raise ConfigError(
                f"call: the annotation of {name}'s parameter {parameter} cannot be resolved ({error}): the type must"
                " stand at the top of its module"
            ) from None

    def arguments(self, json: bytes) -> tuple[Any, ...]:
        """Return what the function is called with, behind the call.

        Raises:
            RequestError: `bad_arguments`: the data is not what the function takes.
        """
        if not self._takes_data:
            return ()
        try:
            return (self._decoder.decode(json),)
        except msgspec.ValidationError as error:
            raise RequestError("bad_arguments", _told(error)) from None
        except RecursionError:
            raise RequestError("bad_arguments", "the data is nested too deeply") from None


def encode_result(result: Any) -> bytes:
    """Return what a handler has returned, as JSON.

    Raises:
        TypeError: It cannot be encoded.
    """
    return msgspec.json.encode(result, enc_hook=_from_model)


def _as_model(wanted: type, value: Any) -> Any:
    validate = getattr(wanted, "model_validate", None)  # Pydantic's, which need not be installed
    if validate is None:
        raise NotImplementedError(f"{wanted} is neither a type that msgspec knows nor a model of Pydantic")
    try:
        return validate(value)
    except ValueError as error:
        raise ValueError(_model_errors(error)) from None


def _model_errors(error: ValueError) -> str:
    errors = getattr(error, "errors", None)
    if errors is None:
        return str(error)
    found = errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'data'}: {one['msg']}" for one in found)


def _from_model(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"a result of type {type(value).__name__} cannot be encoded as JSON")
    return dump(mode="json")


def _told(error: Exception) -> str:
    text = str(error)
    return text if len(text) <= MESSAGE_MAX else text[: MESSAGE_MAX - 1] + "…"
