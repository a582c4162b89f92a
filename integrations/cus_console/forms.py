"""Pages that change something: the services change, and the form shows their refusals."""

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
    """A form whose last check calls the service, which makes the change or refuses.

    So a refused save shows the form with one message, never a page with "saved".
    """

    # The request that the form belongs to; `CusServiceAdmin` sets it for each request.
    request: ClassVar[HttpRequest]

    @property
    def is_new(self) -> bool:
        """Whether the form adds a row. A new row has its primary key before it is stored."""
        return bool(self.instance._state.adding)  # noqa: SLF001  (Django documents it)

    def call_service(self) -> Model:
        """Make the change. Raises ValidationError or CusError."""
        raise NotImplementedError

    def field_of(self, name: str) -> str:
        """The form's field for the service's field `name`."""
        return name

    def _post_clean(self) -> None:
        # Skips the model's checks: the service has its own, and the rules must be in one place.
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
        """The row that the service made or changed."""
        return self.instance

    def save_m2m(self) -> None:
        """Do nothing: the service has saved everything."""

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
        # The console derives its forms from this form; they inherit the declared fields.
        form.declared_fields |= boxes
        return form

    return given


class CusServiceAdmin(CusReadOnlyAdmin):
    """A page whose forms are `CusServiceForm`s, so that services make all changes."""

    changers: tuple[str, ...] = ("operator", "admin")
    # Whether the form changes access: the person must prove their identity before the form opens.
    add_changes_access = change_changes_access = False
    form = CusServiceForm
    # The form of a new row, where it is another.
    add_form: type[CusServiceForm] | None = None

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
        if obj is None and self.add_form is not None:
            options["form"] = self.add_form
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
        # No redirect on POST: the typed values would be lost.
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
        """Do nothing: the form's check has saved the row."""

    def save_related(self, *_saved: Any) -> None:
        """Do nothing: the form's check has saved everything."""


def tenant_for(request: HttpRequest, chosen: Mapping[str, Any]) -> CusTenant:
    """The tenant of a new row: the tenant that an operator chose, else the person's own."""
    if role_of(request.user) == "operator":
        tenant: CusTenant = chosen["tenant"]
        return tenant
    return tenants_of(request).get()
