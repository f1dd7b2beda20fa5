"""Cross-origin resource sharing: pages of which origins may call the service, and what they see.

Starlette's middleware does the work. It stands outside of all others, so that preflights need no key, and so that a
page can read errors too.
"""

from typing import Any

_EXPOSED = (
    "Content-Disposition",
    "ETag",
    "Link",
    "Location",
    "Preference-Applied",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "Saliency-High",
    "Saliency-Low",
    "Saliency-Peak",
    "Saliency-Reliability",
    "X-Request-ID",
)


def cors_policy(allowed_origins: str) -> dict[str, Any]:
    """Return the options of Starlette's `CORSMiddleware` for `RISE_ALLOWED_ORIGINS`.

    Credentials (cookies of a proxy, HTTP Basic) are for named origins; API keys are a header, which
    any may send.
    """
    origins = [origin.strip() for origin in allowed_origins.split(",")]
    return {
        "allow_origins": origins,
        "allow_methods": ["DELETE", "GET", "HEAD", "POST"],
        "allow_headers": ["*"],
        "allow_credentials": "*" not in origins,
        "expose_headers": _EXPOSED,
    }
