//! One payment buys one answer: claims on payments, in this process.
//!
//! A claim is taken before a payment is verified, and ends in one of these ways:
//!
//! - *Released*: nothing was charged, and the payment can be presented again.
//! - *Spent*: it bought its answer, and buys no other.
//! - *Held*: the money may have moved, or it did and nothing was served for it. Whoever presents the same payment
//!   again, for the same request, is served once it has settled; nobody is asked to pay again.

use std::{
    collections::{BTreeSet, HashMap},
    mem,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use http::{HeaderValue, header, uri::PathAndQuery};

use super::{offer::Matched, refusal::Refusal, request::RequestView};
use crate::{
    address::Address,
    payment::{Payment, PaymentRequirements, PendingSettlement, Receipt},
    scheme::PaymentIdentity,
};

/// How many claims are kept at most; beyond it payments are refused with 503.
const MOST_CLAIMS: usize = if cfg!(test) { 10_000 } else { 1_000_000 };
/// How long a claim is kept at most. By then the chain itself knows that a settled payment is spent.
const LONGEST_SECONDS: u64 = 24 * 60 * 60;
/// How long a claim outlives its payment.
const MARGIN_SECONDS: u64 = 600;

/// What a payment was presented for: a price may depend on all of it.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// What it costs there, see [`Charge::cost`](super::Charge::cost).
    cost: u64,
    /// Our origin, method, path and query.
    request: String,
    /// The hosts that were asked for, and the matched route.
    site: String,
    /// What is asked for there.
    options: Vec<PaymentRequirements>,
}

impl Place {
    pub(super) fn new(
        origin: &str,
        cost: u64,
        request: RequestView<'_>,
        options: Vec<PaymentRequirements>,
    ) -> Self {
        let RequestView { method, uri, headers, route, .. } = request;
        let asked = uri.path_and_query().map_or(uri.path(), PathAndQuery::as_str);
        // HTTP/2 says in one what HTTP/1.1 says in the other; whoever says both says two things.
        let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
        let hosts = headers.get_all(header::HOST).iter().map(HeaderValue::as_bytes).chain(authority);
        let hosts: BTreeSet<String> = hosts.map(canonical_host).collect();
        Self {
            cost,
            request: format!("{origin} {method} {asked}"),
            site: format!("{hosts:?} {route:?}"),
            options,
        }
    }
}

fn canonical_host(host: &[u8]) -> String {
    let host = String::from_utf8_lossy(host).to_ascii_lowercase();
    let bare = [":80", ":443"].iter().find_map(|port| host.strip_suffix(port));
    bare.map(str::to_owned).unwrap_or(host)
}

/// The claims of a process: a payment presented at two of its gates is still one payment.
#[derive(Default)]
pub(super) struct Claims {
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    by_key: HashMap<String, Entry>,
    /// The size at which the expired are next swept out: the cost of sweeping is spread over as many claims.
    sweep_at: usize,
}

struct Entry {
    state: State,
    expires_at: u64,
}

enum State {
    InFlight,
    Spent,
    Held(Box<Held>),
}

/// A payment that is owed an answer. It is resumed as it was first presented, for what it was: the identity
/// alone can be read off the chain by anyone, and prices may have changed since.
struct Held {
    fingerprint: String,
    place: Place,
    payment: Box<Payment>,
    payer: Address,
    debt: Debt,
}

impl Held {
    /// Whether it was presented there: in the same request, where what was paid is asked for, as it could buy anything
    /// that costs the same; or by the same reckoning, which comes to another price by now, for the same account.
    fn is_for(&self, place: &Place) -> bool {
        let paid = &self.payment.requirements;
        let same_payee = |asked: &PaymentRequirements| {
            (&asked.network, &asked.asset, &asked.pay_to) == (&paid.network, &paid.asset, &paid.pay_to)
        };
        let same_reckoning = || (place.cost, &place.site) == (self.place.cost, &self.place.site);
        self.place.request == place.request
            && (place.options.contains(paid) || (same_reckoning() && place.options.iter().any(same_payee)))
    }
}

/// Why a payment is held.
#[derive(Clone)]
enum Debt {
    /// Whether the money moved is not known; the transaction to watch, if one is.
    Unresolved(Option<PendingSettlement>),
    /// The money moved, and nothing was served for it.
    Unserved(Receipt),
}

impl Claims {
    /// The claims of this process.
    pub(super) fn of_process() -> Arc<Self> {
        static CLAIMS: LazyLock<Arc<Claims>> = LazyLock::new(Arc::default);
        CLAIMS.clone()
    }

    /// Whether a payment of this identity is held.
    pub(super) fn holds(&self, identity: &PaymentIdentity) -> bool {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(entries.by_key.get(&identity.key), Some(Entry { state: State::Held(_), .. }))
    }

    /// Claims a payment, or says why it cannot be had.
    pub(super) fn take(self: &Arc<Self>, matched: Matched, place: Place) -> Result<Claim, Refusal> {
        let (payment, identity) = matched.into_parts();
        self.take_at(payment, identity, place, now())
    }

    fn take_at(
        self: &Arc<Self>,
        payment: Option<Box<Payment>>,
        identity: PaymentIdentity,
        place: Place,
        now: u64,
    ) -> Result<Claim, Refusal> {
        let PaymentIdentity { key, fingerprint, payer, expires_at } = identity;
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.sweep(now);
        let (payment, payer, place, after) = match entries.by_key.get_mut(&key).map(|entry| &mut entry.state)
        {
            None => {
                // Without a payment it was held a moment ago.
                let payment = payment.ok_or_else(Refusal::in_progress)?;
                (payment, payer, place, After::Released)
            }
            Some(State::InFlight) => return Err(Refusal::in_progress()),
            Some(State::Spent) => return Err(Refusal::spent()),
            Some(State::Held(held)) if held.fingerprint != fingerprint || !held.is_for(&place) => {
                return Err(Refusal::held_elsewhere());
            }
            Some(State::Held(held)) => {
                // It stays held for where it was first presented.
                let place = held.place.clone();
                (held.payment.clone(), held.payer.clone(), place, After::Held(held.debt.clone()))
            }
        };
        if entries.by_key.len() >= MOST_CLAIMS && !entries.by_key.contains_key(&key) {
            return Err(Refusal::not_ready("too many payments are being handled; try again shortly"));
        }
        let expires_at = expires_at.min(now + LONGEST_SECONDS) + MARGIN_SECONDS;
        entries.by_key.insert(key.clone(), Entry { state: State::InFlight, expires_at });
        let verified = false;
        Ok(Claim {
            claims: self.clone(),
            key,
            fingerprint,
            place,
            payment: Some(payment),
            payer,
            verified,
            after,
        })
    }

    fn conclude(&self, key: &str, state: Option<State>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        match state {
            None => {
                entries.by_key.remove(key);
            }
            Some(state) => {
                if let Some(entry) = entries.by_key.get_mut(key) {
                    if matches!(state, State::Held(_)) {
                        entry.expires_at = now() + LONGEST_SECONDS;
                    }
                    entry.state = state;
                }
            }
        }
    }
}

impl Entries {
    fn sweep(&mut self, now: u64) {
        if self.by_key.len() >= self.sweep_at {
            self.by_key.retain(|_, entry| entry.expires_at > now || matches!(entry.state, State::InFlight));
            self.sweep_at = (self.by_key.len() * 2).clamp(1024, MOST_CLAIMS);
        }
    }
}

/// The right to use a payment, until it is dropped.
pub(super) struct Claim {
    claims: Arc<Claims>,
    key: String,
    fingerprint: String,
    place: Place,
    /// There until it is dropped.
    payment: Option<Box<Payment>>,
    payer: Address,
    verified: bool,
    after: After,
}

/// What becomes of a payment whose claim is dropped.
enum After {
    Released,
    Spent,
    Held(Debt),
    /// Held if the handler failed; spent if its client went away, or going away would be a way to run the handler
    /// again and again.
    Served(Receipt),
}

impl Claim {
    pub(super) fn payment(&self) -> &Payment {
        self.payment.as_deref().expect("a claim has its payment until it is dropped")
    }

    pub(super) fn payer(&self) -> &Address {
        &self.payer
    }

    /// Whether its settlement was begun before, and must be ended before anything is served for it.
    pub(super) fn is_held(&self) -> bool {
        matches!(self.after, After::Held(_))
    }

    /// The settlement that was made before, and nothing served for.
    pub(super) fn unserved(&self) -> Option<&Receipt> {
        match &self.after {
            After::Held(Debt::Unserved(receipt)) => Some(receipt),
            _ => None,
        }
    }

    /// The transaction to watch, if one is known.
    pub(super) fn pending(&self) -> Option<&PendingSettlement> {
        match &self.after {
            After::Held(Debt::Unresolved(pending)) => pending.as_ref(),
            _ => None,
        }
    }

    /// It would settle, as far as can be known; `payer` is who pays.
    pub(super) fn verified(&mut self, payer: Address) {
        self.verified = true;
        self.payer = payer;
    }

    /// The settlement begins: from here on the money may have moved.
    pub(super) fn unresolved(&mut self, pending: Option<PendingSettlement>) {
        self.after = After::Held(Debt::Unresolved(pending));
    }

    /// The money surely did not move.
    pub(super) fn released(&mut self) {
        self.after = After::Released;
    }

    /// The money moved, and the answer is on its way.
    pub(super) fn spent(&mut self) {
        self.after = After::Spent;
    }

    /// The money moved, and the handler is still to run.
    pub(super) fn serving(&mut self, receipt: Receipt) {
        self.after = After::Served(receipt);
    }

    /// The money moved, and an answer is owed for it.
    pub(super) fn settled(&mut self, receipt: Receipt) {
        self.after = After::Held(Debt::Unserved(receipt));
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let after = match mem::replace(&mut self.after, After::Released) {
            After::Served(receipt) if thread::panicking() => After::Held(Debt::Unserved(receipt)),
            after => after,
        };
        let state = match after {
            After::Released => {
                if self.verified {
                    tracing::info!(payer = %self.payer, "a payment was verified and not settled; it is released");
                }
                None
            }
            After::Spent | After::Served(_) => Some(State::Spent),
            After::Held(debt) => self.payment.take().map(|payment| {
                let (fingerprint, payer) = (mem::take(&mut self.fingerprint), self.payer.clone());
                let place = self.place.clone();
                State::Held(Box::new(Held { fingerprint, place, payment, payer, debt }))
            }),
        };
        self.claims.conclude(&self.key, state);
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn payment() -> Box<Payment> {
        let requirements = json!({
            "scheme": "exact", "network": "eip155:84532", "amount": "1", "asset": "0x1", "payTo": "0x2",
            "maxTimeoutSeconds": 60,
        });
        let payload = json!({ "x402Version": 2, "accepted": requirements, "payload": {} });
        Box::new(Payment {
            payload: serde_json::from_value(payload).unwrap(),
            requirements: serde_json::from_value(requirements).unwrap(),
        })
    }

    fn identity(key: &str, fingerprint: &str, expires_at: u64) -> PaymentIdentity {
        let (key, fingerprint) = (key.to_owned(), fingerprint.to_owned());
        PaymentIdentity { key, fingerprint, payer: "0x3".parse().unwrap(), expires_at }
    }

    fn place(route: u64, uri: &'static str) -> Place {
        let (uri, headers) = (http::Uri::from_static(uri), http::HeaderMap::new());
        let method = &http::Method::GET;
        let view = RequestView { method, uri: &uri, headers: &headers, route: None, access: None };
        Place::new("https://a.b", route, view, vec![payment().requirements])
    }

    fn take(claims: &Arc<Claims>, key: &str, fingerprint: &str) -> Result<Claim, Refusal> {
        claims.take_at(Some(payment()), identity(key, fingerprint, 100), place(1, "/"), 1)
    }

    fn receipt() -> Receipt {
        Receipt {
            transaction: None,
            network: crate::network::BASE,
            payer: None,
            amount: None,
            extensions: Default::default(),
        }
    }

    #[test]
    fn a_payment_is_claimed_once() {
        let claims = Arc::<Claims>::default();
        let claim = take(&claims, "a", "x").ok().unwrap();
        assert!(take(&claims, "a", "x").is_err(), "in flight");
        assert!(take(&claims, "b", "x").is_ok(), "another payment");
        drop(claim);
        let Ok(mut claim) = take(&claims, "a", "x") else { panic!("released") };
        claim.spent();
        drop(claim);
        assert!(take(&claims, "a", "x").is_err(), "spent");
    }

    #[test]
    fn a_held_payment_is_resumed_as_it_was_and_where_it_was() {
        let claims = Arc::<Claims>::default();
        let mut claim = take(&claims, "a", "x").ok().unwrap();
        assert!(!claim.is_held());
        claim.unresolved(None);
        assert!(!claims.holds(&identity("a", "x", 1)), "it is in flight");
        drop(claim);
        assert!(claims.holds(&identity("a", "x", 1)));
        assert!(take(&claims, "a", "forged").is_err());
        let mut elsewhere = place(2, "/");
        assert!(
            claims.take_at(Some(payment()), identity("a", "x", 100), elsewhere.clone(), 1).is_ok(),
            "another charge that asks for the same"
        );
        elsewhere.options[0].amount = crate::amount::Amount::from(2);
        assert!(
            claims.take_at(None, identity("a", "x", 100), elsewhere.clone(), 1).is_err(),
            "another price"
        );
        elsewhere.cost = 1;
        assert!(
            claims.take_at(None, identity("a", "x", 100), elsewhere.clone(), 1).is_ok(),
            "its price moved"
        );
        elsewhere.options[0].pay_to = "0x9".parse().unwrap();
        assert!(claims.take_at(None, identity("a", "x", 100), elsewhere, 1).is_err(), "another payee");
        assert!(
            claims.take_at(Some(payment()), identity("a", "x", 100), place(1, "/?2"), 1).is_err(),
            "another query"
        );
        for _ in 0..2 {
            let resumed = claims.take_at(None, identity("a", "x", 100), place(1, "/"), 1).ok().unwrap();
            assert!(resumed.is_held(), "dropping a resumed claim keeps it");
        }
        assert!(claims.take_at(None, identity("b", "x", 100), place(1, "/"), 1).is_err(), "nothing is held");
    }

    #[test]
    fn what_was_settled_and_not_served_is_owed_when_the_handler_failed() {
        for (fail, owed) in [(true, true), (false, false)] {
            let claims = Arc::<Claims>::default();
            let mut claim = take(&claims, "a", "x").ok().unwrap();
            claim.serving(receipt());
            if fail {
                claim.settled(receipt());
            }
            drop(claim);
            assert_eq!(claims.holds(&identity("a", "x", 1)), owed);
        }
        let claims = Arc::<Claims>::default();
        let mut claim = take(&claims, "a", "x").ok().unwrap();
        claim.serving(receipt());
        let handler = thread::spawn(move || {
            let _claim = claim;
            panic!("the handler's");
        });
        assert!(handler.join().is_err());
        assert!(take(&claims, "a", "x").ok().unwrap().unserved().is_some());
    }

    fn fill(claims: &Arc<Claims>, n: usize, expires_at: u64, now: u64) {
        let taken =
            claims.take_at(Some(payment()), identity(&n.to_string(), "x", expires_at), place(1, "/"), now);
        let Ok(mut claim) = taken else { panic!("there is room") };
        claim.spent();
    }

    #[test]
    fn what_expired_is_swept_out() {
        let claims = Arc::<Claims>::default();
        for n in 0..5000 {
            fill(&claims, n, n as u64 + 10, n as u64);
        }
        assert!(claims.entries.lock().unwrap().by_key.len() < 2000);
    }

    #[test]
    fn what_expired_makes_room_however_many_there_were() {
        let claims = Arc::<Claims>::default();
        for n in 0..=MOST_CLAIMS {
            let expires_at = if n < MOST_CLAIMS * 3 / 5 { 10 } else { 2000 };
            let now = if n < MOST_CLAIMS * 4 / 5 { 1 } else { 1500 };
            fill(&claims, n, expires_at, now);
        }
    }

    #[test]
    fn what_is_in_flight_is_not_swept_out() {
        let claims = Arc::<Claims>::default();
        let claim = claims.take_at(Some(payment()), identity("a", "x", 1), place(1, "/"), 1).ok().unwrap();
        for n in 0..5000 {
            fill(&claims, n, 10_000, 5000);
        }
        assert!(take(&claims, "a", "x").is_err());
        drop(claim);
        assert!(take(&claims, "a", "x").is_ok());
    }
}
