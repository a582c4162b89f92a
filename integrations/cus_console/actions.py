"""Buttons that change something: each asks on a page of its own, and acts on POST alone."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import wraps
from typing import Any, ClassVar, Final, cast

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

# A page that has read its row keeps it at the request, so that its buttons need not read it again.
SHOWN_ROW: Final = "_cus_shown_row"


@dataclass(frozen=True)
class Question:
    """The question before an action, and the message after it."""

    title: str
    text: str
    button: str
    done: str
    is_dangerous: bool = False
    # Whether the action runs in one transaction. False for actions that wait for another server.
    is_atomic: bool = True
    # Whether the action changes access: the person must prove their identity first (ruling C10).
    changes_access: bool = False
    # The label of the text that the action needs; empty: it needs none.
    asks: str = ""


# The name of that text in the form.
_TEXT = "text"
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
) -> Callable[[Callable[..., object]], Any]:
    """Decorate a page's method as a button: ask, then call the method with row and person.

    Where the question `asks` for a text, the method gets the text, too. The page then shows the text that the method returns, or else `question.done`.
    """

    def button(do: Callable[..., object]) -> Any:
        @action(description=description, icon=icon, permissions=[permission], variant=variant)
        @wraps(do)
        def run(page: Any, request: HttpRequest, object_id: str) -> HttpResponse:
            actor = cast("CusUser", request.user)
            # PostgreSQL raises an error for a text with a NUL.
            texts = [request.POST.get(_TEXT, "").replace("\0", "")] if question.asks else []
            answer: HttpResponse = page.run(
                request,
                object_id,
                question,
                lambda row: do(page, row, actor, *texts),
                permission=permission,
            )
            return answer

        return run

    return button


class CusActions:
    """Mixin for an admin page: runs the actions of its buttons, within the page's own scope."""

    model: ClassVar[type[Model]]

    def run(
        self: Any,
        request: HttpRequest,
        object_id: str,
        question: Question,
        do: Callable[[Any], object],
        *,
        permission: str = "act",
    ) -> HttpResponse:
        """Ask; on POST call `do` with the row, and show the text of `do` or `question.done`.

        Only people with the `permission`, as the page's `has_…_permission` says, may do so.
        A GET, as from a link or a picture in a mail, asks and changes nothing.
        """
        row = self.get_object(request, object_id)
        if row is None:
            answer: HttpResponse = self._get_obj_does_not_exist_redirect(
                request, self.opts, object_id
            )
            return answer
        if not getattr(self, f"has_{permission}_permission")(request, object_id):
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
        """Whether the row's page shows the button: not if the action would change nothing."""
        return True

    def get_actions_detail(self: Any, request: HttpRequest, object_id: Any) -> list[UnfoldAction]:
        """The buttons that the person may press and that would change the row."""
        allowed = super().get_actions_detail(request, object_id)  # type: ignore[misc]  # the page's own
        row = getattr(request, SHOWN_ROW, None) or self.get_object(request, object_id)
        return [button for button in allowed if row and self.is_offered(button.path, row)]

    @action(description="History", icon="history", permissions=["trail"])
    def history(self: Any, request: HttpRequest, object_id: str) -> HttpResponse:
        """The audit trail's entries on the row."""
        trail: HttpResponse = self.history_view(request, object_id)
        return trail

    def has_trail_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Whether the person may read the audit trail, which the history button opens."""
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
        name = f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_changelist"
        return self.address_of(row) if row else reverse(name)


def _do(request: HttpRequest, row: Model, question: Question, do: Callable[[Any], object]) -> None:
    """Run the action, and show its outcome to the person. Raises ProofRequired."""
    try:
        with transaction.atomic() if question.is_atomic else nullcontext():
            result = do(row)
    except ProofRequired:
        # The middleware catches ProofRequired and asks for the proof.
        raise
    except CusError as refusal:
        messages.error(request, refusal.detail)
    except ValidationError as refusal:
        messages.error(request, " ".join(refusal.messages))
    else:
        messages.success(request, result if isinstance(result, str) else question.done)
