//! An embedded facilitator: dispatch, and the six hooks.
#![cfg(feature = "local")]
#![allow(clippy::unwrap_used, reason = "a test that fails")]

mod common;

use std::sync::{Arc, Mutex};

use common::{PAYER, payment, payment_of};
use x402_core::{
    address::Address,
    facilitator::{Facilitator, FacilitatorError, FacilitatorErrorKind as Kind, SettleRequest},
    hooks::{Failure, PaymentHooks, Proceed},
    network::{BASE, BASE_SEPOLIA, NetworkPattern, SOLANA},
    payment::{Payment, Reason, Receipt, SettleResponse, SupportedKind, VerifyResponse, Version},
    scheme::FacilitatorScheme,
};
use x402_facilitator::LocalFacilitator;

type Calls = Arc<Mutex<Vec<String>>>;

#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Good,
    Refuses,
    Breaks,
    Panics,
}

struct Scheme {
    name: &'static str,
    networks: NetworkPattern,
    versions: &'static [Version],
    mood: Mood,
    calls: Calls,
    /// What it says when it is asked whether it can settle.
    ready: Arc<Mutex<Ready>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Ready {
    Yes,
    No(&'static str),
    Panics,
    Hangs,
}

fn receipt(transaction: &str) -> Receipt {
    Receipt {
        transaction: Some(transaction.parse().unwrap()),
        network: BASE_SEPOLIA,
        payer: None,
        amount: None,
        extensions: Default::default(),
    }
}

impl Scheme {
    fn new(name: &'static str, networks: impl Into<NetworkPattern>, calls: &Calls) -> Self {
        let versions = &[Version::V1, Version::V2];
        Self {
            name,
            networks: networks.into(),
            versions,
            mood: Mood::Good,
            calls: calls.clone(),
            ready: Arc::new(Mutex::new(Ready::Yes)),
        }
    }

    fn log(&self, what: &str) -> Result<(), FacilitatorError> {
        self.calls.lock().unwrap().push(format!("{what} by {}", self.networks));
        match self.mood {
            Mood::Breaks => Err(FacilitatorError::new(Kind::Internal, "no chain")),
            Mood::Panics => panic!("on purpose"),
            Mood::Good | Mood::Refuses => Ok(()),
        }
    }
}

impl FacilitatorScheme for Scheme {
    fn scheme(&self) -> &str {
        self.name
    }

    fn networks(&self) -> NetworkPattern {
        self.networks.clone()
    }

    fn kinds(&self) -> Vec<SupportedKind> {
        let network = match &self.networks {
            NetworkPattern::Exactly(network) => network.clone(),
            NetworkPattern::Namespace(_) => BASE_SEPOLIA,
        };
        let kind = |version: &Version| SupportedKind {
            version: *version,
            scheme: self.name.to_owned(),
            network: network.clone(),
            extra: Default::default(),
        };
        self.versions.iter().map(kind).collect()
    }

    fn signers(&self) -> Vec<Address> {
        vec![PAYER.parse().unwrap()]
    }

    async fn ready(&self) -> Result<(), FacilitatorError> {
        let ready = *self.ready.lock().unwrap();
        match ready {
            Ready::Yes => Ok(()),
            Ready::No(why) => Err(FacilitatorError::new(Kind::Internal, why)),
            Ready::Panics => panic!("on purpose"),
            Ready::Hangs => std::future::pending().await,
        }
    }

    async fn verify(&self, _: &Payment) -> Result<VerifyResponse, FacilitatorError> {
        self.log("verify")?;
        Ok(match self.mood {
            Mood::Refuses => VerifyResponse::invalid("insufficient_funds", None),
            _ => VerifyResponse::Valid { payer: Some(PAYER.parse().unwrap()) },
        })
    }

    async fn settle(&self, request: SettleRequest<'_>) -> Result<SettleResponse, FacilitatorError> {
        let payment = request.payment;
        self.log("settle")?;
        Ok(match self.mood {
            Mood::Refuses => {
                SettleResponse::failed("insufficient_funds", payment.requirements.network.clone(), None)
            }
            _ => SettleResponse::Settled(receipt("0x1")),
        })
    }
}

#[derive(Default)]
struct Hooks {
    name: &'static str,
    calls: Calls,
    abort: Option<&'static str>,
    recover: bool,
    panic_after: bool,
}

impl Hooks {
    fn at(&self, point: &str) -> Proceed {
        self.calls.lock().unwrap().push(format!("{point} {}", self.name));
        match self.abort == Some(point) {
            true => Proceed::Abort(Reason::from_static("stopped")),
            false => Proceed::Continue,
        }
    }
}

impl PaymentHooks for Hooks {
    async fn before_verify(&self, _: &Payment) -> Proceed {
        self.at("before_verify")
    }

    async fn after_verify(&self, _: &Payment) -> Proceed {
        self.at("after_verify")
    }

    async fn on_verify_failure(&self, _: &Payment, why: &Failure<'_, VerifyResponse>) -> Option<Address> {
        let _ = self.at(match why {
            Failure::Refused(_) => "verify refused",
            Failure::Unavailable(_) => "verify unavailable",
        });
        self.recover.then(|| PAYER.parse().unwrap())
    }

    async fn before_settle(&self, _: &Payment) -> Proceed {
        self.at("before_settle")
    }

    async fn after_settle(&self, _: &Payment, _: &Receipt) {
        let _ = self.at("after_settle");
        assert!(!self.panic_after, "on purpose");
    }

    async fn on_settle_failure(&self, _: &Payment, why: &Failure<'_, SettleResponse>) -> Option<Receipt> {
        let _ = self.at(match why {
            Failure::Refused(_) => "settle refused",
            Failure::Unavailable(_) => "settle unavailable",
        });
        self.recover.then(|| receipt("0x2"))
    }
}

/// A facilitator of one scheme in this mood, with hooks `a` and `b`, of which `a` is as given.
fn facilitator(mood: Mood, a: Hooks) -> (LocalFacilitator, Calls) {
    let calls = Calls::default();
    let scheme = Scheme { mood, ..Scheme::new("exact", BASE_SEPOLIA, &calls) };
    let a = Hooks { name: "a", calls: calls.clone(), ..a };
    let b = Hooks { name: "b", calls: calls.clone(), ..Hooks::default() };
    (LocalFacilitator::new().with(scheme).with_hooks(a).with_hooks(b), calls)
}

fn taken(calls: &Calls) -> Vec<String> {
    std::mem::take(&mut calls.lock().unwrap())
}

fn transaction(answer: &SettleResponse) -> &str {
    let SettleResponse::Settled(receipt) = answer else { panic!("{answer:?}") };
    receipt.transaction.as_ref().unwrap().as_str()
}

fn reason(answer: &Result<VerifyResponse, FacilitatorError>) -> &str {
    let Ok(VerifyResponse::Invalid(refusal)) = answer else { panic!("{answer:?}") };
    refusal.reason.as_str()
}

#[tokio::test]
async fn hooks_are_called_around_the_scheme_in_order() {
    let (facilitator, calls) = facilitator(Mood::Good, Hooks::default());
    assert!(matches!(facilitator.verify(&payment()).await, Ok(VerifyResponse::Valid { payer: Some(_) })));
    let expected =
        ["before_verify a", "before_verify b", "verify by eip155:84532", "after_verify a", "after_verify b"];
    assert_eq!(taken(&calls), expected);
    assert_eq!(transaction(&facilitator.settle((&payment()).into()).await.unwrap()), "0x1");
    let expected =
        ["before_settle a", "before_settle b", "settle by eip155:84532", "after_settle a", "after_settle b"];
    assert_eq!(taken(&calls), expected);
}

#[tokio::test]
async fn an_abort_refuses_and_nothing_after_it_runs() {
    let abort = |point| Hooks { abort: Some(point), recover: true, ..Hooks::default() };
    let (facilitator_, calls) = facilitator(Mood::Good, abort("before_verify"));
    assert_eq!(reason(&facilitator_.verify(&payment()).await), "stopped");
    assert_eq!(taken(&calls), ["before_verify a"]);

    let (facilitator_, calls) = facilitator(Mood::Good, abort("after_verify"));
    let answer = facilitator_.verify(&payment()).await;
    assert_eq!(reason(&answer), "stopped");
    let Ok(VerifyResponse::Invalid(refusal)) = answer else { unreachable!() };
    assert_eq!(refusal.payer.unwrap().as_str(), PAYER);
    assert_eq!(taken(&calls).last().unwrap(), "after_verify a");

    let (facilitator_, calls) = facilitator(Mood::Good, abort("before_settle"));
    let answer = facilitator_.settle((&payment()).into()).await.unwrap();
    let SettleResponse::Failed(failure) = answer else { panic!("{answer:?}") };
    assert_eq!((failure.reason.as_str(), failure.network), ("stopped", BASE_SEPOLIA));
    assert_eq!(taken(&calls), ["before_settle a"], "the scheme is not called");
}

/// Panics before anything is settled.
struct Panics;

impl PaymentHooks for Panics {
    async fn before_settle(&self, _: &Payment) -> Proceed {
        panic!("on purpose")
    }
}

/// Without a journal to read, nobody knows what was sent before.
#[tokio::test]
async fn a_hook_that_fails_does_not_say_that_nothing_was_ever_sent() {
    let calls = Calls::default();
    let facilitator =
        LocalFacilitator::new().with(Scheme::new("exact", BASE_SEPOLIA, &calls)).with_hooks(Panics);
    for payment in [payment(), payment_of(Version::V2, "upto", BASE_SEPOLIA)] {
        let error = facilitator.settle((&payment).into()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Internal, "{error}");
    }
    assert_eq!(taken(&calls), [""; 0]);
}

#[tokio::test]
async fn failures_are_told_and_may_be_recovered() {
    for (mood, why) in
        [(Mood::Refuses, "refused"), (Mood::Breaks, "unavailable"), (Mood::Panics, "unavailable")]
    {
        let (silent, calls) = facilitator(mood, Hooks::default());
        let verified = silent.verify(&payment()).await;
        let settled = silent.settle((&payment()).into()).await;
        if mood == Mood::Refuses {
            assert_eq!(reason(&verified), "insufficient_funds");
            assert!(matches!(settled, Ok(SettleResponse::Failed(_))));
        } else {
            assert_eq!(verified.unwrap_err().kind(), Kind::Internal);
            assert!(settled.unwrap_err().may_have_acted());
        }
        let calls = taken(&calls);
        for expected in [format!("verify {why} b"), format!("settle {why} b")] {
            assert!(calls.contains(&expected), "{calls:?}");
        }
        assert!(!calls.iter().any(|call| call.starts_with("after")), "{calls:?}");

        let (recovering, calls) = facilitator(mood, Hooks { recover: true, ..Hooks::default() });
        let verified = recovering.verify(&payment()).await.unwrap();
        assert_eq!(verified, VerifyResponse::Valid { payer: Some(PAYER.parse().unwrap()) });
        assert_eq!(transaction(&recovering.settle((&payment()).into()).await.unwrap()), "0x2");
        let calls = taken(&calls);
        assert!(!calls.contains(&format!("settle {why} b")), "the first recovery counts: {calls:?}");
    }
}

#[tokio::test]
async fn a_hook_cannot_undo_a_settlement() {
    let hooks = Hooks { panic_after: true, ..Hooks::default() };
    let (facilitator, _) = facilitator(Mood::Good, hooks);
    assert_eq!(transaction(&facilitator.settle((&payment()).into()).await.unwrap()), "0x1");
}

#[tokio::test]
async fn a_payment_goes_to_the_scheme_of_its_kind() {
    let calls = Calls::default();
    let v2 = Scheme { versions: &[Version::V2], ..Scheme::new("exact", BASE_SEPOLIA, &calls) };
    let facilitator = LocalFacilitator::new()
        .with(Scheme::new("exact", NetworkPattern::EVM, &calls))
        .with(v2)
        .with(Scheme { mood: Mood::Refuses, ..Scheme::new("exact", BASE_SEPOLIA, &calls) });
    for (version, network, by) in [
        (Version::V2, BASE_SEPOLIA, "verify by eip155:84532"),
        (Version::V2, BASE, "verify by eip155:*"),
        (Version::V1, BASE, "verify by eip155:*"),
    ] {
        let answer = facilitator.verify(&payment_of(version, "exact", network)).await;
        assert!(matches!(answer, Ok(VerifyResponse::Valid { .. })), "{by}: {answer:?}");
        assert_eq!(taken(&calls), [by]);
    }
    // Of two for the same network, the first that speaks the version.
    let answer = facilitator.verify(&payment_of(Version::V1, "exact", BASE_SEPOLIA)).await;
    assert_eq!(reason(&answer), "insufficient_funds");
}

#[tokio::test]
async fn what_nobody_handles_is_refused() {
    let calls = Calls::default();
    let scheme = Scheme { versions: &[Version::V2], ..Scheme::new("exact", BASE_SEPOLIA, &calls) };
    let facilitator = LocalFacilitator::new().with(scheme);
    for (version, scheme, network, expected) in [
        (Version::V2, "upto", BASE_SEPOLIA, "unsupported_scheme"),
        (Version::V2, "Exact", BASE_SEPOLIA, "unsupported_scheme"),
        (Version::V2, "exact", BASE, "invalid_network"),
        (Version::V2, "exact", SOLANA, "invalid_network"),
        (Version::V1, "exact", BASE_SEPOLIA, "invalid_x402_version"),
    ] {
        let payment = payment_of(version, scheme, network.clone());
        assert_eq!(reason(&facilitator.verify(&payment).await), expected);
        let answer = facilitator.settle((&payment).into()).await.unwrap();
        let SettleResponse::Failed(failure) = answer else { panic!("{answer:?}") };
        assert_eq!((failure.reason.as_str(), failure.network), (expected, network));
    }
    assert!(calls.lock().unwrap().is_empty());
    assert_eq!(reason(&LocalFacilitator::new().verify(&payment()).await), "unsupported_scheme");
}

#[tokio::test]
async fn supported_lists_every_kind_once() {
    let calls = Calls::default();
    let facilitator = LocalFacilitator::new()
        .with(Scheme::new("exact", BASE_SEPOLIA, &calls))
        .with(Scheme::new("exact", BASE_SEPOLIA, &calls))
        .with(Scheme::new("upto", NetworkPattern::EVM, &calls));
    let supported = facilitator.supported().await.unwrap();
    let kinds: Vec<_> =
        supported.kinds.iter().map(|kind| (kind.version.number(), kind.scheme.as_str())).collect();
    assert_eq!(kinds, [(1, "exact"), (2, "exact"), (1, "upto"), (2, "upto")]);
    assert_eq!(
        supported.signers.into_iter().collect::<Vec<_>>(),
        [("eip155:*".to_owned(), vec![PAYER.to_owned()])]
    );
}

#[tokio::test(start_paused = true)]
async fn what_cannot_settle_is_not_offered() {
    let calls = Calls::default();
    let (first, second) = (Scheme::new("exact", BASE, &calls), Scheme::new("exact", BASE_SEPOLIA, &calls));
    // What an earlier scheme would be given is not offered by a later one.
    let shadow = Scheme::new("exact", NetworkPattern::EVM, &calls);
    let sepolia = second.ready.clone();
    let facilitator = LocalFacilitator::new().with(first).with(second).with(shadow);
    let offered = async || {
        let kinds = facilitator.supported().await.unwrap().kinds;
        kinds.into_iter().map(|kind| kind.network).collect::<Vec<_>>()
    };
    let both = [BASE, BASE, BASE_SEPOLIA, BASE_SEPOLIA];
    assert_eq!(offered().await, both);
    for trouble in [Ready::No("no chain"), Ready::Panics, Ready::Hangs, Ready::No("another chain")] {
        *sepolia.lock().unwrap() = trouble;
        let begun = tokio::time::Instant::now();
        assert_eq!(offered().await, [BASE, BASE]);
        assert!(begun.elapsed() <= std::time::Duration::from_secs(5), "it keeps the others waiting");
        *sepolia.lock().unwrap() = Ready::Yes;
        assert_eq!(offered().await, both, "it is looked at again");
    }

    let alone = Scheme::new("exact", BASE, &calls);
    *alone.ready.lock().unwrap() = Ready::No("first");
    let ready = alone.ready.clone();
    let other = Scheme { ready: sepolia.clone(), ..Scheme::new("exact", BASE_SEPOLIA, &calls) };
    *sepolia.lock().unwrap() = Ready::No("second");
    let facilitator = LocalFacilitator::new().with(alone).with(other);
    let error = facilitator.supported().await.unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Unreachable, "first; second"));
    *ready.lock().unwrap() = Ready::Yes;
    assert_eq!(facilitator.supported().await.unwrap().kinds.len(), 2);
    assert!(LocalFacilitator::new().supported().await.unwrap().kinds.is_empty(), "nothing is no trouble");
}
