//! The facilitator's role: verify and settle, on one network, from one account.

mod assets;
mod checks;
mod diagnose;
mod disclosure;
mod funds;
mod journal;
mod ledger;
mod leftovers;
mod limits;
mod once;
mod promises;
mod readiness;
mod searches;
mod settle;
mod signature;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use alloy::{network::TxSigner, providers::Provider};
use alloy_primitives::{Address, Signature};
use tracing::{debug, instrument};
use x402_core::{
    address::Address as AnyAddress,
    amount::Amount,
    facilitator::{FacilitatorError, FacilitatorErrorKind, SettleRequest},
    network::{Network, NetworkPattern},
    payment::{JsonMap, Payment, Refusal, SettleResponse, SupportedKind, VerifyResponse, Version},
    scheme::{Begun, FacilitatorScheme},
    store::ClaimStore,
};

use self::{
    assets::Assets, checks::Stop, disclosure::Caller, funds::Funds, journal::Journal, ledger::Ledger,
    leftovers::Leftovers, promises::Promises, readiness::Readiness, searches::Searches,
};
use super::{reasons, terms::SCHEME};
use crate::{
    address::to_core,
    chain::{Account, Fault, Rpc},
    clock::Clock,
    error::{Error, ErrorKind},
};

/// How long a token that was seen to have code is taken to have it.
const TOKEN_SEEN_FOR: Duration = Duration::from_secs(15 * 60);

/// Verifies and settles `exact` payments on one network over a provider of yours, like one with a transport of its own
/// or with retries. Most want [`ExactFacilitator::connect`]; a provider that hides several endpoints is taken for one,
/// and cannot be asked what each of them knows as in [`ExactFacilitator::connect_all`].
///
/// # Errors
/// When the network is not an EVM chain.
pub fn facilitator(
    provider: impl Provider + 'static,
    network: Network,
    signer: impl TxSigner<Signature> + Send + Sync + 'static,
) -> Result<ExactFacilitator, Error> {
    let chain_id = chain_id_of(&network)?;
    Ok(ExactFacilitator::new(Rpc::over(provider, chain_id), network, chain_id, signer))
}

fn chain_id_of(network: &Network) -> Result<u64, Error> {
    network.evm_chain_id().filter(|chain| Network::evm(*chain) == *network).ok_or_else(|| {
        Error::new(
            ErrorKind::Network,
            format!("{network} is not an EVM chain: expected an id like `eip155:8453`"),
        )
    })
}

/// The facilitator's role in `exact`, on one network. Clones are the same facilitator.
///
/// The signer's account pays the gas. One account must send from one place on each network: clone the facilitator
/// rather than making a second one for the same account and network, and give every process an account of its own.
#[derive(Clone)]
pub struct ExactFacilitator {
    network: Network,
    chain_id: u64,
    rpc: Rpc,
    clock: Clock,
    settings: Settings,
    assets: Assets,
    journal: Journal,
    leftovers: Leftovers,
    promises: Promises,
    readiness: Readiness,
    shared: Arc<Shared>,
}

#[derive(Clone, Copy)]
struct Settings {
    receipt_timeout: Duration,
    confirmations: u64,
    max_gas: u64,
    max_plain_gas: u64,
}

struct Shared {
    account: Account,
    ledger: Ledger,
    funds: Funds,
    searches: Searches,
    /// When a listed token was last seen to have code.
    deployed: Mutex<HashMap<Address, Instant>>,
}

impl ExactFacilitator {
    /// A facilitator for this network over the JSON-RPC endpoint at `rpc_url` (`https` or `http`). Sends nothing
    /// yet: whether the endpoint serves the network is asked when a gate or a caller first wants to know what is supported,
    /// and until it does, the network is not offered; see [`ready`](FacilitatorScheme::ready).
    ///
    /// ```
    /// use alloy::signers::local::PrivateKeySigner;
    /// use x402_core::network::BASE_SEPOLIA;
    /// use x402_evm::exact::ExactFacilitator;
    ///
    /// let pays_the_gas = PrivateKeySigner::random();
    /// let facilitator = ExactFacilitator::connect("https://sepolia.base.org", BASE_SEPOLIA, pays_the_gas)?;
    /// # Ok::<(), x402_evm::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the network is not an EVM chain or the URL cannot be used.
    pub fn connect(
        rpc_url: impl AsRef<str>,
        network: Network,
        signer: impl TxSigner<Signature> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        Self::connect_all([rpc_url], network, signer)
    }

    /// The same over several endpoints, the preferred one first. One that does not answer, answers with nonsense, has
    /// too much to do, serves another chain, or is behind the others is set aside for a while, and the next is asked.
    /// What was signed is the same for all of them: a transaction that one may have taken is not made again for
    /// another.
    ///
    /// # Errors
    /// When the network is not an EVM chain, there is no URL, or one cannot be used.
    pub fn connect_all<U: AsRef<str>>(
        rpc_urls: impl IntoIterator<Item = U>,
        network: Network,
        signer: impl TxSigner<Signature> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let chain_id = chain_id_of(&network)?;
        Ok(Self::new(Rpc::connect(rpc_urls, chain_id)?, network, chain_id, signer))
    }

    fn new(
        rpc: Rpc,
        network: Network,
        chain_id: u64,
        signer: impl TxSigner<Signature> + Send + Sync + 'static,
    ) -> Self {
        Self {
            assets: Assets::known(&network),
            journal: Journal::in_memory(&network, chain_id),
            leftovers: Leftovers::default(),
            promises: Promises::default(),
            readiness: Readiness::default(),
            network,
            chain_id,
            rpc,
            clock: Clock::system(),
            settings: Settings {
                receipt_timeout: Duration::from_secs(45),
                confirmations: 1,
                max_gas: 500_000,
                max_plain_gas: 200_000,
            },
            shared: Arc::new(Shared {
                account: Account::new(chain_id, signer),
                ledger: Ledger::default(),
                funds: Funds::default(),
                searches: Searches::default(),
                deployed: Mutex::default(),
            }),
        }
    }

    /// How long to wait for a transaction to be mined before a settlement is answered as pending. 45 seconds unless
    /// set.
    #[must_use]
    pub fn receipt_timeout(mut self, timeout: Duration) -> Self {
        self.settings.receipt_timeout = timeout;
        self
    }

    /// How long to wait for each answer of the endpoint. 10 seconds unless set.
    #[must_use]
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.rpc.timeout = timeout;
        self
    }

    /// In how many blocks, its own counted, a transfer must be before it is settled. 1 unless set.
    #[must_use]
    pub fn confirmations(mut self, blocks: u64) -> Self {
        self.settings.confirmations = blocks.max(1);
        self
    }

    /// The most gas any settlement may take: a smart wallet's signature check runs on our bill, and a stranger's wallet
    /// may burn all that is given. 500,000 unless set, which is enough for a wallet whose check of a passkey runs in a
    /// contract (P-256 without a precompile takes some 330,000); most take less than 150,000.
    #[must_use]
    pub fn max_gas(mut self, gas: u64) -> Self {
        self.settings.max_gas = gas;
        self
    }

    /// The most gas a settlement may take whose payer is an account without code, within [`max_gas`](Self::max_gas):
    /// there is nothing but the token's transfer to run. 200,000 unless set. Chains that count the cost of their
    /// parent chain in gas, like Arbitrum, may need more.
    #[must_use]
    pub fn max_plain_gas(mut self, gas: u64) -> Self {
        self.settings.max_plain_gas = gas;
        self
    }

    /// Settles this token as well. Without it only the tokens with EIP-3009 in [`x402_core::asset`]'s table for the
    /// network are settled: a token's code runs on our bill, so it should be one you know. Payments of others are
    /// refused as [`ASSET_NOT_ALLOWED`](super::reasons::ASSET_NOT_ALLOWED).
    #[must_use]
    pub fn allow_token(mut self, token: Address) -> Self {
        self.assets.add(token);
        self
    }

    /// What a payment in this token must be at least, in the token's atomic units. One below is refused as
    /// [`AMOUNT_BELOW_MINIMUM`](super::reasons::AMOUNT_BELOW_MINIMUM) before anything is asked of the chain: each
    /// settlement costs gas, whatever it moves.
    ///
    /// Unless set, a thousandth of a known stablecoin ($0.001: 1000 units of a token with six decimals), so that a price
    /// of a tenth of a cent is settled, and one unit of any other token. A payment of nothing is refused in any case.
    #[must_use]
    pub fn min_amount(mut self, token: Address, amount: impl Into<Amount>) -> Self {
        self.assets.set_minimum(token, amount.into().get());
        self
    }

    /// Settles every token there is. **Dangerous**: whoever can reach the facilitator has it run contracts of their
    /// own, and the signer's account pays the gas. Only for callers you trust.
    #[must_use]
    pub fn any_token(mut self) -> Self {
        self.assets.add_all();
        self
    }

    /// Where it is written down what was sent and what came of it. In this process unless set, where it is lost when
    /// the process ends: what was settled is then found on chain, and what was sent and not mined may be sent once more.
    ///
    /// With a store that lasts, a settlement is written down before its transaction is sent, and after a crash it is
    /// [recovered](Self::recover) from there: one transaction, one answer. If the store does not take it, nothing is
    /// sent. Several processes, each with an account of its own, may share a store: one of them sends, and all give
    /// its answer. There are signed payments in it.
    #[must_use]
    pub fn store(mut self, store: impl ClaimStore) -> Self {
        self.journal = Journal::over(store, &self.network, self.chain_id);
        self.leftovers = Leftovers::default();
        // The new journal has said nothing yet.
        self.readiness = Readiness::default();
        self
    }

    /// Where the time comes from, in seconds since 1970. The host's clock unless set.
    #[must_use]
    pub fn clock(mut self, now: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.clock = Clock::new(now);
        self.rpc.clock = self.clock.clone();
        self
    }

    /// Asks the endpoints whether they serve the network. Each does this before it is used, first and after an outage.
    /// The error names the endpoints by host and port.
    ///
    /// # Errors
    /// When none of them can be used: they serve another chain, or do not answer.
    pub async fn check(&self) -> Result<(), FacilitatorError> {
        let Err(fault) = self.rpc.ready().await else { return Ok(()) };
        let mut troubles = self.rpc.troubles();
        if troubles.is_empty() {
            return Err(self.trouble(&fault));
        }
        let unfit = troubles.iter().all(|(_, trouble)| trouble.is_unfit());
        let hint = if unfit { "" } else { ". Is the RPC endpoint running, and its URL right?" };
        let troubles: Vec<_> = troubles.drain(..).map(|(name, trouble)| trouble.of(&name)).collect();
        Err(self.error(format_args!("{}{hint}", troubles.join("; "))))
    }

    /// The same before a payment, whose sender need not know the endpoint.
    async fn check_for_payment(&self) -> Result<(), FacilitatorError> {
        self.rpc.ready().await.map_err(|fault| self.trouble(&fault))
    }

    fn error(&self, what: impl fmt::Display) -> FacilitatorError {
        FacilitatorError::new(FacilitatorErrorKind::Internal, format!("{}: {what}", self.network))
    }

    /// Trouble while a payment was looked at.
    fn trouble(&self, fault: &Fault) -> FacilitatorError {
        self.error(format_args!("{fault}; this says nothing about the payment"))
    }

    async fn token_is_deployed(&self, token: Address) -> Result<bool, Stop> {
        let deployed = || self.shared.deployed.lock().unwrap_or_else(PoisonError::into_inner);
        if deployed().get(&token).is_some_and(|seen| seen.elapsed() < TOKEN_SEEN_FOR) {
            return Ok(true);
        }
        let stop = |fault: Fault| self.stop(&fault);
        if self.rpc.code(token).await.map_err(stop)?.is_empty() {
            // A node that has not begun to follow its chain knows no contract at all.
            if self.rpc.block_number().await.map_err(stop)? == 0 {
                return Err(Stop::Fault(self.error("the RPC endpoint is at block 0: it has no chain yet")));
            }
            return Ok(false);
        }
        // Strangers do not choose what is remembered, so it stays small.
        if self.assets.list(token) {
            deployed().insert(token, Instant::now());
        }
        Ok(true)
    }
}

impl FacilitatorScheme for ExactFacilitator {
    fn scheme(&self) -> &str {
        SCHEME
    }

    fn networks(&self) -> NetworkPattern {
        self.network.clone().into()
    }

    fn kinds(&self) -> Vec<SupportedKind> {
        let kind = |version| SupportedKind {
            version,
            scheme: SCHEME.into(),
            network: self.network.clone(),
            extra: JsonMap::new(),
        };
        let v1 = self.network.v1_name().map(|_| kind(Version::V1));
        [kind(Version::V2)].into_iter().chain(v1).collect()
    }

    fn signers(&self) -> Vec<AnyAddress> {
        vec![to_core(self.shared.account.address)]
    }

    /// [Checks](Self::check) the endpoints and [recovers](Self::recover) what an earlier process left, until both were done
    /// once. After that the endpoints are looked at before each payment.
    async fn ready(&self) -> Result<(), FacilitatorError> {
        self.is_ready().await
    }

    #[instrument(name = "verify", skip_all, fields(network = %self.network, amount = %payment.requirements.amount))]
    async fn verify(&self, payment: &Payment) -> Result<VerifyResponse, FacilitatorError> {
        let payer = checks::payer(payment);
        let read = self.read(payment);
        // Strangers' tokens cost no call.
        if !matches!(&read, Err(refusal) if refusal.reason == reasons::ASSET_NOT_ALLOWED) {
            self.check_for_payment().await?;
        }
        let refusal = match read {
            Ok(asked) => match self.would_pay(&asked).await {
                Ok(()) => match self.ended(&asked).await? {
                    None => {
                        self.shared.searches.has_seen_good(&asked);
                        return Ok(VerifyResponse::Valid { payer });
                    }
                    Some(refusal) => refusal,
                },
                Err(Stop::Refused(refusal)) => refusal,
                Err(Stop::Fault(error)) => return Err(error),
            },
            Err(refusal) => refusal,
        };
        debug!(reason = %refusal.reason, payer = payer.as_ref().map(tracing::field::display), "payment refused");
        Ok(VerifyResponse::Invalid(Refusal { payer, ..refusal }))
    }

    #[instrument(name = "settle", skip_all, fields(network = %self.network, amount = %request.payment.requirements.amount))]
    async fn settle(&self, request: SettleRequest<'_>) -> Result<SettleResponse, FacilitatorError> {
        let payment = request.payment;
        match self.read(payment) {
            Ok(asked) => self.settle_once(asked, Caller::of(&request)).await,
            Err(refusal) => Ok(self.refused(Refusal { payer: checks::payer(payment), ..refusal })),
        }
    }

    async fn deliver(
        &self,
        request: SettleRequest<'_>,
        outcome: SettleResponse,
    ) -> Result<SettleResponse, FacilitatorError> {
        match self.read(request.payment) {
            Ok(asked) => self.hand_out(&asked, &Caller::of(&request), outcome).await,
            Err(_) => Ok(outcome),
        }
    }

    async fn begun(&self, payment: &Payment) -> Begun {
        // What is not settled here now may have been before.
        let Ok(asked) = self.read(payment) else { return Begun::Unknown };
        // Asked before the journal is read: what ends meanwhile has written down what it did.
        let is_at_work = self.shared.ledger.is_at_work(&asked);
        match self.journal.find(&asked).await {
            Ok(Some(entry)) if entry.asked.hash == asked.hash => Begun::Already,
            Ok(None) if !is_at_work => Begun::Never,
            _ => Begun::Perhaps,
        }
    }
}

impl ExactFacilitator {
    /// Whether it would be paid as things are.
    async fn would_pay(&self, asked: &checks::Asked) -> Result<(), Stop> {
        if let Some(refusal) = self.refused_at_once(asked) {
            return Err(Stop::Refused(refusal));
        }
        self.examine(asked, checks::DryRun::Call).await?;
        self.could_promise(asked).await?;
        self.can_pay_gas().await
    }
}

impl fmt::Debug for ExactFacilitator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExactFacilitator")
            .field("network", &self.network)
            .field("signer", &self.shared.account.address)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
