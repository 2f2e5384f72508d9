//! `exact` on a real chain: what is verified settles, moves exactly the asked amount, and moves it once.

#![allow(clippy::unwrap_used)] // helpers of tests fail as tests do

mod clock;
mod endpoint;
mod faulty;
mod forms;
mod limits;
mod log;
mod once;
mod others;
mod ready;
mod refusals;
mod restart;
mod searches;
mod sending;
mod served;
mod support;
mod tokens;
mod wire;

use support::*;

#[tokio::test]
async fn a_good_payment_moves_exactly_the_amount() {
    let (chain, facilitator) = start().await;
    let (payer, merchant) = (chain::payer().address(), chain::merchant().address());
    for (round, version) in [(1, Version::V2), (2, Version::V1)] {
        let payment = signed(version, &requirements()).await;
        let verified = facilitator.verify(&payment).await.unwrap();
        let VerifyResponse::Valid { payer: Some(named) } = verified else { panic!("{verified:?}") };
        assert_eq!(named.as_str(), payer.to_checksum(None));
        let SettleResponse::Settled(receipt) = facilitator.settle((&payment).into()).await.unwrap() else {
            panic!()
        };
        assert_eq!(receipt.network, requirements().network);
        assert_eq!(receipt.payer, Some(named));
        assert_eq!(chain.balance(merchant).await.unwrap(), U256::from(round * PRICE));
        assert_eq!(chain.balance(payer).await.unwrap(), U256::from(FUNDS - round * PRICE));
        let log = chain.transfer_log(merchant).await.unwrap();
        let last = log.last().unwrap();
        assert_eq!(last.transaction.to_string(), receipt.transaction.unwrap().as_str());
    }
}

#[tokio::test]
async fn what_it_can_do() {
    let (chain, facilitator) = start().await;
    let kinds = facilitator.kinds();
    assert_eq!(kinds.iter().map(|kind| kind.version).collect::<Vec<_>>(), [Version::V2, Version::V1]);
    assert_eq!(facilitator.signers()[0].as_str(), chain::facilitator().address().to_checksum(None));
    facilitator.check().await.unwrap();
    let unnamed = Network::evm(42161);
    let other = ExactFacilitator::connect(chain.rpc_url(), unnamed, chain::facilitator()).unwrap();
    assert_eq!(other.kinds().len(), 1);
}

#[tokio::test]
async fn a_smart_wallet_pays() {
    let (chain, facilitator) = start().await;
    let owner = chain::stranger();
    let wallet = chain.deploy("TestWallet", &owner.address().abi_encode()).await.unwrap();
    chain.mint(wallet, FUNDS).await.unwrap();
    for (nonce, frame) in [(1, vec![]), (2, vec![0xfe; 40])] {
        let mut message = authorization(nonce);
        message.from = wallet;
        let tail = sign_in(&message, &owner, "USDC", "2", USDC);
        let signature = [frame.as_slice(), &tail].concat();
        let good = payment(Version::V2, &requirements(), payload(&message, &signature));
        assert!(matches!(facilitator.verify(&good).await.unwrap(), VerifyResponse::Valid { .. }));
        let forged = sign_in(&message, &chain::payer(), "USDC", "2", USDC);
        let forged = payment(Version::V2, &requirements(), payload(&message, &forged));
        refused(&facilitator, &forged, &reasons::SIGNATURE).await;
        settled(facilitator.settle((&good).into()).await.unwrap());

        // What was settled answers again, but only to who has a signature.
        refused_settle(&facilitator, &forged, &reasons::SIGNATURE).await;
        let other = [&[0xab; 7], signature.as_slice()].concat();
        let other = payment(Version::V2, &requirements(), payload(&message, &other));
        settled(facilitator.settle((&other).into()).await.unwrap());
    }
    // Wrapped though it is deployed: the inner signature counts.
    let mut message = authorization(3);
    message.from = wallet;
    let inner = Bytes::from(sign_in(&message, &owner, "USDC", "2", USDC).to_vec());
    let mut wrapped = (owner.address(), Bytes::new(), inner).abi_encode_params();
    wrapped.extend([0x64, 0x92].repeat(16));
    let wrapped = payment(Version::V2, &requirements(), payload(&message, &wrapped));
    settled(facilitator.settle((&wrapped).into()).await.unwrap());
    assert_eq!(chain.balance(wallet).await.unwrap(), U256::from(FUNDS - 3 * PRICE));
    assert_eq!(chain.nonce(chain::facilitator().address()).await.unwrap(), 3);
}

#[tokio::test]
async fn a_provider_of_ones_own_will_do() {
    let (chain, _) = start().await;
    let network = Network::evm(chain.chain_id());
    let facilitator = exact::facilitator(chain.provider(), network, chain::facilitator()).unwrap();
    settled(facilitator.settle((&signed(Version::V2, &requirements()).await).into()).await.unwrap());
}
