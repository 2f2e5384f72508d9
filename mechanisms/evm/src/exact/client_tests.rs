use alloy::signers::local::PrivateKeySigner;
use alloy_primitives::{address, b256};
use serde_json::json;

use super::*;

const NONCE: B256 = b256!("f3746613c2d920b5fdabc0856f2aeb2d4f88ee6037b8cc5d04a71a4462f13480");
const VALID_BEFORE: u64 = 1_740_672_154;

/// The first account every development node has.
fn signer() -> PrivateKeySigner {
    "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80".parse().unwrap()
}

fn client_at(now: u64) -> ExactClient<PrivateKeySigner> {
    ExactClient { clock: Clock::new(move || now), ..client(signer()) }
}

fn requirements() -> PaymentRequirements {
    serde_json::from_value(json!({
        "scheme": "exact",
        "network": "eip155:84532",
        "amount": "10000",
        "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
        "payTo": "0x209693bc6afc0c5328ba36faf03c514ef312287c",
        "maxTimeoutSeconds": 60,
        "extra": { "name": "USDC", "version": "2" },
    }))
    .unwrap()
}

/// A vector made with the published packages.
#[tokio::test]
async fn it_signs_as_the_published_packages_do() {
    let payload = client_at(VALID_BEFORE - 60).sign_with(Version::V2, &requirements(), NONCE).await.unwrap();
    assert_eq!(
        payload,
        json!({
            "signature": "0x887688bfda2adc60488cb21d8355641dc7e6cae2acf979a4e510569110fbeb6912bfec8521359ee79ecbd2c6f8ba9ada97d499a910f5c0d4e274d0da99b8f3561c",
            "authorization": {
                "from": "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
                "to": "0x209693Bc6afc0C5328bA36FaF03C514EF312287C",
                "value": "10000",
                "validAfter": "0",
                "validBefore": "1740672154",
                "nonce": "0xf3746613c2d920b5fdabc0856f2aeb2d4f88ee6037b8cc5d04a71a4462f13480",
            },
        })
    );
    let token = address!("036CbD53842c5426634e7929541eC2318f3dCF7e");
    let authorization = Payload::parse(&payload).unwrap().authorization;
    assert_eq!(
        Domain::new("USDC", "2", 84532, token).signing_hash(&authorization),
        b256!("4f4985a0c4a7592c738a9d385dac72ed9932049a3a642b4923659213c54fa8c6")
    );
}

#[tokio::test]
async fn version_1_dates_back() {
    let payload = client_at(1_000).sign_with(Version::V1, &requirements(), NONCE).await.unwrap();
    assert_eq!(payload["authorization"]["validAfter"], "400");
    assert_eq!(payload["authorization"]["validBefore"], "1060");
}

#[tokio::test]
async fn no_two_payments_have_one_nonce() {
    let client = client(signer());
    let first = client.sign(Version::V2, &requirements()).await.unwrap();
    let second = client.sign(Version::V2, &requirements()).await.unwrap();
    assert_ne!(first["authorization"]["nonce"], second["authorization"]["nonce"]);
    assert!(!format!("{client:?}").contains("ac0974"), "no key in Debug");
}

#[tokio::test]
async fn it_says_what_requirements_lack() {
    let client = client(signer());
    let good = serde_json::to_value(requirements()).unwrap();
    assert!(client.accepts(&requirements()).is_ok());
    let cases = [
        ("/scheme", json!("upto"), "exact"),
        ("/network", json!("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp"), "network"),
        ("/asset", json!("EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"), "asset"),
        ("/asset", json!("0x0000000000000000000000000000000000000000"), "asset"),
        ("/payTo", json!("0x2096"), "payTo"),
        ("/payTo", json!("0x036cbd53842c5426634e7929541ec2318f3dcf7e"), "payTo"),
        ("/payTo", json!(signer().address()), "payTo"),
        ("/amount", json!("0"), "amount"),
        ("/payTo", json!("0x0000000000000000000000000000000000000000"), "payTo"),
        ("/maxTimeoutSeconds", json!(0), "maxTimeoutSeconds"),
        ("/extra", json!(null), "extra.name"),
        ("/extra", json!({ "name": "USDC" }), "extra.version"),
        ("/extra", json!({ "name": "USDC", "version": 2 }), "extra.version"),
        ("/extra", json!({ "name": "", "version": "2" }), "extra.name"),
        ("/extra/assetTransferMethod", json!("permit2"), "assetTransferMethod"),
    ];
    for (field, value, named) in cases {
        let mut bad = good.clone();
        if field == "/extra/assetTransferMethod" {
            bad["extra"]["assetTransferMethod"] = value;
        } else {
            *bad.pointer_mut(field).unwrap() = value;
        }
        let bad: PaymentRequirements = serde_json::from_value(bad).unwrap();
        let error = client.accepts(&bad).unwrap_err().to_string();
        assert!(error.contains(named), "{field}: {error}");
        assert!(client.sign(Version::V2, &bad).await.is_err(), "{field}");
    }
    let mut named = requirements();
    named.extra.insert("assetTransferMethod".into(), "eip3009".into());
    assert!(client.accepts(&named).is_ok());
}

/// A server does not decide for how long it may hold the payer's money.
#[tokio::test]
async fn an_authorization_is_not_valid_for_ever() {
    for (limit, asked, signs) in [
        (None, 3_600, true),
        (None, 3_601, false),
        (None, u64::MAX, false),
        (Some(86_400), 86_400, true),
        (Some(86_400), 86_401, false),
        (Some(30), 31, false),
    ] {
        let client = client(signer());
        let client = limit.into_iter().fold(client, ExactClient::max_timeout_seconds);
        let requirements = PaymentRequirements { max_timeout_seconds: asked, ..requirements() };
        assert_eq!(client.sign(Version::V2, &requirements).await.is_ok(), signs, "{limit:?} {asked}");
        let Err(error) = client.accepts(&requirements) else {
            assert!(signs, "{limit:?} {asked}");
            continue;
        };
        let error = error.to_string();
        assert!(!signs && error.contains("maxTimeoutSeconds"), "{error}");
        assert!(error.contains(&asked.to_string()), "{error}");
        assert!(error.contains(&limit.unwrap_or(3_600).to_string()), "{error}");
    }
}
