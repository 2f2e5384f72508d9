//! Several facilitators in order of preference.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use x402_core::{
    facilitator::{
        AnyFacilitator, Facilitator, FacilitatorError, FacilitatorErrorKind as Kind, SettleRequest,
    },
    payment::{Payment, Reason, SettleFailure, SettleResponse, Supported, VerifyResponse},
};

/// How long a facilitator that did not answer is asked last.
const SET_ASIDE: Duration = Duration::from_secs(30);

/// For how many payments it is remembered who handles them.
const REMEMBERED: usize = 4096;

/// Several facilitators, the preferred one first.
///
/// A payment goes to the first that supports its kind. Verifying moves nothing, so whatever error it ends in, the
/// next one is asked. Settling moves money: the next one is asked only when the request surely was not sent
/// ([`Unreachable`](Kind::Unreachable)), or the facilitator surely sent nothing ([`NotActed`](Kind::NotActed)), and a
/// payment that a facilitator may be settling stays with that facilitator. A payment is settled by the one that verified it, as long as that one can be reached.
///
/// One that did not answer is asked last for half a minute. What it last said stays part of
/// [`supported`](Facilitator::supported) until it says something else: a moment's silence takes no network away.
pub struct Facilitators {
    members: Vec<Member>,
    handlers: Mutex<Handlers>,
    hasher: RandomState,
}

struct Member {
    facilitator: AnyFacilitator,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What it last said it can do.
    known: Option<Supported>,
    /// When it last did not answer.
    silent: Option<Instant>,
}

impl Facilitators {
    /// The preferred facilitator.
    pub fn new(preferred: impl Facilitator) -> Self {
        let facilitators =
            Self { members: Vec::new(), handlers: Mutex::default(), hasher: RandomState::new() };
        facilitators.or(preferred)
    }

    /// The facilitator to turn to when those before it do not support a payment, or cannot be reached.
    #[must_use]
    pub fn or(mut self, next: impl Facilitator) -> Self {
        self.members.push(Member { facilitator: AnyFacilitator::new(next), state: Mutex::default() });
        self
    }

    /// Who may handle the payment, the first to ask first; or why nobody can.
    async fn route(&self, payment: &Payment) -> Result<Vec<usize>, Nobody> {
        // It has the payment, whatever it supports by now.
        if let Some(Handler { index, settles: true }) = lock(&self.handlers).of(self.key(payment)) {
            return Ok(vec![index]);
        }
        let mut able = self.able(payment);
        if able.is_empty() {
            let unknown = self.members.iter().filter(|member| member.state().known.is_none());
            let asked = join_all(unknown.map(Member::supported)).await;
            able = self.able(payment);
            if able.is_empty() {
                return Err(self.nobody(payment, asked.into_iter().find_map(Result::err)));
            }
        }
        able.sort_by_key(|index| self.members[*index].is_set_aside());
        match lock(&self.handlers).of(self.key(payment)) {
            Some(Handler { index, settles: true }) => able = vec![index],
            Some(Handler { index, settles: false }) => able.sort_by_key(|other| *other != index),
            None => {}
        }
        Ok(able)
    }

    fn able(&self, payment: &Payment) -> Vec<usize> {
        (0..self.members.len()).filter(|index| self.members[*index].supports(payment)).collect()
    }

    fn nobody(&self, payment: &Payment, error: Option<FacilitatorError>) -> Nobody {
        if let Some(error) = error {
            let message = "no facilitator that answers supports the payment, and one does not answer";
            return Nobody::Unknown(FacilitatorError::new(Kind::Unreachable, message).because(error));
        }
        let scheme = &payment.requirements.scheme;
        let known = self.members.iter().any(|member| {
            member.state().known.as_ref().is_some_and(|it| it.kinds.iter().any(|kind| kind.scheme == *scheme))
        });
        Nobody::Unsupported(if known { Reason::INVALID_NETWORK } else { Reason::UNSUPPORTED_SCHEME })
    }

    fn key(&self, payment: &Payment) -> u64 {
        self.hasher.hash_one((&payment.requirements.network, &payment.payload.payload))
    }

    fn remember(&self, payment: &Payment, handler: Option<Handler>) {
        lock(&self.handlers).set(self.key(payment), handler);
    }
}

enum Nobody {
    Unsupported(Reason),
    Unknown(FacilitatorError),
}

impl Facilitator for Facilitators {
    async fn supported(&self) -> Result<Supported, FacilitatorError> {
        let mut merged: Option<Supported> = None;
        let mut failed = None;
        let answers = join_all(self.members.iter().map(Member::supported)).await;
        for (member, answer) in self.members.iter().zip(answers) {
            if let Err(error) = answer {
                failed = failed.or(Some(error));
            }
            if let Some(known) = &member.state().known {
                merge(merged.get_or_insert_default(), known.clone());
            }
        }
        merged.ok_or_else(|| failed.expect("there is at least one facilitator"))
    }

    async fn verify(&self, payment: &Payment) -> Result<VerifyResponse, FacilitatorError> {
        let route = match self.route(payment).await {
            Ok(route) => route,
            Err(Nobody::Unsupported(reason)) => return Ok(VerifyResponse::invalid(reason, None)),
            Err(Nobody::Unknown(error)) => return Err(error),
        };
        let mut failed = None;
        for index in route {
            let member = &self.members[index];
            match member.note(member.facilitator.verify(payment).await) {
                Ok(answer @ VerifyResponse::Valid { .. }) => {
                    lock(&self.handlers).verified(self.key(payment), index);
                    return Ok(answer);
                }
                Ok(refused) => return Ok(refused),
                Err(error) => {
                    tracing::warn!(facilitator = index, %error, "could not verify a payment");
                    failed = Some(error);
                }
            }
        }
        Err(failed.expect("a route has at least one facilitator"))
    }

    async fn settle(&self, request: SettleRequest<'_>) -> Result<SettleResponse, FacilitatorError> {
        let payment = request.payment;
        let route = match self.route(payment).await {
            Ok(route) => route,
            Err(Nobody::Unsupported(reason)) => {
                return Ok(SettleResponse::failed(reason, payment.requirements.network.clone(), None));
            }
            Err(Nobody::Unknown(error)) => return Err(error),
        };
        let before = lock(&self.handlers).of(self.key(payment));
        let mut failed = None;
        for index in route {
            let member = &self.members[index];
            // Before it is sent: this future may be dropped while the facilitator is at work.
            self.remember(payment, Some(Handler { index, settles: true }));
            match member.note(member.facilitator.settle(request).await) {
                Err(error) if !error.may_have_acted() => {
                    tracing::warn!(facilitator = index, %error, "could not settle a payment");
                    // Who was not reached has not read its journal: then nobody says that nothing was ever sent.
                    let all_reached =
                        failed.is_none_or(|earlier: FacilitatorError| earlier.kind() == Kind::NotActed);
                    failed = Some(if all_reached { error } else { error.of_kind(Kind::Unreachable) });
                }
                answer => {
                    let refused =
                        matches!(&answer, Ok(SettleResponse::Failed(failure)) if is_refusal(failure));
                    let handler = if refused { before } else { Some(Handler { index, settles: true }) };
                    self.remember(payment, handler);
                    return answer;
                }
            }
        }
        self.remember(payment, before);
        // It was asked before, and its answer was not heard: what it says now is not about that.
        if let (Some(Handler { settles: true, .. }), Some(error)) = (before, &failed) {
            return Err(error.clone().of_kind(Kind::Internal));
        }
        Err(failed.expect("a route has at least one facilitator"))
    }

    async fn deliver(
        &self,
        request: SettleRequest<'_>,
        outcome: SettleResponse,
    ) -> Result<SettleResponse, FacilitatorError> {
        // The one that was given the payment hands its outcome out.
        let handler = lock(&self.handlers).of(self.key(request.payment));
        match handler {
            Some(Handler { index, settles: true }) => {
                self.members[index].facilitator.deliver(request, outcome).await
            }
            // Whoever holds the key hears it anyway, and only success is told once.
            _ if request.key.is_some() || !matches!(outcome, SettleResponse::Settled(_)) => Ok(outcome),
            _ => {
                let message =
                    "who settles the payment is not known any more, so nobody is told of it: ask again";
                Err(FacilitatorError::new(Kind::Internal, message))
            }
        }
    }
}

impl Member {
    async fn supported(&self) -> Result<Supported, FacilitatorError> {
        let answer = self.note(self.facilitator.supported().await);
        match &answer {
            Ok(supported) => self.state().known = Some(supported.clone()),
            Err(error) => tracing::warn!(%error, "a facilitator does not say what it supports"),
        }
        answer
    }

    fn supports(&self, payment: &Payment) -> bool {
        let Payment { payload, requirements } = payment;
        self.state().known.as_ref().is_some_and(|supported| {
            supported.kinds.iter().any(|kind| {
                kind.version == payload.version
                    && kind.scheme == requirements.scheme
                    && kind.network == requirements.network
            })
        })
    }

    /// Sets it aside when it did not answer. Other errors are about a request: a stranger's bad payment must
    /// not change who is asked.
    fn note<T>(&self, answer: Result<T, FacilitatorError>) -> Result<T, FacilitatorError> {
        let kind = answer.as_ref().err().map(FacilitatorError::kind);
        let silent = matches!(kind, Some(Kind::Unreachable | Kind::NoAnswer));
        self.state().silent = silent.then(Instant::now);
        answer
    }

    fn is_set_aside(&self) -> bool {
        self.state().silent.is_some_and(|since| since.elapsed() < SET_ASIDE)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Who handles which payment: the latest [`REMEMBERED`].
#[derive(Default)]
struct Handlers {
    by_payment: HashMap<u64, Handler>,
    oldest_first: VecDeque<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Handler {
    index: usize,
    /// It was given the payment to settle; until then it has only verified it.
    settles: bool,
}

impl Handlers {
    fn of(&self, payment: u64) -> Option<Handler> {
        self.by_payment.get(&payment).copied()
    }

    fn verified(&mut self, payment: u64, index: usize) {
        if !self.of(payment).is_some_and(|handler| handler.settles) {
            self.set(payment, Some(Handler { index, settles: false }));
        }
    }

    fn set(&mut self, payment: u64, handler: Option<Handler>) {
        let Some(handler) = handler else {
            self.by_payment.remove(&payment);
            self.oldest_first.retain(|other| *other != payment);
            return;
        };
        if self.by_payment.insert(payment, handler).is_none() {
            self.oldest_first.push_back(payment);
            if self.oldest_first.len() > REMEMBERED
                && let Some(oldest) = self.oldest_first.pop_front()
            {
                self.by_payment.remove(&oldest);
            }
        }
    }
}

/// Whether the one who says so has nothing of the payment: it was neither sent nor made.
fn is_refusal(failure: &SettleFailure) -> bool {
    let made = [Reason::DUPLICATE_SETTLEMENT, Reason::PAID_BY_THIRD_PARTY];
    failure.transaction.is_none() && !made.contains(&failure.reason)
}

/// The earlier facilitator's kinds win.
fn merge(all: &mut Supported, more: Supported) {
    for kind in more.kinds {
        let known = all.kinds.iter().any(|other| {
            (other.version, &other.scheme, &other.network) == (kind.version, &kind.scheme, &kind.network)
        });
        if !known {
            all.kinds.push(kind);
        }
    }
    extend(&mut all.extensions, more.extensions);
    for (pattern, signers) in more.signers {
        extend(all.signers.entry(pattern).or_default(), signers);
    }
}

fn extend(all: &mut Vec<String>, more: Vec<String>) {
    for item in more {
        if !all.contains(&item) {
            all.push(item);
        }
    }
}

/// Nothing behind these locks is left half-done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Facilitators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} facilitators", self.members.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_payments_is_bounded() {
        let mut handlers = Handlers::default();
        for payment in 0..2 * REMEMBERED as u64 {
            handlers.verified(payment, 0);
        }
        assert_eq!((handlers.by_payment.len(), handlers.oldest_first.len()), (REMEMBERED, REMEMBERED));
        assert_eq!(handlers.of(0), None);
        let last = 2 * REMEMBERED as u64 - 1;
        handlers.set(last, Some(Handler { index: 1, settles: true }));
        handlers.verified(last, 0);
        assert_eq!(handlers.of(last), Some(Handler { index: 1, settles: true }), "settling sticks");
        handlers.set(last, None);
        assert_eq!(
            (handlers.by_payment.len(), handlers.oldest_first.len()),
            (REMEMBERED - 1, REMEMBERED - 1)
        );
    }
}
