//! Origins: who is paid is who was asked.

use reqwest::{Url, redirect::Policy};
use url::Host;

/// An origin as messages name it: without path, query and credentials.
pub(crate) fn name(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// What was asked for, as messages name it: without query and credentials.
pub(crate) fn place(url: &Url) -> String {
    format!("{}{}", name(url), url.path())
}

/// Whether scheme, host and port are the same.
pub(crate) fn same(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}

/// Whether what is said to this server nobody else can hear or change.
pub(crate) fn is_private(url: &Url) -> bool {
    url.scheme() == "https"
        || match url.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            None => false,
        }
}

/// Follows redirects within an origin, ten at most. Any other is left to the caller, as the response it is.
///
/// A policy does not see headers, so it cannot tell a paid request from an unpaid one.
pub(crate) fn redirect_policy() -> Policy {
    Policy::custom(|attempt| match attempt.previous().last() {
        Some(previous) if same(previous, attempt.url()) => Policy::limited(10).redirect(attempt),
        _ => attempt.stop(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tls_and_loopback_are_private() {
        for (url, expected) in [
            ("https://example.com", true),
            ("https://10.0.0.1", true),
            ("http://localhost:8080", true),
            ("http://api.localhost", true),
            ("http://127.0.0.1", true),
            ("http://127.9.9.9", true),
            ("http://[::1]:1", true),
            ("http://example.com", false),
            ("http://localhost.example.com", false),
            ("http://notlocalhost", false),
            ("http://10.0.0.1", false),
            ("http://0.0.0.0", false),
            ("http://[::]", false),
        ] {
            assert_eq!(is_private(&url.parse().unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn scheme_host_and_port_make_an_origin() {
        let base: Url = "https://example.com/a".parse().unwrap();
        for (url, expected) in [
            ("https://example.com/b?c", true),
            ("https://EXAMPLE.com:443/", true),
            ("http://example.com/a", false),
            ("https://example.com:8443/a", false),
            ("https://www.example.com/a", false),
            ("https://example.com./a", false),
        ] {
            assert_eq!(same(&base, &url.parse().unwrap()), expected, "{url}");
        }
    }
}
