"""The addresses of the site."""

from django.contrib import admin
from django.urls import include, path

from board import views

urlpatterns = [
    path("", views.index, name="index"),
    path("read", views.read, name="read"),
    path("accounts/", include("django.contrib.auth.urls")),
    path("admin/", admin.site.urls),
]
