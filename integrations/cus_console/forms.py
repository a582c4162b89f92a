"""Pages that change something: the services do it, and their refusals stand in the form."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import transaction
from django.db.models import Model
from django.http import HttpRequest, HttpResponse

from integrations.cus_accounts.models import CusTenant
from integrations.cus_accounts.permissions import role_of
from integrations.cus_accounts.proof import needs_proof
from integrations.cus_accounts.proof_pages import ask_for_proof, proof_needed_for_form
from integrations.cus_console.pages import CusReadOnlyAdmin, tenants_of
from integrations.cus_web.errors import CusError, ProofRequired


class CusServiceForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    """A form whose last check is the service's own: it does the change, or says why not.

    So a refused save is a form with one message, never a page that says that it was saved.
    """

    # Whose form it is; set for each request by `CusServiceAdmin`.
    request: ClassVar[HttpRequest]

    @property
    def is_new(self) -> bool:
        """Whether something is being added; our keys are made before they are stored."""
        return bool(self.instance._state.adding)  # noqa: SLF001  (Django documents it)

    def call_service(self) -> Model:
        """Do it. Raises ValidationError or CusError."""
        raise NotImplementedError

    def field_of(self, name: str) -> str:
        """The form's field for what the service calls `name`."""
        return name

    def _post_clean(self) -> None:
        # Not the model's checks: the service has its own, and one place must rule.
        if self.errors:
            return
        try:
            with transaction.atomic():
                self.instance = self.call_service()
        except ValidationError as refusal:
            self._show(refusal)
        except ProofRequired:
            self._blame(NON_FIELD_ERRORS, [proof_needed_for_form()])
        except CusError as refusal:
            self._blame(refusal.attr or NON_FIELD_ERRORS, [refusal.detail])

    def save(self, commit: bool = True) -> Any:  # noqa: FBT001, FBT002  (Django's own signature)
        """What the service made."""
        return self.instance

    def save_m2m(self) -> None:
        """Nothing is left to save."""

    def _show(self, refusal: ValidationError) -> None:
        if not hasattr(refusal, "error_dict"):
            self._blame(NON_FIELD_ERRORS, refusal.messages)
            return
        by_field: Mapping[str, list[str]] = refusal.message_dict
        for name, texts in by_field.items():
            self._blame(name, texts)

    def _blame(self, name: str, texts: list[str]) -> None:
        field = self.field_of(name)
        self.add_error(field if field in self.fields else None, texts)


_F = TypeVar("_F", bound=CusServiceForm)


def with_boxes(boxes: Mapping[str, forms.Field]) -> Callable[[type[_F]], type[_F]]:
    """For a form: give it these boxes too, by name, after those that it declares itself."""

    def given(form: type[_F]) -> type[_F]:
        form.base_fields |= boxes
        # The console derives forms of its own from this one, which inherit what is declared.
        form.declared_fields |= boxes
        return form

    return given


class CusServiceAdmin(CusReadOnlyAdmin):
    """A page whose forms are `CusServiceForm`s. Nothing is saved around the services."""

    changers: tuple[str, ...] = ("operator", "admin")
    # Which of its forms change access: the person proves who they are before they fill one in.
    add_changes_access = change_changes_access = False
    form = CusServiceForm

    def has_add_permission(self, request: HttpRequest) -> bool:
        return role_of(request.user) in self.changers

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return role_of(request.user) in self.changers

    def get_form(
        self,
        request: HttpRequest,
        obj: Model | None = None,
        change: bool = False,  # noqa: FBT001, FBT002  (Django's own signature)
        **options: Any,
    ) -> Any:
        form = super().get_form(request, obj, change, **options)
        form.request = request
        return form

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        # A form that was sent is not led away: what was typed would be lost.
        is_new_form = request.method == "GET" and self._changes_access(request, object_id)
        if is_new_form and needs_proof(request):
            return ask_for_proof(request)
        page: HttpResponse = super().changeform_view(request, object_id, form_url, extra_context)
        return page

    def _changes_access(self, request: HttpRequest, object_id: str | None) -> bool:
        if object_id is None:
            return self.add_changes_access and self.has_add_permission(request)
        return self.change_changes_access and self.has_change_permission(request)

    def save_model(self, *_saved: Any) -> None:
        """Nothing: the form's check did it."""

    def save_related(self, *_saved: Any) -> None:
        """Nothing."""


def tenant_for(request: HttpRequest, chosen: Mapping[str, Any]) -> CusTenant:
    """The tenant that a new row is for: the one chosen by an operator, else the person's own."""
    if role_of(request.user) == "operator":
        tenant: CusTenant = chosen["tenant"]
        return tenant
    return tenants_of(request).get()
