"""The outbox."""

from typing import Any

from django.db import migrations, models

from trunkline.outbox.pending import SHARDS


def fill(apps: Any, schema_editor: Any) -> None:
    """Make the locks: transactions would otherwise wait for one another to make them."""
    lock = apps.get_model("trunkline", "OutboxLock")
    lock.objects.using(schema_editor.connection.alias).bulk_create([lock(shard=shard) for shard in range(SHARDS)])


class Migration(migrations.Migration):
    initial = True
    dependencies = ()
    operations = (
        migrations.CreateModel(
            name="OutboxMessage",
            fields=[
                ("number", models.BigAutoField(primary_key=True, serialize=False)),
                ("room", models.CharField(max_length=255)),
                ("id", models.CharField(max_length=255)),
                ("sender", models.CharField(max_length=1024, null=True)),
                ("data", models.TextField()),
                ("at", models.DateTimeField(auto_now_add=True)),
                ("refused", models.TextField(blank=True, null=True)),
            ],
            options={
                "verbose_name": "message of the outbox",
                "verbose_name_plural": "messages of the outbox",
            },
        ),
        migrations.CreateModel(
            name="OutboxLock",
            fields=[("shard", models.IntegerField(primary_key=True, serialize=False))],
            options={"verbose_name": "lock of the outbox", "verbose_name_plural": "locks of the outbox"},
        ),
        migrations.CreateModel(
            name="Room",
            fields=[("name", models.CharField(max_length=255, primary_key=True, serialize=False))],
            options={"managed": False, "default_permissions": ("view",)},
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
    )
