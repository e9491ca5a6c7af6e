"""The addresses of the site, and the view that gives its pages their tokens."""

from django.urls import include, path

from board.urls import urlpatterns as of_the_site

urlpatterns = [*of_the_site, path("trunkline/", include("trunkline.django.urls"))]
