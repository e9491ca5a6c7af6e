"""Django's own commands.

    cd examples/notifications
    python manage.py migrate && python manage.py people && python manage.py runserver

Open http://localhost:8000 in two windows, as `ada` and as `bob`; each name is its own password. What is Trunkline's is
marked `# rooms`.
"""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "board.settings")
    execute_from_command_line(sys.argv)
