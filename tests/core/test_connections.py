from trunkline.core.connections import ConnectionRegistry
from trunkline.core.grant import Grant


class Stream:
    def __init__(self, session: str, user: str, expires_at: float | None = None) -> None:
        self.session = session
        self.grant = Grant(user=user, expires_at=expires_at)

    def dismiss(self, error: object) -> None: ...
    def recheck(self) -> None: ...
    def renewed(self, grant: Grant) -> None: ...


def test_by_user_and_by_session() -> None:
    registry: ConnectionRegistry[Stream] = ConnectionRegistry()
    one, two = Stream("s-1", "ana"), Stream("s-2", "ana")
    for stream in (one, two):
        registry.add(stream)
    assert (len(registry), registry.count("ana"), registry.count("ben")) == (2, 2, 0)
    assert registry.of_user("ana") == [one, two]
    assert registry.find("s-2") is two
    registry.remove(one)
    registry.remove(one)
    assert list(registry) == [two]


def test_each_expires_once() -> None:
    registry: ConnectionRegistry[Stream] = ConnectionRegistry()
    streams = [Stream(f"s-{n}", "ana", 100.0 + n) for n in range(5)]
    for stream in streams:
        registry.add(stream)
    assert registry.expired(99.0) == []
    assert registry.expired(102.0) == streams[:3]
    assert registry.expired(102.5) == []
    late = Stream("late", "ana", 50.0)
    registry.add(late)
    assert set(registry.expired(103.0)) == {streams[3], late}


def test_a_newer_token_moves_the_expiry() -> None:
    registry: ConnectionRegistry[Stream] = ConnectionRegistry()
    stream = Stream("s", "ana", 100.0)
    registry.add(stream)
    registry.renew(stream, Grant(user="ana", expires_at=200.0))
    assert registry.expired(150.0) == []
    assert registry.expired(200.0) == [stream]
