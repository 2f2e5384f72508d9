//! What is not worth its gas is refused without a question to the chain.

use super::*;

/// In this amount to this account, rightly signed.
fn payment_of_amount(amount: u64, to: Address) -> Payment {
    let authorization = Authorization { value: U256::from(amount), to, ..authorization_of(0, NOW + 60) };
    let mut payment = payment_in(USDC, authorization);
    for requirements in [&mut payment.requirements, &mut payment.payload.accepted] {
        requirements.amount = amount.into();
        requirements.pay_to = to.to_string().parse().unwrap();
    }
    payment
}

type Set = fn(ExactFacilitator) -> ExactFacilitator;

#[tokio::test]
async fn a_payment_that_is_not_worth_its_gas_asks_nothing_of_the_chain() {
    let below = reasons::AMOUNT_BELOW_MINIMUM;
    let cases: [(u64, Address, Set, Reason, &str); 8] = [
        (0, PAYEE, |it| it, below.clone(), "settles 1000 or more"),
        (1, PAYEE, |it| it, below.clone(), "min_amount"),
        (999, PAYEE, |it| it, below.clone(), "EVM_MIN_AMOUNT_<NETWORK>"),
        (0, PAYEE, |it| it.min_amount(USDC, 0), below.clone(), "settles 1 or more"),
        (19_999, PAYEE, |it| it.min_amount(USDC, 20_000), below.clone(), "settles 20000 or more"),
        (0, payer().address(), |it| it, reasons::PAYER_IS_RECIPIENT, "from another account"),
        (10_000, payer().address(), |it| it, reasons::PAYER_IS_RECIPIENT, "`payTo`"),
        (10_000, USDC, |it| it, Reason::INVALID_REQUIREMENTS, "`payTo` is the token itself"),
    ];
    for (amount, to, set, reason, words) in cases {
        let (node, calls) = (Node::default(), Arc::new(AtomicUsize::new(0)));
        let counted = calls.clone();
        let facilitator = set(over(&node, move |method, _| {
            // Once for all payments: whether it is the right chain.
            counted.fetch_add(usize::from(method != "eth_chainId"), Ordering::SeqCst);
            None
        }));
        let payment = payment_of_amount(amount, to);
        let VerifyResponse::Invalid(refusal) = facilitator.verify(&payment).await.unwrap() else {
            panic!("{amount} to {to} is valid")
        };
        assert_eq!(refusal.reason, reason, "{amount} to {to}");
        assert!(refusal.message.as_ref().unwrap().contains(words), "{amount} to {to}: {:?}", refusal.message);
        let SettleResponse::Failed(failure) = facilitator.settle((&payment).into()).await.unwrap() else {
            panic!("{amount} to {to} is settled")
        };
        assert_eq!((&failure.reason, &failure.message), (&reason, &refusal.message), "{amount} to {to}");
        assert!(failure.transaction.is_none() && failure.payer.is_some(), "{failure:?}");
        assert_eq!((calls.load(Ordering::SeqCst), node.hashes().len()), (0, 0), "{amount} to {to}");
    }
}

/// A tenth of a cent is a price that people ask.
#[tokio::test]
async fn the_least_amount_is_a_tenth_of_a_cent_unless_it_is_set() {
    let other = Address::repeat_byte(0x05);
    let cases: [(u64, Set); 3] =
        [(1_000, |it| it), (1, |it| it.min_amount(USDC, 1)), (20_000, |it| it.min_amount(USDC, 20_000))];
    for (amount, set) in cases {
        let node = Node::default();
        let facilitator = set(over(&node, |_, _| None));
        let payment = payment_of_amount(amount, PAYEE);
        let verified = facilitator.verify(&payment).await.unwrap();
        assert!(matches!(verified, VerifyResponse::Valid { .. }), "{amount}: {verified:?}");
    }
    // By each token's own decimals; of one that is not known, one unit.
    for (network, token, least) in
        [(BASE_SEPOLIA, USDC, 1_000_u64), (BASE_SEPOLIA, other, 1), (Network::evm(4326), other, 1)]
    {
        assert_eq!(Assets::known(&network).minimum(token), U256::from(least));
    }
    for network in [BASE_SEPOLIA, Network::evm(8453), Network::evm(1), Network::evm(137)] {
        for token in x402_core::asset::tokens_of(&network) {
            let address: Address = token.address.as_str().parse().unwrap();
            let assets = Assets::known(&network);
            if assets.list(address) {
                let whole = U256::from(10).pow(U256::from(token.decimals));
                assert_eq!(
                    assets.minimum(address) * U256::from(1_000),
                    whole,
                    "{} on {network}",
                    token.symbol
                );
            }
        }
    }
}

/// The operator has raised the minimum since: what was settled answers as it did.
#[tokio::test]
async fn a_limit_says_nothing_about_what_was_settled_before_it() {
    let node = Node::default();
    let facilitator = over(&node, |_, _| None);
    let hash = hash_of(facilitator.settle((&payment()).into()).await.unwrap());
    let stricter = facilitator.min_amount(USDC, 20_000);
    assert_eq!(hash_of(stricter.settle((&payment()).into()).await.unwrap()), hash);
    assert_eq!(node.hashes().len(), 1);
}
