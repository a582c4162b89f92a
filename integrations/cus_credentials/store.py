"""The interface of a store of credentials (ruling C1)."""

import uuid
from abc import ABC, abstractmethod
from typing import ClassVar

from integrations.cus_lifecycle.models import CusIntegration


class CredentialStore(ABC):
    """A store of credentials; also decides which references a tenant may use."""

    scheme: ClassVar[str]

    @abstractmethod
    def check(self, ref: str, tenant_id: uuid.UUID) -> None:
        """Raise CredentialRefRefused unless an operator may give the tenant this reference."""

    @abstractmethod
    def read(self, integration: CusIntegration) -> str:
        """The stored text. Raises CredentialUnreadable (or its kind CredentialMissing) where
        the credential is at fault, CredentialStoreUnavailable where the store is, and
        CredentialElsewhere where it was entered for another origin than the integration's.
        """
