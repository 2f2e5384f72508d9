//! Who may post: a program, and no page in somebody's browser.
//!
//! A page of any site can have its visitor's browser post to an address that only the visitor reaches, such as a
//! facilitator on their machine. Browsers let a page do so without asking for as long as it sends no `application/json`,
//! and say where such a request comes from in `Origin` (RFC 6454) and `Sec-Fetch-Site` (Fetch Metadata). The API has no
//! pages of its own, so every `Origin` is a foreign one: also the one that equals `Host`, which is how a name that was
//! bound to another address looks (DNS rebinding). Programs send neither.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};

/// Whether this request is one of a program, with JSON.
///
/// # Errors
/// The status to answer, and what was expected.
pub(super) fn check(headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
    if is_of_a_page(headers) {
        return Err((StatusCode::FORBIDDEN, PAGE));
    }
    if !is_json(headers) {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, NOT_JSON));
    }
    Ok(())
}

const PAGE: &str = "requests of web pages are not taken: the request has an `Origin`, or a `Sec-Fetch-Site` other than \
    `none`. Call the facilitator from a server";
const NOT_JSON: &str =
    "a request has JSON for its body, and says so: send the one header `Content-Type: application/json`";

fn is_of_a_page(headers: &HeaderMap) -> bool {
    let direct = |site: &HeaderValue| site.as_bytes().eq_ignore_ascii_case(b"none");
    headers.contains_key(header::ORIGIN) || !headers.get_all("sec-fetch-site").iter().all(direct)
}

/// Parameters, such as `charset=utf-8`, are of no meaning to JSON (RFC 8259, section 11).
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(only), None) = (types.next(), types.next()) else { return false };
    let essence = only.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn status(headers: &[(&str, &str)]) -> Option<u16> {
        let headers = headers.iter().map(|(name, value)| {
            (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())
        });
        check(&headers.collect()).err().map(|(status, _)| status.as_u16())
    }

    #[test]
    fn json_is_what_says_that_it_is() {
        for (types, expected) in [
            (&["application/json"][..], None),
            (&["Application/JSON"], None),
            (&["application/json; charset=utf-8"], None),
            (&["application/json ;charset=\"utf-8\"; v=1"], None),
            (&["application/json;"], None),
            (&[], Some(415)),
            (&[""], Some(415)),
            (&["text/plain"], Some(415)),
            (&["text/plain; application/json"], Some(415)),
            (&["text/plain,application/json"], Some(415)),
            (&["application/json, text/plain"], Some(415)),
            (&["application/json", "text/plain"], Some(415)),
            (&["text/plain", "application/json"], Some(415)),
            (&["application/x-www-form-urlencoded"], Some(415)),
            (&["multipart/form-data; boundary=application/json"], Some(415)),
            (&["application/jsonp"], Some(415)),
            (&["application/x402+json"], Some(415)),
        ] {
            let headers: Vec<_> = types.iter().map(|value| ("content-type", *value)).collect();
            assert_eq!(status(&headers), expected, "{types:?}");
        }
    }

    #[test]
    fn pages_are_told_from_programs() {
        let json = ("content-type", "application/json");
        for (headers, expected) in [
            (&[][..], None),
            (&[("sec-fetch-site", "none")], None),
            (&[("sec-fetch-mode", "cors")], None), // Node's `fetch`, which is no browser
            (&[("origin", "https://evil.example")], Some(403)),
            (&[("origin", "null")], Some(403)),
            (&[("origin", "")], Some(403)),
            (&[("origin", "http://127.0.0.1:8090"), ("host", "127.0.0.1:8090")], Some(403)),
            (&[("origin", "http://evil.example:8090"), ("host", "evil.example:8090")], Some(403)),
            (&[("sec-fetch-site", "cross-site")], Some(403)),
            (&[("sec-fetch-site", "same-site")], Some(403)),
            (&[("sec-fetch-site", "same-origin")], Some(403)),
            (&[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")], Some(403)),
            (&[("sec-fetch-site", "none"), ("origin", "https://evil.example")], Some(403)),
        ] {
            assert_eq!(status(&[&[json], headers].concat()), expected, "{headers:?}");
        }
        assert_eq!(status(&[("origin", "null"), ("content-type", "text/plain")]), Some(403));
    }
}
