"""Import legacy worker configurations: all of a file, or none."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.db import DatabaseError, transaction

from integrations.cus_accounts.models import CusTenant
from integrations.cus_integrations.models import CusImportedWorker
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_integrations.worker_config import (
    WorkerConfig,
    WorkerRefused,
    entries,
    worker_config,
)
from integrations.cus_web.errors import CusError


@dataclass
class ImportLine:
    """The outcome for one entry of the file."""

    number: int
    worker: WorkerConfig | None = None
    # Set if the entry was imported, by this run or an earlier run.
    integration_name: str = ""
    known: bool = False
    problem: str = ""


class _Undo(Exception):
    pass


def import_workers(text: str, *, apply: bool) -> list[ImportLine]:
    """Import the file's workers in one transaction, which commits only if every line is good.

    Without `apply` the transaction is rolled back, so a dry run shows exactly what will happen.
    """
    lines: list[ImportLine] = []
    try:
        with transaction.atomic():
            lines.extend(_imported(text))
            if not apply or any(line.problem for line in lines):
                raise _Undo
    except _Undo:
        pass
    return lines


def _imported(text: str) -> Iterator[ImportLine]:
    seen: dict[tuple[uuid.UUID, str], int] = {}
    for number, entry in entries(text):
        line = ImportLine(number)
        with _problem_of(line):
            line.worker = worker_config(entry)
            tenant = _tenant(line.worker.tenant)
            first = seen.setdefault((tenant.id, line.worker.worker_id), number)
            if first != number:
                raise WorkerRefused(f"The same worker as in line {first}.")
            _import(line, line.worker, tenant)
        yield line


@contextmanager
def _problem_of(line: ImportLine) -> Iterator[None]:
    """Note why a line can't be imported, and roll back the line's changes."""
    try:
        with transaction.atomic():
            yield
    except CusError as error:
        line.problem = error.detail
    except ValidationError as error:
        line.problem = " ".join(error.messages)
    except DatabaseError:
        # Without the database's message, which may quote the row.
        line.problem = "The database refused this line, perhaps because another import runs."


def _import(line: ImportLine, worker: WorkerConfig, tenant: CusTenant) -> None:
    known = CusImportedWorker.objects.filter(tenant=tenant, worker_id=worker.worker_id)
    if earlier := known.select_related("integration").first():
        line.integration_name, line.known = earlier.integration.name, True
        return
    service = CusIntegrationService(tenant)
    integration = service.create(
        name=worker.worker_id,
        provider_type=worker.provider_type,
        credential=worker.credential,
        config=worker.config,
        default_model=worker.default_model,
        token_limit_month=worker.token_limit_month,
    )
    if worker.enabled:
        integration = service.enable(integration)
    CusImportedWorker.objects.create(
        tenant=tenant, worker_id=worker.worker_id, integration=integration
    )
    line.integration_name = integration.name


def _tenant(text: str) -> CusTenant:
    open_ones = CusTenant.objects.filter(closed_at__isnull=True)
    try:
        by_id = open_ones.filter(id=uuid.UUID(text)).first()
    except ValueError:
        by_id = None
    tenant = by_id or open_ones.filter(name=text).first()
    if tenant is None:
        raise WorkerRefused("tenant is neither the id nor the name of an open tenant.")
    return tenant
