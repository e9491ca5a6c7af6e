"""`path("trunkline/", include("trunkline.django.urls"))`."""

from __future__ import annotations

from django.urls import path

from trunkline.django import views

app_name = "trunkline"
urlpatterns = [path("token", views.token, name="token")]
