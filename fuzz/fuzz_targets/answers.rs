//! What facilitators and servers answer, and what is sent to a facilitator.
#![no_main]

use libfuzzer_sys::fuzz_target;
use x402_core::{payment::SettleResponse, wire};

fuzz_target!(|data: &[u8]| {
    let _ = wire::decode_verify(data);
    if let Ok(SettleResponse::Settled(receipt)) = wire::decode_settle(data, None) {
        let nothing = receipt.amount.is_some_and(|amount| amount.is_zero());
        assert!(receipt.transaction.is_some() || nothing, "success names its transaction");
    }
    if let Ok(supported) = wire::decode_supported(data) {
        let json = wire::encode_supported(&supported).to_string();
        assert!(wire::decode_supported(json.as_bytes()).is_ok(), "what we write we read");
    }
    if let Ok(payment) = wire::decode_request(data)
        && let Ok(body) = wire::encode_request(&payment)
    {
        let again = wire::decode_request(&body).expect("what we write we read");
        assert_eq!(payment.requirements, again.requirements);
        assert_eq!(payment.payload.payload, again.payload.payload);
    }
    let _ = wire::decode_payment_required_body(data);
    if let Ok(header) = http::HeaderValue::from_bytes(data) {
        let _ = wire::decode_payment_required(&header);
        let _ = wire::decode_settle_header(&header, None);
    }
});
