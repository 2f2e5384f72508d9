//! What the gate is told about a handler's answer, and what a handler may say in it.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};

use super::request::Unread;

/// A handler's answer, in whatever type a framework has for it. Adapters implement it, once.
pub trait HandlerResponse: Sized {
    /// Its head. The headers are moved out, or copied.
    fn take_head(&mut self) -> Head;

    /// The same answer, its headers replaced by these: they are the head's, completed.
    fn with_headers(self, headers: HeaderMap) -> Self;

    /// The gate's answer in place of this one, which was not paid for: nothing of it may leave.
    fn replaced_by(self, answer: Response<Bytes>) -> Self;

    /// How many bytes its body has, where that is known before it is made.
    fn length(&mut self) -> Option<u64>;

    /// Reads its body, and leaves the answer as it was. `None` where there is more to it than bytes, like trailers.
    ///
    /// # Errors
    /// When it is longer than this many bytes, or does not come to its end.
    fn read(&mut self, limit: usize) -> impl Future<Output = Result<Option<Bytes>, Unread>>;
}

/// The head of a handler's answer.
#[derive(Debug)]
pub struct Head {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// Whether the handler put an [`Uncharged`] into the answer's extensions.
    pub uncharged: bool,
}

/// A handler puts this into its answer's extensions where the answer is not worth its price: the payment is not
/// settled, and can be used again. After a charge that settles first it is too late, and nothing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uncharged;
