from trunkline.core.grant import Grant
from trunkline.core.revocation import Revocations


def test_a_token_and_a_user() -> None:
    revocations = Revocations(keep_s=100)
    revocations.revoke_token("t", 10)
    revocations.revoke_user("ana", 10)
    assert revocations.refuses(Grant(user="ben", token_id="t"))
    assert not revocations.refuses(Grant(user="ben", token_id="u"))
    assert revocations.refuses(Grant(user="ana", issued_at=10))
    assert not revocations.refuses(Grant(user="ana", issued_at=11))
    assert revocations.refuses(Grant(user="ana"))


def test_entries_are_bounded_in_time_and_number() -> None:
    revocations = Revocations(keep_s=100, entries_max=2)
    for n in range(3):
        revocations.revoke_token(f"t{n}", n)
    assert len(revocations) == 2
    revocations.revoke_token("late", 200)
    assert len(revocations) == 1
