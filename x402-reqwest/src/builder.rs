//! The settings of a paying client.

use std::{marker::PhantomData, sync::Arc};

use reqwest_middleware::ClientWithMiddleware;
use url::Host;
use x402_core::{
    address::Address,
    amount::Amount,
    network::Network,
    payment::PaymentRequirements,
    price::Price,
    scheme::{AnyClientScheme, ClientScheme},
};

use crate::{
    error::{Error, ErrorKind},
    limits::Limits,
    middleware::{PaymentMiddleware, Selector},
};

/// The way to a whole paying client: [`Client::builder`].
///
/// What is built is a [`ClientWithMiddleware`], used like any other.
#[derive(Debug)]
pub enum Client {}

impl Client {
    /// Begins the settings of a client.
    pub fn builder() -> Builder<Self> {
        Builder::new()
    }
}

/// No cap was set yet.
#[derive(Debug)]
pub struct Uncapped;

/// The cap was set.
#[derive(Debug)]
pub struct Capped(String);

/// The settings of a [`Client`] or a [`PaymentMiddleware`].
///
/// There is no `build` before [`max_per_request`](Self::max_per_request):
///
/// ```compile_fail
/// fn client(wallet: impl x402_core::scheme::ClientScheme) {
///     let client = x402_reqwest::Client::builder().scheme(wallet).build();
/// }
/// ```
#[must_use]
pub struct Builder<Target, Cap = Uncapped> {
    cap: Cap,
    settings: Settings,
    target: PhantomData<fn() -> Target>,
}

#[derive(Default)]
struct Settings {
    schemes: Vec<AnyClientScheme>,
    tokens: Vec<((Network, Address), Amount)>,
    networks: Option<Vec<Network>>,
    assets: Option<Vec<Address>>,
    pay_to: Option<Vec<Address>>,
    hosts: Option<Vec<String>>,
    plain_http: bool,
    selector: Option<Selector>,
    max_offer_bytes: Option<usize>,
}

/// The longest body of a 402 that is read, unless another length was set.
const MAX_OFFER_BYTES: usize = 1024 * 1024;

impl<Target> Builder<Target> {
    pub(crate) fn new() -> Self {
        Self { cap: Uncapped, settings: Settings::default(), target: PhantomData }
    }

    /// The most one request may cost, in dollars, like `"$0.10"`: this amount is still paid, one atomic unit more is
    /// not.
    ///
    /// It holds for the stablecoins in [`x402_core::asset`], and each is taken for a dollar. The cap is never rounded:
    /// a token that cannot express it exactly is declined.
    pub fn max_per_request(self, cap: impl Into<String>) -> Builder<Target, Capped> {
        Builder { cap: Capped(cap.into()), settings: self.settings, target: PhantomData }
    }
}

impl<Target, Cap> Builder<Target, Cap> {
    /// Pays with this scheme. Where several could pay an option, the first given does.
    pub fn scheme(mut self, scheme: impl ClientScheme) -> Self {
        self.settings.schemes.push(AnyClientScheme::new(scheme));
        self
    }

    /// Pays in this token too, up to `cap` per request in its smallest unit. For a known stablecoin this cap takes
    /// the place of the cap in dollars.
    pub fn allow_token(mut self, network: Network, address: Address, cap: impl Into<Amount>) -> Self {
        self.settings.tokens.push(((network, address), cap.into()));
        self
    }

    /// Pays on these networks only. Called again, it adds to them.
    pub fn networks(mut self, networks: impl IntoIterator<Item = Network>) -> Self {
        self.settings.networks.get_or_insert_default().extend(networks);
        self
    }

    /// Pays in tokens at these addresses only. Called again, it adds to them.
    ///
    /// This narrows what is paid. To pay in a token that is not known, see [`allow_token`](Self::allow_token).
    pub fn assets(mut self, assets: impl IntoIterator<Item = Address>) -> Self {
        self.settings.assets.get_or_insert_default().extend(assets);
        self
    }

    /// Pays these accounts only. Called again, it adds to them.
    pub fn pay_to(mut self, payees: impl IntoIterator<Item = Address>) -> Self {
        self.settings.pay_to.get_or_insert_default().extend(payees);
        self
    }

    /// Pays these hosts only, like `api.example.com`: the whole name, on any port. Called again, it adds to them.
    pub fn hosts<H: Into<String>>(mut self, hosts: impl IntoIterator<Item = H>) -> Self {
        self.settings.hosts.get_or_insert_default().extend(hosts.into_iter().map(Into::into));
        self
    }

    /// Chooses among the options that may be paid, by their position; `None` pays none of them.
    /// Without it the first is taken.
    pub fn selector(
        mut self,
        selector: impl Fn(&[PaymentRequirements]) -> Option<usize> + Send + Sync + 'static,
    ) -> Self {
        self.settings.selector = Some(Arc::new(selector));
        self
    }

    /// The longest body of a 402 that is read for an offer, in bytes; 1 MiB unless set. Version 1 puts the offer there, with
    /// the schemas of what is sold.
    pub fn max_offer_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_offer_bytes = Some(bytes);
        self
    }

    /// Pays over plain `http://` beyond the loopback interface.
    ///
    /// Dangerous: anyone on the way can put himself into the offer as the payee, up to the cap.
    pub fn allow_plain_http(mut self) -> Self {
        self.settings.plain_http = true;
        self
    }
}

impl Builder<Client, Capped> {
    /// The client, on a [`reqwest::Client`] with reqwest's own defaults, but for redirects to other origins: those are
    /// returned, not followed.
    ///
    /// # Errors
    /// When there is no scheme, the cap is no price in dollars or zero, a host is none, or TLS cannot be set up.
    pub fn build(self) -> Result<ClientWithMiddleware, Error> {
        let client = self.middleware()?.attach(reqwest::Client::builder())?;
        Ok(client.build())
    }
}

impl Builder<PaymentMiddleware, Capped> {
    /// The middleware, to be attached to a client.
    ///
    /// # Errors
    /// When there is no scheme, the cap is no price in dollars or zero, or a host is none.
    pub fn build(self) -> Result<PaymentMiddleware, Error> {
        self.middleware()
    }
}

impl<Target> Builder<Target, Capped> {
    fn middleware(self) -> Result<PaymentMiddleware, Error> {
        let Settings {
            schemes,
            tokens,
            networks,
            assets,
            pay_to,
            hosts,
            plain_http,
            selector,
            max_offer_bytes,
        } = self.settings;
        if schemes.is_empty() {
            return Err(config("a paying client needs a scheme to pay with: call `scheme`"));
        }
        let limits = Limits {
            cap: dollars(&self.cap.0)?,
            tokens: tokens.into_iter().collect(),
            networks: networks.map(|networks| networks.into_iter().collect()),
            assets: assets.map(|assets| assets.into_iter().collect()),
            pay_to: pay_to.map(|payees| payees.into_iter().collect()),
            hosts: hosts.map(|hosts| hosts.iter().map(|name| host(name)).collect()).transpose()?,
            plain_http,
        };
        let max_offer_bytes = max_offer_bytes.unwrap_or(MAX_OFFER_BYTES);
        Ok(PaymentMiddleware::new(schemes, limits, selector, max_offer_bytes))
    }
}

fn dollars(text: &str) -> Result<Price, Error> {
    let price: Price =
        text.parse().map_err(|error| config("the cap per request is no price").because(error))?;
    if !price.is_in_dollars() {
        return Err(config(
            "the cap per request is in dollars, like \"$0.10\"; for a token see `allow_token`",
        ));
    }
    let is_zero = text.bytes().all(|byte| !matches!(byte, b'1'..=b'9'));
    if is_zero {
        return Err(config("a cap of zero pays nothing: use a client that does not pay"));
    }
    Ok(price)
}

/// A host as URLs spell it, so that it can be compared with theirs.
fn host(name: &str) -> Result<String, Error> {
    let parsed = Host::parse(name).map_err(|error| {
        config(format!("{name:?} is no host: write its name without scheme, port and path")).because(error)
    })?;
    Ok(parsed.to_string())
}

fn config(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_are_positive_prices_in_dollars() {
        for good in ["$0.10", "0.10", "$10", "1 usd"] {
            assert!(dollars(good).is_ok(), "{good}");
        }
        for bad in ["", "$0", "0.000", "-1", "1e3", "$1,000", "0.10 USDC"] {
            assert_eq!(dollars(bad).unwrap_err().kind(), ErrorKind::Config, "{bad}");
        }
    }

    #[test]
    fn hosts_are_spelled_as_urls_spell_them() {
        for (name, expected) in [
            ("api.example.com", "api.example.com"),
            ("API.Example.COM", "api.example.com"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("münchen.example", "xn--mnchen-3ya.example"),
        ] {
            assert_eq!(host(name).unwrap(), expected);
        }
        for bad in ["", "https://example.com", "example.com:443", "example.com/path", "a b", "*.example.com/"]
        {
            assert_eq!(host(bad).unwrap_err().kind(), ErrorKind::Config, "{bad}");
        }
    }
}
