from trunkline.core.batch import Batch, Notification


def test_what_many_readers_get_is_encoded_once() -> None:
    calls = []

    def encode(batch: Batch) -> bytes:
        calls.append(batch.epoch)
        return b"frames"

    batch = Batch("e", [])
    assert batch.encoded(encode) is batch.encoded(encode)
    assert batch.encoded(lambda _: b"chunk") == b"chunk"
    assert calls == ["e"]


def test_a_notification_is_encoded_once_too() -> None:
    notification = Notification([("signal", b"{}")])
    assert notification.encoded(lambda n: n.events[0][1]) == b"{}"
