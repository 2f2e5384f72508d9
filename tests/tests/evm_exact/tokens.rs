//! Which tokens are settled, and what they cannot pretend.

use super::support::*;

#[tokio::test]
async fn no_evil_token_is_a_payment() {
    let (chain, facilitator) = start().await;
    let evil = async |contract: &str, lie: Option<u8>, nonce: u8| {
        let asset = chain.deploy(contract, &[]).await.unwrap();
        chain.mint_of(asset, chain::payer().address(), FUNDS).await.unwrap();
        if let Some(lie) = lie {
            send_as(&chain, chain::stranger(), asset, Token::tellCall { lie }.abi_encode()).await;
        }
        let mut asked = requirements();
        asked.asset = asset.to_string().parse().unwrap();
        let message = authorization(nonce);
        let signature = sign_in(&message, &chain::payer(), "USDC", "2", asset);
        (asset, payment(Version::V2, &asked, payload(&message, &signature)))
    };
    let cases = [
        evil("SilentToken", None, 1).await,
        evil("FeeToken", None, 2).await,
        evil("SpoofToken", Some(0), 3).await,
        evil("SpoofToken", Some(1), 4).await,
        evil("SpoofToken", Some(2), 5).await,
        evil("SpoofToken", Some(3), 6).await,
    ];
    for (_, payment) in &cases {
        refused(&facilitator, payment, &reasons::ASSET_NOT_ALLOWED).await;
    }
    assert_eq!(chain.nonce(chain::facilitator().address()).await.unwrap(), 0);
    let facilitator =
        cases.iter().fold(facilitator, |facilitator, (asset, _)| facilitator.allow_token(*asset));
    for (_, payment) in &cases {
        let answer = facilitator.settle(payment.into()).await.unwrap();
        let SettleResponse::Failed(failure) = &answer else { panic!("{answer:?}") };
        assert_eq!(failure.reason, reasons::TRANSFER_EVENT_MISMATCH);
        assert!(failure.transaction.is_some());
        assert_eq!(facilitator.settle(payment.into()).await.unwrap(), answer, "and it stays so");
    }
    assert_eq!(chain.nonce(chain::facilitator().address()).await.unwrap(), cases.len() as u64);
}
