//! What can go wrong with a call to a chain's endpoint.

use std::{fmt, time::Duration};

use alloy::{
    rpc::json_rpc::{ErrorPayload, RpcError},
    transports::{TransportError, TransportErrorKind},
};

use super::transport::HttpFault;

/// What the endpoint is called in texts that callers see, too.
pub(super) const ENDPOINT: &str = "the RPC endpoint";

/// A call the endpoint did not do. Says nothing about the payment.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(super) method: &'static str,
    pub(super) kind: FaultKind,
}

#[derive(Debug, Clone)]
pub(super) enum FaultKind {
    /// The endpoint answered with an error.
    Answered { code: i64, message: String, reverted: bool, busy: bool },
    /// The request did not leave.
    NotSent(String),
    /// The request may have been worked on.
    NoAnswer(String),
    /// The endpoint will not do, and was not asked.
    Unfit(String),
    /// A nonce is used there, and no log shows by what.
    LostLog,
    /// Too many searches are made for others: this one was not begun.
    NotSearched,
    /// None was asked.
    AllAside { endpoints: usize, last: Box<Fault> },
}

impl Fault {
    /// The call was done, and the contract said no.
    pub(crate) fn is_revert(&self) -> bool {
        matches!(self.kind, FaultKind::Answered { reverted: true, .. })
    }

    pub(crate) fn was_not_sent(&self) -> bool {
        matches!(
            self.kind,
            FaultKind::NotSent(_) | FaultKind::Unfit(_) | FaultKind::AllAside { .. } | FaultKind::NotSearched
        )
    }

    /// The endpoint is down or busy, or talks nonsense: another one may do better with anything.
    pub(super) fn is_trouble(&self) -> bool {
        match &self.kind {
            FaultKind::Answered { busy, .. } => *busy,
            FaultKind::NotSent(_) | FaultKind::NoAnswer(_) | FaultKind::Unfit(_) | FaultKind::LostLog => true,
            FaultKind::AllAside { .. } | FaultKind::NotSearched => false,
        }
    }

    /// The endpoint is another one than it should be.
    pub(crate) fn is_unfit(&self) -> bool {
        matches!(self.kind, FaultKind::Unfit(_))
    }

    /// The endpoint's words, in lower case, if it answered.
    pub(crate) fn answer(&self) -> Option<String> {
        match &self.kind {
            FaultKind::Answered { message, .. } => Some(message.to_lowercase()),
            _ => None,
        }
    }
}

impl Fault {
    pub(super) fn late(method: &'static str, patience: Duration) -> Self {
        Self { method, kind: FaultKind::NoAnswer(format!("no answer within {} ms", patience.as_millis())) }
    }

    /// An endpoint that is, or does, this.
    pub(super) fn unfit(what: impl Into<String>) -> Self {
        Self { method: "eth_chainId", kind: FaultKind::Unfit(what.into()) }
    }

    pub(super) fn behind(head: u64, furthest: u64) -> Self {
        Self::unfit(format!("is behind: its newest block is {head}, and another endpoint's {furthest}"))
    }

    /// An endpoint that reports a transaction's log and does not know the transaction.
    pub(crate) fn lost_transaction() -> Self {
        let what = "it reported a log of a transaction that it does not know";
        Self { method: "eth_getTransactionByHash", kind: FaultKind::NoAnswer(what.into()) }
    }

    /// An endpoint on which a nonce is used, and that shows no log of its use.
    pub(crate) fn lost_log() -> Self {
        Self { method: "eth_getLogs", kind: FaultKind::LostLog }
    }

    /// The nonce is used, so nothing more can come of it; only by what is not known.
    pub(crate) fn is_lost_log(&self) -> bool {
        matches!(self.kind, FaultKind::LostLog)
    }

    /// A search of logs that there is no room for now.
    pub(super) fn not_searched() -> Self {
        Self { method: "eth_getLogs", kind: FaultKind::NotSearched }
    }

    pub(crate) fn was_not_searched(&self) -> bool {
        matches!(self.kind, FaultKind::NotSearched)
    }

    /// What went wrong with this endpoint.
    pub(crate) fn of(&self, endpoint: &str) -> String {
        let method = self.method;
        match &self.kind {
            FaultKind::Answered { code, message, .. } => {
                format!("{endpoint} answered {method} with error {code}: {message}")
            }
            FaultKind::NotSent(what) => format!("{method} did not reach {endpoint}: {what}"),
            FaultKind::NoAnswer(what) => format!("{method} got no answer from {endpoint}: {what}"),
            FaultKind::Unfit(what) => format!("{endpoint} {what}"),
            FaultKind::LostLog => format!(
                "the nonce is used, and {endpoint} has no log of its use in the blocks that were searched"
            ),
            FaultKind::NotSearched => {
                "the payment's nonce is used, and too many such payments are being looked for on chain just now: \
                 settle it again later"
                    .to_owned()
            }
            FaultKind::AllAside { endpoints, last } => {
                format!("all {endpoints} RPC endpoints are set aside for now, the last one because {last}")
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.of(ENDPOINT))
    }
}

impl FaultKind {
    pub(super) fn of(error: TransportError) -> Self {
        match error {
            RpcError::ErrorResp(answer) => Self::answered(&answer),
            RpcError::UnsupportedFeature(feature) => {
                Self::Answered { code: 0, message: format!("no {feature}"), reverted: false, busy: false }
            }
            RpcError::Transport(kind) => match kind.as_http_error() {
                Some(http) => Self::NoAnswer(format!("HTTP status {}", http.status)),
                None => Self::of_transport(&kind),
            },
            RpcError::NullResp => Self::NoAnswer("the answer was null".into()),
            RpcError::DeserError { .. } => Self::NoAnswer("the answer was not of the expected shape".into()),
            RpcError::SerError(_) | RpcError::LocalUsageError(_) => {
                Self::NotSent("the request could not be made".into())
            }
        }
    }

    fn of_transport(kind: &TransportErrorKind) -> Self {
        let custom = kind.as_custom().and_then(|error| error.downcast_ref::<HttpFault>());
        match custom {
            Some(HttpFault::NotConnected) => Self::NotSent(HttpFault::NotConnected.to_string()),
            Some(fault) => Self::NoAnswer(fault.to_string()),
            // A transport that is not ours: its words may hold its URL.
            None => Self::NoAnswer("the transport failed".into()),
        }
    }

    fn answered(answer: &ErrorPayload) -> Self {
        let message = answer.message.to_lowercase();
        let vm = ["revert", "vm execution", "invalid opcode", "out of gas", "gas required exceeds"];
        // As anvil names what ended the execution.
        let halted =
            message.strip_prefix("evm error ").is_some_and(|why| why.chars().all(char::is_alphanumeric));
        let busy = answer.is_retry_err();
        let reverted = !busy
            && (answer.code == 3
                || halted
                || answer.as_revert_data().is_some()
                || vm.iter().any(|words| message.contains(words)));
        Self::Answered { code: answer.code, message: presentable(&answer.message), reverted, busy }
    }
}

/// An endpoint's words, without what might be a signature or a URL, and no longer than a line.
fn presentable(message: &str) -> String {
    let mut words = String::new();
    for word in message.split_whitespace() {
        if words.chars().count() + word.chars().count() > 160 {
            words.push_str(" …");
            break;
        }
        if !words.is_empty() {
            words.push(' ');
        }
        let secret = word.len() > 70 || word.contains("://");
        words.push_str(if secret { "…" } else { word });
    }
    words.retain(|letter| !letter.is_control());
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_endpoints_words_are_cut_down() {
        let raw = format!("bad transaction 0x{} at https://rpc.example/KEY", "ab".repeat(200));
        assert_eq!(presentable(&raw), "bad transaction …");
        assert_eq!(presentable("see https://rpc.example/KEY now"), "see … now");
        assert_eq!(presentable("nonce too low:\u{1b} next 4"), "nonce too low: next 4");
    }

    #[test]
    fn a_revert_is_told_from_trouble() {
        let answered = |code: i64, message: &str| {
            let json = json!({ "code": code, "message": message }).to_string();
            Fault { method: "eth_call", kind: FaultKind::answered(&serde_json::from_str(&json).unwrap()) }
        };
        for (code, message) in [
            (3, "execution reverted"),
            (-32000, "execution reverted: no"),
            (-32015, "VM execution error."),
            (-32603, "EVM error OutOfGas"),
        ] {
            assert!(answered(code, message).is_revert(), "{message}");
        }
        for (code, message) in [
            (-32603, "EVM error: database is locked"),
            (-32005, "limit exceeded"),
            (429, "Too Many Requests"),
            (-32000, "header not found"),
        ] {
            assert!(!answered(code, message).is_revert(), "{message}");
        }
    }
}
