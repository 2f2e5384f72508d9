//! A gate: who settles, in which schemes, for which origin.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Waker},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{HeaderName, Uri};
use tokio::{runtime::Handle, sync::watch};

use super::{
    Charge, ConfigError, RequestDecision, RequestInfo, RouteTable, Toll,
    capabilities::Capabilities,
    claim::{Background, Claim, Claims, Patient, SPENT_FOR},
    event::{self, Listeners, PaymentEvent},
    hooks::Hooks,
    idempotency::{Idempotency, Uploads},
    limits::{Bounded, TimeLimits},
    paywall::Paywall,
    request::RequestHook,
    settle::Running,
    status::{GateStatus, NotReady, Trouble},
};
use crate::{
    address::Address,
    facilitator::{AnyFacilitator, Facilitator},
    hooks::{HookList, PaymentHooks},
    network::Network,
    scheme::ServerScheme,
    store::{AnyClaimStore, ClaimStore, MemoryStore},
    wire::{PAYMENT_SIGNATURE, X_PAYMENT},
};

/// How long the record of a payment in work stands without being renewed.
const LEASE: Duration = Duration::from_secs(30);
/// How often a store that does not answer is asked again by those who wait for it, and how long it has to answer a probe.
const PROBE_EVERY: Duration = Duration::from_millis(500);
const LONGEST_PROBE: Duration = Duration::from_secs(3);
const SHORTEST_LEASE: Duration = Duration::from_millis(100);
const LONGEST_LEASE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a spent payment is remembered at most, in seconds, where what others have made is served: until it expires.
/// Payments that are valid for longer are not served so.
const SPENT_FOR_EXCLUSIVE: u64 = 400 * 24 * 60 * 60;

/// Charges for requests. Cheap to clone; every clone is the same gate.
#[derive(Clone)]
pub struct PaymentGate {
    pub(super) inner: Arc<GateInner>,
}

pub(super) struct GateInner {
    pub(super) origin: String,
    pub(super) facilitator: AnyFacilitator,
    pub(super) capabilities: Capabilities,
    pub(super) schemes: Vec<Arc<dyn ServerScheme>>,
    pub(super) hooks: Hooks,
    pub(super) limits: TimeLimits,
    /// Who is paid through this store alone.
    pub(super) exclusive: Vec<Address>,
    pub(super) request_hooks: Vec<RequestHook>,
    pub(super) v1: bool,
    pub(super) aliases: Vec<HeaderName>,
    pub(super) claims: Arc<Claims>,
    pub(super) idempotency: Idempotency,
    pub(super) uploads: Uploads,
    pub(super) paywall: Option<Arc<dyn Paywall>>,
    /// How many settlements are under way.
    pub(super) settling: watch::Sender<usize>,
    /// Where they run: a framework's workers may end before the gate does.
    pub(super) runtime: Handle,
}

impl PaymentGate {
    /// A gate for the service that clients reach at this origin, like `https://api.example.com`.
    ///
    /// The addresses of what is sold are made from it and never from a request's `Host` header. It may have a
    /// path, for services behind a proxy that strips one.
    pub fn builder(origin: impl Into<String>) -> GateBuilder {
        GateBuilder {
            origin: origin.into(),
            facilitator: None,
            schemes: Vec::new(),
            hooks: HookList::default(),
            limits: TimeLimits::default(),
            exclusive: Vec::new(),
            request_hooks: Vec::new(),
            v1: true,
            aliases: Vec::new(),
            store: None,
            lease: LEASE,
            idempotency: Idempotency::default(),
            paywall: None,
            listeners: Listeners::default(),
        }
    }

    /// Waits until payments can be taken in all the ways that the charges made so far are paid in: until the facilitator told
    /// that it settles them, and the store answers. Until then paid routes answer 503, so this is for tests and for
    /// services that want to be ready before they listen.
    ///
    /// # Errors
    /// When that is not so within [`TimeLimits::ready`], 30 seconds unless set: what is missing. The gate goes on to try.
    pub async fn ready(&self) -> Result<(), NotReady> {
        let becoming = async {
            loop {
                self.inner.capabilities.ready().await;
                if self.status().await.is_ready() {
                    return;
                }
                tokio::time::sleep(PROBE_EVERY).await;
            }
        };
        match tokio::time::timeout(self.inner.limits.ready, becoming).await {
            Ok(()) => Ok(()),
            Err(_) => Err(NotReady(self.status().await)),
        }
    }

    /// How the gate is now, for a readiness probe. The store is asked; of the facilitator it says whether it told
    /// what it supports when it was last asked, which is every minute, and soon after it did not answer about a payment.
    /// Whether it would take the next payment, nobody knows before.
    pub async fn status(&self) -> GateStatus {
        let GateInner { capabilities, claims, .. } = &*self.inner;
        let store = match tokio::time::timeout(LONGEST_PROBE, claims.probe()).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer within {} s", LONGEST_PROBE.as_secs())),
        };
        GateStatus {
            facilitator: capabilities.trouble(),
            is_known: capabilities.get().is_some(),
            unsupported: capabilities.missing(),
            store: store.map(|why| Trouble { since: None, why }),
        }
    }

    /// Waits until no settlement is under way, and the state of all payments is written. A settlement outlives a client
    /// that hangs up, but not the runtime the gate was built in: call this when the server has shut down, before the
    /// process ends. While the store is down it waits for that, so give it a limit of time.
    pub async fn settled(&self) {
        // The sender lives in `self`.
        let _ = self.inner.settling.subscribe().wait_for(|running| *running == 0).await;
        self.inner.claims.written().await;
    }

    /// Charges for everything an adapter brings here.
    ///
    /// # Errors
    /// When the charge cannot work.
    pub fn toll(&self, charge: Charge) -> Result<Toll, ConfigError> {
        Toll::single(self, charge)
    }

    /// Charges by the route that the framework matched.
    ///
    /// # Errors
    /// When a charge cannot work, or the table is empty.
    pub fn toll_by_route(&self, table: RouteTable) -> Result<Toll, ConfigError> {
        Toll::table(self, table)
    }
}

impl fmt::Debug for PaymentGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PaymentGate").field("origin", &self.inner.origin).finish_non_exhaustive()
    }
}

impl GateInner {
    /// Whether nobody else can have served a payment to its payee: it would be known here, as long as it can be used.
    pub(super) fn is_paid_here_alone(&self, claim: &Claim) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let left = claim.expires_at().saturating_sub(now);
        self.exclusive.contains(&claim.payment().requirements.pay_to)
            && (1..=self.claims.spent_for()).contains(&left)
    }

    pub(super) fn scheme(&self, scheme: &str, network: &Network) -> Option<&dyn ServerScheme> {
        self.schemes
            .iter()
            .map(Arc::as_ref)
            .find(|known| known.scheme() == scheme && known.networks().matches(network))
    }
}

/// Builds a [`PaymentGate`].
#[must_use]
pub struct GateBuilder {
    origin: String,
    facilitator: Option<AnyFacilitator>,
    schemes: Vec<Arc<dyn ServerScheme>>,
    hooks: HookList,
    limits: TimeLimits,
    exclusive: Vec<String>,
    request_hooks: Vec<RequestHook>,
    v1: bool,
    aliases: Vec<HeaderName>,
    store: Option<AnyClaimStore>,
    lease: Duration,
    idempotency: Idempotency,
    paywall: Option<Arc<dyn Paywall>>,
    listeners: Listeners,
}

impl GateBuilder {
    /// Who verifies and settles. Required.
    pub fn facilitator(mut self, facilitator: impl Facilitator) -> Self {
        self.facilitator = Some(AnyFacilitator::new(facilitator));
        self
    }

    /// A scheme to charge in. At least one is required; the first that covers a charge's scheme and network is
    /// taken.
    pub fn scheme(mut self, scheme: impl ServerScheme) -> Self {
        self.schemes.push(Arc::new(scheme));
        self
    }

    /// Hooks around verifying and settling.
    pub fn hooks(mut self, hooks: impl PaymentHooks) -> Self {
        self.hooks.push(hooks);
        self
    }

    /// A hook on every request to a charged route, before anything else: charge, let it pass free, or refuse. The
    /// first hook that does not say [`RequestDecision::Charge`] counts.
    pub fn on_request<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(RequestInfo) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = RequestDecision> + Send + 'static,
    {
        self.request_hooks.push(Arc::new(move |request| Box::pin(hook(request))));
        self
    }

    /// How long facilitators, hooks and closures may take.
    pub fn time_limits(mut self, limits: TimeLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Nothing but what is sold with this gate's store is ever paid to this account: no other service, and no gate with
    /// another store, names it as payee. Then a payment that was made in a transaction of somebody else's, before the
    /// gate saw it, is served: its payer has paid for nothing else. **Dangerous** where that is not so: what was bought
    /// there with a payment can be had here with the same one.
    ///
    /// Without this such a payment is refused without an offer, as `payment_made_by_third_party` or as used. It needs a
    /// [`store`](Self::store) that lasts, which remembers what was spent until it expires.
    pub fn exclusive_payee(mut self, payee: impl ToString) -> Self {
        self.exclusive.push(payee.to_string());
        self
    }

    /// Speak version 2 only: no version 1 requirements in the body, no version 1 payments.
    pub fn without_v1(mut self) -> Self {
        self.v1 = false;
        self
    }

    /// Another header to read payments from, besides `PAYMENT-SIGNATURE` and `X-PAYMENT`.
    pub fn header_alias(mut self, name: HeaderName) -> Self {
        let read = [PAYMENT_SIGNATURE, X_PAYMENT].contains(&name) || self.aliases.contains(&name);
        if !read {
            self.aliases.push(name);
        }
        self
    }

    /// Where the state of payments is kept. Without it, in this process: give several instances a store that they share, and
    /// one that may be killed or rolled over a store that lasts. Instances that share none may each serve one payment, if it
    /// reaches them at once, where their facilitator gives all of them the same answer; ours tells success to one.
    pub fn store(mut self, store: impl ClaimStore) -> Self {
        self.store = Some(AnyClaimStore::new(Patient(store)));
        self
    }

    /// How long a payment that was in work stands still when its instance died, before another one takes it up. 30 seconds
    /// unless set. An instance at work renews its payments well within this time, so let it be many times what the store
    /// takes to answer, and the same for all gates of one store.
    pub fn claim_lease(mut self, lease: Duration) -> Self {
        self.lease = lease.clamp(SHORTEST_LEASE, LONGEST_LEASE);
        self
    }

    /// What is kept of requests that their clients name, and for how long.
    pub fn idempotency(mut self, idempotency: Idempotency) -> Self {
        self.idempotency = idempotency;
        self
    }

    /// The page for people who open something paid in a browser, like x402-paywall's; without it they see JSON.
    pub fn paywall(mut self, paywall: impl Paywall) -> Self {
        self.paywall = Some(Arc::new(paywall));
        self
    }

    /// Hears of every change in the state of a payment, like a ledger. It is called on the request's way, so let it be
    /// quick, like sending into a channel.
    pub fn on_event(mut self, listener: impl Fn(&PaymentEvent) + Send + Sync + 'static) -> Self {
        self.listeners.push(listener);
        self
    }

    /// The gate. It begins to ask the facilitator what it supports.
    ///
    /// # Errors
    /// When something required is missing, the origin is no http(s) URL, or there is no Tokio runtime. Build it where
    /// the runtime lasts as long as the gate: settlements run there.
    pub fn build(self) -> Result<PaymentGate, ConfigError> {
        let origin = checked_origin(&self.origin).ok_or(ConfigError::Origin(self.origin))?;
        let facilitator = self.facilitator.ok_or(ConfigError::NoFacilitator)?;
        if self.schemes.is_empty() {
            return Err(ConfigError::NoScheme);
        }
        let exclusive = self.exclusive.into_iter().map(|text| match text.parse() {
            Ok(payee) => Ok(payee),
            Err(why) => Err(ConfigError::PayTo { text, why }),
        });
        let exclusive: Vec<Address> = exclusive.collect::<Result<_, _>>()?;
        if !exclusive.is_empty() && self.store.is_none() {
            return Err(ConfigError::ExclusiveWithoutStore);
        }
        let runtime = Handle::try_current().map_err(|_| ConfigError::NoRuntime)?;
        event::describe();
        let settling = watch::Sender::new(0);
        let store = self.store.unwrap_or_else(|| {
            tracing::info!(
                "claims on payments are kept in this process: for several instances, or to know of them after a restart, \
                 give the gate a store"
            );
            AnyClaimStore::new(MemoryStore::of_process())
        });
        let background = background(runtime.clone(), settling.clone());
        let spent_for = if exclusive.is_empty() { SPENT_FOR } else { SPENT_FOR_EXCLUSIVE };
        let claims = Claims::new(store, self.lease, spent_for, self.listeners, background);
        runtime.spawn(Claims::keep_renewing(Arc::downgrade(&claims), self.lease));
        let capabilities = Capabilities::watch(facilitator.clone(), &runtime);
        let facilitator = Bounded::new(facilitator, self.limits, capabilities.doubt());
        let inner = GateInner {
            origin,
            capabilities,
            facilitator: AnyFacilitator::new(facilitator),
            schemes: self.schemes,
            hooks: Hooks::new(self.hooks, self.limits),
            limits: self.limits,
            exclusive,
            request_hooks: self.request_hooks,
            v1: self.v1,
            aliases: self.aliases,
            claims,
            uploads: Uploads::new(self.idempotency),
            idempotency: self.idempotency,
            paywall: self.paywall,
            settling,
            runtime,
        };
        Ok(PaymentGate { inner: Arc::new(inner) })
    }
}

impl fmt::Debug for GateBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateBuilder").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// Work that is done, whether or not somebody waits for it: at once if it can be, which is so where records are kept in
/// memory.
fn background(runtime: Handle, settling: watch::Sender<usize>) -> Background {
    Box::new(move |mut work| {
        let _inside = runtime.enter();
        if work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return;
        }
        let running = Running::begin(&settling);
        runtime.spawn(async move {
            work.await;
            drop(running);
        });
    })
}

/// The origin without a trailing slash, if it is an http(s) URL without query.
fn checked_origin(text: &str) -> Option<String> {
    let uri: Uri = text.parse().ok()?;
    let web = matches!(uri.scheme_str(), Some("http" | "https"));
    let host = uri.host().is_some_and(|host| !host.is_empty());
    let bare = uri.query().is_none() && !text.contains(['#', '@']);
    (web && host && bare).then(|| text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_an_http_url() {
        for (text, expected) in [
            ("https://api.example.com", "https://api.example.com"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
            ("https://example.com/v1/", "https://example.com/v1"),
        ] {
            assert_eq!(checked_origin(text).as_deref(), Some(expected));
        }
        for bad in
            ["", "api.example.com", "/", "ftp://x.y", "https://", "https://x.y/?a=b", "https://u:p@x.y"]
        {
            assert_eq!(checked_origin(bad), None, "{bad:?}");
        }
    }
}
