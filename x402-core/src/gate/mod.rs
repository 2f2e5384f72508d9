//! The gate: it charges for requests, in any framework.
//!
//! An adapter hands over what it knows of a request ([`RequestView`]) and does as it is told: let it pass, answer
//! it, or call the handler and bring its answer to the [`Pass`].
//!
//! ```text
//! view ─▶ Offer ─▶ Matched ─▶ Claim ─▶ Verified ─▶ handler ─▶ Settled ─▶ answer
//!           └───────────── any step may end in a Refusal, which encodes itself ─┘
//! ```
//!
//! Each state is a struct with private fields and one constructor, the step that earned it, and each step takes
//! the state before it: a payment cannot be settled twice, or unverified.
//!
//! What is charged when:
//!
//! | The handler | settle after (default) | settle first |
//! |---|---|---|
//! | answers below 400, redirects and 304 included | charged | charged |
//! | answers below 400 and says [`Uncharged`] | not charged, the payment can be used again | charged |
//! | answers 400 to 499 | not charged, the payment can be used again | charged, with a receipt |
//! | answers 408, 429, or 500 and above | not charged, the payment can be used again | charged, with a receipt; the same payment is served when it is sent again |
//! | fails without an answer, or panics | not charged, the payment can be used again | charged; the same payment is served when it is sent again |
//! | is dropped, since the client hung up (axum, hyper) | not charged, the payment can be used again | charged |
//! | runs on, though the client hung up (actix-web, poem) | as what it answers | as what it answers |
//!
//! A client that goes away while its payment is settled is served when it sends the same payment again, where its request
//! ends with it. A time limit outside of the gate looks like a client that went away: put limits inside of it. A payment
//! that is served late, because its settlement took longer, is charged already: what would not have been charged in time
//! leaves it with its claim to an answer. Such a claim is good until an answer is charged, so a handler may run for it more
//! than once.
//!
//! Settlement, once begun, runs in a task of its own; a client that hangs up cannot stop it.

mod access;
mod admission;
mod builder;
mod capabilities;
mod charge;
mod claim;
mod error;
mod event;
mod grpc;
mod hooks;
mod idempotency;
mod limits;
mod offer;
mod paywall;
mod preflight;
mod refusal;
mod request;
mod response;
mod settle;
mod status;
mod table;
mod toll;
mod verify;

pub use access::{Access, NotPaid, PaymentInfo};
pub use admission::Pass;
pub use builder::{GateBuilder, PaymentGate};
pub use charge::{
    Charge, CustomBody, IntoPrice, PriceSpec, SettleTiming, TokenAmount, Unaddressed, Unplaced, exact,
    exact_with,
};
pub use error::ConfigError;
pub use event::{PaymentEvent, PaymentState};
pub use idempotency::Idempotency;
pub use limits::TimeLimits;
pub use paywall::{Page, Paywall, Visit};
pub use preflight::is_preflight;
pub use request::{RequestBody, RequestDecision, RequestInfo, RequestView, Unread};
pub use response::{HandlerResponse, Head, Uncharged};
pub use status::{GateStatus, NotReady, Trouble, Unsupported};
pub use table::{RouteMethods, RouteTable};
pub use toll::{Passage, PricedRoute, Toll};
