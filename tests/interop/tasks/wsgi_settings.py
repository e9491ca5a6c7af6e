"""The site of examples/notifications behind gunicorn, beside a server."""

import os

from board.settings import *  # noqa: F403

TRUNKLINE = {"URL": os.environ["ROOMS"], "PERMISSIONS": {"read": ["notices:{user}"]}, "ORIGINS": [os.environ["SITE"]]}
ROOT_URLCONF = "tests.interop.tasks.wsgi_urls"
