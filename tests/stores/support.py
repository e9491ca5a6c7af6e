"""What the tests of stores share."""

from collections.abc import Sequence

from trunkline.core.message import Receipt
from trunkline.errors import StoreUnavailable


def stored(answers: Sequence[Receipt | StoreUnavailable]) -> list[Receipt]:
    """Return the receipts of messages all of which must have been stored."""
    for answer in answers:
        if isinstance(answer, StoreUnavailable):
            raise answer
    return [answer for answer in answers if isinstance(answer, Receipt)]
