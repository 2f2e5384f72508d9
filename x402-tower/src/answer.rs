//! What the service answers, as the gate sees it.

use std::mem;

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::Body;
use x402_core::gate::{HandlerResponse, Head, Uncharged, Unread};

use crate::body::{GateBody, whole};

/// What the service answers.
pub(crate) struct Answer<B>(pub(crate) Response<GateBody<B>>);

impl<B: Body<Data = Bytes>> HandlerResponse for Answer<B> {
    fn take_head(&mut self) -> Head {
        Head {
            status: self.0.status(),
            headers: mem::take(self.0.headers_mut()),
            uncharged: self.0.extensions().get::<Uncharged>().is_some(),
        }
    }

    fn with_headers(mut self, headers: HeaderMap) -> Self {
        *self.0.headers_mut() = headers;
        self
    }

    fn replaced_by(self, answer: Response<Bytes>) -> Self {
        Self(answer.map(GateBody::from))
    }

    fn length(&mut self) -> Option<u64> {
        self.0.body().size_hint().exact()
    }

    async fn read(&mut self, limit: usize) -> Result<Option<Bytes>, Unread> {
        let body = mem::replace(self.0.body_mut(), GateBody::from(Bytes::new()));
        let (bytes, trailers) = whole(body, limit).await?;
        let kept = trailers.is_none().then(|| bytes.clone());
        *self.0.body_mut() = GateBody::read(bytes, trailers);
        Ok(kept)
    }
}
