//! How a gate is: whether it can take payments, and what is missing.

use std::{fmt, time::SystemTime};

use crate::network::Network;

/// How a gate is at this moment. `Display` says it for the log.
///
/// ```
/// use http::StatusCode;
/// use x402_core::gate::PaymentGate;
///
/// /// What a readiness probe of the service answers.
/// async fn readiness(gate: &PaymentGate) -> (StatusCode, String) {
///     let status = gate.status().await;
///     let code = if status.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
///     (code, status.to_string())
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct GateStatus {
    /// What is wrong with the facilitator: it has not told yet what it supports, or did not answer when it was last asked.
    /// Where it told before, paid routes go on to ask it.
    pub facilitator: Option<Trouble>,
    /// Whether the facilitator ever told what it supports. Until then paid routes answer 503.
    pub is_known: bool,
    /// The ways to pay of this gate's charges that the facilitator does not settle. They are not offered; a route all of
    /// whose ways are among them answers 503.
    pub unsupported: Vec<Unsupported>,
    /// What is wrong with the store of payments. Paid routes answer 503 until it is back.
    pub store: Option<Trouble>,
}

/// What is wrong, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trouble {
    /// Since when, by this machine's clock; `None` where only this moment was looked at.
    pub since: Option<SystemTime>,
    /// What is wrong, with its causes.
    pub why: String,
}

/// A way to pay that the facilitator does not settle.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Unsupported {
    /// The scheme.
    pub scheme: String,
    /// The network.
    pub network: Network,
}

impl GateStatus {
    /// Whether payments can be taken for every charge, in every way that it offers: the facilitator answers and settles all
    /// of them, and the store answers.
    pub fn is_ready(&self) -> bool {
        self.is_known && self.facilitator.is_none() && self.unsupported.is_empty() && self.store.is_none()
    }
}

impl fmt::Display for GateStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_ready() {
            return f.write_str("ready to take payments");
        }
        let mut troubles = Vec::new();
        let seconds = |trouble: &Trouble| {
            let since = trouble.since.and_then(|since| since.elapsed().ok());
            since.map_or(String::new(), |since| format!(" for {} s", since.as_secs()))
        };
        match &self.facilitator {
            Some(trouble) => {
                troubles.push(format!("the facilitator does not answer{}: {}", seconds(trouble), trouble.why))
            }
            None if !self.is_known => {
                troubles.push("the facilitator has not told yet what it supports".to_owned());
            }
            None => {}
        }
        if !self.unsupported.is_empty() {
            let ways: Vec<_> = self.unsupported.iter().map(Unsupported::to_string).collect();
            troubles.push(format!(
                "the facilitator does not settle {}: charge on networks that it settles, or name another facilitator",
                ways.join(", ")
            ));
        }
        if let Some(trouble) = &self.store {
            troubles.push(format!("the store of payments does not answer: {}", trouble.why));
        }
        f.write_str(&troubles.join("; "))
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` on {}", self.scheme, self.network)
    }
}

/// A gate that did not become ready in time, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the gate cannot take payments: {0}")]
pub struct NotReady(pub GateStatus);
