//! A paying client: a middleware for reqwest that answers x402's `402` with a payment, within limits.
//!
//! ```
//! use x402_core::scheme::ClientScheme;
//!
//! async fn forecast(wallet: impl ClientScheme) -> Result<String, Box<dyn std::error::Error>> {
//!     let client = x402_reqwest::Client::builder().scheme(wallet).max_per_request("$0.10").build()?;
//!     let response = client.get("https://api.example.com/forecast").send().await?;
//!     Ok(response.text().await?)
//! }
//! ```
//!
//! [`Client::builder`] makes a whole client. [`PaymentMiddleware::builder`] makes the middleware, to be put on a
//! [`reqwest::ClientBuilder`] of your own, above or below middleware of others; both take the same settings.
//!
//! # What it pays
//!
//! - The cap per request has to be set, or there is no `build`. In dollars it holds for the stablecoins in
//!   [`x402_core::asset`], each with its own decimals. Any other token is refused until
//!   [`allow_token`](Builder::allow_token) gives it a cap of its own.
//! - [`networks`](Builder::networks), [`assets`](Builder::assets), [`pay_to`](Builder::pay_to) and
//!   [`hosts`](Builder::hosts) narrow that down. Among what remains the first option is taken, or the one
//!   [`selector`](Builder::selector) picks. When nothing remains, the [`Error`] says of every option why.
//! - Only the origin that was asked is paid, and only over TLS or on the loopback interface.
//!
//! A 402 that is no offer of the protocol is returned as it came.
//!
//! # What it never does
//!
//! - It never pays twice for one request. The answer to a paid request is returned whatever it is, another 402 too,
//!   and [`ResponseExt::payment`] has the [`SignedPayment`] it came for.
//!   A 409, 502 or 503 that says the payment is still being settled (`settlement_pending`, `payment_in_progress`) is
//!   waited out first: the same payment is sent again after the server's `Retry-After`, three times at most, with
//!   pauses of ten seconds at most. What then is the answer is returned. Time-outs of reqwest hold for each sending.
//!   If there is no answer, the money may have moved all the same: the error is of the kind
//!   [`ErrorKind::PaymentSent`] and holds the payment. To try again, put the payment into the new request
//!   ([`with_extension`](reqwest_middleware::RequestBuilder::with_extension)); a request without it is a new purchase.
//! - It never signs twice because a request is retried. Put a retrying middleware below this one
//!   (`payments.attach(client)?.with(retry)`): whatever it does, it repeats the request with the payment it has.
//!   One above works only if it passes the same [`Extensions`](http::Extensions) on, where the payment is kept.
//!   A caller that gives up waiting (drops the future) keeps the payment only if the extensions are its own:
//!   [`execute_with_extensions`](reqwest_middleware::ClientWithMiddleware::execute_with_extensions).
//! - It never lets a payment follow a redirect to another origin. The redirect policy belongs to the client below,
//!   and reqwest strips only the credentials it knows; so the middleware exists only together with a client built
//!   here, which follows redirects within an origin and returns all others, paid or not, for the caller to judge.
//! - It never logs or prints a payment. What is paid is a `debug` event of `tracing`.
//!
//! # What it calls what it pays for
//!
//! Where a server declares the extension `payment-identifier`, each payment names what it is for: by the [`PaymentId`] in
//! the request's extensions, or a random one. The same payment sent again has the same name, and such a server answers it
//! with what it answered before. A name of your own is good for more: kept until the answer is there, it stands for one
//! purchase, whoever signs however many payments for it, and a server answers 409 to the second one.
//!
//! ```
//! use reqwest_middleware::ClientWithMiddleware;
//! use x402_reqwest::PaymentId;
//!
//! async fn buy(client: &ClientWithMiddleware, order: PaymentId) -> reqwest_middleware::Result<reqwest::Response> {
//!     client.post("https://api.example.com/orders").body("two of these").with_extension(order).send().await
//! }
//! ```
//!
//! # TLS
//!
//! reqwest is used without a TLS provider of its own. If the process has installed none for rustls by the time a
//! client is built, ring's is installed.

mod body;
mod builder;
mod error;
mod limits;
mod middleware;
mod offer;
mod origin;
mod payment;
mod pending;
mod receipt;

pub use builder::{Builder, Capped, Client, Uncapped};
pub use error::{Error, ErrorKind};
pub use limits::{Declined, DeclinedBecause};
pub use middleware::PaymentMiddleware;
pub use payment::SignedPayment;
pub use receipt::ResponseExt;
#[doc(no_inline)]
pub use x402_core::extension::payment_identifier::PaymentId;
