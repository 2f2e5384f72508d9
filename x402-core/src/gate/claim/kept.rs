//! What is kept of an answer, to be given again.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::gate::{request::Unread, response::HandlerResponse};

/// Says that an answer was given before, and no handler ran for it now.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// An answer that was bought, without what was meant for that one exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct KeptAnswer {
    status: u16,
    /// Names and values, a byte for each character.
    headers: Vec<(String, String)>,
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    body: Bytes,
}

impl KeptAnswer {
    /// Reads an answer that is to leave with these headers. `None` where it is too long, or its length is not known: then
    /// it leaves as ever. To a `bare` request it is its head alone.
    pub(in super::super) async fn of<R: HandlerResponse>(
        response: &mut R,
        (status, headers): (StatusCode, &HeaderMap),
        bare: bool,
        limit: usize,
    ) -> Result<Option<Self>, Unread> {
        let length = response.length();
        let mut kept = lasting(headers);
        let room = kept.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= limit;
        // After 101 the connection is no longer HTTP's.
        if status.is_informational() || !room {
            return Ok(None);
        }
        let body = if bare {
            let said = headers.get(header::CONTENT_LENGTH).map(latin);
            let length = said.or(length.filter(|bytes| *bytes > 0).map(|bytes| bytes.to_string()));
            kept.extend(length.map(|length| (header::CONTENT_LENGTH.to_string(), length)));
            Bytes::new()
        } else {
            let Some(length) = length.filter(|bytes| *bytes <= limit as u64) else { return Ok(None) };
            let Some(body) = response.read(limit).await? else { return Ok(None) };
            if body.len() as u64 != length {
                return Err(Unread::Broken);
            }
            body
        };
        Ok(Some(Self { status: status.as_u16(), headers: kept, body }))
    }

    /// The answer once more. What is no header by now is left out.
    pub(in super::super) fn again(self) -> Option<Response<Bytes>> {
        let mut response = Response::new(self.body);
        *response.status_mut() = StatusCode::from_u16(self.status).ok()?;
        for (name, value) in self.headers {
            let value: Option<Vec<u8>> = value.chars().map(|letter| u8::try_from(letter).ok()).collect();
            let value = HeaderValue::try_from(value?).ok()?;
            response.headers_mut().append(HeaderName::try_from(name).ok()?, value);
        }
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        let exposed = HeaderValue::from_static("Idempotent-Replayed");
        response.headers_mut().append(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        Some(response)
    }
}

/// The headers that say the same later on. Those of the connection (RFC 9110, 7.6.1) and of the body's transfer are made
/// anew. So is the date; and a cookie is for the client it was set for, at that time: an old session must not come back,
/// nor go to whoever else shows the payment.
fn lasting(headers: &HeaderMap) -> Vec<(String, String)> {
    const FLEETING: [&str; 11] = [
        "connection",
        "keep-alive",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "content-length",
        "date",
        "set-cookie",
        "set-cookie2",
        "clear-site-data",
    ];
    let named = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<String> =
        named.flat_map(|value| value.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect();
    let lasts = |name: &str| {
        !FLEETING.contains(&name) && !name.starts_with("proxy-") && !named.iter().any(|other| other == name)
    };
    let kept = headers.iter().filter(|(name, _)| lasts(name.as_str()));
    kept.map(|(name, value)| (name.to_string(), latin(value))).collect()
}

fn latin(value: &HeaderValue) -> String {
    value.as_bytes().iter().map(|byte| char::from(*byte)).collect()
}

fn to_base64<S: Serializer>(body: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64_STANDARD.encode(body))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let text = String::deserialize(deserializer)?;
    BASE64_STANDARD.decode(text).map(Bytes::from).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::response::Head;

    /// An answer whose length is known, or said to be.
    struct Answer(Option<u64>, &'static [u8]);

    impl HandlerResponse for Answer {
        fn take_head(&mut self) -> Head {
            unreachable!("it was taken")
        }

        fn with_headers(self, _: HeaderMap) -> Self {
            self
        }

        fn replaced_by(self, _: Response<Bytes>) -> Self {
            self
        }

        fn length(&mut self) -> Option<u64> {
            self.0
        }

        async fn read(&mut self, limit: usize) -> Result<Option<Bytes>, Unread> {
            assert!(self.1.len() <= limit);
            Ok(Some(Bytes::from_static(self.1)))
        }
    }

    async fn kept(
        answer: (Option<u64>, &'static [u8]),
        headers: &HeaderMap,
        bare: bool,
    ) -> Option<KeptAnswer> {
        let mut answer = Answer(answer.0, answer.1);
        let kept = KeptAnswer::of(&mut answer, (StatusCode::OK, headers), bare, 100).await.ok()?;
        // As the store has it.
        kept.map(|kept| serde_json::from_str(&serde_json::to_string(&kept).unwrap()).unwrap())
    }

    #[tokio::test]
    async fn an_answer_is_kept_without_what_was_for_that_one_exchange() {
        let headers = [
            ("Connection", &b"close, X-Hop"[..]),
            ("x-hop", b"1"),
            ("keep-alive", b"1"),
            ("transfer-encoding", b"chunked"),
            ("te", b"trailers"),
            ("trailer", b"x"),
            ("upgrade", b"h2c"),
            ("proxy-authenticate", b"x"),
            ("content-length", b"9"),
            ("date", b"x"),
            ("set-cookie", b"a=1"),
            ("content-encoding", b"gzip"),
            ("x-latin", b"caf\xe9"),
            ("x-twice", b"1"),
            ("x-twice", b"2"),
        ];
        let headers: HeaderMap = headers
            .map(|(name, value)| {
                (HeaderName::try_from(name).unwrap(), HeaderValue::from_bytes(value).unwrap())
            })
            .into_iter()
            .collect();
        let again = kept((Some(2), b"\x00\xff"), &headers, false).await.unwrap().again().unwrap();
        assert_eq!((again.status(), &again.body()[..]), (StatusCode::OK, &b"\x00\xff"[..]));
        let mut left: Vec<_> =
            again.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        left.sort_unstable();
        let expected: [(&str, &[u8]); 6] = [
            ("access-control-expose-headers", b"Idempotent-Replayed"),
            ("content-encoding", b"gzip"),
            ("idempotent-replayed", b"true"),
            ("x-latin", b"caf\xe9"),
            ("x-twice", b"1"),
            ("x-twice", b"2"),
        ];
        assert_eq!(left, expected);
        let bare = kept((Some(2), b""), &headers, true).await.unwrap().again().unwrap();
        assert_eq!(
            (&bare.headers()["content-length"], bare.body().len()),
            (&HeaderValue::from_static("9"), 0)
        );
    }

    #[tokio::test]
    async fn an_answer_that_is_long_or_of_unknown_length_is_not_kept() {
        let none = HeaderMap::new();
        assert!(kept((Some(3), b"abc"), &none, false).await.is_some());
        assert!(kept((Some(101), b"abc"), &none, false).await.is_none(), "too long");
        assert!(kept((None, b"abc"), &none, false).await.is_none(), "of unknown length");
        assert!(kept((Some(4), b"abc"), &none, false).await.is_none(), "shorter than it says");
        let long = HeaderMap::from_iter([(header::ETAG, HeaderValue::try_from("x".repeat(200)).unwrap())]);
        assert!(kept((Some(3), b"abc"), &long, false).await.is_none(), "long headers");
        let mut upgrade = Answer(Some(0), b"");
        let status = (StatusCode::SWITCHING_PROTOCOLS, &none);
        assert_eq!(KeptAnswer::of(&mut upgrade, status, false, 100).await.ok(), Some(None));
    }
}
