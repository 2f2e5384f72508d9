//! A facilitator in this process.

use std::{
    collections::BTreeMap,
    fmt,
    panic::AssertUnwindSafe,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt, future::join_all};
use x402_core::{
    facilitator::{Facilitator, FacilitatorError, FacilitatorErrorKind as Kind, SettleRequest},
    guard::within,
    hooks::{Failure, HookList, PaymentHooks, Proceed},
    network::NetworkPattern,
    payment::{
        Payment, Reason, Refusal, SettleFailure, SettleResponse, Supported, SupportedKind, VerifyResponse,
        Version,
    },
    scheme::{AnyFacilitatorScheme, Begun, FacilitatorScheme},
};

/// How long hooks may take.
const HOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a scheme may take to say whether it can settle. One that takes longer keeps no other waiting.
const READY_TIMEOUT: Duration = Duration::from_secs(5);

/// A facilitator made of schemes, in this process.
///
/// A payment goes to a scheme by the version it speaks and by the scheme and network of the requirements it is
/// held against; a scheme for that very network comes before one for every network of its kind, and of two
/// equals the one added first is asked. What the payload itself says it is for is for the scheme to check.
///
/// A scheme that cannot settle, since its chain's endpoint does not answer or serves another chain, is left out of what is
/// [`supported`](Facilitator::supported), with a warning, and looked at again whenever somebody asks. The others go on;
/// where none can settle, that is an error. A scheme that could settle once stays: a moment's silence takes no network away.
///
/// Hooks are called around every payment, in the order they were added. What a failure hook recovers is answered
/// as it is: no further hook sees it. A scheme that panics has failed within, and nothing else with it. A hook that panics,
/// or takes longer than [its time](Self::hook_timeout), before a payment is settled leaves it unsettled; after that, it hides
/// nothing. A hook stops no settlement that was begun before.
pub struct LocalFacilitator {
    schemes: Vec<Registered>,
    hooks: HookList,
    hook_timeout: Duration,
}

impl Default for LocalFacilitator {
    fn default() -> Self {
        Self { schemes: Vec::new(), hooks: HookList::default(), hook_timeout: HOOK_TIMEOUT }
    }
}

struct Registered {
    scheme: AnyFacilitatorScheme,
    networks: NetworkPattern,
    versions: Vec<Version>,
    /// Why it could not settle when it was asked last.
    trouble: Mutex<Option<String>>,
}

impl Registered {
    /// Asks whether it can settle. Says in the log what has changed.
    async fn look(&self) {
        let answer = within(READY_TIMEOUT, self.scheme.ready()).await;
        let now = match answer {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(failure) => {
                Some(format!("{}: the scheme was asked whether it can settle, and {failure}", self.networks))
            }
        };
        let mut known = self.trouble();
        let (scheme, networks) = (self.scheme.scheme(), &self.networks);
        match &now {
            Some(error) if known.as_ref() != Some(error) => {
                tracing::warn!(scheme, %networks, error, "cannot settle, and is not offered until it can");
            }
            None if known.is_some() => tracing::info!(scheme, %networks, "can settle again, and is offered"),
            _ => {}
        }
        *known = now;
    }

    fn trouble(&self) -> MutexGuard<'_, Option<String>> {
        // Nothing behind this lock is left half-done by a panic.
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn can_settle(&self) -> bool {
        self.trouble().is_none()
    }
}

impl LocalFacilitator {
    /// A facilitator that supports nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a scheme. Where one before it handles a kind of payment already, that one keeps it, and a warning
    /// is logged.
    #[must_use]
    pub fn with(mut self, scheme: impl FacilitatorScheme) -> Self {
        for kind in scheme.kinds() {
            let Some(earlier) = self.registered(&kind) else { continue };
            if earlier.networks == scheme.networks() {
                let SupportedKind { version, scheme, network, .. } = kind;
                tracing::warn!(
                    version = version.number(), scheme, %network, "registered twice: the first one is asked"
                );
            }
        }
        let versions = scheme.kinds().into_iter().map(|kind| kind.version).collect();
        let networks = scheme.networks();
        let scheme = AnyFacilitatorScheme::new(scheme);
        self.schemes.push(Registered { scheme, networks, versions, trouble: Mutex::default() });
        self
    }

    /// Adds hooks behind those already there.
    #[must_use]
    pub fn with_hooks(mut self, hooks: impl PaymentHooks) -> Self {
        self.hooks.push(hooks);
        self
    }

    /// How long the hooks at one point of a payment may take, all together. 10 seconds unless set.
    #[must_use]
    pub fn hook_timeout(mut self, limit: Duration) -> Self {
        self.hook_timeout = limit;
        self
    }

    /// A hook's word within its time. Without one, nothing is done about the payment.
    async fn heard(
        &self,
        hook: &str,
        work: impl Future<Output = Proceed>,
    ) -> Result<Proceed, FacilitatorError> {
        within(self.hook_timeout, work).await.map_err(|failure| {
            tracing::error!(hook, %failure, "a hook failed, and nothing is done about its payment");
            // Nothing was asked of a scheme.
            FacilitatorError::new(
                Kind::Unreachable,
                format!("the facilitator's hook `{hook}` failed: {failure}"),
            )
        })
    }

    /// A hook that may turn a no into a yes. Without its word it stays a no.
    async fn recovered<T>(&self, hook: &str, work: impl Future<Output = Option<T>>) -> Option<T> {
        within(self.hook_timeout, work).await.unwrap_or_else(|failure| {
            tracing::error!(hook, %failure, "a hook failed, and recovers nothing");
            None
        })
    }

    fn registered(&self, kind: &SupportedKind) -> Option<&Registered> {
        self.schemes
            .iter()
            .filter(|it| it.scheme.scheme() == kind.scheme)
            .filter(|it| it.networks.matches(&kind.network) && it.versions.contains(&kind.version))
            .min_by_key(|it| !matches!(it.networks, NetworkPattern::Exactly(_)))
    }

    /// What is known of earlier attempts to settle it.
    async fn begun(&self, payment: &Payment) -> Begun {
        match self.scheme_for(payment) {
            Ok(scheme) => scheme.begun(payment).await,
            Err(_) => Begun::Unknown,
        }
    }

    fn scheme_for(&self, payment: &Payment) -> Result<&AnyFacilitatorScheme, Reason> {
        let requirements = &payment.requirements;
        let kind = SupportedKind {
            version: payment.payload.version,
            scheme: requirements.scheme.clone(),
            network: requirements.network.clone(),
            extra: Default::default(),
        };
        if let Some(found) = self.registered(&kind) {
            return Ok(&found.scheme);
        }
        let mut of_scheme = self.schemes.iter().filter(|it| it.scheme.scheme() == kind.scheme).peekable();
        if of_scheme.peek().is_none() {
            return Err(Reason::UNSUPPORTED_SCHEME);
        }
        let on_network = of_scheme.any(|it| it.networks.matches(&kind.network));
        Err(if on_network { Reason::INVALID_VERSION } else { Reason::INVALID_NETWORK })
    }
}

impl Facilitator for LocalFacilitator {
    async fn supported(&self) -> Result<Supported, FacilitatorError> {
        join_all(self.schemes.iter().map(Registered::look)).await;
        if !self.schemes.is_empty() && !self.schemes.iter().any(Registered::can_settle) {
            let troubles: Vec<_> = self.schemes.iter().filter_map(|it| it.trouble().clone()).collect();
            return Err(FacilitatorError::new(Kind::Unreachable, troubles.join("; ")));
        }
        let mut kinds: Vec<SupportedKind> = Vec::new();
        let mut signers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for Registered { scheme, networks, .. } in self.schemes.iter().filter(|it| it.can_settle()) {
            // A kind is offered by the scheme that its payments go to.
            let own = |kind: &SupportedKind| self.registered(kind).is_some_and(Registered::can_settle);
            for kind in scheme.kinds().into_iter().filter(own) {
                let same = |other: &SupportedKind| {
                    (other.version, &other.scheme, &other.network)
                        == (kind.version, &kind.scheme, &kind.network)
                };
                if !kinds.iter().any(same) {
                    kinds.push(kind);
                }
            }
            let namespace = match networks {
                NetworkPattern::Exactly(network) => network.namespace(),
                NetworkPattern::Namespace(namespace) => namespace,
            };
            let known = signers.entry(format!("{namespace}:*")).or_default();
            for signer in scheme.signers() {
                let signer = signer.to_string();
                if !known.contains(&signer) {
                    known.push(signer);
                }
            }
        }
        Ok(Supported { kinds, extensions: Vec::new(), signers })
    }

    async fn verify(&self, payment: &Payment) -> Result<VerifyResponse, FacilitatorError> {
        let hook = self.heard("before_verify", self.hooks.before_verify(payment));
        if let Proceed::Abort(reason) = hook.await? {
            return Ok(VerifyResponse::invalid(reason, None));
        }
        let answer = match self.scheme_for(payment) {
            Ok(scheme) => unless_it_panics(scheme.verify(payment)).await,
            Err(reason) => Ok(VerifyResponse::invalid(reason, None)),
        };
        let why = match &answer {
            Ok(VerifyResponse::Valid { payer }) => {
                return Ok(match self.heard("after_verify", self.hooks.after_verify(payment)).await? {
                    Proceed::Continue => VerifyResponse::Valid { payer: payer.clone() },
                    Proceed::Abort(reason) => {
                        VerifyResponse::Invalid(Refusal { reason, message: None, payer: payer.clone() })
                    }
                });
            }
            Ok(refused) => Failure::Refused(refused),
            Err(error) => Failure::Unavailable(error),
        };
        match self.recovered("on_verify_failure", self.hooks.on_verify_failure(payment, &why)).await {
            Some(payer) => Ok(VerifyResponse::Valid { payer: Some(payer) }),
            None => answer,
        }
    }

    async fn settle(&self, request: SettleRequest<'_>) -> Result<SettleResponse, FacilitatorError> {
        let payment = request.payment;
        let failed = |reason| SettleResponse::failed(reason, payment.requirements.network.clone(), None);
        match self.heard("before_settle", self.hooks.before_settle(payment)).await {
            Ok(Proceed::Continue) => {}
            Ok(Proceed::Abort(reason)) => match self.begun(payment).await {
                // Whoever was told that it is on its way would take a refusal for its end.
                Begun::Already => {}
                Begun::Never | Begun::Unknown => return Ok(failed(reason)),
                Begun::Perhaps => {
                    let message = "a hook stops the payment, which may have been settled before: ask again";
                    return Err(FacilitatorError::new(Kind::Internal, message));
                }
            },
            Err(error) => {
                let nothing_was_sent = self.begun(payment).await == Begun::Never;
                return Err(error.of_kind(if nothing_was_sent { Kind::NotActed } else { Kind::Internal }));
            }
        }
        let answer = match self.scheme_for(payment) {
            Ok(scheme) => unless_it_panics(scheme.settle(request)).await,
            Err(reason) => Ok(failed(reason)),
        };
        let why = match &answer {
            Ok(SettleResponse::Settled(receipt)) => {
                let told = within(self.hook_timeout, self.hooks.after_settle(payment, receipt)).await;
                if let Err(failure) = told {
                    tracing::error!(%failure, "a hook failed after a settlement, which stands");
                }
                return answer;
            }
            // It was made: for another caller to hear of, or by somebody who may have bought something elsewhere.
            Ok(SettleResponse::Failed(SettleFailure { reason, .. }))
                if [Reason::DUPLICATE_SETTLEMENT, Reason::PAID_BY_THIRD_PARTY].contains(reason) =>
            {
                return answer;
            }
            Ok(unsettled) => Failure::Refused(unsettled),
            Err(error) => Failure::Unavailable(error),
        };
        match self.recovered("on_settle_failure", self.hooks.on_settle_failure(payment, &why)).await {
            Some(receipt) => Ok(SettleResponse::Settled(receipt)),
            None => answer,
        }
    }

    async fn deliver(
        &self,
        request: SettleRequest<'_>,
        outcome: SettleResponse,
    ) -> Result<SettleResponse, FacilitatorError> {
        match self.scheme_for(request.payment) {
            Ok(scheme) => unless_it_panics(scheme.deliver(request, outcome)).await,
            Err(_) => Ok(outcome),
        }
    }
}

async fn unless_it_panics<T>(
    work: impl Future<Output = Result<T, FacilitatorError>>,
) -> Result<T, FacilitatorError> {
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Err(FacilitatorError::new(Kind::Internal, "the payment's scheme panicked")))
}

impl fmt::Debug for LocalFacilitator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schemes = self.schemes.iter().map(|it| format!("{} on {}", it.scheme.scheme(), it.networks));
        f.debug_struct("LocalFacilitator")
            .field("schemes", &schemes.collect::<Vec<_>>())
            .field("hooks", &self.hooks)
            .finish()
    }
}
