"""Buttons that change something: asked about on a page of their own, done by POST alone."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import wraps
from typing import Any, ClassVar, cast

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.dataclasses import UnfoldAction
from unfold.decorators import action
from unfold.enums import ActionVariant

from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.permissions import role_of
from integrations.cus_accounts.proof import needs_proof
from integrations.cus_accounts.proof_pages import ask_for_proof
from integrations.cus_console.pages import TRAIL_READERS
from integrations.cus_web.errors import CusError, ProofRequired


@dataclass(frozen=True)
class Question:
    """What a person is asked before something is done, and told afterwards."""

    title: str
    text: str
    button: str
    done: str
    is_dangerous: bool = False
    # Whether it is done in one transaction: not what waits for somebody else's server.
    is_atomic: bool = True
    # Whether it changes access: the person proves first who they are (ruling C10).
    changes_access: bool = False


END_SESSIONS = Question(
    "End all sessions",
    "The person has to sign in again everywhere. Their password, second factor and API tokens stay.",
    "End them",
    "The person is signed out everywhere.",
    is_dangerous=True,
    changes_access=True,
)


def asked(
    question: Question,
    *,
    description: str,
    icon: str,
    permission: str = "act",
    variant: ActionVariant = ActionVariant.DEFAULT,
) -> Callable[[Callable[[Any, Any, CusUser], object]], Any]:
    """A button of a page: asks the question, then calls the method with the row and the person.

    The person is told `question.done`, or the text that the method returns.
    """

    def button(do: Callable[[Any, Any, CusUser], object]) -> Any:
        @action(description=description, icon=icon, permissions=[permission], variant=variant)
        @wraps(do)
        def run(page: Any, request: HttpRequest, object_id: str) -> HttpResponse:
            actor = cast("CusUser", request.user)
            answer: HttpResponse = page.run(
                request, object_id, question, lambda row: do(page, row, actor)
            )
            return answer

        return run

    return button


class CusActions:
    """For an admin page: runs what a button stands for, within the page's own scope."""

    model: ClassVar[type[Model]]

    def run(
        self: Any,
        request: HttpRequest,
        object_id: str,
        question: Question,
        do: Callable[[Any], object],
    ) -> HttpResponse:
        """Ask; on POST do it to the row, and say what came of it: `do`'s own text, if it has one.

        A link that somebody sends, or a picture in a mail, asks and changes nothing.
        """
        row = self.get_object(request, object_id)
        if row is None:
            answer: HttpResponse = self._get_obj_does_not_exist_redirect(
                request, self.opts, object_id
            )
            return answer
        if not self.has_act_permission(request, object_id):
            raise PermissionDenied
        if question.changes_access and needs_proof(request):
            return ask_for_proof(request)
        if request.method in ("GET", "HEAD"):
            page: HttpResponse = self._ask(request, row, question)
            return page
        if request.method != "POST":
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        _do(request, row, question, do)
        back: HttpResponse = self._back(request, row)
        return back

    def has_act_permission(self: Any, request: HttpRequest, object_id: str | None = None) -> bool:
        """Whether the person may press the page's buttons."""
        return bool(self.has_change_permission(request))

    def is_offered(self, button: str, row: Any) -> bool:
        """Whether the row's page shows the button: not one for what is so already."""
        return True

    def get_actions_detail(self: Any, request: HttpRequest, object_id: Any) -> list[UnfoldAction]:
        """The buttons that the person may press and that would change something."""
        allowed = super().get_actions_detail(request, object_id)  # type: ignore[misc]  # the page's own
        row = self.get_object(request, object_id)
        return [button for button in allowed if row and self.is_offered(button.path, row)]

    @action(description="History", icon="history", permissions=["trail"])
    def history(self: Any, request: HttpRequest, object_id: str) -> HttpResponse:
        """The audit trail's entries on the row."""
        trail: HttpResponse = self.history_view(request, object_id)
        return trail

    def has_trail_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Whether the person may read the audit trail, whose page it is that this leads to."""
        return role_of(request.user) in TRAIL_READERS

    def _ask(self: Any, request: HttpRequest, row: Model, question: Question) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": question.title,
            "question": question,
            "object": row,
            "opts": self.opts,
            "back": self._url_of(row),
        }
        return TemplateResponse(request, "admin/cus_question.html", context)

    def _back(self: Any, request: HttpRequest, row: Model) -> HttpResponseRedirect:
        still_there = self.get_object(request, str(row.pk)) is not None
        return redirect(self._url_of(row) if still_there else self._url_of(None))

    def _url_of(self: Any, row: Model | None) -> str:
        name = f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}"
        return reverse(f"{name}_change", args=[row.pk]) if row else reverse(f"{name}_changelist")


def _do(request: HttpRequest, row: Model, question: Question, do: Callable[[Any], object]) -> None:
    """Do it, and tell the person what came of it. Raises ProofRequired."""
    try:
        with transaction.atomic() if question.is_atomic else nullcontext():
            result = do(row)
    except ProofRequired:
        # The middleware asks for the proof.
        raise
    except CusError as refusal:
        messages.error(request, refusal.detail)
    except ValidationError as refusal:
        messages.error(request, " ".join(refusal.messages))
    else:
        messages.success(request, result if isinstance(result, str) else question.done)
