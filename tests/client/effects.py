"""What a part of the session wants to be done, gathered."""

from typing import Any


class Effects(list[dict[str, Any]]):
    def __call__(self, effect: str, **more: Any) -> None:
        self.append({"do": effect, **more})

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [effect for effect in self if effect["do"] == kind]
