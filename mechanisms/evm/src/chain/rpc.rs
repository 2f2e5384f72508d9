//! The calls a facilitator makes to a chain's endpoints.

use std::{sync::Arc, time::Duration};

use alloy::{
    providers::{DynProvider, Provider, RootProvider},
    rpc::{
        client::RpcClient,
        json_rpc::{RpcRecv, RpcSend},
        types::TransactionRequest,
    },
    sol_types::{SolCall, SolEvent},
    transports::TransportError,
};
use alloy_primitives::{Address, B256, Bytes, U64, U128, U256};
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    budget::Allowance,
    endpoints::{Endpoint, Endpoints, Head},
    fault::{ENDPOINT, Fault, FaultKind},
    transport::HttpTransport,
    words::{say_known, say_refused},
};
use crate::{
    clock::Clock,
    error::{Error, ErrorKind},
};

/// How long to wait for endpoints to say where they stand, where another one can be asked instead.
const SURVEY_TIMEOUT: Duration = Duration::from_secs(2);

/// A chain's endpoints.
#[derive(Clone)]
pub(crate) struct Rpc {
    endpoints: Arc<Endpoints>,
    /// Which one to ask, if not all.
    only: Option<usize>,
    /// How many searches of logs may be made, where they are counted.
    searches: Option<Arc<Allowance>>,
    chain_id: u64,
    pub(crate) timeout: Duration,
    pub(crate) clock: Clock,
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

/// The same of a block.
#[derive(Debug, Deserialize)]
struct Block {
    number: U64,
    timestamp: U64,
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
    pub(crate) fn connect<U: AsRef<str>>(
        urls: impl IntoIterator<Item = U>,
        chain_id: u64,
    ) -> Result<Self, Error> {
        let endpoint = |url: U| {
            let transport = HttpTransport::new(url.as_ref())?;
            let host = Some(transport.host().into());
            Ok(Endpoint::new(RootProvider::new(RpcClient::new(transport, false)).erased(), host))
        };
        let endpoints = urls.into_iter().map(endpoint).collect::<Result<Vec<_>, _>>()?;
        if endpoints.is_empty() {
            return Err(Error::new(
                ErrorKind::Endpoint,
                "no RPC endpoint was given: expected one URL or more",
            ));
        }
        Ok(Self::of(endpoints, chain_id))
    }

    pub(crate) fn over(provider: impl Provider + 'static, chain_id: u64) -> Self {
        Self::of(vec![Endpoint::new(provider.erased(), None)], chain_id)
    }

    fn of(endpoints: Vec<Endpoint>, chain_id: u64) -> Self {
        Self {
            endpoints: Arc::new(Endpoints::new(endpoints)),
            only: None,
            searches: None,
            chain_id,
            timeout: Duration::from_secs(10),
            clock: Clock::system(),
        }
    }

    /// Finds out whether there is an endpoint to ask.
    pub(crate) async fn ready(&self) -> Result<(), Fault> {
        self.usable().await.map(|_| ())
    }

    /// What is wrong with each endpoint, for whoever runs the facilitator: what it is called, and the fault.
    pub(crate) fn troubles(&self) -> Vec<(String, Fault)> {
        let trouble = |endpoint: &Endpoint| Some((endpoint.name(), endpoint.trouble()?));
        self.endpoints.all.iter().filter_map(trouble).collect()
    }

    /// Each endpoint that is used now by itself. Whoever concludes from what an endpoint does not know asks all of
    /// them, each for all of it: pieces from several make a chain that never was, since one may be behind another.
    pub(crate) async fn each(&self) -> Result<Vec<Self>, Fault> {
        let usable = self.usable().await?;
        Ok(usable.into_iter().map(|only| Self { only: Some(only), ..self.clone() }).collect())
    }

    /// The same, with no more searches of logs than this allows.
    pub(crate) fn within(&self, searches: Arc<Allowance>) -> Self {
        Self { searches: Some(searches), ..self.clone() }
    }

    /// Which endpoints to ask, in order.
    async fn usable(&self) -> Result<Vec<usize>, Fault> {
        if let Some(only) = self.only {
            return Ok(vec![only]);
        }
        let all = &self.endpoints.all;
        if !self.endpoints.are_several() {
            if !all[0].is_good() {
                self.identify(&all[0]).await.inspect_err(|fault| all[0].is_wrong(fault))?;
                all[0].is_right(Head::default());
            }
            return Ok(vec![0]);
        }
        if self.endpoints.are_due() {
            let _turn = self.endpoints.survey.lock().await;
            if self.endpoints.are_due() {
                self.survey().await;
            }
        }
        let usable: Vec<usize> = (0..all.len()).filter(|&index| all[index].is_good()).collect();
        match all.iter().rev().find_map(Endpoint::trouble) {
            Some(last) if usable.is_empty() => {
                let kind = FaultKind::AllAside { endpoints: all.len(), last: Box::new(last) };
                Err(Fault { method: "eth_chainId", kind })
            }
            _ => Ok(usable),
        }
    }

    /// Asks all that do not rest where they stand.
    async fn survey(&self) {
        let patience = self.timeout.min(SURVEY_TIMEOUT);
        let asked =
            self.endpoints.all.iter().filter(|endpoint| !endpoint.rests()).map(|endpoint| async move {
                let seen = timeout(patience, async {
                    tokio::try_join!(self.identify(endpoint), self.head_at(endpoint))
                });
                let seen = seen.await.unwrap_or_else(|_| Err(Fault::late("eth_chainId", patience)));
                match seen {
                    Ok(((), head)) if head.number > 0 => endpoint.is_right(head),
                    Ok(_) => endpoint.set_aside(&Fault::unfit("is at block 0: it has no chain yet")),
                    Err(fault) => endpoint.set_aside(&fault),
                }
            });
        join_all(asked).await;
        self.endpoints.compare(self.clock.now());
    }

    async fn identify(&self, endpoint: &Endpoint) -> Result<(), Fault> {
        let served = self.at::<_, U64>(endpoint, "eth_chainId", ()).await?.to::<u64>();
        if served == self.chain_id {
            return Ok(());
        }
        Err(Fault::unfit(format!(
            "serves eip155:{served}, expected eip155:{}: configure an endpoint of this network",
            self.chain_id
        )))
    }

    async fn head_at(&self, endpoint: &Endpoint) -> Result<Head, Fault> {
        let Block { number, timestamp } =
            self.at(endpoint, "eth_getBlockByNumber", ("latest", false)).await?;
        Ok(Head { number: number.to(), timestamp: timestamp.to() })
    }

    async fn ask<P: RpcSend, R: RpcRecv>(&self, method: &'static str, parameters: P) -> Result<R, Fault> {
        self.anywhere(method, |provider| {
            let parameters = parameters.clone();
            async move { provider.raw_request(method.into(), parameters).await }
        })
        .await
    }

    /// Asks one after the other until one answers. That a contract says no is an answer.
    async fn anywhere<R, F: Future<Output = Result<R, TransportError>>>(
        &self,
        method: &'static str,
        ask: impl Fn(DynProvider) -> F,
    ) -> Result<R, Fault> {
        let mut last = None;
        for index in self.usable().await? {
            let endpoint = &self.endpoints.all[index];
            match self.in_time(endpoint, method, ask(endpoint.provider.clone())).await {
                Ok(answer) => return Ok(answer),
                Err(fault) if fault.is_revert() => return Err(fault),
                Err(fault) => last = Some(fault),
            }
        }
        Err(last.expect("there is at least one endpoint to ask"))
    }

    async fn at<P: RpcSend, R: RpcRecv>(
        &self,
        endpoint: &Endpoint,
        method: &'static str,
        parameters: P,
    ) -> Result<R, Fault> {
        let answer = endpoint.provider.raw_request(method.into(), parameters);
        self.timed(method, answer).await
    }

    async fn in_time<R>(
        &self,
        endpoint: &Endpoint,
        method: &'static str,
        answer: impl Future<Output = Result<R, TransportError>>,
    ) -> Result<R, Fault> {
        let answer = self.timed(method, answer).await;
        match &answer {
            Ok(_) => endpoint.did_well(),
            Err(fault) if !fault.is_trouble() => {}
            Err(fault) if self.endpoints.are_several() => endpoint.set_aside(fault),
            Err(_) => endpoint.forget(),
        }
        answer
    }

    async fn timed<R>(
        &self,
        method: &'static str,
        answer: impl Future<Output = Result<R, TransportError>>,
    ) -> Result<R, Fault> {
        match timeout(self.timeout, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Fault { method, kind: FaultKind::of(error) }),
            Err(_) => Err(Fault::late(method, self.timeout)),
        }
    }

    pub(crate) async fn block_number(&self) -> Result<u64, Fault> {
        self.ask::<_, U64>("eth_blockNumber", ()).await.map(|number| number.to())
    }

    pub(crate) async fn code(&self, account: Address) -> Result<Bytes, Fault> {
        self.ask("eth_getCode", (account, "latest")).await
    }

    /// How much of the chain's own coin the account has.
    pub(crate) async fn balance(&self, account: Address) -> Result<U256, Fault> {
        self.ask("eth_getBalance", (account, "latest")).await
    }

    /// How many transactions of the account are in blocks.
    pub(crate) async fn mined_nonce(&self, account: Address) -> Result<u64, Fault> {
        self.ask::<_, U64>("eth_getTransactionCount", (account, "latest")).await.map(|count| count.to())
    }

    /// The same with those that wait to be: as many as any endpoint has heard of.
    pub(crate) async fn pending_nonce(&self, account: Address) -> Result<u64, Fault> {
        let each = self.each().await?;
        let counts =
            each.iter().map(|one| one.ask::<_, U64>("eth_getTransactionCount", (account, "pending")));
        let counts = join_all(counts).await;
        let most = counts.iter().flatten().max().map(|count| count.to());
        most.map_or_else(|| Err(first_fault(counts)), Ok)
    }

    /// The newest block.
    pub(crate) async fn head(&self) -> Result<Head, Fault> {
        let Block { number, timestamp } = self.ask("eth_getBlockByNumber", ("latest", false)).await?;
        Ok(Head { number: number.to(), timestamp: timestamp.to() })
    }

    /// The time of a block that there is, in seconds since 1970.
    pub(crate) async fn time_of(&self, block: u64) -> Result<u64, Fault> {
        let Block { timestamp, .. } =
            self.ask("eth_getBlockByNumber", (format!("{block:#x}"), false)).await?;
        Ok(timestamp.to())
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
        let estimate = |provider: DynProvider| async move { provider.estimate_eip1559_fees().await };
        let fees = self.anywhere("eth_feeHistory", estimate).await;
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

    /// Hands a transaction to the first endpoint that takes it. The same bytes at several are one transaction. An
    /// error says that it was not sent, or refused, only if that is so at every endpoint that was asked.
    pub(crate) async fn send(&self, raw: &Bytes) -> Result<(), Fault> {
        let (mut doubt, mut refused, mut not_sent) = (None, None, None);
        for one in self.each().await? {
            match one.ask::<_, B256>("eth_sendRawTransaction", (raw,)).await {
                Ok(_) => return Ok(()),
                Err(fault) if fault.answer().is_some_and(|words| say_known(&words)) => return Ok(()),
                Err(fault) if fault.was_not_sent() => not_sent = Some(fault),
                Err(fault) if fault.answer().is_some_and(|words| say_refused(&words)) => {
                    refused = Some(fault)
                }
                Err(fault) => doubt = Some(fault),
            }
        }
        Err(doubt.or(refused).or(not_sent).expect("there is at least one endpoint to ask"))
    }

    /// Whether an endpoint knows the transaction, in a block or waiting. That none does needs all their words.
    pub(crate) async fn knows(&self, hash: B256) -> Result<bool, Fault> {
        self.found::<Value>("eth_getTransactionByHash", hash).await.map(|found| found.is_some())
    }

    /// What the first endpoint that knows of it has under this hash; `None` if each of them says that it has nothing.
    async fn found<R: RpcRecv>(&self, method: &'static str, hash: B256) -> Result<Option<R>, Fault> {
        let mut doubt = None;
        for one in self.each().await? {
            match one.ask::<_, Option<R>>(method, (hash,)).await {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => {}
                Err(fault) => doubt = Some(fault),
            }
        }
        doubt.map_or(Ok(None), Err)
    }

    /// What a transaction calls its recipient with.
    pub(crate) async fn input(&self, hash: B256) -> Result<Option<Bytes>, Fault> {
        let found = self.found::<Called>("eth_getTransactionByHash", hash).await;
        found.map(|found| found.map(|transaction| transaction.input))
    }

    pub(crate) async fn receipt(&self, hash: B256) -> Result<Option<Receipt>, Fault> {
        self.found("eth_getTransactionReceipt", hash).await
    }

    pub(crate) async fn logs(
        &self,
        emitter: Address,
        topics: &([B256; 2], B256, B256),
        from_block: u64,
        to_block: u64,
    ) -> Result<Vec<Log>, Fault> {
        if self.searches.as_ref().is_some_and(|searches| !searches.take()) {
            return Err(Fault::not_searched());
        }
        let filter = json!({
            "address": emitter,
            "topics": topics,
            "fromBlock": U64::from(from_block),
            "toBlock": U64::from(to_block),
        });
        self.ask("eth_getLogs", (filter,)).await
    }
}

impl Endpoint {
    /// What it is called, for whoever runs the facilitator.
    fn name(&self) -> String {
        self.host.as_ref().map_or_else(|| ENDPOINT.to_owned(), |host| format!("{ENDPOINT} {host}"))
    }
}

/// Of answers of which none is good.
fn first_fault<T>(answers: Vec<Result<T, Fault>>) -> Fault {
    answers.into_iter().find_map(Result::err).expect("one of them failed")
}
