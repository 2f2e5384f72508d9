//! Between http 0.2, which actix-web speaks, and http 1, which the gate speaks. No other file knows both.

use std::{
    convert::Infallible,
    error::Error as StdError,
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    Error, HttpResponse,
    body::{BodySize, MessageBody},
    http::{
        Method as ActixMethod, StatusCode as ActixStatus, Uri as ActixUri,
        header::{HeaderMap as ActixHeaders, HeaderName as ActixName, HeaderValue as ActixValue},
    },
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header::CONTENT_LENGTH};

pub(crate) fn method(method: &ActixMethod) -> Result<Method, Error> {
    Method::from_bytes(method.as_str().as_bytes()).map_err(unreadable)
}

/// Fails where a middleware made a URI that http 1 has no word for, such as a `*` with something behind it.
pub(crate) fn uri(uri: &ActixUri) -> Result<Uri, Error> {
    uri.to_string().parse().map_err(unreadable)
}

/// What cannot be told to the gate reaches no handler.
fn unreadable(why: impl StdError + 'static) -> Error {
    Error::from(Box::<dyn StdError>::from(why))
}

pub(crate) fn status(status: ActixStatus) -> StatusCode {
    StatusCode::from_u16(status.as_u16()).expect("both know 100 to 999")
}

/// A name with a `"` in it, which http 0.2 lets pass, is left out: it means nothing to a gate.
pub(crate) fn headers(headers: &ActixHeaders) -> HeaderMap {
    let mut copy = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_ref());
        if let (Ok(name), Ok(mut copied)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            copied.set_sensitive(value.is_sensitive());
            copy.append(name, copied);
        }
    }
    copy
}

pub(crate) fn to_actix_headers(headers: &HeaderMap) -> ActixHeaders {
    let mut copy = ActixHeaders::with_capacity(headers.keys_len());
    for (name, value) in headers {
        let name = ActixName::from_bytes(name.as_ref());
        if let (Ok(name), Ok(mut copied)) = (name, ActixValue::from_bytes(value.as_bytes())) {
            copied.set_sensitive(value.is_sensitive());
            copy.append(name, copied);
        }
    }
    copy
}

/// The gate's answer.
pub(crate) fn to_actix(answer: Response<Bytes>) -> HttpResponse {
    let (head, body) = answer.into_parts();
    let status = ActixStatus::from_u16(head.status.as_u16()).expect("both know 100 to 999");
    // The answer to a HEAD request says how long its body would be; actix-web takes that from the body alone.
    let length = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let mut response = match length {
        Some(length) if body.is_empty() => {
            HttpResponse::with_body(status, Unsent(length)).map_into_boxed_body()
        }
        _ => HttpResponse::with_body(status, body).map_into_boxed_body(),
    };
    *response.headers_mut() = to_actix_headers(&head.headers);
    response
}

/// A body of this length, of which nothing is sent.
struct Unsent(u64);

impl MessageBody for Unsent {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.0)
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_both_ways() {
        let mut headers = ActixHeaders::new();
        for (name, value) in
            [("set-cookie", &b"a=1"[..]), ("set-cookie", b"b=2"), ("x-latin", b"caf\xe9"), ("x-empty", b"")]
        {
            headers.append(ActixName::from_static(name), ActixValue::from_bytes(value).unwrap());
        }
        let mut secret = ActixValue::from_static("secret");
        secret.set_sensitive(true);
        headers.append(ActixName::from_static("authorization"), secret);

        let copy = super::headers(&headers);
        assert!(copy.get_all("set-cookie").iter().eq(["a=1", "b=2"]));
        assert_eq!(copy["x-latin"].as_bytes(), b"caf\xe9");
        assert!(copy["authorization"].is_sensitive());

        let back = to_actix_headers(&copy);
        assert_eq!(back.len(), headers.len());
        for name in headers.keys() {
            assert!(back.get_all(name).eq(headers.get_all(name)), "{name}");
        }
        assert!(back.get("authorization").unwrap().is_sensitive());
    }

    #[test]
    fn what_http_1_has_no_word_for_is_left_out() {
        let mut headers = ActixHeaders::new();
        headers.append(ActixName::from_bytes(b"a\"b").unwrap(), ActixValue::from_static("c"));
        assert!(super::headers(&headers).is_empty());
    }

    #[test]
    fn uris_of_every_form_survive() {
        for text in [
            "/",
            "*",
            "/a/b?c=d&e",
            "//a//b",
            "/a?",
            "/%ff/{a}|\"b\"",
            "example.com:443",
            "http://example.com/a?b",
            "http://example.com",
            "https://user@[::1]:8080/a",
        ] {
            let given: ActixUri = text.parse().unwrap();
            let copy = uri(&given).unwrap();
            assert_eq!((copy.path(), copy.query()), (given.path(), given.query()), "{text}");
            assert_eq!(copy.authority().map(ToString::to_string), given.authority().map(ToString::to_string));
        }
        // As `NormalizePath` makes it of a `*`.
        let mut parts = actix_web::http::uri::Parts::default();
        parts.path_and_query = Some("*/".parse().unwrap());
        assert!(uri(&ActixUri::from_parts(parts).unwrap()).is_err());
    }

    #[test]
    fn every_method_of_http_0_2_is_one_of_http_1() {
        for byte in 0..=u8::MAX {
            if let Ok(method) = ActixMethod::from_bytes(&[byte]) {
                assert_eq!(super::method(&method).unwrap().as_str(), method.as_str());
            }
        }
    }

    #[test]
    fn every_status_is_known_to_both() {
        for code in 0..=u16::MAX {
            let known = ActixStatus::from_u16(code).ok().map(status);
            assert_eq!(known, StatusCode::from_u16(code).ok());
        }
    }

    #[test]
    fn an_answer_keeps_its_head_and_body() {
        let answer = Response::builder().status(402).header("a", "1").header("a", "2").header("b", "3");
        let answer = to_actix(answer.body(Bytes::from_static(b"pay")).unwrap());
        assert_eq!((answer.status().as_u16(), answer.headers().len()), (402, 3));
        assert!(answer.headers().get_all("a").eq(["1", "2"]));
        assert_eq!(MessageBody::try_into_bytes(answer.into_body()).unwrap(), "pay");
    }
}
