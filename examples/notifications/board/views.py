"""The page of the site."""

from django.contrib.auth import get_user_model
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from board.models import Notice
from django import forms
from trunkline.django import position, publish_on_commit  # rooms


class NoticeForm(forms.ModelForm):
    """A notice that somebody writes."""

    class Meta:
        model = Notice
        fields = ("to", "text")


@login_required
def index(request: HttpRequest) -> HttpResponse:
    room = f"notices:{request.user.pk}"
    since = position(room)  # rooms
    form = NoticeForm(request.POST or None)
    form.fields["to"].queryset = get_user_model().objects.exclude(pk=request.user.pk).order_by("username")
    if form.is_valid():
        form.instance.by = request.user
        notice = form.save()
        shown = {"id": notice.pk, "by": request.user.get_username(), "text": notice.text, "unread": unread(notice.to)}
        publish_on_commit(f"notices:{notice.to.pk}", shown)  # rooms
        return redirect("index")
    notices = request.user.notices.select_related("by")[:50]
    shown = {"form": form, "notices": notices, "unread": unread(request.user), "room": room, "since": since}
    return render(request, "index.html", shown)


@login_required
@require_POST
def read(request: HttpRequest) -> JsonResponse:
    request.user.notices.filter(is_read=False).update(is_read=True)
    return JsonResponse({"unread": 0})


def unread(user: object) -> int:
    return Notice.objects.filter(to=user, is_read=False).count()
