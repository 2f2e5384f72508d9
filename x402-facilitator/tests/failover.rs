//! Several facilitators: who is asked, and who is not.
#![allow(clippy::unwrap_used, reason = "a test that fails")]

mod common;

use std::sync::{Arc, Mutex};

use common::{payment, payment_of};
use x402_core::{
    facilitator::{
        Facilitator, FacilitatorError, FacilitatorErrorKind as Kind, SettleRequest, SettlementKey,
    },
    network::{BASE, BASE_SEPOLIA, Network},
    payment::{Payment, Receipt, SettleResponse, Supported, SupportedKind, VerifyResponse, Version},
};
use x402_facilitator::Facilitators;

/// A facilitator that does as it is told.
#[derive(Clone)]
struct Puppet(Arc<Mutex<Script>>);

struct Script {
    kinds: Vec<(&'static str, Network)>,
    supported: Option<Kind>,
    verify: Option<Kind>,
    settle: Option<Kind>,
    refuses: Option<&'static str>,
    calls: Vec<&'static str>,
}

impl Puppet {
    fn new(kinds: &[(&'static str, Network)]) -> Self {
        let kinds = kinds.to_vec();
        Self(Arc::new(Mutex::new(Script {
            kinds,
            supported: None,
            verify: None,
            settle: None,
            refuses: None,
            calls: vec![],
        })))
    }

    fn set(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.0.lock().unwrap());
    }

    fn calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.lock().unwrap().calls)
    }

    fn call(
        &self,
        name: &'static str,
        fails: impl Fn(&Script) -> Option<Kind>,
    ) -> Result<(), FacilitatorError> {
        let mut script = self.0.lock().unwrap();
        script.calls.push(name);
        fails(&script).map_or(Ok(()), |kind| Err(FacilitatorError::new(kind, "told so")))
    }
}

impl Facilitator for Puppet {
    async fn supported(&self) -> Result<Supported, FacilitatorError> {
        self.call("supported", |script| script.supported)?;
        let kind = |(scheme, network): &(&str, Network)| SupportedKind {
            version: Version::V2,
            scheme: (*scheme).to_owned(),
            network: network.clone(),
            extra: Default::default(),
        };
        let kinds = self.0.lock().unwrap().kinds.iter().map(kind).collect();
        Ok(Supported { kinds, ..Supported::default() })
    }

    async fn verify(&self, _: &Payment) -> Result<VerifyResponse, FacilitatorError> {
        self.call("verify", |script| script.verify)?;
        Ok(VerifyResponse::Valid { payer: None })
    }

    async fn settle(&self, request: SettleRequest<'_>) -> Result<SettleResponse, FacilitatorError> {
        let payment = request.payment;
        self.call("settle", |script| script.settle)?;
        if let Some(reason) = self.0.lock().unwrap().refuses {
            return Ok(SettleResponse::failed(reason, payment.requirements.network.clone(), None));
        }
        Ok(SettleResponse::Settled(Receipt {
            transaction: Some("0x1".parse().unwrap()),
            network: payment.requirements.network.clone(),
            payer: None,
            amount: None,
            extensions: Default::default(),
        }))
    }
}

const EXACT: (&str, Network) = ("exact", BASE_SEPOLIA);

/// Two that support the same, both known, nothing called yet.
async fn two() -> (Facilitators, Puppet, Puppet) {
    let (first, second) = (Puppet::new(&[EXACT]), Puppet::new(&[EXACT]));
    let both = Facilitators::new(first.clone()).or(second.clone());
    both.supported().await.unwrap();
    let _ = (first.calls(), second.calls());
    (both, first, second)
}

#[tokio::test]
async fn supported_is_what_each_last_said() {
    let first = Puppet::new(&[EXACT]);
    let second = Puppet::new(&[EXACT, ("exact", BASE)]);
    for puppet in [&first, &second] {
        puppet.set(|script| script.supported = Some(Kind::Unreachable));
    }
    let both = Facilitators::new(first.clone()).or(second.clone());
    let networks = async || {
        let supported = both.supported().await.map_err(|error| error.kind())?;
        Ok(supported.kinds.into_iter().map(|kind| kind.network).collect::<Vec<_>>())
    };
    assert_eq!(networks().await, Err(Kind::Unreachable), "nothing is known of any");
    first.set(|script| script.supported = None);
    assert_eq!(networks().await.unwrap(), [BASE_SEPOLIA]);
    second.set(|script| script.supported = None);
    assert_eq!(networks().await.unwrap(), [BASE_SEPOLIA, BASE]);
    for silence in [Kind::Unreachable, Kind::NoAnswer, Kind::Internal] {
        for puppet in [&second, &first] {
            puppet.set(|script| script.supported = Some(silence));
            assert_eq!(networks().await.unwrap(), [BASE_SEPOLIA, BASE], "{silence:?}");
        }
    }
    second.set(|script| (script.supported, script.kinds) = (None, vec![EXACT]));
    assert_eq!(networks().await.unwrap(), [BASE_SEPOLIA], "it no longer says so");
}

#[tokio::test]
async fn the_first_that_supports_the_kind_is_asked() {
    let first = Puppet::new(&[("exact", BASE)]);
    let second = Puppet::new(&[EXACT]);
    let both = Facilitators::new(first.clone()).or(second.clone());
    // Nobody was asked what it supports yet.
    both.verify(&payment()).await.unwrap();
    both.settle((&payment()).into()).await.unwrap();
    assert_eq!(first.calls(), ["supported"]);
    assert_eq!(second.calls(), ["supported", "verify", "settle"]);
    both.verify(&payment_of(Version::V2, "exact", BASE)).await.unwrap();
    assert_eq!((first.calls(), second.calls()), (vec!["verify"], vec![]));
}

#[tokio::test]
async fn what_nobody_supports_is_refused_and_what_nobody_knows_an_error() {
    let (both, first, second) = two().await;
    for (version, scheme, network, expected) in [
        (Version::V2, "upto", BASE_SEPOLIA, "unsupported_scheme"),
        (Version::V2, "exact", BASE, "invalid_network"),
        (Version::V1, "exact", BASE_SEPOLIA, "invalid_network"),
    ] {
        let payment = payment_of(version, scheme, network);
        let answer = both.verify(&payment).await.unwrap();
        let VerifyResponse::Invalid(refusal) = answer else { panic!("{answer:?}") };
        assert_eq!(refusal.reason.as_str(), expected);
        assert!(matches!(both.settle((&payment).into()).await, Ok(SettleResponse::Failed(_))));
    }
    assert_eq!((first.calls(), second.calls()), (vec![], vec![]));

    let unknown = Puppet::new(&[]);
    unknown.set(|script| script.supported = Some(Kind::NoAnswer));
    let both = Facilitators::new(unknown).or(Puppet::new(&[("exact", BASE)]));
    let error = both.settle((&payment()).into()).await.unwrap_err();
    assert_eq!((error.kind(), error.may_have_acted()), (Kind::Unreachable, false));
}

#[tokio::test]
async fn verifying_fails_over_on_any_error_and_settling_follows() {
    for kind in [Kind::Unreachable, Kind::NoAnswer, Kind::BadAnswer, Kind::Internal, Kind::Rejected] {
        let (both, first, second) = two().await;
        first.set(|script| script.verify = Some(kind));
        assert!(matches!(both.verify(&payment()).await, Ok(VerifyResponse::Valid { .. })), "{kind:?}");
        both.settle((&payment()).into()).await.unwrap();
        assert_eq!((first.calls(), second.calls()), (vec!["verify"], vec!["verify", "settle"]), "{kind:?}");

        second.set(|script| script.verify = Some(Kind::Internal));
        assert!(both.verify(&payment_of(Version::V2, "exact", BASE_SEPOLIA)).await.is_err());
    }
}

#[tokio::test]
async fn settling_fails_over_only_when_nothing_was_sent() {
    for kind in [Kind::Unreachable, Kind::NotActed] {
        let (both, first, second) = two().await;
        first.set(|script| script.settle = Some(kind));
        both.verify(&payment()).await.unwrap();
        assert!(matches!(both.settle((&payment()).into()).await, Ok(SettleResponse::Settled(_))));
        assert_eq!((first.calls(), second.calls()), (vec!["verify", "settle"], vec!["settle"]));
    }

    for kind in [Kind::NoAnswer, Kind::BadAnswer, Kind::Internal, Kind::Rejected] {
        let (both, first, second) = two().await;
        first.set(|script| script.settle = Some(kind));
        assert_eq!(both.settle((&payment()).into()).await.unwrap_err().kind(), kind);
        // However it goes on, the payment stays with the one that may have settled it; and that nothing happens now says
        // nothing of what happened before.
        for later in [Kind::Unreachable, Kind::NotActed] {
            first.set(|script| script.settle = Some(later));
            assert!(both.settle((&payment()).into()).await.unwrap_err().may_have_acted());
        }
        first.set(|script| script.settle = None);
        assert!(matches!(both.settle((&payment()).into()).await, Ok(SettleResponse::Settled(_))));
        assert_eq!((first.calls(), second.calls()), (vec!["settle"; 4], vec![]), "{kind:?}");
    }
}

/// A payment of its own, by this number.
fn numbered(number: usize) -> Payment {
    let mut payment = payment();
    payment.payload.payload = serde_json::json!({ "number": number });
    payment
}

/// After a restart without its chain's endpoint, say.
#[tokio::test]
async fn a_payment_stays_with_who_was_given_it_whatever_that_one_supports_by_now() {
    for kinds in [vec![], vec![("exact", BASE)], vec![EXACT]] {
        let (both, first, second) = two().await;
        first.set(|script| script.settle = Some(Kind::NoAnswer));
        both.settle((&payment()).into()).await.unwrap_err();
        first.set(|script| (script.settle, script.kinds) = (None, vec![]));
        second.set(|script| script.kinds = kinds);
        both.supported().await.unwrap();
        assert!(matches!(both.settle((&payment()).into()).await, Ok(SettleResponse::Settled(_))));
        assert_eq!((first.calls().last(), second.calls().last()), (Some(&"settle"), Some(&"supported")));
    }
}

#[tokio::test]
async fn a_payment_does_not_stay_with_who_refused_it() {
    for (reason, stays) in [
        ("insufficient_funds", false),
        ("invalid_exact_evm_nonce_already_used", false),
        ("duplicate_settlement", true),
        ("payment_made_by_third_party", true),
    ] {
        let (both, first, second) = two().await;
        first.set(|script| script.refuses = Some(reason));
        assert!(matches!(both.settle((&payment()).into()).await, Ok(SettleResponse::Failed(_))));
        first.set(|script| script.settle = Some(Kind::Unreachable));
        let answer = both.settle((&payment()).into()).await;
        let moved = matches!(answer, Ok(SettleResponse::Settled(_)));
        assert_eq!((moved, second.calls().len()), (!stays, usize::from(!stays)), "{reason}: {answer:?}");
        assert!(moved || answer.unwrap_err().may_have_acted(), "{reason}");
    }
}

/// Without a key, too: only success is told once.
#[tokio::test]
async fn what_is_refused_or_supported_by_nobody_is_told_to_everybody() {
    let (both, first, _) = two().await;
    first.set(|script| script.refuses = Some("insufficient_funds"));
    for payment in [payment(), payment_of(Version::V2, "upto", BASE_SEPOLIA)] {
        let outcome = both.settle((&payment).into()).await.unwrap();
        assert!(matches!(outcome, SettleResponse::Failed(_)), "{outcome:?}");
        assert_eq!(both.deliver((&payment).into(), outcome.clone()).await.unwrap(), outcome);
    }
}

#[tokio::test]
async fn what_strangers_send_makes_nobody_forget_who_settles() {
    let (both, first, second) = two().await;
    first.set(|script| script.settle = Some(Kind::NoAnswer));
    both.settle((&payment()).into()).await.unwrap_err();
    // Nor is it forgotten for its own refusal: that says nothing of the call without an answer.
    first.set(|script| (script.settle, script.refuses) = (None, Some("insufficient_funds")));
    both.settle((&payment()).into()).await.unwrap();
    for number in 0..5000 {
        both.settle((&numbered(number)).into()).await.unwrap();
        // Nor for what would settle, which costs nobody anything.
        both.verify(&numbered(number)).await.unwrap();
    }
    first.set(|script| script.settle = Some(Kind::Unreachable));
    assert!(both.settle((&payment()).into()).await.unwrap_err().may_have_acted());
    assert_eq!(second.calls(), [""; 0]);
}

#[tokio::test]
async fn that_nothing_was_sent_is_said_when_each_has_said_so() {
    for (one, two_, all) in [
        (Kind::Unreachable, Kind::NotActed, Kind::Unreachable),
        (Kind::NotActed, Kind::Unreachable, Kind::Unreachable),
        (Kind::NotActed, Kind::NotActed, Kind::NotActed),
    ] {
        let (both, first, second) = two().await;
        first.set(|script| script.settle = Some(one));
        second.set(|script| script.settle = Some(two_));
        assert_eq!(both.settle((&payment()).into()).await.unwrap_err().kind(), all);
        assert_eq!((first.calls(), second.calls()), (vec!["settle"], vec!["settle"]));
    }
}

#[tokio::test]
async fn when_nobody_is_reached_everybody_is_asked_again_later() {
    let (both, first, second) = two().await;
    for puppet in [&first, &second] {
        puppet.set(|script| script.settle = Some(Kind::Unreachable));
    }
    assert_eq!(both.settle((&payment()).into()).await.unwrap_err().kind(), Kind::Unreachable);
    second.set(|script| script.settle = None);
    both.settle((&payment()).into()).await.unwrap();
    assert_eq!(second.calls(), ["settle", "settle"]);
}

#[tokio::test]
async fn whose_settler_is_forgotten_is_told_to_nobody_without_a_key() {
    let (both, _, _) = two().await;
    let payment = payment();
    let outcome = both.settle((&payment).into()).await.unwrap();
    assert_eq!(both.deliver((&payment).into(), outcome.clone()).await.unwrap(), outcome);
    for number in 0..5000 {
        let _ = both.settle((&numbered(number)).into()).await;
    }
    assert!(both.deliver((&payment).into(), outcome.clone()).await.is_err());
    let key: SettlementKey = "0123456789abcdef".parse().unwrap();
    let keyed = SettleRequest::new(&payment).with_key(&key);
    assert_eq!(both.deliver(keyed, outcome.clone()).await.unwrap(), outcome);
}

#[tokio::test]
async fn one_that_is_silent_is_asked_last() {
    let (both, first, second) = two().await;
    first.set(|script| script.verify = Some(Kind::NoAnswer));
    let another = || {
        let mut payment = payment();
        payment.payload.payload = serde_json::json!({ "signature": "another" });
        payment
    };
    both.verify(&payment()).await.unwrap();
    both.verify(&another()).await.unwrap();
    assert_eq!((first.calls(), second.calls()), (vec!["verify"], vec!["verify"; 2]));
    second.set(|script| script.verify = Some(Kind::NoAnswer));
    first.set(|script| script.verify = None);
    both.verify(&another()).await.unwrap();
    assert_eq!((first.calls(), second.calls()), (vec!["verify"], vec!["verify"]));
}
