//! Preflights: what a browser asks before a script's request to another origin (Fetch standard, "CORS-preflight fetch").

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Response, StatusCode, header};

/// Whether a request with this method, and with headers of which `has` tells by name, is a preflight. It cannot pay, and
/// is not charged: see [`Toll::passage`](super::Toll::passage). Browsers send no body with one, and ask for no other protocol.
pub fn is_preflight(method: &Method, has: impl Fn(&str) -> bool) -> bool {
    const NO_BROWSER: [&str; 3] = ["content-type", "transfer-encoding", "upgrade"];
    *method == Method::OPTIONS
        && has("origin")
        && has("access-control-request-method")
        && !NO_BROWSER.iter().any(|name| has(name))
}

/// What a browser needs of a preflight's answer, and nothing else: it may come from the handler of a paid route, whose
/// headers may be worth the price.
pub(super) fn head_only(status: StatusCode, headers: HeaderMap) -> Response<Bytes> {
    let is_needed = |name: &HeaderName| {
        [header::VARY, header::ALLOW, header::CACHE_CONTROL].contains(name)
            || name.as_str().starts_with("access-control-")
    };
    let mut response = Response::new(Bytes::new());
    // Another protocol and another place are goods, too.
    let says_more = status.is_informational() || status.is_redirection();
    *response.status_mut() = if says_more { StatusCode::NO_CONTENT } else { status };
    let mut name = None;
    for (next, value) in headers {
        name = next.or(name);
        if let Some(name) = name.as_ref().filter(|name| is_needed(name)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}
