"""PostgreSQL and Valkey from the virtual environment, for machines without them."""

from aos_project.cus_embedded.errors import DidNotStart, ServiceError
from aos_project.cus_embedded.home import Home, product_home, throw_away_home
from aos_project.cus_embedded.postgres import Postgres
from aos_project.cus_embedded.throw_away import throw_away_services
from aos_project.cus_embedded.valkey import Valkey

__all__ = [
    "DidNotStart",
    "Home",
    "Postgres",
    "ServiceError",
    "Valkey",
    "product_home",
    "throw_away_home",
    "throw_away_services",
]
