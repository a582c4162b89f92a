"""The middleware that tells `require_proof` which request is being answered."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from integrations.cus_accounts.proof import answering
from integrations.cus_accounts.proof_pages import ask_for_proof
from integrations.cus_web.errors import ProofRequired


class CusProofGate:
    """Lets `require_proof` judge the request that is being answered.

    Pages ask for the proof before they show a form. A page that did not ask is led to the question
    from here, after its change was refused; REST framework turns the refusal into a 403 by itself.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with answering(request):
            return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        return ask_for_proof(request) if isinstance(error, ProofRequired) else None
