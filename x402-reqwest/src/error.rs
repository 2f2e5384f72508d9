//! What can go wrong before, while and after paying.

use std::{error::Error as StdError, fmt};

use crate::{limits::Declined, payment::SignedPayment};

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The settings do not make a client.
    Config,
    /// The 402 carries an offer that cannot be read. Nothing was paid.
    MalformedOffer,
    /// No option of the offer may be paid; see [`Error::declined`]. Nothing was paid.
    Declined,
    /// The server may not be paid: without TLS, not among the hosts, or not the one that was asked. Nothing was
    /// paid.
    Origin,
    /// The request's body is a stream, which cannot be sent a second time. Nothing was paid.
    BodyNotReplayable,
    /// The scheme failed to sign. Nothing was paid.
    Signing,
    /// These [`Extensions`](http::Extensions) hold the payment of another request already. Nothing more was paid.
    AlreadyPaid,
    /// A payment was sent and no answer came: it may be settled. See [`Error::payment`].
    PaymentSent,
}

/// Why a request was not paid, or what is unknown about its payment.
///
/// Inside a [`reqwest_middleware::Error`] it is found with [`Error::within`].
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
    declined: Vec<Declined>,
    payment: Option<SignedPayment>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            source: None,
            declined: Vec::new(),
            payment: None,
        }))
    }

    pub(crate) fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// No option may be paid.
    pub(crate) fn nothing_payable(place: &str, declined: Vec<Declined>) -> Self {
        let mut reasons: Vec<String> = declined.iter().take(8).map(Declined::to_string).collect();
        match declined.len() {
            0 => reasons.push("it offers no way to pay".to_owned()),
            all if all > reasons.len() => reasons.push(format!("and {} more", all - reasons.len())),
            _ => {}
        }
        let reasons = reasons.join("; ");
        let mut error = Self::new(
            ErrorKind::Declined,
            format!("{place} asks for a payment that may not be made: {reasons}"),
        );
        error.0.declined = declined;
        error
    }

    /// No answer to a paid request.
    pub(crate) fn sent(payment: SignedPayment, source: reqwest_middleware::Error) -> Self {
        let message = format!(
            "a payment was sent to {} and no answer came: it may be settled. Send the same payment again, not a new one",
            payment.place()
        );
        let mut error = Self::new(ErrorKind::PaymentSent, message).because(source);
        error.0.payment = Some(payment);
        error
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Why each option of the offer was declined, in the order they were offered.
    pub fn declined(&self) -> &[Declined] {
        &self.0.declined
    }

    /// The payment whose fate is unknown: hand it to the request that tries again.
    ///
    /// ```
    /// use reqwest_middleware::ClientWithMiddleware;
    ///
    /// async fn buy(client: &ClientWithMiddleware, url: &str) -> reqwest_middleware::Result<reqwest::Response> {
    ///     match client.get(url).send().await {
    ///         Ok(response) => Ok(response),
    ///         Err(error) => match x402_reqwest::Error::within(&error).and_then(|error| error.payment()) {
    ///             Some(payment) => client.get(url).with_extension(payment.clone()).send().await,
    ///             None => Err(error),
    ///         },
    ///     }
    /// }
    /// ```
    pub fn payment(&self) -> Option<&SignedPayment> {
        self.0.payment.as_ref()
    }

    /// The error of this crate that a middleware error carries, if it does.
    pub fn within(error: &reqwest_middleware::Error) -> Option<&Self> {
        match error {
            reqwest_middleware::Error::Middleware(error) => error.downcast_ref(),
            reqwest_middleware::Error::Reqwest(_) => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("source", &self.0.source)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl From<Error> for reqwest_middleware::Error {
    fn from(error: Error) -> Self {
        Self::middleware(error)
    }
}
