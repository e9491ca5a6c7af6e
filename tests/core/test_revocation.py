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


def test_what_may_have_been_issued_behind_it_in_the_same_second_may_be_newer() -> None:
    """A token says the second in which it was issued, and no more."""
    revocations = Revocations(100.0)
    revocations.revoke_user("ana", 1000.4)
    same, before, later = (Grant(user="ana", issued_at=at) for at in (1000.0, 999.0, 1001.0))
    assert [revocations.refuses(grant) for grant in (same, before, later)] == [True, True, False]
    assert [revocations.may_be_newer(grant) for grant in (same, before)] == [True, False]
    revocations.revoke_token("t", 1000.5)
    assert not revocations.may_be_newer(Grant(user="ana", issued_at=1000.0, token_id="t"))
    assert not revocations.may_be_newer(Grant(user=None, issued_at=1000.0))
