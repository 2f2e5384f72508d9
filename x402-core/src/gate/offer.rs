//! What the gate offers now, and the payment that takes one of its options.

use std::sync::Arc;

use serde_json::Value;

use http::HeaderValue;

use super::{
    builder::GateInner,
    capabilities,
    charge::{Charge, PayTo, PaymentOption, PriceSource},
    claim::Known,
    grpc,
    idempotency::Identifiers,
    limits::heard,
    refusal::Refusal,
    request::{RequestInfo, RequestView},
    toll::Priced,
};
use crate::{
    address::Address,
    amount::Amount,
    asset::Token,
    extension::payment_identifier::{PAYMENT_IDENTIFIER, declaration},
    network::Network,
    payment::{JsonMap, Payment, PaymentRequired, PaymentRequirements, Reason, ResourceInfo, Version},
    scheme::{Inspection, MalformedPayload, PaymentIdentity},
    wire::{self, Presented},
};

/// The longest address of what is sold that is told.
const LONGEST_URL: usize = 1024;

/// How long the header with the offer may get before parts that only inform are left out, in bytes. nginx answers 502 in
/// place of an answer whose head is longer than its `proxy_buffer_size`, by default 4 KiB.
pub(super) const COMFORTABLE_HEADER: usize = 3584;

/// What a request is offered.
pub(super) struct Offer {
    options: Arc<[Offered]>,
    resource: ResourceInfo,
    identifiers: Identifiers,
}

/// An option, and the versions of the protocol in which it can be taken.
struct Offered {
    requirements: PaymentRequirements,
    token: Token,
    v1: bool,
    v2: bool,
}

impl Offered {
    fn speaks(&self, version: Version) -> bool {
        match version {
            Version::V1 => self.v1,
            Version::V2 => self.v2,
        }
    }
}

/// An offer that holds for every request, as long as the facilitator supports what it does.
pub(super) struct Standing {
    epoch: u64,
    options: Arc<[Offered]>,
}

impl Offer {
    /// All the ways to pay.
    pub(super) fn requirements(&self) -> impl Iterator<Item = &PaymentRequirements> {
        self.options.iter().map(|option| &option.requirements)
    }

    /// The tokens of the ways to pay in this version.
    pub(super) fn tokens(&self, version: Version) -> Vec<Token> {
        let options = self.options.iter().filter(|option| option.speaks(version));
        options.map(|option| option.token.clone()).collect()
    }

    /// What this request is offered now.
    pub(super) async fn make(
        gate: &GateInner,
        priced: &Priced,
        request: RequestView<'_>,
    ) -> Result<Self, Refusal> {
        let known = gate.capabilities.get().ok_or_else(|| {
            Refusal::not_ready("the payment facilitator has not told yet what it supports; try again shortly")
        })?;
        let options = match priced.standing.load().as_ref() {
            Some(standing) if standing.epoch == known.epoch => standing.options.clone(),
            _ => options(gate, priced, request, &known).await?,
        };
        // To name a call, it would have to be read whole before it is answered; and calls may go both ways.
        let identifiers = match priced.charge.identifiers() {
            _ if grpc::is_call(request.headers) => Identifiers::Unknown,
            identifiers => identifiers,
        };
        Ok(Self { options, resource: resource(gate, priced, request), identifiers })
    }

    /// The offer as a 402 writes it in this version; `None` where no option can be taken in it.
    pub(super) fn required(&self, version: Version, error: &str) -> Option<PaymentRequired> {
        let options = self.options.iter().filter(|option| option.speaks(version));
        let accepts: Vec<_> = options.map(|option| option.requirements.clone()).collect();
        (!accepts.is_empty()).then(|| PaymentRequired {
            version,
            error: Some(error.to_owned()),
            resource: self.resource.clone(),
            accepts,
            extensions: extensions(self.identifiers),
        })
    }
}

/// The extensions of a charge that takes such identifiers, as a 402 declares them.
pub(super) fn extensions(identifiers: Identifiers) -> JsonMap {
    let required = match identifiers {
        Identifiers::Unknown => return JsonMap::new(),
        Identifiers::Optional => false,
        Identifiers::Required => true,
    };
    JsonMap::from_iter([(PAYMENT_IDENTIFIER.to_owned(), declaration(required))])
}

/// The options of a charge that the facilitator supports. Kept, where none depends on the request.
async fn options(
    gate: &GateInner,
    priced: &Priced,
    request: RequestView<'_>,
    known: &capabilities::Known,
) -> Result<Arc<[Offered]>, Refusal> {
    let mut options = Vec::with_capacity(priced.charge.options.len());
    let mut info = None;
    for option in &priced.charge.options {
        let PaymentOption { scheme, network, .. } = option;
        let v2 = known.supported.kind(Version::V2, scheme, network);
        let v1 = known
            .supported
            .kind(Version::V1, scheme, network)
            .filter(|_| speaks_v1(gate, &priced.charge, network));
        let Some(kind) = v2.or(v1) else {
            tracing::error!(route = request.route, scheme, %network, "the facilitator does not support this option");
            continue;
        };
        let (token, amount) = match &option.price {
            PriceSource::Fixed(price) => price.clone().and_then(|price| price.resolve(network)),
            PriceSource::Computed(compute, _) => {
                let seen = seen(&mut info, request);
                heard(gate.limits, "a computed price", async { compute(seen).await })
                    .await?
                    .map_err(|error| {
                        Refusal::misconfigured(format!("the price could not be computed: {error}"))
                    })?
                    .resolve(network)
            }
        }
        .map_err(|error| Refusal::misconfigured(format!("the price cannot be charged: {error}")))?;
        let payee = match &option.pay_to {
            PayTo::Fixed(payee) => {
                payee.clone().map_err(|(_, error)| Refusal::misconfigured(error.to_string()))?
            }
            PayTo::Computed(compute, _) => {
                let seen = seen(&mut info, request);
                heard(gate.limits, "a computed payee", async { compute(seen).await }).await?.map_err(
                    |error| Refusal::misconfigured(format!("the payee could not be computed: {error}")),
                )?
            }
        };
        let mut requirements = requirements(option, &token, amount, payee, kind.extra.clone());
        gate.scheme(scheme, network)
            .ok_or_else(|| Refusal::misconfigured(format!("no scheme charges `{scheme}` on {network}")))?
            .enrich(&mut requirements, &token, kind)
            .map_err(|error| {
                Refusal::misconfigured(format!("cannot charge `{scheme}` on {network}: {error}"))
            })?;
        options.push(Offered { requirements, token, v1: v1.is_some(), v2: v2.is_some() });
    }
    if options.is_empty() {
        return Err(Refusal::not_ready(
            "the payment facilitator supports none of this route's payment options",
        ));
    }
    let options: Arc<[_]> = options.into();
    if info.is_none() {
        let standing = Standing { epoch: known.epoch, options: options.clone() };
        priced.standing.store(Some(Arc::new(standing)));
    }
    Ok(options)
}

/// Whether a charge can be paid in version 1 on this network. It has no words for identifiers: where they are required, who
/// pays in it would pay in vain.
pub(super) fn speaks_v1(gate: &GateInner, charge: &Charge, network: &Network) -> bool {
    gate.v1 && network.v1_name().is_some() && charge.identifiers() != Identifiers::Required
}

/// The request as computed prices see it, copied once.
fn seen(info: &mut Option<RequestInfo>, request: RequestView<'_>) -> RequestInfo {
    info.get_or_insert_with(|| request.to_info()).clone()
}

pub(super) fn requirements(
    option: &PaymentOption,
    token: &Token,
    amount: Amount,
    pay_to: Address,
    extra: JsonMap,
) -> PaymentRequirements {
    PaymentRequirements {
        scheme: option.scheme.to_owned(),
        network: option.network.clone(),
        amount,
        asset: token.address.clone(),
        pay_to,
        max_timeout_seconds: option.lifetime(),
        extra,
    }
}

/// What is sold. Its address is made from our origin; a query, and then a path, too long to fit are left out.
fn resource(gate: &GateInner, priced: &Priced, request: RequestView<'_>) -> ResourceInfo {
    let fits = |text: &&str| gate.origin.len() + text.len() <= LONGEST_URL;
    let path = request.uri.path();
    let path = if path.starts_with('/') { path } else { "/" };
    let whole =
        request.uri.path_and_query().map(|whole| whole.as_str()).filter(|whole| whole.starts_with('/'));
    let place = whole.filter(fits).or(Some(path).filter(fits)).or(request.route.filter(fits)).unwrap_or("/");
    ResourceInfo {
        url: format!("{}{place}", gate.origin),
        description: priced.charge.description.clone(),
        mime_type: priced.charge.mime_type.clone(),
        ..ResourceInfo::default()
    }
}

/// The header that asks for payment. What only informs is left out, step by step, where the header would get longer than
/// is [comfortable](COMFORTABLE_HEADER), beside others that have taken as much: the descriptions, which the body has, then the
/// query of the address, then its path.
pub(super) fn header(required: &PaymentRequired, taken: usize) -> HeaderValue {
    let room = COMFORTABLE_HEADER.saturating_sub(taken);
    let whole = wire::encode_header(required);
    if whole.len() <= room {
        return whole;
    }
    let url = &*required.resource.url;
    let path_at = url.find("://").and_then(|at| Some(at + 3 + url[at + 3..].find('/')?));
    let shorter = [url, url.split('?').next().unwrap_or(url), path_at.map_or(url, |at| &url[..=at])];
    let mut brief = required.clone();
    let mut encoded = whole;
    for url in shorter {
        brief.resource = ResourceInfo { url: url.to_owned(), ..ResourceInfo::default() };
        encoded = wire::encode_header(&brief);
        if encoded.len() <= room {
            break;
        }
    }
    encoded
}

/// How long that header gets at least, for these options of a charge.
pub(super) fn shortest_header(gate: &GateInner, charge: &Charge, accepts: Vec<PaymentRequirements>) -> usize {
    let required = PaymentRequired {
        version: Version::V2,
        error: Some(Reason::NO_MATCH.to_string()),
        resource: ResourceInfo { url: format!("{}/", gate.origin), ..ResourceInfo::default() },
        accepts,
        extensions: extensions(charge.identifiers()),
    };
    header(&required, 0).len()
}

/// A payment that takes one of our options, or one that is held, or was answered, and needs none.
pub(super) struct Matched {
    /// `None`: the payment is held, and is resumed as it was first presented, or its answer is kept.
    payment: Option<Box<Payment>>,
    identity: PaymentIdentity,
}

impl Matched {
    /// One that was not claimed after all.
    pub(super) fn new(payment: Option<Box<Payment>>, identity: PaymentIdentity) -> Self {
        Self { payment, identity }
    }

    /// The options the payment may mean, best first, and what its client calls what it is for, `id`, if anything. Version 2 says which; version 1 names only scheme and network,
    /// so its content decides, and where that is the same for several, each may be the one.
    pub(super) async fn find(
        gate: &GateInner,
        offer: &Offer,
        presented: &Presented,
        id: Option<&str>,
    ) -> Result<Vec<Self>, Refusal> {
        let version = presented.version();
        if version == Version::V1 && !gate.v1 {
            return Err(Refusal::rejected(Reason::INVALID_VERSION));
        }
        let matched = Self::of_offer(gate, offer, presented);
        // What is held is found by whoever claims it; here, only where more than that option, or none, may be meant.
        if !matches!((&matched, version), (Ok(_), Version::V2)) {
            for identity in Self::meant(gate, offer, presented) {
                match gate.claims.known(&identity, id).await? {
                    Known::Resumable => return Ok(vec![Self { payment: None, identity }]),
                    // An offer would lead a client that lost the answer to pay again.
                    Known::Spent if matched.is_err() => return Err(Refusal::spent()),
                    Known::Spent | Known::Otherwise => {}
                }
            }
        }
        matched
    }

    fn of_offer(gate: &GateInner, offer: &Offer, presented: &Presented) -> Result<Vec<Self>, Refusal> {
        let version = presented.version();
        let mut matched = Vec::new();
        let mut refusal = Refusal::rejected(Reason::NO_MATCH);
        let spoken = offer.options.iter().filter(|option| option.speaks(version));
        for option in spoken.map(|option| &option.requirements).filter(|option| names(presented, option)) {
            let Some(scheme) = gate.scheme(&option.scheme, &option.network) else { continue };
            let mut payload = presented.clone().against(option);
            let Inspection { identity, mismatch } = scheme
                .inspect(version, &payload.payload, option)
                .map_err(|MalformedPayload(expected)| Refusal::malformed(expected))?;
            if let Some(reason) = mismatch {
                refusal = Refusal::rejected(reason);
                continue;
            }
            // Ours, not the client's: whoever catalogues what is sold must not be told another address.
            payload.resource = Some(offer.resource.clone());
            let payment = Box::new(Payment { payload, requirements: option.clone() });
            matched.push(Self { payment: Some(payment), identity });
        }
        if matched.is_empty() { Err(refusal) } else { Ok(matched) }
    }

    /// What it may be that was made already, whatever is offered by now: as the client says. What is served for it, and
    /// for how much, is what was held.
    fn meant(gate: &GateInner, offer: &Offer, presented: &Presented) -> Vec<PaymentIdentity> {
        let read = |payload: &Value, option: &PaymentRequirements| {
            let scheme = gate.scheme(&option.scheme, &option.network)?;
            Some(scheme.inspect(presented.version(), payload, option).ok()?.identity)
        };
        match presented {
            Presented::V2(payment) => read(&payment.payload, &payment.accepted).into_iter().collect(),
            Presented::V1 { payload, .. } => offer
                .requirements()
                .filter(|option| names(presented, option))
                .filter_map(|option| read(payload, option))
                .collect(),
        }
    }

    pub(super) fn into_parts(self) -> (Option<Box<Payment>>, PaymentIdentity) {
        (self.payment, self.identity)
    }
}

/// Whether the payment may mean this option.
fn names(presented: &Presented, option: &PaymentRequirements) -> bool {
    match presented {
        Presented::V1 { scheme, network, .. } => {
            *scheme == option.scheme && option.network.v1_name() == Some(network.as_str())
        }
        Presented::V2(payment) => accepts(&payment.accepted, option),
    }
}

/// Whether what the client accepted is what we offer: every field the same, and all of our `extra` in its own.
fn accepts(accepted: &PaymentRequirements, offered: &PaymentRequirements) -> bool {
    let PaymentRequirements { scheme, network, amount, asset, pay_to, max_timeout_seconds, extra } = offered;
    accepted.scheme == *scheme
        && accepted.network == *network
        && accepted.amount == *amount
        && accepted.asset == *asset
        && accepted.pay_to == *pay_to
        && accepted.max_timeout_seconds == *max_timeout_seconds
        && contains_all(&accepted.extra, extra)
}

fn contains_all(whole: &JsonMap, part: &JsonMap) -> bool {
    part.iter().all(|(key, wanted)| match (whole.get(key), wanted) {
        (Some(Value::Object(whole)), Value::Object(part)) => contains_all(whole, part),
        (found, wanted) => found == Some(wanted),
    })
}
