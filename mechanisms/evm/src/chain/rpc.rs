//! The calls a facilitator makes to a chain's endpoint, and what can go wrong with them.

use std::{fmt, sync::Arc, time::Duration};

use alloy::{
    providers::{DynProvider, Provider, RootProvider},
    rpc::{
        client::RpcClient,
        json_rpc::{ErrorPayload, RpcError, RpcRecv, RpcSend},
        types::TransactionRequest,
    },
    sol_types::{SolCall, SolEvent},
    transports::{TransportError, TransportErrorKind},
};
use alloy_primitives::{Address, B256, Bytes, U64, U128, U256};
use serde::Deserialize;
use serde_json::{Value, json};

use super::transport::{HttpFault, HttpTransport};
use crate::error::Error;

/// What the endpoint is called in texts that callers see, too.
const ENDPOINT: &str = "the RPC endpoint";

/// A chain's endpoint.
#[derive(Clone)]
pub(crate) struct Rpc {
    provider: DynProvider,
    pub(crate) timeout: Duration,
    /// `host:port`: the rest of a URL often holds a key.
    host: Option<Arc<str>>,
}

/// A call the endpoint did not do. Says nothing about the payment.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    method: &'static str,
    kind: FaultKind,
}

#[derive(Debug, Clone)]
enum FaultKind {
    /// The endpoint answered with an error.
    Answered { code: i64, message: String, reverted: bool },
    /// The request did not leave.
    NotSent(String),
    /// The request may have been worked on.
    NoAnswer(String),
}

/// What a unit of gas costs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fees {
    Eip1559 { max: u128, priority: u128 },
    Legacy(u128),
}

/// What we read of a receipt: every kind of chain has at least this.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Receipt {
    status: U64,
    pub(crate) block_number: U64,
    pub(crate) logs: Vec<Log>,
}

/// The same of a log.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Log {
    pub(crate) address: Address,
    topics: Vec<B256>,
    data: Bytes,
    pub(crate) transaction_hash: Option<B256>,
}

/// The same of a transaction.
#[derive(Debug, Deserialize)]
struct Called {
    input: Bytes,
}

impl Log {
    /// The event, if it is exactly one of this kind.
    pub(crate) fn decode<E: SolEvent>(&self) -> Option<E> {
        E::decode_raw_log_validate(self.topics.iter().copied(), &self.data).ok()
    }
}

impl Receipt {
    pub(crate) fn succeeded(&self) -> bool {
        self.status == U64::ONE
    }
}

impl Rpc {
    pub(crate) fn connect(url: &str) -> Result<Self, Error> {
        let transport = HttpTransport::new(url)?;
        let host = Some(transport.host().into());
        let provider = RootProvider::new(RpcClient::new(transport, false));
        Ok(Self { host, ..Self::over(provider) })
    }

    pub(crate) fn over(provider: impl Provider + 'static) -> Self {
        Self { provider: provider.erased(), timeout: Duration::from_secs(10), host: None }
    }

    /// The endpoint, for whoever runs the facilitator.
    pub(crate) fn name(&self) -> String {
        self.host.as_ref().map_or_else(|| ENDPOINT.to_owned(), |host| format!("{ENDPOINT} {host}"))
    }

    async fn ask<P: RpcSend, R: RpcRecv>(&self, method: &'static str, parameters: P) -> Result<R, Fault> {
        let answer = self.provider.raw_request(method.into(), parameters);
        self.in_time(method, answer).await
    }

    async fn in_time<R>(
        &self,
        method: &'static str,
        answer: impl Future<Output = Result<R, TransportError>>,
    ) -> Result<R, Fault> {
        let kind = match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => FaultKind::of(error),
            Err(_) => FaultKind::NoAnswer(format!("no answer within {} ms", self.timeout.as_millis())),
        };
        Err(Fault { method, kind })
    }

    pub(crate) async fn chain_id(&self) -> Result<u64, Fault> {
        self.ask::<_, U64>("eth_chainId", ()).await.map(|id| id.to())
    }

    pub(crate) async fn block_number(&self) -> Result<u64, Fault> {
        self.ask::<_, U64>("eth_blockNumber", ()).await.map(|number| number.to())
    }

    pub(crate) async fn code(&self, account: Address) -> Result<Bytes, Fault> {
        self.ask("eth_getCode", (account, "latest")).await
    }

    /// How many transactions of the account are in blocks.
    pub(crate) async fn mined_nonce(&self, account: Address) -> Result<u64, Fault> {
        self.ask::<_, U64>("eth_getTransactionCount", (account, "latest")).await.map(|count| count.to())
    }

    /// The same with those that wait to be.
    pub(crate) async fn pending_nonce(&self, account: Address) -> Result<u64, Fault> {
        self.ask::<_, U64>("eth_getTransactionCount", (account, "pending")).await.map(|count| count.to())
    }

    pub(crate) async fn call(&self, call: &TransactionRequest) -> Result<Bytes, Fault> {
        self.ask("eth_call", (call, "latest")).await
    }

    pub(crate) async fn estimate_gas(&self, call: &TransactionRequest) -> Result<u64, Fault> {
        self.ask::<_, U256>("eth_estimateGas", (call, "latest")).await.map(|gas| gas.saturating_to())
    }

    /// Calls a view. `Ok(None)`: it reverted, or its answer is not of the function's type.
    pub(crate) async fn view<C: SolCall>(&self, to: Address, call: &C) -> Result<Option<C::Return>, Fault> {
        self.view_at(to, call, None).await
    }

    /// The same in the state after this block.
    pub(crate) async fn view_at<C: SolCall>(
        &self,
        to: Address,
        call: &C,
        block: Option<u64>,
    ) -> Result<Option<C::Return>, Fault> {
        let request = TransactionRequest::default().to(to).input(call.abi_encode().into());
        let block = block.map_or_else(|| "latest".to_owned(), |number| format!("{number:#x}"));
        match self.ask::<_, Bytes>("eth_call", (request, block)).await {
            Ok(answer) => Ok(C::abi_decode_returns(&answer).ok()),
            Err(fault) if fault.is_revert() => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    pub(crate) async fn fees(&self) -> Result<Fees, Fault> {
        let fees = self.in_time("eth_feeHistory", self.provider.estimate_eip1559_fees()).await;
        match fees {
            Ok(fees) => {
                Ok(Fees::Eip1559 { max: fees.max_fee_per_gas, priority: fees.max_priority_fee_per_gas })
            }
            // A chain without a base fee has no EIP-1559, and some do not know the method at all.
            Err(Fault { kind: FaultKind::Answered { .. }, .. }) => {
                self.ask::<_, U128>("eth_gasPrice", ()).await.map(|price| Fees::Legacy(price.to()))
            }
            Err(fault) => Err(fault),
        }
    }

    pub(crate) async fn send(&self, raw: &Bytes) -> Result<B256, Fault> {
        self.ask("eth_sendRawTransaction", (raw,)).await
    }

    /// Whether the endpoint knows the transaction, in a block or waiting.
    pub(crate) async fn knows(&self, hash: B256) -> Result<bool, Fault> {
        self.ask::<_, Option<Value>>("eth_getTransactionByHash", (hash,)).await.map(|found| found.is_some())
    }

    /// What a transaction calls its recipient with.
    pub(crate) async fn input(&self, hash: B256) -> Result<Option<Bytes>, Fault> {
        let found = self.ask::<_, Option<Called>>("eth_getTransactionByHash", (hash,)).await;
        found.map(|found| found.map(|transaction| transaction.input))
    }

    pub(crate) async fn receipt(&self, hash: B256) -> Result<Option<Receipt>, Fault> {
        self.ask("eth_getTransactionReceipt", (hash,)).await
    }

    pub(crate) async fn logs(
        &self,
        emitter: Address,
        topics: [B256; 3],
        from_block: u64,
        to_block: u64,
    ) -> Result<Vec<Log>, Fault> {
        let filter = json!({
            "address": emitter,
            "topics": topics,
            "fromBlock": U64::from(from_block),
            "toBlock": U64::from(to_block),
        });
        self.ask("eth_getLogs", (filter,)).await
    }
}

impl Fault {
    /// The call was done, and the contract said no.
    pub(crate) fn is_revert(&self) -> bool {
        matches!(self.kind, FaultKind::Answered { reverted: true, .. })
    }

    pub(crate) fn was_not_sent(&self) -> bool {
        matches!(self.kind, FaultKind::NotSent(_))
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
    /// An endpoint that reports a transaction's log and does not know the transaction.
    pub(crate) fn lost_transaction() -> Self {
        let what = "it reported a log of a transaction that it does not know";
        Self { method: "eth_getTransactionByHash", kind: FaultKind::NoAnswer(what.into()) }
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
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.of(ENDPOINT))
    }
}

impl FaultKind {
    fn of(error: TransportError) -> Self {
        match error {
            RpcError::ErrorResp(answer) => Self::answered(&answer),
            RpcError::UnsupportedFeature(feature) => {
                Self::Answered { code: 0, message: format!("no {feature}"), reverted: false }
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
        let reverted = !answer.is_retry_err()
            && (answer.code == 3
                || answer.as_revert_data().is_some()
                || vm.iter().any(|words| message.contains(words)));
        Self::Answered { code: answer.code, message: presentable(&answer.message), reverted }
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
        for (code, message) in
            [(3, "execution reverted"), (-32000, "execution reverted: no"), (-32015, "VM execution error.")]
        {
            assert!(answered(code, message).is_revert(), "{message}");
        }
        for (code, message) in
            [(-32005, "limit exceeded"), (429, "Too Many Requests"), (-32000, "header not found")]
        {
            assert!(!answered(code, message).is_revert(), "{message}");
        }
    }
}
