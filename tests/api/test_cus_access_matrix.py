"""Every URL, method, object and principal of the API, and the status that each gets (C8, C9)."""

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import transaction

from integrations.cus_audit.models import CusAuditEntry
from tests.api.cus_access_world import METHODS, MISSING, Principal, World, api_urls
from tests.api.test_cus_bypass import window
from tests.cus_factories import browser_of, record

pytestmark = pytest.mark.django_db

# One line for each URL (below /api/v1/cus/), method and object. `other` is every method that the
# URL does not offer; a list or a new row is of the tenant that `?tenant_id=` names, or `unnamed`.
# The columns: operator, tenant admin, member, support, finance of all tenants and of the own tenant,
# by session and by API token alike;
# a person without a role and an admin of a closed tenant, by session; an invalid token (of those
# two, revoked, expired); the SDK key of the own integration, as header and as bearer token; no
# credential. HEAD goes by GET's line. /api/schema and /api/docs are open here (CUS_OPEN_API_DOCS);
# closed, they are 404 for all callers: tests/api/test_cus_schema.py. A new URL needs its lines
# here, and a body in BODIES if it takes one.
TABLE = """
method url                                        object      oper admin memb supp fina tfin none clsd dead key  anon
GET    integrations                               unnamed     200  200  200  200  200  200  403  403  401  401  401
GET    integrations                               own         200  400  400  200  200  400  403  403  401  401  401
GET    integrations                               foreign     200  400  400  200  200  400  403  403  401  401  401
GET    integrations                               missing     200  400  400  200  200  400  403  403  401  401  401
GET    integrations                               closed      200  400  400  200  200  400  403  403  401  401  401
POST   integrations                               unnamed     400  201  403  403  403  403  403  403  401  401  401
POST   integrations                               own         201  201  403  403  403  403  403  403  401  401  401
POST   integrations                               foreign     201  201  403  403  403  403  403  403  401  401  401
POST   integrations                               missing     404  201  403  403  403  403  403  403  401  401  401
POST   integrations                               closed      409  201  403  403  403  403  403  403  401  401  401
other  integrations                               any         405  405  405  405  405  405  405  405  401  401  401

GET    integrations/{integration_id}              own         200  200  200  200  200  200  403  403  401  401  401
GET    integrations/{integration_id}              foreign     200  404  404  200  200  404  403  403  401  401  401
GET    integrations/{integration_id}              missing     404  404  404  404  404  404  403  403  401  401  401
GET    integrations/{integration_id}              deleted     404  404  404  404  404  404  403  403  401  401  401
PUT    integrations/{integration_id}              own         200  200  403  403  403  403  403  403  401  401  401
PUT    integrations/{integration_id}              foreign     200  404  403  403  403  403  403  403  401  401  401
PUT    integrations/{integration_id}              missing     404  404  403  403  403  403  403  403  401  401  401
PUT    integrations/{integration_id}              deleted     404  404  403  403  403  403  403  403  401  401  401
PATCH  integrations/{integration_id}              own         200  200  403  403  403  403  403  403  401  401  401
PATCH  integrations/{integration_id}              foreign     200  404  403  403  403  403  403  403  401  401  401
PATCH  integrations/{integration_id}              missing     404  404  403  403  403  403  403  403  401  401  401
PATCH  integrations/{integration_id}              deleted     404  404  403  403  403  403  403  403  401  401  401
DELETE integrations/{integration_id}              own         204  204  403  403  403  403  403  403  401  401  401
DELETE integrations/{integration_id}              foreign     204  404  403  403  403  403  403  403  401  401  401
DELETE integrations/{integration_id}              missing     404  404  403  403  403  403  403  403  401  401  401
DELETE integrations/{integration_id}              deleted     404  404  403  403  403  403  403  403  401  401  401
other  integrations/{integration_id}              any         405  405  405  405  405  405  405  405  401  401  401

POST   integrations/{integration_id}/enable       own         200  200  403  403  403  403  403  403  401  401  401
POST   integrations/{integration_id}/enable       foreign     200  404  403  403  403  403  403  403  401  401  401
POST   integrations/{integration_id}/enable       missing     404  404  403  403  403  403  403  403  401  401  401
POST   integrations/{integration_id}/enable       deleted     404  404  403  403  403  403  403  403  401  401  401
POST   integrations/{integration_id}/enable       closed      409  404  403  403  403  403  403  403  401  401  401
other  integrations/{integration_id}/enable       any         405  405  405  405  405  405  405  405  401  401  401

POST   integrations/{integration_id}/disable      own         200  200  403  403  403  403  403  403  401  401  401
POST   integrations/{integration_id}/disable      foreign     200  404  403  403  403  403  403  403  401  401  401
POST   integrations/{integration_id}/disable      missing     404  404  403  403  403  403  403  403  401  401  401
POST   integrations/{integration_id}/disable      deleted     404  404  403  403  403  403  403  403  401  401  401
other  integrations/{integration_id}/disable      any         405  405  405  405  405  405  405  405  401  401  401

GET    integrations/{integration_id}/health       own         200  200  200  200  200  200  403  403  401  401  401
GET    integrations/{integration_id}/health       foreign     200  404  404  200  200  404  403  403  401  401  401
GET    integrations/{integration_id}/health       missing     404  404  404  404  404  404  403  403  401  401  401
GET    integrations/{integration_id}/health       deleted     404  404  404  404  404  404  403  403  401  401  401
other  integrations/{integration_id}/health       any         405  405  405  405  405  405  405  405  401  401  401

POST   integrations/{integration_id}/test         own         200  200  403  403  403  403  403  403  401  401  401
POST   integrations/{integration_id}/test         foreign     200  404  403  403  403  403  403  403  401  401  401
POST   integrations/{integration_id}/test         missing     404  404  403  403  403  403  403  403  401  401  401
POST   integrations/{integration_id}/test         deleted     404  404  403  403  403  403  403  403  401  401  401
other  integrations/{integration_id}/test         any         405  405  405  405  405  405  405  405  401  401  401

GET    integrations/{integration_id}/keys         own         200  200  403  403  403  403  403  403  401  401  401
GET    integrations/{integration_id}/keys         foreign     200  404  403  403  403  403  403  403  401  401  401
GET    integrations/{integration_id}/keys         missing     404  404  403  403  403  403  403  403  401  401  401
GET    integrations/{integration_id}/keys         deleted     404  404  403  403  403  403  403  403  401  401  401
POST   integrations/{integration_id}/keys         own         201  201  403  403  403  403  403  403  401  401  401
POST   integrations/{integration_id}/keys         foreign     201  404  403  403  403  403  403  403  401  401  401
POST   integrations/{integration_id}/keys         missing     404  404  403  403  403  403  403  403  401  401  401
POST   integrations/{integration_id}/keys         deleted     404  404  403  403  403  403  403  403  401  401  401
POST   integrations/{integration_id}/keys         closed      409  404  403  403  403  403  403  403  401  401  401
other  integrations/{integration_id}/keys         any         405  405  405  405  405  405  405  405  401  401  401

DELETE integrations/{integration_id}/keys/{key_id} own         204  204  403  403  403  403  403  403  401  401  401
DELETE integrations/{integration_id}/keys/{key_id} foreign     204  404  403  403  403  403  403  403  401  401  401
DELETE integrations/{integration_id}/keys/{key_id} missing     404  404  403  403  403  403  403  403  401  401  401
DELETE integrations/{integration_id}/keys/{key_id} deleted     404  404  403  403  403  403  403  403  401  401  401
DELETE integrations/{integration_id}/keys/{key_id} revoked key 204  204  403  403  403  403  403  403  401  401  401
DELETE integrations/{integration_id}/keys/{key_id} foreign key 404  404  403  403  403  403  403  403  401  401  401
DELETE integrations/{integration_id}/keys/{key_id} sibling key 404  404  403  403  403  403  403  403  401  401  401
DELETE integrations/{integration_id}/keys/{key_id} missing key 404  404  403  403  403  403  403  403  401  401  401
DELETE integrations/{integration_id}/keys/{key_id} stray       404  404  403  403  403  403  403  403  401  401  401
other  integrations/{integration_id}/keys/{key_id} any         405  405  405  405  405  405  405  405  401  401  401

GET    integrations/{integration_id}/stops        own         200  200  200  200  200  200  403  403  401  401  401
GET    integrations/{integration_id}/stops        foreign     200  404  404  200  200  404  403  403  401  401  401
GET    integrations/{integration_id}/stops        missing     404  404  404  404  404  404  403  403  401  401  401
GET    integrations/{integration_id}/stops        deleted     404  404  404  404  404  404  403  403  401  401  401
POST   integrations/{integration_id}/stops        own         201  201  403  403  403  403  403  403  401  401  401
POST   integrations/{integration_id}/stops        foreign     201  404  403  403  403  403  403  403  401  401  401
POST   integrations/{integration_id}/stops        missing     404  404  403  403  403  403  403  403  401  401  401
POST   integrations/{integration_id}/stops        deleted     404  404  403  403  403  403  403  403  401  401  401
POST   integrations/{integration_id}/stops        closed      409  404  403  403  403  403  403  403  401  401  401
other  integrations/{integration_id}/stops        any         405  405  405  405  405  405  405  405  401  401  401

DELETE integrations/{integration_id}/stops/{stop_id} own         204  204  403  403  403  403  403  403  401  401  401
DELETE integrations/{integration_id}/stops/{stop_id} foreign     204  404  403  403  403  403  403  403  401  401  401
DELETE integrations/{integration_id}/stops/{stop_id} missing     404  404  403  403  403  403  403  403  401  401  401
DELETE integrations/{integration_id}/stops/{stop_id} deleted     404  404  403  403  403  403  403  403  401  401  401
DELETE integrations/{integration_id}/stops/{stop_id} foreign stop 404  404  403  403  403  403  403  403  401  401  401
DELETE integrations/{integration_id}/stops/{stop_id} sibling stop 404  404  403  403  403  403  403  403  401  401  401
DELETE integrations/{integration_id}/stops/{stop_id} missing stop 404  404  403  403  403  403  403  403  401  401  401
DELETE integrations/{integration_id}/stops/{stop_id} stray       404  404  403  403  403  403  403  403  401  401  401
other  integrations/{integration_id}/stops/{stop_id} any         405  405  405  405  405  405  405  405  401  401  401

GET    integrations/{integration_id}/scoped-limits own         200  200  200  200  200  200  403  403  401  401  401
GET    integrations/{integration_id}/scoped-limits foreign     200  404  404  200  200  404  403  403  401  401  401
GET    integrations/{integration_id}/scoped-limits missing     404  404  404  404  404  404  403  403  401  401  401
GET    integrations/{integration_id}/scoped-limits deleted     404  404  404  404  404  404  403  403  401  401  401
POST   integrations/{integration_id}/scoped-limits own         201  201  403  403  403  403  403  403  401  401  401
POST   integrations/{integration_id}/scoped-limits foreign     201  404  403  403  403  403  403  403  401  401  401
POST   integrations/{integration_id}/scoped-limits missing     404  404  403  403  403  403  403  403  401  401  401
POST   integrations/{integration_id}/scoped-limits deleted     404  404  403  403  403  403  403  403  401  401  401
POST   integrations/{integration_id}/scoped-limits closed      409  404  403  403  403  403  403  403  401  401  401
other  integrations/{integration_id}/scoped-limits any         405  405  405  405  405  405  405  405  401  401  401

GET    integrations/{integration_id}/scoped-limits/{limit_id} own         200  200  200  200  200  200  403  403  401  401  401
GET    integrations/{integration_id}/scoped-limits/{limit_id} foreign     200  404  404  200  200  404  403  403  401  401  401
GET    integrations/{integration_id}/scoped-limits/{limit_id} missing     404  404  404  404  404  404  403  403  401  401  401
GET    integrations/{integration_id}/scoped-limits/{limit_id} deleted     404  404  404  404  404  404  403  403  401  401  401
GET    integrations/{integration_id}/scoped-limits/{limit_id} foreign limit 404  404  404  404  404  404  403  403  401  401  401
GET    integrations/{integration_id}/scoped-limits/{limit_id} sibling limit 404  404  404  404  404  404  403  403  401  401  401
GET    integrations/{integration_id}/scoped-limits/{limit_id} missing limit 404  404  404  404  404  404  403  403  401  401  401
GET    integrations/{integration_id}/scoped-limits/{limit_id} stray       404  404  404  404  404  404  403  403  401  401  401
PATCH  integrations/{integration_id}/scoped-limits/{limit_id} own         200  200  403  403  403  403  403  403  401  401  401
PATCH  integrations/{integration_id}/scoped-limits/{limit_id} foreign     200  404  403  403  403  403  403  403  401  401  401
PATCH  integrations/{integration_id}/scoped-limits/{limit_id} missing     404  404  403  403  403  403  403  403  401  401  401
PATCH  integrations/{integration_id}/scoped-limits/{limit_id} deleted     404  404  403  403  403  403  403  403  401  401  401
PATCH  integrations/{integration_id}/scoped-limits/{limit_id} foreign limit 404  404  403  403  403  403  403  403  401  401  401
PATCH  integrations/{integration_id}/scoped-limits/{limit_id} sibling limit 404  404  403  403  403  403  403  403  401  401  401
PATCH  integrations/{integration_id}/scoped-limits/{limit_id} missing limit 404  404  403  403  403  403  403  403  401  401  401
PATCH  integrations/{integration_id}/scoped-limits/{limit_id} stray       404  404  403  403  403  403  403  403  401  401  401
DELETE integrations/{integration_id}/scoped-limits/{limit_id} own         204  204  403  403  403  403  403  403  401  401  401
DELETE integrations/{integration_id}/scoped-limits/{limit_id} foreign     204  404  403  403  403  403  403  403  401  401  401
DELETE integrations/{integration_id}/scoped-limits/{limit_id} missing     404  404  403  403  403  403  403  403  401  401  401
DELETE integrations/{integration_id}/scoped-limits/{limit_id} deleted     404  404  403  403  403  403  403  403  401  401  401
DELETE integrations/{integration_id}/scoped-limits/{limit_id} foreign limit 404  404  403  403  403  403  403  403  401  401  401
DELETE integrations/{integration_id}/scoped-limits/{limit_id} sibling limit 404  404  403  403  403  403  403  403  401  401  401
DELETE integrations/{integration_id}/scoped-limits/{limit_id} missing limit 404  404  403  403  403  403  403  403  401  401  401
DELETE integrations/{integration_id}/scoped-limits/{limit_id} stray       404  404  403  403  403  403  403  403  401  401  401
other  integrations/{integration_id}/scoped-limits/{limit_id} any         405  405  405  405  405  405  405  405  401  401  401

GET    increase-requests                          own         200  200  200  200  200  200  403  403  401  401  401
POST   increase-requests                          own         201  201  201  403  403  403  403  403  401  401  401
POST   increase-requests                          foreign     201  404  404  403  403  403  403  403  401  401  401
POST   increase-requests                          missing     404  404  404  403  403  403  403  403  401  401  401
POST   increase-requests                          deleted     404  404  404  403  403  403  403  403  401  401  401
POST   increase-requests                          closed      409  404  404  403  403  403  403  403  401  401  401
other  increase-requests                          any         405  405  405  405  405  405  405  405  401  401  401

POST   increase-requests/{request_id}/approve     own         200  200  403  403  403  403  403  403  401  401  401
POST   increase-requests/{request_id}/approve     foreign     200  404  403  403  403  403  403  403  401  401  401
POST   increase-requests/{request_id}/approve     missing     404  404  403  403  403  403  403  403  401  401  401
POST   increase-requests/{request_id}/approve     closed      409  404  403  403  403  403  403  403  401  401  401
other  increase-requests/{request_id}/approve     any         405  405  405  405  405  405  405  405  401  401  401

POST   increase-requests/{request_id}/refuse      own         200  200  403  403  403  403  403  403  401  401  401
POST   increase-requests/{request_id}/refuse      foreign     200  404  403  403  403  403  403  403  401  401  401
POST   increase-requests/{request_id}/refuse      missing     404  404  403  403  403  403  403  403  401  401  401
POST   increase-requests/{request_id}/refuse      closed      409  404  403  403  403  403  403  403  401  401  401
other  increase-requests/{request_id}/refuse      any         405  405  405  405  405  405  405  405  401  401  401

POST   increase-requests/{request_id}/withdraw    own         403  403  403  403  403  403  403  403  401  401  401
POST   increase-requests/{request_id}/withdraw    foreign     403  404  404  403  403  403  403  403  401  401  401
POST   increase-requests/{request_id}/withdraw    missing     404  404  404  403  403  403  403  403  401  401  401
POST   increase-requests/{request_id}/withdraw    closed      409  404  404  403  403  403  403  403  401  401  401
other  increase-requests/{request_id}/withdraw    any         405  405  405  405  405  405  405  405  401  401  401

GET    notifications/targets                      unnamed     400  200  403  403  403  403  403  403  401  401  401
GET    notifications/targets                      own         200  200  403  403  403  403  403  403  401  401  401
GET    notifications/targets                      foreign     200  200  403  403  403  403  403  403  401  401  401
GET    notifications/targets                      missing     404  200  403  403  403  403  403  403  401  401  401
GET    notifications/targets                      closed      200  200  403  403  403  403  403  403  401  401  401
POST   notifications/targets                      unnamed     400  201  403  403  403  403  403  403  401  401  401
POST   notifications/targets                      own         201  201  403  403  403  403  403  403  401  401  401
POST   notifications/targets                      foreign     201  201  403  403  403  403  403  403  401  401  401
POST   notifications/targets                      missing     404  201  403  403  403  403  403  403  401  401  401
POST   notifications/targets                      closed      409  201  403  403  403  403  403  403  401  401  401
other  notifications/targets                      any         405  405  405  405  405  405  405  405  401  401  401

GET    notifications/targets/{target_id}          own         200  200  403  403  403  403  403  403  401  401  401
GET    notifications/targets/{target_id}          foreign     200  404  403  403  403  403  403  403  401  401  401
GET    notifications/targets/{target_id}          missing     404  404  403  403  403  403  403  403  401  401  401
GET    notifications/targets/{target_id}          deleted     404  404  403  403  403  403  403  403  401  401  401
PATCH  notifications/targets/{target_id}          own         200  200  403  403  403  403  403  403  401  401  401
PATCH  notifications/targets/{target_id}          foreign     200  404  403  403  403  403  403  403  401  401  401
PATCH  notifications/targets/{target_id}          missing     404  404  403  403  403  403  403  403  401  401  401
PATCH  notifications/targets/{target_id}          deleted     404  404  403  403  403  403  403  403  401  401  401
DELETE notifications/targets/{target_id}          own         204  204  403  403  403  403  403  403  401  401  401
DELETE notifications/targets/{target_id}          foreign     204  404  403  403  403  403  403  403  401  401  401
DELETE notifications/targets/{target_id}          missing     404  404  403  403  403  403  403  403  401  401  401
DELETE notifications/targets/{target_id}          deleted     404  404  403  403  403  403  403  403  401  401  401
other  notifications/targets/{target_id}          any         405  405  405  405  405  405  405  405  401  401  401

POST   notifications/targets/{target_id}/test     own         200  200  403  403  403  403  403  403  401  401  401
POST   notifications/targets/{target_id}/test     foreign     200  404  403  403  403  403  403  403  401  401  401
POST   notifications/targets/{target_id}/test     missing     404  404  403  403  403  403  403  403  401  401  401
POST   notifications/targets/{target_id}/test     deleted     404  404  403  403  403  403  403  403  401  401  401
other  notifications/targets/{target_id}/test     any         405  405  405  405  405  405  405  405  401  401  401

POST   notifications/targets/{target_id}/rotate   own         200  200  403  403  403  403  403  403  401  401  401
POST   notifications/targets/{target_id}/rotate   foreign     200  404  403  403  403  403  403  403  401  401  401
POST   notifications/targets/{target_id}/rotate   missing     404  404  403  403  403  403  403  403  401  401  401
POST   notifications/targets/{target_id}/rotate   deleted     404  404  403  403  403  403  403  403  401  401  401
other  notifications/targets/{target_id}/rotate   any         405  405  405  405  405  405  405  405  401  401  401

GET    notifications/deliveries                   unnamed     400  200  403  403  403  403  403  403  401  401  401
GET    notifications/deliveries                   own         200  200  403  403  403  403  403  403  401  401  401
GET    notifications/deliveries                   foreign     200  200  403  403  403  403  403  403  401  401  401
GET    notifications/deliveries                   missing     404  200  403  403  403  403  403  403  401  401  401
GET    notifications/deliveries                   closed      200  200  403  403  403  403  403  403  401  401  401
other  notifications/deliveries                   any         405  405  405  405  405  405  405  405  401  401  401

GET    notifications/muted                        all         200  200  200  200  200  200  403  403  401  401  401
PUT    notifications/muted                        all         200  200  200  200  200  200  403  403  401  401  401
other  notifications/muted                        any         405  405  405  405  405  405  405  405  401  401  401

GET    members                                    unnamed     400  200  200  403  403  403  403  403  401  401  401
GET    members                                    own         200  200  200  403  403  403  403  403  401  401  401
GET    members                                    foreign     200  200  200  403  403  403  403  403  401  401  401
GET    members                                    missing     404  200  200  403  403  403  403  403  401  401  401
GET    members                                    closed      200  200  200  403  403  403  403  403  401  401  401
POST   members                                    unnamed     400  201  403  403  403  403  403  403  401  401  401
POST   members                                    own         201  201  403  403  403  403  403  403  401  401  401
POST   members                                    foreign     201  201  403  403  403  403  403  403  401  401  401
POST   members                                    missing     404  201  403  403  403  403  403  403  401  401  401
POST   members                                    closed      409  201  403  403  403  403  403  403  401  401  401
other  members                                    any         405  405  405  405  405  405  405  405  401  401  401

GET    tenant                                     unnamed     400  200  200  400  400  200  403  403  401  401  401
GET    tenant                                     own         200  200  200  200  200  200  403  403  401  401  401
GET    tenant                                     foreign     200  200  200  200  200  200  403  403  401  401  401
GET    tenant                                     missing     404  200  200  404  404  200  403  403  401  401  401
GET    tenant                                     closed      200  200  200  200  200  200  403  403  401  401  401
PATCH  tenant                                     unnamed     400  200  403  403  403  403  403  403  401  401  401
PATCH  tenant                                     own         200  200  403  403  403  403  403  403  401  401  401
PATCH  tenant                                     foreign     200  200  403  403  403  403  403  403  401  401  401
PATCH  tenant                                     missing     404  200  403  403  403  403  403  403  401  401  401
PATCH  tenant                                     closed      409  200  403  403  403  403  403  403  401  401  401
other  tenant                                     any         405  405  405  405  405  405  405  405  401  401  401

GET    members/{member_id}                        own         200  200  200  403  403  403  403  403  401  401  401
GET    members/{member_id}                        foreign     200  404  404  403  403  403  403  403  401  401  401
GET    members/{member_id}                        missing     404  404  404  403  403  403  403  403  401  401  401
GET    members/{member_id}                        deleted     404  404  404  403  403  403  403  403  401  401  401
PATCH  members/{member_id}                        own         200  200  403  403  403  403  403  403  401  401  401
PATCH  members/{member_id}                        foreign     200  404  403  403  403  403  403  403  401  401  401
PATCH  members/{member_id}                        missing     404  404  403  403  403  403  403  403  401  401  401
PATCH  members/{member_id}                        deleted     404  404  403  403  403  403  403  403  401  401  401
DELETE members/{member_id}                        own         204  204  403  403  403  403  403  403  401  401  401
DELETE members/{member_id}                        foreign     204  404  403  403  403  403  403  403  401  401  401
DELETE members/{member_id}                        missing     404  404  403  403  403  403  403  403  401  401  401
DELETE members/{member_id}                        deleted     404  404  403  403  403  403  403  403  401  401  401
other  members/{member_id}                        any         405  405  405  405  405  405  405  405  401  401  401

GET    display-rates                              unnamed     400  200  200  400  400  200  403  403  401  401  401
GET    display-rates                              own         200  200  200  200  200  200  403  403  401  401  401
GET    display-rates                              foreign     200  200  200  200  200  200  403  403  401  401  401
GET    display-rates                              missing     404  200  200  404  404  200  403  403  401  401  401
GET    display-rates                              closed      200  200  200  200  200  200  403  403  401  401  401
POST   display-rates                              unnamed     400  201  403  403  403  403  403  403  401  401  401
POST   display-rates                              own         201  201  403  403  403  403  403  403  401  401  401
POST   display-rates                              foreign     201  201  403  403  403  403  403  403  401  401  401
POST   display-rates                              missing     404  201  403  403  403  403  403  403  401  401  401
POST   display-rates                              closed      409  201  403  403  403  403  403  403  401  401  401
other  display-rates                              any         405  405  405  405  405  405  405  405  401  401  401

GET    price-overrides                            unnamed     400  200  200  400  400  200  403  403  401  401  401
GET    price-overrides                            own         200  200  200  200  200  200  403  403  401  401  401
GET    price-overrides                            foreign     200  200  200  200  200  200  403  403  401  401  401
GET    price-overrides                            missing     404  200  200  404  404  200  403  403  401  401  401
GET    price-overrides                            closed      200  200  200  200  200  200  403  403  401  401  401
POST   price-overrides                            unnamed     400  201  403  403  403  403  403  403  401  401  401
POST   price-overrides                            own         201  201  403  403  403  403  403  403  401  401  401
POST   price-overrides                            foreign     201  201  403  403  403  403  403  403  401  401  401
POST   price-overrides                            missing     404  201  403  403  403  403  403  403  401  401  401
POST   price-overrides                            closed      409  201  403  403  403  403  403  403  401  401  401
other  price-overrides                            any         405  405  405  405  405  405  405  405  401  401  401

POST   price-overrides/preview                    unnamed     400  200  403  403  403  403  403  403  401  401  401
POST   price-overrides/preview                    own         200  200  403  403  403  403  403  403  401  401  401
POST   price-overrides/preview                    foreign     200  200  403  403  403  403  403  403  401  401  401
POST   price-overrides/preview                    missing     404  200  403  403  403  403  403  403  401  401  401
POST   price-overrides/preview                    closed      409  200  403  403  403  403  403  403  401  401  401
other  price-overrides/preview                    any         405  405  405  405  405  405  405  405  401  401  401

GET    tokens                                     all         200  200  200  200  200  200  403  403  401  401  401
POST   tokens                                     all         201  201  201  201  201  201  403  403  401  401  401
other  tokens                                     any         405  405  405  405  405  405  405  405  401  401  401

DELETE tokens/{token_id}                          own         204  204  204  204  204  204  403  403  401  401  401
DELETE tokens/{token_id}                          foreign     404  404  404  404  404  404  403  403  401  401  401
DELETE tokens/{token_id}                          missing     404  404  404  404  404  404  403  403  401  401  401
DELETE tokens/{token_id}                          deleted     204  204  204  204  204  204  403  403  401  401  401
other  tokens/{token_id}                          any         405  405  405  405  405  405  405  405  401  401  401

GET    integrations/{integration_id}/limits       own         200  200  200  200  200  200  403  403  401  401  401
GET    integrations/{integration_id}/limits       foreign     200  404  404  200  200  404  403  403  401  401  401
GET    integrations/{integration_id}/limits       missing     404  404  404  404  404  404  403  403  401  401  401
GET    integrations/{integration_id}/limits       deleted     404  404  404  404  404  404  403  403  401  401  401
other  integrations/{integration_id}/limits       any         405  405  405  405  405  405  405  405  401  401  401

POST   telemetry/llm-usage                        own         401  401  401  401  401  401  401  401  401  201  401
POST   telemetry/llm-usage                        foreign     401  401  401  401  401  401  401  401  401  403  401
POST   telemetry/llm-usage                        missing     401  401  401  401  401  401  401  401  401  403  401
POST   telemetry/llm-usage                        deleted     401  401  401  401  401  401  401  401  401  201  401
POST   telemetry/llm-usage                        closed      401  401  401  401  401  401  401  401  401  201  401
GET    telemetry/llm-usage                        unnamed     400  200  200  400  400  200  403  403  401  401  401
GET    telemetry/llm-usage                        own         200  200  200  200  200  200  403  403  401  401  401
GET    telemetry/llm-usage                        foreign     200  200  200  200  200  200  403  403  401  401  401
GET    telemetry/llm-usage                        missing     404  200  200  404  404  200  403  403  401  401  401
GET    telemetry/llm-usage                        closed      200  200  200  200  200  200  403  403  401  401  401
other  telemetry/llm-usage                        any         405  405  405  405  405  405  405  405  401  401  401

GET    telemetry/llm-usage/summary                unnamed     400  200  200  400  400  200  403  403  401  401  401
GET    telemetry/llm-usage/summary                own         200  200  200  200  200  200  403  403  401  401  401
GET    telemetry/llm-usage/summary                foreign     200  200  200  200  200  200  403  403  401  401  401
GET    telemetry/llm-usage/summary                missing     404  200  200  404  404  200  403  403  401  401  401
GET    telemetry/llm-usage/summary                closed      200  200  200  200  200  200  403  403  401  401  401
other  telemetry/llm-usage/summary                any         405  405  405  405  405  405  405  405  401  401  401

GET    telemetry/focus                            unnamed     400  200  200  400  400  200  403  403  401  401  401
GET    telemetry/focus                            own         200  200  200  200  200  200  403  403  401  401  401
GET    telemetry/focus                            foreign     200  200  200  200  200  200  403  403  401  401  401
GET    telemetry/focus                            missing     404  200  200  404  404  200  403  403  401  401  401
GET    telemetry/focus                            closed      200  200  200  200  200  200  403  403  401  401  401
other  telemetry/focus                            any         405  405  405  405  405  405  405  405  401  401  401

GET    telemetry/months/{month}/close             unnamed     400  404  404  400  400  404  403  403  401  401  401
GET    telemetry/months/{month}/close             own         404  404  404  404  404  404  403  403  401  401  401
GET    telemetry/months/{month}/close             foreign     404  404  404  404  404  404  403  403  401  401  401
GET    telemetry/months/{month}/close             missing     404  404  404  404  404  404  403  403  401  401  401
GET    telemetry/months/{month}/close             closed      404  404  404  404  404  404  403  403  401  401  401
POST   telemetry/months/{month}/close             unnamed     400  403  403  403  400  201  403  403  401  401  401
POST   telemetry/months/{month}/close             own         201  403  403  403  201  201  403  403  401  401  401
POST   telemetry/months/{month}/close             foreign     201  403  403  403  201  201  403  403  401  401  401
POST   telemetry/months/{month}/close             missing     404  403  403  403  404  201  403  403  401  401  401
POST   telemetry/months/{month}/close             closed      201  403  403  403  201  201  403  403  401  401  401
other  telemetry/months/{month}/close             any         405  405  405  405  405  405  405  405  401  401  401

GET    telemetry/months/{month}/invoices          unnamed     400  200  200  400  400  200  403  403  401  401  401
GET    telemetry/months/{month}/invoices          own         200  200  200  200  200  200  403  403  401  401  401
GET    telemetry/months/{month}/invoices          foreign     200  200  200  200  200  200  403  403  401  401  401
GET    telemetry/months/{month}/invoices          missing     404  200  200  404  404  200  403  403  401  401  401
GET    telemetry/months/{month}/invoices          closed      200  200  200  200  200  200  403  403  401  401  401
PUT    telemetry/months/{month}/invoices          unnamed     400  403  403  403  400  200  403  403  401  401  401
PUT    telemetry/months/{month}/invoices          own         200  403  403  403  200  200  403  403  401  401  401
PUT    telemetry/months/{month}/invoices          foreign     200  403  403  403  200  404  403  403  401  401  401
PUT    telemetry/months/{month}/invoices          missing     404  403  403  403  404  404  403  403  401  401  401
PUT    telemetry/months/{month}/invoices          closed      200  403  403  403  200  404  403  403  401  401  401
other  telemetry/months/{month}/invoices          any         405  405  405  405  405  405  405  405  401  401  401

GET    telemetry/anomalies                        unnamed     400  200  200  400  400  200  403  403  401  401  401
GET    telemetry/anomalies                        own         200  200  200  200  200  200  403  403  401  401  401
GET    telemetry/anomalies                        foreign     200  200  200  200  200  200  403  403  401  401  401
GET    telemetry/anomalies                        missing     404  200  200  404  404  200  403  403  401  401  401
GET    telemetry/anomalies                        closed      200  200  200  200  200  200  403  403  401  401  401
other  telemetry/anomalies                        any         405  405  405  405  405  405  405  405  401  401  401

GET    telemetry/usage-daily                      unnamed     400  200  200  400  400  200  403  403  401  401  401
GET    telemetry/usage-daily                      own         200  200  200  200  200  200  403  403  401  401  401
GET    telemetry/usage-daily                      foreign     200  200  200  200  200  200  403  403  401  401  401
GET    telemetry/usage-daily                      missing     404  200  200  404  404  200  403  403  401  401  401
GET    telemetry/usage-daily                      closed      200  200  200  200  200  200  403  403  401  401  401
other  telemetry/usage-daily                      any         405  405  405  405  405  405  405  405  401  401  401

GET    telemetry/usage-hourly                     unnamed     400  200  200  400  400  200  403  403  401  401  401
GET    telemetry/usage-hourly                     own         200  200  200  200  200  200  403  403  401  401  401
GET    telemetry/usage-hourly                     foreign     200  200  200  200  200  200  403  403  401  401  401
GET    telemetry/usage-hourly                     missing     404  200  200  404  404  200  403  403  401  401  401
GET    telemetry/usage-hourly                     closed      200  200  200  200  200  200  403  403  401  401  401
other  telemetry/usage-hourly                     any         405  405  405  405  405  405  405  405  401  401  401

POST   telemetry/llm-usage/batch                  own         401  401  401  401  401  401  401  401  401  200  401
POST   telemetry/llm-usage/batch                  deleted     401  401  401  401  401  401  401  401  401  200  401
POST   telemetry/llm-usage/batch                  closed      401  401  401  401  401  401  401  401  401  200  401
other  telemetry/llm-usage/batch                  any         401  401  401  401  401  401  401  401  401  405  401

POST   telemetry/bypass                           own         401  401  401  401  401  401  401  401  401  201  401
POST   telemetry/bypass                           deleted     401  401  401  401  401  401  401  401  401  201  401
POST   telemetry/bypass                           closed      401  401  401  401  401  401  401  401  401  201  401
other  telemetry/bypass                           any         401  401  401  401  401  401  401  401  401  405  401

GET    telemetry/gaps                             unnamed     400  200  200  400  400  200  403  403  401  401  401
GET    telemetry/gaps                             own         200  200  200  200  200  200  403  403  401  401  401
GET    telemetry/gaps                             foreign     200  200  200  200  200  200  403  403  401  401  401
GET    telemetry/gaps                             missing     404  200  200  404  404  200  403  403  401  401  401
GET    telemetry/gaps                             closed      200  200  200  200  200  200  403  403  401  401  401
other  telemetry/gaps                             any         405  405  405  405  405  405  405  405  401  401  401

POST   enforcement/check                          own         401  401  401  401  401  401  401  401  401  200  401
POST   enforcement/check                          deleted     401  401  401  401  401  401  401  401  401  200  401
POST   enforcement/check                          closed      401  401  401  401  401  401  401  401  401  200  401
other  enforcement/check                          any         401  401  401  401  401  401  401  401  401  405  401

POST   enforcement/batch                          own         401  401  401  401  401  401  401  401  401  200  401
POST   enforcement/batch                          deleted     401  401  401  401  401  401  401  401  401  200  401
POST   enforcement/batch                          closed      401  401  401  401  401  401  401  401  401  200  401
other  enforcement/batch                          any         401  401  401  401  401  401  401  401  401  405  401

POST   enforcement/lease                          own         401  401  401  401  401  401  401  401  401  200  401
POST   enforcement/lease                          deleted     401  401  401  401  401  401  401  401  401  200  401
POST   enforcement/lease                          closed      401  401  401  401  401  401  401  401  401  200  401
other  enforcement/lease                          any         401  401  401  401  401  401  401  401  401  405  401

DELETE enforcement/lease/{lease_id}               own         401  401  401  401  401  401  401  401  401  200  401
DELETE enforcement/lease/{lease_id}               deleted     401  401  401  401  401  401  401  401  401  200  401
DELETE enforcement/lease/{lease_id}               closed      401  401  401  401  401  401  401  401  401  200  401
other  enforcement/lease/{lease_id}               any         401  401  401  401  401  401  401  401  401  405  401

GET    enforcement/status                         own         401  401  401  401  401  401  401  401  401  200  401
GET    enforcement/status                         deleted     401  401  401  401  401  401  401  401  401  200  401
GET    enforcement/status                         closed      401  401  401  401  401  401  401  401  401  200  401
other  enforcement/status                         any         401  401  401  401  401  401  401  401  401  405  401

GET    enforcement/config                         own         401  401  401  401  401  401  401  401  401  200  401
GET    enforcement/config                         deleted     401  401  401  401  401  401  401  401  401  200  401
GET    enforcement/config                         closed      401  401  401  401  401  401  401  401  401  200  401
other  enforcement/config                         any         401  401  401  401  401  401  401  401  401  405  401

GET    enforcement/decisions                      all         200  200  200  200  200  200  403  403  401  401  401
other  enforcement/decisions                      any         405  405  405  405  405  405  405  405  401  401  401

POST   enforcement/simulate                       own         200  200  200  200  200  200  403  403  401  401  401
POST   enforcement/simulate                       foreign     200  404  404  200  200  404  403  403  401  401  401
POST   enforcement/simulate                       missing     404  404  404  404  404  404  403  403  401  401  401
POST   enforcement/simulate                       deleted     404  404  404  404  404  404  403  403  401  401  401
POST   enforcement/simulate                       closed      200  404  404  200  200  404  403  403  401  401  401
other  enforcement/simulate                       any         405  405  405  405  405  405  405  405  401  401  401

GET    enforcement/simulations/{simulation_id}    own         200  200  200  200  200  200  403  403  401  401  401
GET    enforcement/simulations/{simulation_id}    foreign     200  404  404  200  200  404  403  403  401  401  401
GET    enforcement/simulations/{simulation_id}    missing     404  404  404  404  404  404  403  403  401  401  401
other  enforcement/simulations/{simulation_id}    any         405  405  405  405  405  405  405  405  401  401  401

GET    /api/schema                                all         200  200  200  200  200  200  200  200  200  200  200
other  /api/schema                                any         405  405  405  405  405  405  405  405  405  405  405

GET    /api/docs                                  all         200  200  200  200  200  200  200  200  200  200  200
other  /api/docs                                  any         405  405  405  405  405  405  405  405  405  405  405
"""

_INTEGRATION = {"name": "Walked", "config": {"base_url": "https://127.0.0.1:1"}}
_KEY = {"api_key": "sk-test-0123456789abcdef"}
BODIES: dict[str, Any] = {
    "POST integrations": _INTEGRATION | {"provider_type": "custom", "credential": _KEY},
    "PUT integrations/{integration_id}": _INTEGRATION,
    "PATCH integrations/{integration_id}": {"name": "Walked"},
    "POST integrations/{integration_id}/keys": {"label": "walked"},
    "POST integrations/{integration_id}/stops": {
        "scope": "model",
        "value": "walked",
        "reason": "Walked.",
    },
    "POST integrations/{integration_id}/scoped-limits": {
        "scope": "model",
        "value": "walked",
        "unit": "cents",
        "window": "day",
        "amount": 5,
    },
    "PATCH integrations/{integration_id}/scoped-limits/{limit_id}": {"amount": 5},
    "POST increase-requests": {
        "amount": 5_000,
        "valid_until": "2099-01-01T00:00:00Z",
        "reason": "Walked.",
    },
    "POST increase-requests/{request_id}/refuse": {"reason": "Walked."},
    "POST notifications/targets": {"medium": "email", "address": "walked@example.com"},
    "PATCH notifications/targets/{target_id}": {"muted_kinds": ["stop_made"]},
    "PUT notifications/muted": {"kinds": ["limit_80"]},
    "POST members": {"email": "walked@example.com"},
    "PATCH members/{member_id}": {"role": "admin"},
    "PATCH tenant": {"time_zone": "Asia/Kolkata"},
    "POST display-rates": {
        "currency": "EUR",
        "rate": "0.92",
        "valid_from": "2026-11-01T00:00:00Z",
    },
    "POST price-overrides": {
        "model": "walked",
        "prices": {"input": "1", "output": "2"},
        "valid_from": "2026-11-01T00:00:00Z",
    },
    "POST price-overrides/preview": {
        "model": "gpt-4o",
        "prices": {"percent_of_list": "90"},
        "valid_from": "2026-11-01T00:00:00Z",
    },
    "POST tokens": {"name": "walked"},
    "POST telemetry/llm-usage": record(call_id="walked"),
    "POST telemetry/llm-usage/batch": {"records": [record(call_id="walked")]},
    "POST telemetry/bypass": window(),
    "PUT telemetry/months/{month}/invoices": {"total_cents": 5},
    "POST enforcement/check": {"call_id": "walked", "model": "gpt-4o"},
    "POST enforcement/simulate": {"budget_limit_cents": 5},
    "POST enforcement/lease": {"holder_id": "walked", "estimate": {"cents": 1}},
    "DELETE enforcement/lease/{lease_id}": {
        "set_aside": {"cents": 0, "microcents": 0, "tokens": 0, "calls": 0}
    },
    "POST enforcement/batch": {"requests": [{"call_id": "walked", "model": "gpt-4o"}]},
}


PEOPLE = ("oper", "admin", "memb", "supp", "fina", "tfin")
STAFF = ("oper", "supp", "fina")
LIKE = {
    "foreign": "missing",
    "deleted": "missing",
    "foreign key": "missing key",
    "sibling key": "missing key",
    "foreign stop": "missing stop",
    "sibling stop": "missing stop",
    "foreign limit": "missing limit",
    "sibling limit": "missing limit",
}


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    method: str
    url: str
    thing: str
    expected: dict[str, int]

    @property
    def path(self) -> str:
        return self.url if self.url.startswith("/") else f"/api/v1/cus/{self.url}"

    @property
    def methods(self) -> list[str]:
        """What is sent: also HEAD for GET, and all that is not offered for `other`."""
        if self.method == "other":
            return sorted(set(METHODS) - _offered_by_table(self.url))
        return ["GET", "HEAD"] if self.method == "GET" else [self.method]


HEAD, *ROWS = [row for row in TABLE.splitlines() if row.strip()]
COLUMNS = HEAD.split()[3:]


def _parse(row: str) -> Line:
    method, url, *thing = row.split()[: -len(COLUMNS)]
    statuses = map(int, row.split()[-len(COLUMNS) :])
    return Line(method, url, " ".join(thing), dict(zip(COLUMNS, statuses, strict=True)))


LINES = [_parse(row) for row in ROWS]
URLS = sorted({line.url for line in LINES})


def _offered_by_table(url: str) -> set[str]:
    named = {line.method for line in LINES if line.url == url} - {"other"}
    return named | ({"HEAD"} if "GET" in named else set())


def _ask(world: World, line: Line, method: str, who: Principal) -> Any:
    """The answer, and the audit trail's entries that came of it; what changed is taken back."""
    # Checks are decided over connections of their own, which see only what is committed.
    undo = transaction.get_connection().in_atomic_block
    before = transaction.savepoint() if undo else ""
    try:
        who = world.program(line.thing, who)
        path = world.named(line.path, line.thing, who)
        noted = _noted(world)
        answer = who.client.generic(
            method,
            path,
            _body(world, line),
            content_type="application/json",
            query_params=_query(world, line),
        )
        return answer, _noted(world) - noted
    finally:
        if undo:
            transaction.savepoint_rollback(before)


def _noted(world: World) -> Counter[Any]:
    return Counter(CusAuditEntry.objects.values_list("tenant_id", flat=True))


# Whose tenant is named by the query.
BY_QUERY = (
    "display-rates",
    "integrations",
    "members",
    "notifications/deliveries",
    "notifications/targets",
    "price-overrides",
    "price-overrides/preview",
    "telemetry/anomalies",
    "telemetry/focus",
    "telemetry/gaps",
    "tenant",
    "telemetry/llm-usage",
    "telemetry/llm-usage/summary",
    "telemetry/months/{month}/close",
    "telemetry/months/{month}/invoices",
    "telemetry/usage-daily",
    "telemetry/usage-hourly",
)


def _query(world: World, line: Line) -> dict[str, str]:
    tenant = world.tenant_named(line.thing)
    return {"tenant_id": str(tenant)} if line.url in BY_QUERY and tenant else {}


def _body(world: World, line: Line) -> str:
    body = BODIES.get(f"{line.method} {line.url}")
    if body is None:
        return ""
    if line.url == "increase-requests":
        body = body | {"limit_id": str(world.limit_named(line.thing))}
    if line.url in ("telemetry/months/{month}/invoices", "enforcement/simulate"):
        others = {"foreign": world.foreign, "closed": world.closed}
        whose = others.get(line.thing, world.own).integration.id
        named_ids = {"missing": MISSING, "deleted": world.gone.id}
        body = body | {"integration_id": str(named_ids.get(line.thing, whose))}
    # A record is of the key's integration, unless it says of which.
    named = {"foreign": world.foreign.integration.id, "missing": MISSING}.get(line.thing)
    if named and line.url == "telemetry/llm-usage":
        body = body | {"integration_id": str(named)}
    if named and line.url == "telemetry/llm-usage/batch":
        body = {"records": [body["records"][0] | {"integration_id": str(named)}]}
    return json.dumps(body)


def test_the_table_names_every_url_and_method_and_nothing_else() -> None:
    known = {url: _offered_by_table(url) for url in {line.url for line in LINES}}
    assert known == {_short(url): offered for url, offered in api_urls().items()}

    for url in known:
        assert "other" in {line.method for line in LINES if line.url == url}, url
    assert len({(line.method, line.url, line.thing) for line in LINES}) == len(LINES)


def _short(url: str) -> str:
    return url.removeprefix("api/v1/cus/") if url.startswith("api/v1/") else f"/{url}"


_COMMITTED = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    "url",
    [pytest.param(url, marks=_COMMITTED if url.startswith("enforcement/") else ()) for url in URLS],
)
def test_everybody_gets_what_the_table_says(url: str) -> None:
    world, wrong = World(), []
    refused: dict[tuple[str, str, str], bytes] = {}

    for number, line in enumerate(line for line in LINES if line.url == url):
        for method, who in _asked(world, line, number):
            answer, noted = _ask(world, line, method, who)
            told = f"{method} {line.url} {line.thing} by {who.column} ({who.way})"
            if answer.status_code != line.expected[who.column]:
                wrong.append(f"{told}: {answer.status_code}, not {line.expected[who.column]}")
            wrong += [f"{told}: {reason}" for reason in _leaks(world, who, answer, noted)]
            # The staff may see that another tenant exists and has not closed its month, and that
            # a request for an increase is another person's.
            of_all = line.url.startswith("telemetry/months/") or line.url.endswith("/withdraw")
            may_see = who.column in STAFF and of_all
            if answer.status_code >= 400 and not may_see:
                refused[method, line.thing, who.way] = _bytes(answer)

    assert wrong == []
    _compare(refused)


def _asked(world: World, line: Line, number: int) -> Iterator[tuple[str, Principal]]:
    """Who asks with what. People ask in both of their ways; others in one, a new one each line."""
    for column in COLUMNS:
        ways = [one for one in world.principals if one.column == column]
        one = ways[number % len(ways)]
        is_person = column in PEOPLE and line.method != "other"
        yield from itertools.product([line.methods[0]], ways if is_person else [one])
        yield from itertools.product(line.methods[1:], [one])


def _compare(refused: dict[tuple[str, str, str], bytes]) -> None:
    """A row that is another's, or was deleted, answers as one that never was: to the byte.

    Wherever the table refuses both; another answer is for who may see the difference.
    """
    for (method, thing, way), answer in refused.items():
        like = LIKE.get(thing)
        if like and (method, like, way) in refused:
            assert answer == refused[method, like, way], (method, thing, way)


def _leaks(world: World, who: Principal, answer: Any, noted: Counter[Any]) -> Iterator[str]:
    """What no answer may do, whatever its status."""
    if answer.status_code >= 400:
        if noted:
            yield "refused, and yet something changed"
        if answer.request["REQUEST_METHOD"] != "HEAD" and not _is_error(answer):
            yield "an error in another shape"
    if who.column not in STAFF:
        if noted[world.foreign.tenant.id] or noted[world.closed.tenant.id]:
            yield "changed something of another tenant"
        text = _content(answer).decode()
        yield from (f"tells of a foreign {name}" for name, it in world.foreign_ids() if it in text)


def _is_error(answer: Any) -> bool:
    body = answer.json()
    return body.keys() == {"type", "errors"} and bool(body["errors"][0]["detail"])


def _bytes(answer: Any) -> bytes:
    headers = "".join(f"{name}: {value}\n" for name, value in sorted(answer.headers.items()))
    return f"{answer.status_code}\n{headers}".encode() + _content(answer)


def _content(answer: Any) -> bytes:
    return b"".join(answer.streaming_content) if answer.streaming else bytes(answer.content)


@pytest.mark.parametrize("url", [url for url in URLS if "{" in url])
def test_what_is_no_id_is_nothing_either(url: str) -> None:
    client = browser_of("operator")

    for nonsense in ("1", "nonsense", str(MISSING)[:-1], "%00", "..%2f"):
        path = "/api/v1/cus/" + re.sub(r"{\w+}", nonsense, url)
        for method in METHODS:
            assert client.generic(method, path).status_code == 404
