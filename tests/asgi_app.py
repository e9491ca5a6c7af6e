"""The rooms as a plain ASGI application, for servers that are not ours."""

import os

from trunkline import Hub, Retention

app = Hub(os.environ["STORE"], retention=Retention(messages_max=100)).app
