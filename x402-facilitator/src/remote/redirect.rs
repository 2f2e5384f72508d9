//! Redirects that are followed: a facilitator that stands a little elsewhere on the same site.

use http::{HeaderMap, StatusCode, header::LOCATION};
use url::Url;

/// How many are followed in a row.
pub(super) const LONGEST_CHAIN: usize = 3;

/// Where a request is to be sent again, just as it was, if its answer sends it to a place that may have it; or why it may
/// not.
///
/// 307 and 308 alone keep method and body. A payment is for its facilitator: it is sent on within an origin, and over https
/// from a host to the same with or without `www.` before it; not where credentials would go with it to another origin.
pub(super) fn target(
    asked: &Url,
    status: StatusCode,
    headers: &HeaderMap,
    has_credentials: bool,
) -> Result<Option<Url>, String> {
    if !matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT) {
        return Ok(None);
    }
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let target = location.and_then(|location| asked.join(location).ok());
    let Some(target) = target else { return Err("it redirects to nowhere".to_owned()) };
    let shown = shown(&target);
    if !target.username().is_empty() || target.password().is_some() {
        return Err(format!("it redirects to {shown} with credentials, which is not followed"));
    }
    if target.origin() == asked.origin() {
        return Ok(Some(target));
    }
    if !is_same_site(asked, &target) {
        return Err(format!(
            "it redirects to {shown}, which is not followed: configure the URL of the facilitator you mean"
        ));
    }
    if has_credentials {
        return Err(format!(
            "it redirects to {shown}, and credentials are not sent to another origin: configure that URL"
        ));
    }
    Ok(Some(target))
}

/// Whether both are one host over https, but for a `www.`.
fn is_same_site(asked: &Url, target: &Url) -> bool {
    let host = |url: &Url| {
        let host = url.domain()?.trim_end_matches('.');
        Some(host.strip_prefix("www.").unwrap_or(host).to_owned())
    };
    asked.scheme() == "https"
        && target.scheme() == "https"
        && asked.port() == target.port()
        && host(asked).is_some_and(|asked| host(target) == Some(asked))
}

/// A place as messages name it: without query.
pub(super) fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(
        asked: &str,
        status: u16,
        location: &str,
        has_credentials: bool,
    ) -> Result<Option<String>, String> {
        let headers = HeaderMap::from_iter([(LOCATION, location.parse().unwrap())]);
        let status = StatusCode::from_u16(status).unwrap();
        let target = target(&asked.parse().unwrap(), status, &headers, has_credentials)?;
        Ok(target.map(String::from))
    }

    #[test]
    fn a_facilitator_may_stand_elsewhere_on_its_site() {
        let asked = "https://x402.org/facilitator/verify";
        for (location, expected) in [
            ("https://www.x402.org/facilitator/verify", "https://www.x402.org/facilitator/verify"),
            ("//www.x402.org/facilitator/verify", "https://www.x402.org/facilitator/verify"),
            ("https://WWW.X402.ORG:443/v", "https://www.x402.org/v"),
            ("/elsewhere/verify", "https://x402.org/elsewhere/verify"),
            ("https://x402.org/v?a=b", "https://x402.org/v?a=b"),
        ] {
            for status in [307, 308] {
                assert_eq!(
                    follow(asked, status, location, false),
                    Ok(Some(expected.to_owned())),
                    "{location}"
                );
            }
        }
        let back = follow("https://www.x402.org/v", 308, "https://x402.org/v", false);
        assert_eq!(back, Ok(Some("https://x402.org/v".to_owned())));
        let here = follow("http://127.0.0.1:8090/verify", 307, "/v2/verify", true);
        assert_eq!(
            here,
            Ok(Some("http://127.0.0.1:8090/v2/verify".to_owned())),
            "credentials stay in their origin"
        );
    }

    #[test]
    fn a_payment_is_sent_nowhere_else() {
        let asked = "https://x402.org/verify";
        for location in [
            "https://example.com/verify",
            "https://x402.org.example.com/verify",
            "https://api.x402.org/verify",
            "https://www.www.x402.org/verify",
            "https://x402.org:8443/verify",
            "http://x402.org/verify",
            "http://www.x402.org/verify",
            "https://user@www.x402.org/verify",
            "https://user:password@x402.org/verify",
            "ftp://x402.org/verify",
            "data:,x",
        ] {
            assert!(follow(asked, 308, location, false).is_err(), "{location}");
        }
        for (asked, location) in [
            ("http://x402.org/verify", "https://www.x402.org/verify"),
            ("http://127.0.0.1:1/verify", "http://127.0.0.1:2/verify"),
            ("https://127.0.0.1/verify", "https://127.0.0.2/verify"),
        ] {
            assert!(follow(asked, 308, location, false).is_err(), "{asked} {location}");
        }
        let with_credentials = follow(asked, 308, "https://www.x402.org/verify", true);
        assert!(with_credentials.unwrap_err().contains("configure that URL"));
        for status in [200, 301, 302, 303, 304, 400] {
            assert_eq!(follow(asked, status, "https://www.x402.org/verify", false), Ok(None), "{status}");
        }
        assert!(
            target(&asked.parse().unwrap(), StatusCode::PERMANENT_REDIRECT, &HeaderMap::new(), false)
                .is_err()
        );
    }
}
