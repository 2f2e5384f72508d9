use serde_json::json;
use x402_core::{
    asset::{default_token, tokens_of},
    network::{BASE_SEPOLIA, Network, SOLANA},
    payment::JsonMap,
};

use super::*;

const FROM: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const NONCE: &str = "0xf3746613c2d920b5fdabc0856f2aeb2d4f88ee6037b8cc5d04a71a4462f13480";

fn kind(network: &Network) -> SupportedKind {
    SupportedKind {
        version: Version::V2,
        scheme: SCHEME.into(),
        network: network.clone(),
        extra: JsonMap::new(),
    }
}

fn offer(token: &Token) -> PaymentRequirements {
    PaymentRequirements {
        scheme: SCHEME.into(),
        network: token.network.clone(),
        amount: 10_000.into(),
        asset: token.address.clone(),
        pay_to: "0x209693Bc6afc0C5328bA36FaF03C514EF312287C".parse().unwrap(),
        max_timeout_seconds: 60,
        extra: JsonMap::new(),
    }
}

fn usdc() -> Token {
    default_token(&BASE_SEPOLIA).unwrap()
}

fn payload() -> Value {
    json!({
        "signature": "0x887688bf",
        "authorization": {
            "from": FROM,
            "to": "0x209693Bc6afc0C5328bA36FaF03C514EF312287C",
            "value": "10000",
            "validAfter": "0",
            "validBefore": "1740672154",
            "nonce": NONCE,
        },
    })
}

#[test]
fn an_offer_carries_the_tokens_domain() {
    let mut requirements = offer(&usdc());
    server().enrich(&mut requirements, &usdc(), &kind(&BASE_SEPOLIA)).unwrap();
    assert_eq!(Value::Object(requirements.extra), json!({ "name": "USDC", "version": "2" }));
}

#[test]
fn every_known_token_with_eip3009_can_be_charged() {
    for chain in [8453, 84532, 1, 43114, 137, 42161, 143, 988, 2201, 36900, 190415, 50, 14, 42220, 1329] {
        for token in tokens_of(&Network::evm(chain)) {
            let done = server().enrich(&mut offer(&token), &token, &kind(&token.network));
            assert!(done.is_ok(), "{token:?}: {done:?}");
        }
    }
    let permit2 = default_token(&Network::evm(4326)).unwrap();
    let error = server().enrich(&mut offer(&permit2), &permit2, &kind(&permit2.network)).unwrap_err();
    assert!(error.to_string().contains("EIP-3009"), "{error}");
}

#[test]
fn an_offer_nobody_could_pay_is_an_error() {
    type Spoil = fn(&mut PaymentRequirements);
    let cases: [(&str, Spoil); 6] = [
        ("no address", |offer| offer.pay_to = "alice".parse().unwrap()),
        ("zero", |offer| offer.pay_to = format!("0x{}", "0".repeat(40)).parse().unwrap()),
        ("checksum", |offer| {
            offer.pay_to = "0x209693Bc6afc0C5328bA36FaF03C514EF312287c".parse().unwrap();
        }),
        ("asset", |offer| offer.asset = "0x036CbD53842c5426634e7929541eC2318f3dCF7".parse().unwrap()),
        ("other chain", |offer| offer.network = SOLANA),
        ("no chain id", |offer| offer.network = Network::from_static("eip155:base")),
    ];
    for (case, spoil) in cases {
        let mut requirements = offer(&usdc());
        spoil(&mut requirements);
        assert!(server().enrich(&mut requirements, &usdc(), &kind(&BASE_SEPOLIA)).is_err(), "{case}");
    }
    let nameless = Token::eip3009(BASE_SEPOLIA, usdc().address, "X", 6, "", "2");
    assert!(server().enrich(&mut offer(&usdc()), &nameless, &kind(&BASE_SEPOLIA)).is_err());
}

#[test]
fn one_payment_has_one_identity() {
    let requirements = offer(&usdc());
    let inspect = |payload: &Value, requirements: &PaymentRequirements| {
        server().inspect(Version::V2, payload, requirements).unwrap().identity
    };
    let identity = inspect(&payload(), &requirements);
    assert_eq!(
        identity.key,
        "eip155:84532/0x036cbd53842c5426634e7929541ec2318f3dcf7e/\
         0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266/\
         0xf3746613c2d920b5fdabc0856f2aeb2d4f88ee6037b8cc5d04a71a4462f13480"
    );
    assert_eq!(identity.payer.as_str(), FROM);
    assert_eq!(identity.expires_at, 1_740_672_154);

    let upper = |text: &str| format!("0x{}", text[2..].to_uppercase());
    let mut other = payload();
    other["authorization"]["from"] = upper(FROM).into();
    other["authorization"]["nonce"] = upper(NONCE).into();
    other["signature"] = "0x887688BF".into();
    other["note"] = json!({ "unknown": true });
    let mut lower = requirements.clone();
    lower.asset = requirements.asset.as_str().to_lowercase().parse().unwrap();
    assert_eq!(inspect(&other, &lower), identity);

    let mut forever = payload();
    forever["authorization"]["validBefore"] = alloy_primitives::U256::MAX.to_string().into();
    assert_eq!(inspect(&forever, &requirements).expires_at, u64::MAX);
}

/// 64 bytes (EIP-2098), and v as the parity alone, are the same signature.
#[test]
fn one_signature_has_one_fingerprint_in_every_form() {
    let requirements = offer(&usdc());
    let of = |signature: String| {
        let mut payload = payload();
        payload["signature"] = signature.into();
        server().inspect(Version::V2, &payload, &requirements).unwrap().identity
    };
    let (r, s) = ("11".repeat(32), "22".repeat(31));
    for (v, parity, compact) in [("1b", "00", "22"), ("1c", "01", "a2")] {
        let usual = of(format!("0x{r}22{s}{v}"));
        assert_eq!(of(format!("0x{r}{compact}{s}")), usual);
        assert_eq!(of(format!("0x{r}22{s}{parity}")), usual);
        // What is none of these forms is as it came.
        for other in [format!("0x{r}22{s}1d"), format!("0x{r}22{s}{v}00"), format!("0x{r}22{s}2{parity}5")] {
            assert_ne!(of(other).fingerprint, usual.fingerprint);
        }
    }
    assert_ne!(of(format!("0x{r}22{s}")).fingerprint, of(format!("0x{r}a2{s}")).fingerprint);
}

/// The key can be read off the chain; the fingerprint takes the payment itself.
#[test]
fn a_fingerprint_holds_all_that_was_signed() {
    let requirements = offer(&usdc());
    let of = |payload: &Value| server().inspect(Version::V2, payload, &requirements).unwrap().identity;
    let identity = of(&payload());
    for (field, value) in [
        ("/signature", "0x887688be"),
        ("/authorization/to", FROM),
        ("/authorization/value", "10001"),
        ("/authorization/validAfter", "1"),
        ("/authorization/validBefore", "1740672155"),
    ] {
        let mut other = payload();
        *other.pointer_mut(field).unwrap() = value.into();
        assert_eq!(of(&other).key, identity.key, "{field}");
        assert_ne!(of(&other).fingerprint, identity.fingerprint, "{field}");
    }
}

#[test]
fn another_payment_than_asked_is_told_apart() {
    assert_eq!(server().inspect(Version::V2, &payload(), &offer(&usdc())).unwrap().mismatch, None);
    let cases = [
        (Version::V2, "to", FROM, reasons::RECIPIENT_MISMATCH),
        (Version::V2, "value", "9999", reasons::VALUE_MISMATCH),
        (Version::V2, "value", "10001", reasons::VALUE_MISMATCH),
        (Version::V1, "value", "9999", reasons::VALUE_MISMATCH_V1),
    ];
    for (version, field, value, reason) in cases {
        let mut other = payload();
        other["authorization"][field] = value.into();
        let found = server().inspect(version, &other, &offer(&usdc())).unwrap();
        assert_eq!(found.mismatch, Some(reason), "{field}");
    }
}

#[test]
fn only_the_schemes_shape_is_read() {
    let over = "115792089237316195423570985008687907853269984665640564039457584007913129639936";
    let long = format!("0x{}", "00".repeat(9000));
    let fields = ["from", "to", "value", "validAfter", "validBefore", "nonce"];
    let mut cases: Vec<(String, Value)> = vec![
        ("/signature".into(), json!("887688bf")),
        ("/signature".into(), json!("0x123")),
        ("/signature".into(), json!("0xzz")),
        ("/signature".into(), json!(long)),
        ("/signature".into(), Value::Null),
        ("/authorization".into(), Value::Null),
        ("/authorization".into(), json!("0x")),
        ("/authorization".into(), json!([])),
        ("/authorization/from".into(), json!("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb9226")),
        ("/authorization/from".into(), json!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266")),
        ("/authorization/nonce".into(), json!(&NONCE[..64])),
        ("/authorization/nonce".into(), json!(1)),
    ];
    for field in fields {
        for bad in [Value::Null, json!(1), json!(""), json!({}), json!(["0"])] {
            cases.push((format!("/authorization/{field}"), bad));
        }
    }
    for field in ["value", "validAfter", "validBefore"] {
        for bad in ["-1", "+1", "01", "1.0", "1e4", "0x10", " 1", over] {
            cases.push((format!("/authorization/{field}"), json!(bad)));
        }
    }
    let requirements = offer(&usdc());
    for (field, value) in cases {
        let mut bad = payload();
        *bad.pointer_mut(&field).unwrap() = value.clone();
        let found = server().inspect(Version::V2, &bad, &requirements);
        assert!(found.is_err(), "{field} {value}: {found:?}");
    }
    for field in fields {
        let mut bad = payload();
        bad["authorization"].as_object_mut().unwrap().remove(field);
        assert!(server().inspect(Version::V2, &bad, &requirements).is_err(), "without {field}");
    }
    for bad in [Value::Null, json!([]), json!("x"), json!({}), json!({ "transaction": "AA==" })] {
        assert!(server().inspect(Version::V2, &bad, &requirements).is_err(), "{bad}");
    }
}

#[test]
fn an_error_says_nothing_of_what_was_sent() {
    let mut bad = payload();
    bad["authorization"] = json!("0x5ec2e7");
    let error = server().inspect(Version::V2, &bad, &offer(&usdc())).unwrap_err().to_string();
    assert!(!error.contains("5ec2e7"), "{error}");
}
