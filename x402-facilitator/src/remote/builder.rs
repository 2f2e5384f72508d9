use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, header};
use reqwest::{Client, redirect};
use rustls::{ClientConfig, RootCertStore, crypto::CryptoProvider};
use rustls_platform_verifier::BuilderVerifierExt;
use url::Url;

use super::{
    RemoteFacilitator,
    auth::{AnyAuth, AuthProvider, Bearer},
    exchange::{Exchange, TimeOuts},
};
use crate::{Error, ErrorKind};

/// How to call a facilitator: see [`RemoteFacilitator::builder`].
#[must_use]
pub struct RemoteFacilitatorBuilder {
    url: String,
    auth: Option<AnyAuth>,
    bearer: Option<String>,
    connect_timeout: Duration,
    timeouts: TimeOuts,
}

impl RemoteFacilitatorBuilder {
    pub(super) fn new(url: &str) -> Self {
        let timeouts = TimeOuts {
            supported: Duration::from_secs(5),
            verify: Duration::from_secs(5),
            settle: Duration::from_secs(60),
        };
        Self {
            url: url.to_owned(),
            auth: None,
            bearer: None,
            connect_timeout: Duration::from_secs(3),
            timeouts,
        }
    }

    /// Credentials that change: asked for before every request. Replaces [`bearer`](Self::bearer).
    pub fn auth(mut self, provider: impl AuthProvider) -> Self {
        self.auth = Some(Arc::new(provider));
        self.bearer = None;
        self
    }

    /// `Authorization: Bearer <token>` on every request. Replaces [`auth`](Self::auth).
    pub fn bearer(mut self, token: impl Into<String>) -> Self {
        self.bearer = Some(token.into());
        self.auth = None;
        self
    }

    /// How long `/supported` may take, repeated tries included. 5 seconds unless set.
    pub fn supported_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.supported = timeout;
        self
    }

    /// How long `/verify` may take, repeated tries included. 5 seconds unless set.
    pub fn verify_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.verify = timeout;
        self
    }

    /// How long `/settle` may take. 60 seconds unless set; the facilitator waits for the chain within them.
    pub fn settle_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.settle = timeout;
        self
    }

    /// How long a connection may take to open. 3 seconds unless set. Keep it below the others: only a
    /// connection that failed to open proves that nothing was sent.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The facilitator.
    ///
    /// # Errors
    /// When the URL is not `http` or `https`, or carries credentials, a query or a fragment; when the bearer
    /// token does not fit into a header; when the system's certificates cannot be read.
    pub fn build(self) -> Result<RemoteFacilitator, Error> {
        let url = parse(&self.url)?;
        let auth = match self.bearer {
            Some(token) => Some(Arc::new(bearer(&token)?) as AnyAuth),
            None => self.auth,
        };
        let json = HeaderValue::from_static("application/json");
        let client = Client::builder()
            .tls_backend_preconfigured(tls(url.scheme() == "https")?)
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(self.connect_timeout)
            .user_agent(concat!("x402-facilitator/", env!("CARGO_PKG_VERSION")))
            .default_headers(HeaderMap::from_iter([
                (header::ACCEPT, json),
                // What is encoded would not be understood, and a settlement would be in doubt for it.
                (header::ACCEPT_ENCODING, HeaderValue::from_static("identity")),
            ]))
            .build()
            .map_err(|error| Error::new(ErrorKind::Client, "no HTTP client").because(error))?;
        let base = url.as_str().trim_end_matches('/').to_owned();
        Ok(RemoteFacilitator { exchange: Exchange::new(client, base, auth, self.timeouts) })
    }
}

fn parse(text: &str) -> Result<Url, Error> {
    let wrong = |what: &str| {
        Error::new(
            ErrorKind::InvalidUrl,
            format_args!(
                "the facilitator's URL {what}: expected one like https://facilitator.example.com/path"
            ),
        )
    };
    let url = Url::parse(text).map_err(|error| wrong("cannot be read").because(error))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("is neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("carries credentials, which belong into `bearer` or `auth`"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("carries a query or a fragment"));
    }
    Ok(url)
}

fn bearer(token: &str) -> Result<Bearer, Error> {
    let wrong = || Error::new(ErrorKind::InvalidCredentials, "a bearer token is visible ASCII characters");
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong());
    }
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| wrong())?;
    value.set_sensitive(true);
    Ok(Bearer(value))
}

/// TLS with the process's provider or, where it has none, with ring. Nothing is installed globally: which
/// provider is the process's default is the application's affair.
fn tls(required: bool) -> Result<ClientConfig, Error> {
    let provider = CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()));
    let wrong = |error| Error::new(ErrorKind::Client, "no TLS").because(error);
    let builder = || {
        ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(wrong)
    };
    let mut config = match builder()?.with_platform_verifier() {
        Ok(builder) => builder.with_no_client_auth(),
        // A container without certificates still calls its neighbour.
        Err(_) if !required => {
            builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
        }
        Err(error) => {
            let message =
                "the system's certificates cannot be read: is the package ca-certificates installed?";
            return Err(Error::new(ErrorKind::Client, message).because(error));
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

impl fmt::Debug for RemoteFacilitatorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteFacilitatorBuilder")
            .field("connect_timeout", &self.connect_timeout)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_urls_are_called() {
        for (good, base) in [
            ("https://x402.org/facilitator", "https://x402.org/facilitator"),
            ("https://x402.org/facilitator//", "https://x402.org/facilitator"),
            ("http://127.0.0.1:8090", "http://127.0.0.1:8090"),
            ("http://[::1]:8090/", "http://[::1]:8090"),
        ] {
            assert_eq!(RemoteFacilitator::new(good).unwrap().url(), base);
        }
        for bad in [
            "",
            "x402.org/facilitator",
            "ftp://x402.org",
            "file:///etc/passwd",
            "https://",
            "https://user@x402.org",
            "https://:secret@x402.org",
            "https://x402.org?",
            "https://x402.org?key=secret",
            "https://x402.org#a",
        ] {
            let error = RemoteFacilitator::new(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidUrl, "{bad:?}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_token_is_checked_when_it_is_given() {
        for bad in ["", "two words", "new\nline", "ünicode"] {
            let error = RemoteFacilitator::builder("http://localhost").bearer(bad).build().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidCredentials, "{bad:?}");
        }
        let built = RemoteFacilitator::builder("http://localhost").bearer("s3cret").build().unwrap();
        assert!(!format!("{built:?}").contains("s3cret"));
    }
}
