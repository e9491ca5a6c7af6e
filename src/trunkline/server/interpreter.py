"""The Python that runs us: whether it was built for speed."""

from __future__ import annotations

import sysconfig

UNOPTIMISED = (
    "this Python was built without optimisations (--enable-optimizations): everything here costs about an eighth more"
    " than on one that was, such as your distribution's"
)


def is_optimised() -> bool:
    """Return whether this Python was built with optimisations, as far as it tells: most self-built ones were not.

    Debian takes the flags of its profile out of what its Pythons say of themselves; who has them there, and has not
    asked for optimisations, did not use them.
    """
    arguments = sysconfig.get_config_var("CONFIG_ARGS") or ""
    flags = sysconfig.get_config_var("PGO_PROF_USE_FLAG") or ""
    return "--enable-optimizations" in arguments or "-fprofile-use" not in flags
