//! Asks, and when asked to pay, pays once and asks again.

use std::{fmt, pin::Pin, sync::Arc};

use http::{Extensions, StatusCode};
use reqwest::{Request, Response};
use reqwest_middleware::{ClientBuilder, Middleware, Next, Result};
use x402_core::{
    extension::payment_identifier::{self, PaymentId},
    payment::{PaymentPayload, PaymentRequired, PaymentRequirements},
    scheme::{AnyClientScheme, ClientScheme, SchemeError},
    wire::{DecodedOffer, PAYMENT_SIGNATURE, UnreadableOption, X_PAYMENT},
};

use crate::{
    Builder,
    error::{Error, ErrorKind},
    limits::{Declined, DeclinedBecause, Limits},
    offer::{self, Answer},
    origin,
    payment::SignedPayment,
    pending::{self, REPEATS},
};

pub(crate) type Selector = Arc<dyn Fn(&[PaymentRequirements]) -> Option<usize> + Send + Sync>;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The middleware that pays. Cheap to clone, and used by any number of requests at once.
///
/// It is put on a [`reqwest::ClientBuilder`], whose redirect policy it sets; see the [crate](crate)'s page for why.
///
/// ```
/// use std::time::Duration;
/// use x402_core::{network::BASE, scheme::ClientScheme};
/// use x402_reqwest::PaymentMiddleware;
///
/// fn client(
///     wallet: impl ClientScheme,
///     retry: impl reqwest_middleware::Middleware,
/// ) -> Result<reqwest_middleware::ClientWithMiddleware, x402_reqwest::Error> {
///     let payments = PaymentMiddleware::builder()
///         .scheme(wallet)
///         .networks([BASE])
///         .hosts(["api.example.com"])
///         .max_per_request("$0.10")
///         .build()?;
///     let client = reqwest::Client::builder().timeout(Duration::from_secs(30));
///     Ok(payments.attach(client)?.with(retry).build())
/// }
/// ```
#[derive(Clone)]
pub struct PaymentMiddleware(Arc<Inner>);

struct Inner {
    schemes: Vec<AnyClientScheme>,
    limits: Limits,
    selector: Option<Selector>,
    max_offer_bytes: usize,
}

impl PaymentMiddleware {
    /// Begins the settings of a middleware.
    pub fn builder() -> Builder<Self> {
        Builder::new()
    }

    pub(crate) fn new(
        schemes: Vec<AnyClientScheme>,
        limits: Limits,
        selector: Option<Selector>,
        max_offer_bytes: usize,
    ) -> Self {
        Self(Arc::new(Inner { schemes, limits, selector, max_offer_bytes }))
    }

    /// Builds the client and puts this middleware on it. Middleware added to the result sits below: it sees the
    /// unpaid and the paid request one by one, and a retry there repeats the same payment. This is the place for it.
    ///
    /// The client's redirect policy is replaced: redirects within an origin are followed, all others returned.
    ///
    /// # Errors
    /// When reqwest cannot build the client.
    pub fn attach(&self, client: reqwest::ClientBuilder) -> std::result::Result<ClientBuilder, Error> {
        self.attach_under([], client)
    }

    /// Like [`attach`](Self::attach), below the middleware in `above`, the outermost first: that sees one request, and
    /// whatever came of it. A retry there repeats the same payment, as long as it passes the same
    /// [`Extensions`] on.
    ///
    /// # Errors
    /// When reqwest cannot build the client.
    pub fn attach_under(
        &self,
        above: impl IntoIterator<Item = Arc<dyn Middleware>>,
        client: reqwest::ClientBuilder,
    ) -> std::result::Result<ClientBuilder, Error> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Fails only when another thread has just installed one, which does as well.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let client = client.redirect(origin::redirect_policy()).build().map_err(|error| {
            Error::new(ErrorKind::Config, "reqwest cannot build this client").because(error)
        })?;
        let builder = above.into_iter().fold(ClientBuilder::new(client), ClientBuilder::with_arc);
        let payments = self.clone();
        Ok(builder.with(middleware(move |request, extensions, next| {
            let payments = payments.clone();
            Box::pin(async move { payments.0.handle(request, extensions, next).await })
        })))
    }
}

/// A middleware from a function. [`PaymentMiddleware`] is none itself, so that it cannot be put on a client whose
/// redirects would carry payments away.
fn middleware<F>(handle: F) -> F
where
    F: for<'a> Fn(Request, &'a mut Extensions, Next<'a>) -> BoxFuture<'a, Result<Response>>,
{
    handle
}

impl fmt::Debug for PaymentMiddleware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PaymentMiddleware")
            .field("schemes", &self.0.schemes)
            .field("max_per_request", &self.0.limits.cap.to_string())
            .finish_non_exhaustive()
    }
}

impl Inner {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        if [PAYMENT_SIGNATURE, X_PAYMENT].iter().any(|name| request.headers().contains_key(name)) {
            return next.run(request, extensions).await;
        }
        let earlier = extensions.get::<SignedPayment>().cloned();
        if let Some(payment) = earlier.as_ref().filter(|payment| payment.belongs_to(&request)) {
            tracing::debug!(host = payment.server(), "sending the same payment again");
            return send(payment.clone(), request, extensions, next).await;
        }
        let again = request.try_clone();
        let (method, url) = (request.method().clone(), request.url().clone());
        let response = next.clone().run(request, extensions).await?;
        if response.status() != StatusCode::PAYMENT_REQUIRED {
            return Ok(response);
        }
        let answered = response.url().clone();
        let offer = match offer::read(response, self.max_offer_bytes).await? {
            Answer::Offer(offer) => offer,
            Answer::Other(response) => return Ok(response),
        };
        self.limits.check_origin(&url, &answered)?;
        if let Some(payment) = earlier {
            return Err(already_paid(&payment).into());
        }
        let place = origin::place(&url);
        let (scheme, option) = self.choose(&place, &offer)?;
        let again = again.ok_or_else(|| not_replayable(&place))?;
        let identifier = extensions.get::<PaymentId>();
        let payment = sign(scheme, &offer.required, option, identifier)
            .await
            .map_err(|error| signing(&place).because(error))?;
        let payment = SignedPayment::new((method, url), (&offer, option), payment)
            .map_err(|error| signing(&place).because(error))?;
        let PaymentRequirements { network, amount, asset, pay_to, .. } = payment.requirements();
        tracing::debug!(resource = place, %network, %amount, %asset, %pay_to, "paying");
        extensions.insert(payment.clone());
        send(payment, again, extensions, next).await
    }

    /// The scheme to pay with, and the place of the option to pay among those that could be read.
    fn choose(
        &self,
        place: &str,
        offer: &DecodedOffer,
    ) -> std::result::Result<(&AnyClientScheme, usize), Error> {
        let (mut payable, mut options) = (Vec::new(), Vec::new());
        let mut declined: Vec<Declined> = offer.unreadable.iter().map(unreadable).collect();
        for Declined { position, because, .. } in &declined {
            tracing::warn!(resource = place, position, %because, "an option of the offer is left out");
        }
        let is_unreadable =
            |position: &usize| offer.unreadable.iter().any(|option| option.position == *position);
        let positions = (0..).filter(|position| !is_unreadable(position));
        for ((index, option), position) in offer.required.accepts.iter().enumerate().zip(positions) {
            match self.limits.check(option).and_then(|()| self.scheme_for(option)) {
                Ok(scheme) => {
                    payable.push((scheme, index));
                    options.push(option.clone());
                }
                Err(because) => {
                    declined.push(Declined { position, requirements: Some(option.clone()), because });
                }
            }
        }
        if options.is_empty() {
            declined.sort_by_key(|option| option.position);
            return Err(Error::nothing_payable(place, declined));
        }
        let chosen = match &self.selector {
            Some(select) => select(&options),
            None => Some(0),
        };
        chosen.and_then(|chosen| payable.get(chosen).copied()).ok_or_else(|| {
            let offered = options.len();
            Error::new(
                ErrorKind::Declined,
                format!("the selector chose none of {offered} options that {place} offers"),
            )
        })
    }

    fn scheme_for(
        &self,
        option: &PaymentRequirements,
    ) -> std::result::Result<&AnyClientScheme, DeclinedBecause> {
        let mut why = None;
        for scheme in self.schemes.iter().filter(|scheme| scheme.covers(&option.scheme, &option.network)) {
            match scheme.accepts(option) {
                Ok(()) => return Ok(scheme),
                Err(error) => why = why.or(Some(error)),
            }
        }
        Err(match why {
            Some(error) => DeclinedBecause::Scheme(error),
            None => DeclinedBecause::NoScheme { scheme: option.scheme.chars().take(40).collect() },
        })
    }
}

fn unreadable(UnreadableOption { position, why }: &UnreadableOption) -> Declined {
    let because = DeclinedBecause::Unreadable(why.clone());
    Declined { position: *position, requirements: None, because }
}

/// Signs a payment of this option of the offer.
async fn sign(
    scheme: &AnyClientScheme,
    offer: &PaymentRequired,
    option: usize,
    identifier: Option<&PaymentId>,
) -> std::result::Result<PaymentPayload, SchemeError> {
    let PaymentRequired { version, resource, accepts, extensions, .. } = offer;
    let (version, resource, accepted) = (*version, Some(resource.clone()), accepts[option].clone());
    let mut extensions = extensions.clone();
    if payment_identifier::declared(&extensions).is_some() {
        let identifier = match identifier {
            Some(identifier) => identifier.clone(),
            None => random_identifier()?,
        };
        payment_identifier::identify(&mut extensions, &identifier);
    }
    let payload = scheme.sign(version, &accepted).await?;
    Ok(PaymentPayload { version, resource, accepted, payload, extensions })
}

/// Nobody is to guess it: who shows it with the payment is given what was bought.
fn random_identifier() -> std::result::Result<PaymentId, SchemeError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        SchemeError::new("there is no randomness for a payment identifier").because(error)
    })?;
    let text = format!("pay_{:032x}", u128::from_be_bytes(bytes));
    Ok(text.parse().expect("36 letters and digits are an identifier"))
}

/// Sends the request with its payment, again while the server says that it is pending. Any other answer is the answer.
async fn send(
    payment: SignedPayment,
    mut request: Request,
    extensions: &mut Extensions,
    next: Next<'_>,
) -> Result<Response> {
    payment.attach_to(&mut request);
    let mut repeats = 0..REPEATS;
    loop {
        let again = request.try_clone();
        let answer = match next.clone().run(request, extensions).await {
            Ok(mut response) => {
                // What the answer says of a settlement is about this payment's.
                response.extensions_mut().insert(payment.clone());
                pending::pause(response).await.map_err(Into::into)
            }
            Err(error) => Err(error),
        };
        let (pause, response) = match answer {
            Ok(answer) => answer,
            Err(error) => return Err(Error::sent(payment, error).into()),
        };
        let (host, status) = (payment.server(), response.status().as_u16());
        match (pause, again) {
            (Some(pause), Some(again)) if repeats.next().is_some() => {
                tracing::debug!(host, status, ?pause, "the payment is pending, sending it again");
                drop(response);
                tokio::time::sleep(pause).await;
                request = again;
            }
            _ => {
                tracing::debug!(host, status, "answered");
                return Ok(response);
            }
        }
    }
}

fn signing(place: &str) -> Error {
    Error::new(ErrorKind::Signing, format!("the payment {place} asks for could not be signed"))
}

fn not_replayable(place: &str) -> Error {
    Error::new(
        ErrorKind::BodyNotReplayable,
        format!(
            "{place} asks to be paid, but the request's body is a stream and cannot be sent again: give it as bytes"
        ),
    )
}

fn already_paid(payment: &SignedPayment) -> Error {
    Error::new(
        ErrorKind::AlreadyPaid,
        format!(
            "these extensions hold a payment for another request, to {}: give every request its own",
            payment.place()
        ),
    )
}
