//! Answers that say neither yes nor no: the payment is still being settled.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use reqwest::Response;
use x402_core::{
    payment::{Reason, SettleResponse},
    wire,
};

use crate::{body, receipt::ResponseExt};

/// How often a payment is sent again while its server says that it is pending.
pub(crate) const REPEATS: usize = 3;

/// The pause before that, where the server names none.
const PAUSE: Duration = Duration::from_secs(2);

/// The longest pause, whatever the server names.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The longest body that is searched for the protocol's words.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Another request with the same payment is being handled.
const IN_PROGRESS: &str = "payment_in_progress";

/// How long to wait before the same payment is sent again; `None` where the answer is final. The response is readable
/// as it came.
pub(crate) async fn pause(response: Response) -> reqwest::Result<(Option<Duration>, Response)> {
    if !matches!(
        response.status(),
        StatusCode::CONFLICT | StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE
    ) {
        return Ok((None, response));
    }
    let pause = retry_after(response.headers());
    if receipt_says_pending(&response) {
        return Ok((Some(pause), response));
    }
    let (read, response) = body::peek(response, MAX_BODY_BYTES).await?;
    let pending = body_says_pending(&read);
    Ok((pending.then_some(pause), body::restore(read, response)))
}

fn receipt_says_pending(response: &Response) -> bool {
    match response.receipt() {
        Some(Ok(SettleResponse::Pending(_))) => true,
        Some(Ok(SettleResponse::Failed(failure))) => is_pending(failure.reason.as_str()),
        _ => false,
    }
}

fn body_says_pending(body: &[u8]) -> bool {
    body.len() <= MAX_BODY_BYTES
        && wire::parse_json(body).is_ok_and(|json| json["error"].as_str().is_some_and(is_pending))
}

fn is_pending(reason: &str) -> bool {
    reason == Reason::SETTLEMENT_PENDING.as_str() || reason == IN_PROGRESS
}

/// What the server asks for in seconds. A date is taken for no answer: clocks differ.
fn retry_after(headers: &HeaderMap) -> Duration {
    headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map_or(PAUSE, Duration::from_secs)
        .min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_bounded() {
        for (value, expected) in [
            ("0", Duration::ZERO),
            ("3", Duration::from_secs(3)),
            (" 10 ", LONGEST_PAUSE),
            ("3600", LONGEST_PAUSE),
            ("18446744073709551615", LONGEST_PAUSE),
            ("18446744073709551616", PAUSE),
            ("-1", PAUSE),
            ("Wed, 21 Oct 2015 07:28:00 GMT", PAUSE),
            ("", PAUSE),
        ] {
            let headers = [(RETRY_AFTER, value.parse().unwrap())].into_iter().collect();
            assert_eq!(retry_after(&headers), expected, "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), PAUSE);
    }

    #[test]
    fn only_the_protocols_words_say_pending() {
        let long = format!(r#"{{"error":"settlement_pending","message":"{}"}}"#, "x".repeat(64 * 1024));
        for (body, expected) in [
            (r#"{"error":"settlement_pending","message":"send the same payment again"}"#, true),
            (r#"{"error":"payment_in_progress"}"#, true),
            (r#"{"error":"payment_unavailable"}"#, false),
            (r#"{"error":{"code":"settlement_pending"}}"#, false),
            (r#"{"error":"x","error":"settlement_pending"}"#, false),
            (r#"["error"]"#, false),
            ("settlement_pending", false),
            ("", false),
            (&long, false),
        ] {
            assert_eq!(body_says_pending(body.as_bytes()), expected, "{}", &body[..body.len().min(60)]);
        }
    }
}
