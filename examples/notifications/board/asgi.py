"""The site for an ASGI server: `trunkline run board.asgi:application`."""

import os

from django.core.asgi import get_asgi_application

from trunkline.django.asgi import with_rooms  # rooms

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "board.settings")
application = with_rooms(get_asgi_application())  # rooms
