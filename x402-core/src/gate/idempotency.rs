//! Requests that their clients name: a request that comes again is answered again, and charged once.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is kept of requests that their clients name, and for how long; see
/// [`Charge::idempotent`](super::Charge::idempotent).
///
/// ```
/// use std::time::Duration;
/// use x402_core::gate::{GateBuilder, Idempotency};
///
/// fn generous(gate: GateBuilder) -> GateBuilder {
///     let day = Duration::from_secs(24 * 60 * 60);
///     gate.idempotency(Idempotency::default().longest_answer(1024 * 1024).keep_for(day))
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Idempotency {
    pub(super) longest_answer: usize,
    pub(super) longest_request: usize,
    pub(super) all_requests: usize,
    pub(super) read_within: Duration,
    pub(super) keep_for: Duration,
}

impl Default for Idempotency {
    /// Answers of 64 KiB, requests of 1 MiB that come within half a minute, 64 MiB of them at once, an hour.
    fn default() -> Self {
        Self {
            longest_answer: 64 * 1024,
            longest_request: 1024 * 1024,
            all_requests: 64 * 1024 * 1024,
            read_within: Duration::from_secs(30),
            keep_for: Duration::from_secs(60 * 60),
        }
    }
}

impl Idempotency {
    /// The longest body of an answer that is kept, in bytes; one that is longer, or whose length is not known before it
    /// is made, leaves as ever. Its headers have as much room again.
    pub fn longest_answer(self, bytes: usize) -> Self {
        Self { longest_answer: bytes, ..self }
    }

    /// The longest body of a request that comes with an identifier, in bytes: it is read whole before it is answered.
    /// A longer one is answered 413, and nothing is charged.
    pub fn longest_request(self, bytes: usize) -> Self {
        Self { longest_request: bytes, ..self }
    }

    /// How many bytes the bodies of such requests may take together, until they are answered. Who comes when there is no
    /// room waits for it, as long as a body may take to come, and is then answered 503; nothing is charged. It holds at
    /// least one body that is as long as may be.
    pub fn all_requests(self, bytes: usize) -> Self {
        Self { all_requests: bytes, ..self }
    }

    /// How long the body of such a request may take to come. A slower one is answered 408, and nothing is charged.
    pub fn read_within(self, time: Duration) -> Self {
        Self { read_within: time, ..self }
    }

    /// For how long at least the gate knows an identifier that was paid for, and its answer. After that it is a new one:
    /// whoever sends it with another payment is charged again.
    pub fn keep_for(self, time: Duration) -> Self {
        Self { keep_for: time, ..self }
    }
}

/// The room for the bodies that are read whole, of all requests together.
pub(super) struct Uploads {
    room: Arc<Semaphore>,
    whole: u32,
}

/// Room is given in pieces of so many bytes.
const PIECE: usize = 1024;

impl Uploads {
    pub(super) fn new(limits: Idempotency) -> Self {
        let whole = pieces(limits.all_requests.max(limits.longest_request));
        Self { room: Arc::new(Semaphore::new(whole as usize)), whole }
    }

    /// Waits until there is room for so many bytes.
    pub(super) async fn take(&self, bytes: usize) -> OwnedSemaphorePermit {
        let room = self.room.clone().acquire_many_owned(pieces(bytes).min(self.whole));
        room.await.expect("the room is never closed")
    }
}

fn pieces(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(PIECE)).unwrap_or(u32::MAX).clamp(1, u32::MAX >> 4)
}

/// Which requests of a charge come with an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identifiers {
    /// None: it is not looked for.
    Unknown,
    /// Those whose client wants to.
    Optional,
    /// All that pay.
    Required,
}

impl Identifiers {
    pub(super) fn are_taken(self) -> bool {
        self != Self::Unknown
    }
}
