//! A wallet as people have it: it asks its owner, knows some networks, and signs what it is shown.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use alloy::{
    primitives::Address,
    providers::{DynProvider, Provider},
};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::{Chain, serve::Counter};

/// What the wallet's owner does when it asks, or the wallet itself.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// Agrees.
    Yes,
    /// Closes the wallet's window (EIP-1193, 4001).
    Reject,
    /// Agrees once [`Wallet::let_go`] is called.
    Wait,
    /// Never answers.
    Hang,
    /// The wallet fails, with this code and message.
    Fail(i64, &'static str),
}

/// A wallet. Every clone is the same one.
#[derive(Clone)]
pub struct Wallet(Arc<Inner>);

struct Inner {
    name: &'static str,
    state: Mutex<State>,
    let_go: Notify,
}

struct State {
    account: Address,
    /// The network that is chosen.
    network: u64,
    /// The networks it has, and how it reaches them.
    networks: HashMap<u64, Option<DynProvider>>,
    /// The networks that it may learn of.
    others: HashMap<u64, DynProvider>,
    connected: bool,
    answers: HashMap<&'static str, VecDeque<Answer>>,
    asked: HashMap<String, Counter>,
    added: Vec<Value>,
    signed: Vec<Value>,
}

/// An error of EIP-1193.
#[derive(Debug)]
pub(super) struct Fault(pub(super) i64, pub(super) String);

/// What a request makes known to the page besides its answer: an event and its value.
pub(super) type Told = Option<(&'static str, Value)>;

const SIGN: &str = "eth_signTypedData_v4";
const CONNECT: &str = "eth_requestAccounts";
const READ: &str = "eth_call";
const SWITCH: &str = "wallet_switchEthereumChain";
const ADD: &str = "wallet_addEthereumChain";

impl Wallet {
    /// A wallet with this account of the node's, on its network.
    pub fn new(name: &'static str, chain: &Chain, account: Address) -> Self {
        let state = State {
            account,
            network: chain.chain_id(),
            networks: HashMap::from([(chain.chain_id(), Some(chain.provider()))]),
            others: HashMap::new(),
            connected: false,
            answers: HashMap::new(),
            asked: HashMap::new(),
            added: Vec::new(),
            signed: Vec::new(),
        };
        Self(Arc::new(Inner { name, state: Mutex::new(state), let_go: Notify::new() }))
    }

    /// It is on another network, which has no contracts.
    #[must_use]
    pub fn elsewhere(self, network: u64) -> Self {
        let mut state = self.state();
        state.network = network;
        state.networks.entry(network).or_default();
        drop(state);
        self
    }

    /// It has never heard of this chain.
    #[must_use]
    pub fn without(self, chain: &Chain) -> Self {
        let mut state = self.state();
        state.networks.remove(&chain.chain_id());
        state.others.insert(chain.chain_id(), chain.provider());
        drop(state);
        self
    }

    /// It has this chain, too.
    #[must_use]
    pub fn with(self, chain: &Chain) -> Self {
        self.state().networks.insert(chain.chain_id(), Some(chain.provider()));
        self
    }

    /// It is connected with the page from earlier.
    #[must_use]
    pub fn connected(self) -> Self {
        self.state().connected = true;
        self
    }

    /// What happens when the page asks it to sign, time after time; the last goes on for ever.
    #[must_use]
    pub fn on_sign(self, answers: impl IntoIterator<Item = Answer>) -> Self {
        self.on(SIGN, answers)
    }

    /// The same when the page asks to be connected.
    #[must_use]
    pub fn on_connect(self, answers: impl IntoIterator<Item = Answer>) -> Self {
        self.on(CONNECT, answers)
    }

    /// The same when the page asks for another network.
    #[must_use]
    pub fn on_switch(self, answers: impl IntoIterator<Item = Answer>) -> Self {
        self.on(SWITCH, answers)
    }

    /// The same when the page reads from a contract.
    #[must_use]
    pub fn on_read(self, answers: impl IntoIterator<Item = Answer>) -> Self {
        self.on(READ, answers)
    }

    /// The same when the page makes a network known.
    #[must_use]
    pub fn on_add(self, answers: impl IntoIterator<Item = Answer>) -> Self {
        self.on(ADD, answers)
    }

    fn on(self, method: &'static str, answers: impl IntoIterator<Item = Answer>) -> Self {
        self.state().answers.insert(method, answers.into_iter().collect());
        self
    }

    /// Lets one waiting answer go, now or when it comes to wait.
    pub fn let_go(&self) {
        self.0.let_go.notify_one();
    }

    /// Waits until the page asked for this so often.
    pub async fn asked(&self, method: &str, times: usize) {
        self.counter(method).reaches(times).await;
    }

    /// How often the page asked it to sign.
    pub fn sign_calls(&self) -> usize {
        self.counter(SIGN).get()
    }

    /// Waits until the page asked it to sign this often.
    pub async fn sign_begun(&self, times: usize) {
        self.counter(SIGN).reaches(times).await;
    }

    /// How often the page asked for another network.
    pub fn switch_calls(&self) -> usize {
        self.counter(SWITCH).get()
    }

    /// How often the page asked to be connected.
    pub fn connect_calls(&self) -> usize {
        self.counter(CONNECT).get()
    }

    /// Waits until the page asked to be connected this often.
    pub async fn connect_begun(&self, times: usize) {
        self.counter(CONNECT).reaches(times).await;
    }

    /// The typed data that it signed.
    pub fn signed(&self) -> Vec<Value> {
        self.state().signed.clone()
    }

    /// The networks that the page made known, as it described them.
    pub fn added(&self) -> Vec<Value> {
        self.state().added.clone()
    }

    /// The network that is chosen.
    pub fn network(&self) -> u64 {
        self.state().network
    }

    /// How it announces itself (EIP-6963).
    pub(super) fn info(&self) -> Value {
        const ICON: &str = "data:image/svg+xml;base64,PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciIHZpZXdCb3g9IjAgMCA5NiA5NiI+PGNpcmNsZSBj\
                            eD0iNDgiIGN5PSI0OCIgcj0iNDgiIGZpbGw9IiM3YzNhZWQiLz48L3N2Zz4=";
        let id: u64 = self.0.name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let uuid = format!("350670db-19fa-4704-a166-{:012x}", id & 0xffff_ffff_ffff);
        json!({ "uuid": uuid, "name": self.0.name, "icon": ICON, "rdns": format!("test.wallet{}", id % 1000) })
    }

    /// Answers a request of the page's.
    pub(super) async fn answer(&self, method: &str, params: &Value) -> Result<(Value, Told), Fault> {
        self.counter(method).count();
        match self.next_answer(method) {
            Answer::Yes => {}
            Answer::Wait => self.0.let_go.notified().await,
            Answer::Hang => pending().await,
            Answer::Reject => return Err(Fault(4001, "User rejected the request.".into())),
            Answer::Fail(code, message) => return Err(Fault(code, message.into())),
        }
        let mut told = None;
        let result = match method {
            "eth_chainId" => json!(format!("{:#x}", self.network())),
            "net_version" => json!(self.network().to_string()),
            "eth_accounts" => self.accounts(),
            CONNECT => {
                self.state().connected = true;
                self.accounts()
            }
            SWITCH => {
                let network = chain_id(&params[0]["chainId"])?;
                self.switch(network)?;
                told = Some(("chainChanged", json!(format!("{network:#x}"))));
                Value::Null
            }
            ADD => {
                self.add(&params[0])?;
                Value::Null
            }
            SIGN => self.sign(params).await?,
            method if method.starts_with("eth_") && !method.starts_with("eth_send") => {
                self.read(method, params).await?
            }
            other => return Err(Fault(4200, format!("this wallet does not know {other}"))),
        };
        Ok((result, told))
    }

    fn accounts(&self) -> Value {
        let state = self.state();
        if state.connected { json!([state.account]) } else { json!([]) }
    }

    fn switch(&self, network: u64) -> Result<(), Fault> {
        let mut state = self.state();
        if !state.networks.contains_key(&network) {
            return Err(Fault(4902, format!("Unrecognized chain ID \"{network:#x}\".")));
        }
        state.network = network;
        Ok(())
    }

    /// As strict as EIP-3085 and the wallets that implement it.
    fn add(&self, network: &Value) -> Result<(), Fault> {
        let id = chain_id(&network["chainId"])?;
        let https = |urls: &Value| {
            let url = urls[0].as_str().unwrap_or_default();
            url.starts_with("https://") || url.starts_with("http://127.0.0.1")
        };
        let currency = &network["nativeCurrency"];
        let whole = network["chainName"].as_str().is_some_and(|name| !name.is_empty())
            && https(&network["rpcUrls"])
            && currency["symbol"].as_str().is_some_and(|symbol| (2..=6).contains(&symbol.len()))
            && currency["decimals"] == 18
            && (network.get("blockExplorerUrls").is_none_or(https));
        if !whole {
            return Err(Fault(-32602, format!("not a network: {network}")));
        }
        let mut state = self.state();
        let provider = state.others.get(&id).cloned();
        state.networks.insert(id, provider);
        state.added.push(network.clone());
        Ok(())
    }

    async fn sign(&self, params: &Value) -> Result<Value, Fault> {
        let typed: Value = match &params[1] {
            Value::String(text) => serde_json::from_str(text).map_err(|error| wrong(&error))?,
            other => other.clone(),
        };
        let (account, network, connected) = {
            let state = self.state();
            (state.account, state.network, state.connected)
        };
        let whose = params[0].as_str().and_then(|address| address.parse::<Address>().ok());
        if !connected || whose != Some(account) {
            return Err(Fault(4100, "The requested account has not been authorized.".into()));
        }
        // Some wallets sign another domain where its type is left out.
        if !typed["types"]["EIP712Domain"].is_array() {
            return Err(wrong(&"no EIP712Domain"));
        }
        let id = &typed["domain"]["chainId"];
        let named = id.as_u64().or_else(|| id.as_str()?.parse().ok()).map_or_else(|| chain_id(id), Ok)?;
        if named != network {
            return Err(Fault(
                -32603,
                format!("Provided chainId \"{named}\" must match the active chainId \"{network}\""),
            ));
        }
        let signature = self.rpc(SIGN, &json!([account, typed])).await?;
        self.state().signed.push(typed);
        Ok(signature)
    }

    /// A network that is only a number has no contracts, and everything is nought there.
    async fn read(&self, method: &str, params: &Value) -> Result<Value, Fault> {
        match self.rpc(method, params).await {
            Err(Fault(4901, _)) => Ok(json!("0x")),
            other => other,
        }
    }

    async fn rpc(&self, method: &str, params: &Value) -> Result<Value, Fault> {
        let provider = {
            let state = self.state();
            state.networks.get(&state.network).cloned().flatten()
        };
        let provider = provider.ok_or_else(|| Fault(4901, "not connected to this network".into()))?;
        provider
            .raw_request(method.to_owned().into(), params.clone())
            .await
            .map_err(|error| Fault(-32603, error.to_string()))
    }

    fn next_answer(&self, method: &str) -> Answer {
        let mut state = self.state();
        let Some(answers) = state.answers.get_mut(method) else { return Answer::Yes };
        let next = if answers.len() > 1 { answers.pop_front() } else { answers.front().copied() };
        next.unwrap_or(Answer::Yes)
    }

    fn counter(&self, method: &str) -> Counter {
        self.state().asked.entry(method.to_owned()).or_default().clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Wallet").field(&self.0.name).finish()
    }
}

fn chain_id(value: &Value) -> Result<u64, Fault> {
    let id = value.as_str().and_then(|text| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok());
    id.ok_or_else(|| wrong(&format!("no chain id: {value}")))
}

fn wrong(what: &dyn fmt::Display) -> Fault {
    Fault(-32602, what.to_string())
}
