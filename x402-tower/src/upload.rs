//! Request bodies that are read before the handler is called, where a payment names what it is for.

use std::{any::Any, fmt, pin::Pin, sync::Arc};

use bytes::Bytes;
use http_body::Body;
use x402_core::gate::{RequestBody, Unread};

use crate::body::whole;

type Reading = Pin<Box<dyn Future<Output = Result<Bytes, Unread>> + Send>>;

/// How to read a request's body, and to make another of the same bytes. The type of the body is known to whoever builds a
/// layer, and to whoever calls its service; a layer that reads none works with any.
#[derive(Clone, Default)]
pub(crate) struct Uploads(Option<Arc<dyn Any + Send + Sync>>);

struct Rebuilding<B> {
    read: fn(B, usize) -> Reading,
    rebuild: fn(Bytes) -> B,
    is_empty: fn(&B) -> bool,
}

impl<B> Clone for Rebuilding<B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Rebuilding<B> {}

impl Uploads {
    pub(crate) fn of<B>(rebuild: fn(Bytes) -> B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
    {
        let read = |body: B, limit| -> Reading {
            Box::pin(async move { whole(body, limit).await.map(|(bytes, _)| bytes) })
        };
        Self(Some(Arc::new(Rebuilding { read, rebuild, is_empty: B::is_end_stream })))
    }

    pub(crate) fn upload<B: 'static>(&self, body: B, is_bodiless: bool) -> Upload<B> {
        let rebuilding = self.0.as_ref().and_then(|known| known.downcast_ref().copied());
        Upload { body: Some(body), rebuilding, is_bodiless }
    }
}

impl fmt::Debug for Uploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uploads({})", if self.0.is_some() { "read" } else { "left alone" })
    }
}

/// A request's body on its way to the handler.
pub(crate) struct Upload<B> {
    /// `None` after it could not be read.
    body: Option<B>,
    rebuilding: Option<Rebuilding<B>>,
    /// Whether the headers of a preflight say that there is none, as they do in HTTP/1.
    is_bodiless: bool,
}

impl<B> Upload<B> {
    pub(crate) fn into_inner(self) -> B {
        self.body.expect("a request whose body could not be read was refused")
    }
}

impl<B: Send + 'static> RequestBody for Upload<B> {
    fn is_readable(&self) -> bool {
        self.rebuilding.is_some()
    }

    fn is_empty(&self) -> bool {
        matches!((&self.body, self.rebuilding), (Some(body), Some(Rebuilding { is_empty, .. })) if is_empty(body))
    }

    fn discard(&mut self) -> bool {
        match self.rebuilding {
            Some(Rebuilding { rebuild, .. }) => {
                self.body = Some(rebuild(Bytes::new()));
                true
            }
            None => self.is_bodiless,
        }
    }

    async fn read(&mut self, limit: usize) -> Result<Bytes, Unread> {
        let (Some(body), Some(Rebuilding { read, rebuild, .. })) = (self.body.take(), self.rebuilding) else {
            return Err(Unread::Broken);
        };
        let bytes = read(body, limit).await?;
        self.body = Some(rebuild(bytes.clone()));
        Ok(bytes)
    }
}
