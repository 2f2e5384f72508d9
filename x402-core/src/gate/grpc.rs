//! gRPC over HTTP/2: a call is refused, and fails, in its own words.
//!
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>: a refusal is an answer of trailers only, its HTTP
//! status 200, its gRPC status in a header.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Whether a request is a gRPC call.
pub(super) fn is_call(headers: &HeaderMap) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let (media, rest) = content_type.split_at(content_type.len().min(TYPE.len()));
    media.eq_ignore_ascii_case(TYPE) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// Makes the head of a refusal one of gRPC's.
pub(super) fn refuse(status: StatusCode, message: &str, headers: &mut HeaderMap) -> StatusCode {
    let code = match status {
        StatusCode::BAD_REQUEST => 3,      // INVALID_ARGUMENT
        StatusCode::FORBIDDEN => 7,        // PERMISSION_DENIED
        StatusCode::PAYMENT_REQUIRED => 9, // FAILED_PRECONDITION
        StatusCode::CONFLICT => 10,        // ABORTED
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => 14, // UNAVAILABLE
        _ => 13,                           // INTERNAL
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(code));
    headers.insert(GRPC_MESSAGE, percent_encoded(message));
    StatusCode::OK
}

/// What HTTP would call a call that failed before its first message: its status is in a header then.
pub(super) fn failure(headers: &HeaderMap) -> Option<StatusCode> {
    match headers.get(GRPC_STATUS)?.as_bytes() {
        b"0" => None,
        // UNKNOWN, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS: the server's.
        b"2" | b"4" | b"8" | b"12" | b"13" | b"14" | b"15" => Some(StatusCode::INTERNAL_SERVER_ERROR),
        _ => Some(StatusCode::BAD_REQUEST),
    }
}

fn percent_encoded(message: &str) -> HeaderValue {
    let encoded = message.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
        encoded
    });
    HeaderValue::try_from(encoded).expect("nothing but printable ASCII is left")
}
