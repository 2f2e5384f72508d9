//! A payment header from a stranger: decoded, read by the scheme, written and decoded again.
#![no_main]

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use x402_core::{
    payment::{PaymentRequirements, Version},
    scheme::ServerScheme,
    wire::{self, Presented},
};

fuzz_target!(|data: &[u8]| {
    // As it came, and as the JSON inside: base64 would keep the fuzzer from ever reaching the JSON.
    for value in [HeaderValue::from_bytes(data).ok(), encoded(data)].into_iter().flatten() {
        let headers = HeaderMap::from_iter([(wire::PAYMENT_SIGNATURE, value)]);
        let Ok(Some(presented)) = wire::read_payment(&headers, &[]) else { continue };
        let requirements = requirements(&presented);
        let payment = presented.against(&requirements);
        let scheme = x402_evm::exact::server();
        let first = scheme.inspect(payment.version, &payment.payload, &requirements);
        let Ok((name, value)) = wire::encode_payment_header(&payment) else { continue };
        let again = match wire::read_payment(&HeaderMap::from_iter([(name, value)]), &[]) {
            Ok(Some(again)) => again.against(&requirements),
            Ok(None) => unreachable!("a header was given"),
            Err(wire::DecodeError::TooLong) => continue,
            Err(error) => panic!("what we write we read: {error}"),
        };
        let second = scheme.inspect(again.version, &again.payload, &requirements);
        assert_eq!(first, second, "what we write means the same");
    }
});

fn encoded(json: &[u8]) -> Option<HeaderValue> {
    let json: serde_json::Value = wire::parse_json(json).ok()?;
    Some(wire::encode_header(&json))
}

fn requirements(presented: &Presented) -> PaymentRequirements {
    let ours = serde_json::json!({
        "scheme": "exact", "network": "eip155:84532", "amount": "10000",
        "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
        "payTo": "0x209693Bc6afc0C5328bA36FaF03C514EF312287C", "maxTimeoutSeconds": 60,
        "extra": { "name": "USDC", "version": "2" },
    });
    match presented {
        Presented::V2(payment) if payment.version == Version::V2 => payment.accepted.clone(),
        _ => serde_json::from_value(ours).expect("requirements"),
    }
}
