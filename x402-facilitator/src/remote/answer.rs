//! What a facilitator's answer means.

use std::borrow::Cow;

use http::StatusCode;
use serde_json::Value;
use x402_core::{
    facilitator::{FacilitatorError, FacilitatorErrorKind as Kind},
    network::Network,
    payment::{SettleResponse, Supported, VerifyResponse},
    wire::{self, DecodeError},
};

use super::exchange::Reply;

/// The longest piece of a facilitator's error text that is repeated, in characters.
const MAX_TEXT: usize = 200;

pub(super) fn supported(reply: &Reply) -> Result<Supported, FacilitatorError> {
    match reply.status.is_success() {
        true => read(reply, wire::decode_supported(&reply.body), false),
        false => Err(failure(reply)),
    }
}

pub(super) fn verify(reply: &Reply) -> Result<VerifyResponse, FacilitatorError> {
    let answer = wire::decode_verify(&reply.body);
    let refused = matches!(answer, Ok(VerifyResponse::Invalid(_)));
    read(reply, answer, refused)
}

/// An answer about a settlement on `asked`; about one elsewhere it is none.
pub(super) fn settle(reply: &Reply, asked: &Network) -> Result<SettleResponse, FacilitatorError> {
    let answer = wire::decode_settle(&reply.body, Some(asked));
    let refused = matches!(answer, Ok(SettleResponse::Failed(_) | SettleResponse::Pending(_)));
    let response = read(reply, answer, refused)?;
    let network = match &response {
        SettleResponse::Settled(receipt) => &receipt.network,
        SettleResponse::Pending(pending) => &pending.network,
        SettleResponse::Failed(failure) => &failure.network,
    };
    if network != asked {
        let what = format!("the answer is about a settlement on {network}, asked was one on {asked}");
        return Err(bad(reply, &what));
    }
    Ok(response)
}

/// A refusal counts whatever its status; anything else only with a status of success.
fn read<T>(reply: &Reply, answer: Result<T, DecodeError>, refused: bool) -> Result<T, FacilitatorError> {
    let status = reply.status;
    if status.is_redirection() {
        return Err(redirect(reply));
    }
    match answer {
        Ok(answer) if refused || status.is_success() => Ok(answer),
        Ok(_) => Err(bad(reply, &format!("the answer says yes, its status {status} says no"))),
        Err(error) if status.is_success() => {
            Err(bad(reply, "not an answer of the protocol: is this the URL of a facilitator?").because(error))
        }
        Err(_) => Err(failure(reply)),
    }
}

fn redirect(reply: &Reply) -> FacilitatorError {
    bad(reply, "it redirects in a way that is not followed: configure the URL it redirects to")
}

fn bad(reply: &Reply, what: &str) -> FacilitatorError {
    FacilitatorError::new(Kind::BadAnswer, format!("{}: {what}", reply.to))
}

/// A status that is no success, without an answer of the protocol.
fn failure(reply: &Reply) -> FacilitatorError {
    let Reply { to, status, body, retry_after } = reply;
    let (kind, hint) = match *status {
        _ if status.is_redirection() => return redirect(reply),
        _ if has_not_acted(body) => (Kind::NotActed, ""),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (Kind::Rejected, ": check the credentials"),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => (Kind::Rejected, ": check the URL"),
        // These may come from a facilitator that is at work on this very payment.
        StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT => (Kind::NoAnswer, ""),
        _ if status.is_client_error() => (Kind::Rejected, ""),
        _ if status.is_server_error() => (Kind::Internal, ""),
        _ => (Kind::BadAnswer, ""),
    };
    let text = error_text(body);
    let colon = if text.is_empty() { "" } else { ": " };
    FacilitatorError::new(kind, format!("{to}: answered {status}{hint}{colon}{text}"))
        .retry_after(*retry_after)
}

/// A facilitator of ours says that its journal has nothing of the payment, and that nothing was sent.
fn has_not_acted(body: &[u8]) -> bool {
    let json = wire::parse_json(body).ok();
    json.is_some_and(|json| json.get("notActed") == Some(&Value::Bool(true)))
}

/// A short, printable piece of an error body. Long words are left out: a facilitator may echo a signature.
fn error_text(body: &[u8]) -> String {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let text = match &json {
        Some(json) => ["error", "message", "errorMessage", "errorReason", "invalidReason"]
            .iter()
            .find_map(|key| json.get(key)?.as_str())
            .map_or(Cow::Borrowed(""), Cow::Borrowed),
        None => String::from_utf8_lossy(&body[..body.len().min(4 * MAX_TEXT)]),
    };
    if text.trim_start().starts_with('<') {
        return String::new(); // an HTML page
    }
    let printable = |c: char| if c.is_ascii_graphic() { c } else { ' ' };
    let cleaned: String = text.chars().map(printable).collect();
    let words: Vec<&str> =
        cleaned.split_whitespace().map(|word| if word.len() > 80 { "..." } else { word }).collect();
    words.join(" ").chars().take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_text_is_short_printable_and_carries_no_signature() {
        let signature = format!("0x{}", "ab".repeat(65));
        for (body, expected) in [
            (r#"{"error":"rate limit"}"#.to_owned(), "rate limit"),
            (r#"{"error":{"code":1},"message":"no"}"#.to_owned(), "no"),
            (r#"{"error":"a\r\nSet-Cookie: b\u001b[31m"}"#.to_owned(), "a Set-Cookie: b [31m"),
            (format!(r#"{{"error":"bad signature {signature}"}}"#), "bad signature ..."),
            ("<!doctype html><html>".to_owned(), ""),
            ("busy\0now é".to_owned(), "busy now"),
            (String::new(), ""),
            ("[]".to_owned(), ""),
        ] {
            assert_eq!(error_text(body.as_bytes()), expected, "{body}");
        }
        assert_eq!(error_text("word ".repeat(1000).as_bytes()).len(), MAX_TEXT);
    }
}
