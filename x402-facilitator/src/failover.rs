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
    /// Who verified a payment.
    verified: Mutex<Handlers>,
    /// Who was given a payment to settle. Remembered apart: payments that would settle cost their payers nothing, and must
    /// not make anybody forget these.
    settling: Mutex<Handlers>,
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
        let facilitators = Self {
            members: Vec::new(),
            verified: Mutex::default(),
            settling: Mutex::default(),
            hasher: RandomState::new(),
        };
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
        let key = self.key(payment);
        let given = || lock(&self.settling).get(key).map(|index| vec![index]);
        // It has the payment, whatever it supports by now.
        if let Some(route) = given() {
            return Ok(route);
        }
        let mut able = self.able(payment);
        if able.is_empty() {
            let unknown = self.members.iter().filter(|member| member.state().known.is_none());
            let asked = join_all(unknown.map(Member::supported)).await;
            able = self.able(payment);
            if able.is_empty() {
                return Err(self.nobody(payment, asked.into_iter().find_map(Result::err)));
            }
            // Others had a turn meanwhile.
            if let Some(route) = given() {
                return Ok(route);
            }
        }
        able.sort_by_key(|index| self.members[*index].is_set_aside());
        if let Some(index) = lock(&self.verified).get(key) {
            able.sort_by_key(|other| *other != index);
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
                    lock(&self.verified).set(self.key(payment), index);
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
        let key = self.key(payment);
        let was_given = lock(&self.settling).get(key).is_some();
        let mut failed = None;
        for index in route {
            let member = &self.members[index];
            // Before it is sent: this future may be dropped while the facilitator is at work.
            lock(&self.settling).set(key, index);
            match member.note(member.facilitator.settle(request).await) {
                Err(error) if !error.may_have_acted() => {
                    tracing::warn!(facilitator = index, %error, "could not settle a payment");
                    // Who was not reached has not read its journal: then nobody says that nothing was ever sent.
                    let all_reached =
                        failed.is_none_or(|earlier: FacilitatorError| earlier.kind() == Kind::NotActed);
                    failed = Some(if all_reached { error } else { error.of_kind(Kind::Unreachable) });
                }
                Ok(SettleResponse::Failed(failure)) if is_refusal(&failure) => {
                    if !was_given {
                        lock(&self.settling).remove(key);
                    }
                    return Ok(SettleResponse::Failed(failure));
                }
                answer => {
                    // Another call for the payment may have been refused meanwhile.
                    lock(&self.settling).set(key, index);
                    return answer;
                }
            }
        }
        let error = failed.expect("a route has at least one facilitator");
        // It was asked before, and its answer was not heard: what it says now is not about that.
        if was_given {
            return Err(error.of_kind(Kind::Internal));
        }
        lock(&self.settling).remove(key);
        Err(error)
    }

    async fn deliver(
        &self,
        request: SettleRequest<'_>,
        outcome: SettleResponse,
    ) -> Result<SettleResponse, FacilitatorError> {
        // The one that was given the payment hands its outcome out.
        let settling = lock(&self.settling).get(self.key(request.payment));
        match settling {
            Some(index) => self.members[index].facilitator.deliver(request, outcome).await,
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
    by_payment: HashMap<u64, usize>,
    oldest_first: VecDeque<u64>,
}

impl Handlers {
    fn get(&self, payment: u64) -> Option<usize> {
        self.by_payment.get(&payment).copied()
    }

    fn set(&mut self, payment: u64, index: usize) {
        if self.by_payment.insert(payment, index).is_none() {
            self.oldest_first.push_back(payment);
            if self.oldest_first.len() > REMEMBERED
                && let Some(oldest) = self.oldest_first.pop_front()
            {
                self.by_payment.remove(&oldest);
            }
        }
    }

    fn remove(&mut self, payment: u64) {
        if self.by_payment.remove(&payment).is_some() {
            self.oldest_first.retain(|other| *other != payment);
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
            handlers.set(payment, 0);
            handlers.set(payment, 1);
        }
        assert_eq!((handlers.by_payment.len(), handlers.oldest_first.len()), (REMEMBERED, REMEMBERED));
        let last = 2 * REMEMBERED as u64 - 1;
        assert_eq!((handlers.get(0), handlers.get(last)), (None, Some(1)));
        handlers.remove(0);
        handlers.remove(last);
        assert_eq!(handlers.get(last), None);
        let left = REMEMBERED - 1;
        assert_eq!((handlers.by_payment.len(), handlers.oldest_first.len()), (left, left));
    }
}
