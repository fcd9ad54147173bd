"""Who may ask: the review server's refusals, before anything is read or done.

In: the head of a request. Out: the reason why it is refused, or none. Owns no file.

The server listens on 127.0.0.1, yet any page in the reader's browser can send requests there. Three things keep such
pages out: a secret in the path; a Host that is this server's own (a foreign name that resolves to 127.0.0.1, "DNS
rebinding", is not); and an Origin and Sec-Fetch-Site that are this page's own. Only the page itself may be opened from
elsewhere, in a tab of its own: the file that `opening` hands to the browser does so.
"""

import secrets
from collections.abc import Callable
from email.message import Message

# The page is the same for all; no script, style, picture or frame but its own.
SECURITY_HEADERS = (
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)


def new_token() -> str:
    """A secret of 192 bits, as a path part."""
    return secrets.token_urlsafe(24)


def refusal(method: str, path: str, headers: Message, *, port: int, token: str) -> str:
    """Why a request is refused, as a sentence; empty where it may go on."""
    hosts = headers.get_all("Host", [])
    own = (f"127.0.0.1:{port}", f"localhost:{port}")
    if len(hosts) != 1 or hosts[0] not in own:
        return f"This server answers to http://{own[0]} only."
    if not secrets.compare_digest(path.partition("/")[0].encode(), token.encode()):
        return "Open the address that `bestiary review` printed: it holds a secret that is new at every start."
    origins = headers.get_all("Origin", [])
    if any(origin != f"http://{hosts[0]}" for origin in origins):
        return "Pages of other sites may not ask here."
    if method != "GET" and len(origins) != 1:
        return "A request that changes something must come from the page itself."
    # "none": the reader typed the address or followed a link outside the browser.
    allowed = ("same-origin", "none") if method == "GET" else ("same-origin",)
    sites = headers.get_all("Sec-Fetch-Site", [])
    if any(site not in allowed for site in sites) and not _opens_page(method, path, headers):
        return "Pages of other sites may not ask here."
    return ""


def _opens_page(method: str, path: str, headers: Message) -> bool:
    """Whether a browser opens the page in a tab: no other site's page can look into that, by `SECURITY_HEADERS`."""
    is_page = method == "GET" and path.partition("/")[2] == ""
    modes, places = headers.get_all("Sec-Fetch-Mode", []), headers.get_all("Sec-Fetch-Dest", [])
    return is_page and modes == ["navigate"] and places == ["document"]


def body_refusal(headers: Message, *, changes: bool, most_bytes: int) -> tuple[int, str]:
    """Status and reason why the body of a request is refused; `(0, "")` where it may be read.

    Args:
        headers: of the request.
        changes: whether the request changes something; one that only reads has no body.
        most_bytes: the longest body that is read.
    """
    lengths = headers.get_all("Content-Length", [])
    if not changes:
        return (400, "A GET has no body.") if lengths or "Transfer-Encoding" in headers else (0, "")
    checks: tuple[tuple[int, str, Callable[[], bool]], ...] = (
        (411, "The length of the body is required.", lambda: "Transfer-Encoding" in headers or len(lengths) != 1),
        (400, "Content-Length is not a number.", lambda: not (lengths[0].isascii() and lengths[0].isdigit())),
        (413, f"At most {most_bytes:,} bytes at once.", lambda: len(lengths[0]) > 18 or int(lengths[0]) > most_bytes),
        (415, "The body must be application/json.", lambda: headers.get_content_type() != "application/json"),
    )
    return next(((status, reason) for status, reason, wrong in checks if wrong()), (0, ""))
