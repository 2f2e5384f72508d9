//! x402 facilitators: call one, embed one, run one.
//!
//! A facilitator verifies payments and settles them on chain. Everything here is a
//! [`Facilitator`](x402_core::facilitator::Facilitator), or serves one:
//!
//! - `RemoteFacilitator` (feature `remote`): somebody else's, over HTTP.
//! - `LocalFacilitator` (feature `local`): yours, in this process, out of the schemes you register.
//! - [`Facilitators`]: several, in order of preference.
//! - `http::router` (feature `http`): any of them as the protocol's HTTP API. The binary `x402-facilitator`
//!   (feature `bin`) is that API over the EVM schemes, set up from the environment.

mod error;
mod failover;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "local")]
mod local;
#[cfg(feature = "remote")]
pub mod remote;

/// The header of `POST /settle` that says who may hear of the outcome: whoever shows the value that the settlement was
/// begun with.
pub const IDEMPOTENCY_KEY: ::http::HeaderName = ::http::HeaderName::from_static("idempotency-key");

pub use error::{Error, ErrorKind};
pub use failover::Facilitators;
#[cfg(feature = "local")]
pub use local::LocalFacilitator;
#[cfg(feature = "remote")]
pub use remote::RemoteFacilitator;
