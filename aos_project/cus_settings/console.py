"""Settings of the console's theme, and what browsers may load for each page."""

from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from django.templatetags.static import static

_STRICT_POLICY = {
    "default-src": [SELF],
    "img-src": [SELF, "data:"],
    "object-src": [NONE],
    "frame-ancestors": [NONE],
    "base-uri": [SELF],
    "form-action": [SELF],
}
CONTENT_SECURITY_POLICY = {"DIRECTIVES": _STRICT_POLICY}
# The console's theme evaluates expressions (Alpine.js) and styles elements inline.
CUS_CONSOLE_POLICY = {
    "script-src": [SELF, UNSAFE_EVAL],
    "style-src": [SELF, UNSAFE_INLINE],
}

UNFOLD = {
    "SITE_TITLE": "AOS Customer Integrations",
    "SITE_HEADER": "AOS Customer Integrations",
    "SITE_SUBHEADER": "Keys, evidence and limits of your LLM providers",
    "SITE_SYMBOL": "hub",
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": lambda _request: static("aos_project/cus_icon.svg"),
        }
    ],
    "DASHBOARD_CALLBACK": "aos_project.cus_console.home.home",
    "STYLES": [lambda _request: static("aos_project/cus_console.css")],
    "SCRIPTS": [
        lambda _request: static("aos_project/cus_charts.js"),
        lambda _request: static("aos_project/cus_console.js"),
    ],
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "SITE_URL": None,
    "SIDEBAR": {
        "show_search": True,
        "navigation": "aos_project.cus_console.sidebar.navigation",
    },
    "ACCOUNT": {"navigation": "aos_project.cus_console.sidebar.account"},
}
