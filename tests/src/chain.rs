//! A local EVM node with the test dollar in place, for one test.

use std::time::Duration;

use alloy::network::{TransactionBuilder, TransactionResponse};
use alloy::primitives::{Address, B256, Bytes, U256, address, b256};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::{Filter, TransactionReceipt, TransactionRequest};
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::{SolCall, SolEvent};
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokio::{sync::Mutex, time::timeout};
use url::Url;

use crate::process::Process;
use crate::token::{Artifact, Token};

/// Base Sepolia, where a [`Chain`] pretends to be unless told otherwise.
pub const BASE_SEPOLIA: u64 = 84532;

/// USDC on Base Sepolia.
pub const USDC: Address = address!("036CbD53842c5426634e7929541eC2318f3dCF7e");

/// How often the providers ask for a receipt.
const POLL: Duration = Duration::from_millis(10);

/// A running node. It and everything on it is gone when this is dropped, and also when the test process dies.
///
/// The accounts are the node's well-known ones. Mining is automatic until [`Chain::set_automine`] says otherwise.
#[derive(Debug)]
pub struct Chain {
    rpc_url: Url,
    chain_id: u64,
    usdc: Address,
    provider: DynProvider,
    /// Whose turn it is to send from the rig's own account: the node counts nonces as transactions come.
    turn: Mutex<()>,
    _process: Process,
}

/// One transfer of the test dollar, read from the chain's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Who paid.
    pub from: Address,
    /// Who was paid.
    pub to: Address,
    /// Atomic units.
    pub value: U256,
    /// The transaction that moved the money.
    pub transaction: B256,
}

impl Chain {
    /// Starts a chain that says it is Base Sepolia.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(BASE_SEPOLIA).await
    }

    /// Starts a chain with an id of the caller's choice. The dollar is where USDC is on the chain of that id, under the
    /// name it has there; on an unknown chain it is as on Base Sepolia.
    pub async fn start_with(chain_id: u64) -> anyhow::Result<Self> {
        Self::start_at(chain_id, 0).await
    }

    /// The same, at this port; 0 is any that is free.
    pub async fn start_at(chain_id: u64, port: u16) -> anyhow::Result<Self> {
        let (id, port) = (chain_id.to_string(), port.to_string());
        let args = ["--host", "127.0.0.1", "--port", &port, "--chain-id", &id];
        let listening = |line: &str| line.strip_prefix("Listening on 127.0.0.1:")?.trim().parse::<u16>().ok();
        let (process, port) = Process::start(&binary()?, &args, &[], listening).await?;
        let rpc_url: Url = format!("http://127.0.0.1:{port}").parse()?;
        let client = crate::http()?;
        let provider = ProviderBuilder::new()
            .disable_recommended_fillers()
            .connect_reqwest(client, rpc_url.clone())
            .erased();
        provider.client().set_poll_interval(POLL);

        let (usdc, contract) = usdc_of(chain_id);
        let chain = Self { rpc_url, chain_id, usdc, provider, turn: Mutex::default(), _process: process };
        chain.install(contract, usdc).await?;
        Ok(chain)
    }

    /// Where the node answers JSON-RPC.
    pub fn rpc_url(&self) -> Url {
        self.rpc_url.clone()
    }

    /// The chain's id.
    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// The chain as CAIP-2 writes it, `eip155:84532`.
    pub fn network(&self) -> String {
        format!("eip155:{}", self.chain_id)
    }

    /// Where the dollar is.
    pub fn usdc(&self) -> Address {
        self.usdc
    }

    /// A provider without a wallet: the node signs for its own accounts and fills in nonce and gas.
    pub fn provider(&self) -> DynProvider {
        self.provider.clone()
    }

    /// A provider that signs with the given key and counts its nonces.
    pub fn provider_of(&self, signer: PrivateKeySigner) -> anyhow::Result<DynProvider> {
        let provider = ProviderBuilder::new()
            .wallet(signer)
            .connect_reqwest(crate::http()?, self.rpc_url.clone())
            .erased();
        provider.client().set_poll_interval(POLL);
        Ok(provider)
    }

    /// The dollar, to call.
    pub fn token(&self) -> Token::TokenInstance<DynProvider> {
        self.token_at(self.usdc)
    }

    /// Another token, to call.
    pub fn token_at(&self, token: Address) -> Token::TokenInstance<DynProvider> {
        Token::new(token, self.provider())
    }

    /// Gives dollars to an account. The account that pays the gas is none of the named ones.
    pub async fn mint(&self, to: Address, value: u64) -> anyhow::Result<()> {
        self.mint_of(self.usdc, to, value).await
    }

    /// Gives units of another token to an account.
    pub async fn mint_of(&self, token: Address, to: Address, value: u64) -> anyhow::Result<()> {
        let call = Token::mintCall { to, value: U256::from(value) }.abi_encode();
        let transaction = TransactionRequest::default().with_from(minter().address()).with_to(token);
        self.transact(transaction.with_input(call)).await?;
        Ok(())
    }

    /// An account's dollars, in atomic units.
    pub async fn balance(&self, account: Address) -> anyhow::Result<U256> {
        self.balance_of(self.usdc, account).await
    }

    /// An account's units of another token.
    pub async fn balance_of(&self, token: Address, account: Address) -> anyhow::Result<U256> {
        Ok(self.token_at(token).balanceOf(account).call().await?)
    }

    /// Sets what an account has to pay gas with, in wei.
    pub async fn set_ether(&self, account: Address, wei: U256) -> anyhow::Result<()> {
        self.rpc("anvil_setBalance", json!([account, wei])).await
    }

    /// Creates a contract of `tests/contracts`. The constructor's arguments are ABI-encoded: `owner.abi_encode()`.
    pub async fn deploy(&self, contract: &str, arguments: &[u8]) -> anyhow::Result<Address> {
        let code = [&Artifact::read(contract)?.bytecode, arguments].concat();
        let transaction = TransactionRequest::default().with_from(minter().address()).with_deploy_code(code);
        let receipt = self.transact(transaction).await?;
        receipt.contract_address.with_context(|| format!("{contract} was not created"))
    }

    /// Places the runtime code of a contract of `tests/contracts` at an address.
    pub async fn install(&self, contract: &str, at: Address) -> anyhow::Result<()> {
        self.set_code_at(at, Artifact::read(contract)?.deployed).await
    }

    /// Places code at an address. Empty code makes it an ordinary account again.
    pub async fn set_code_at(&self, at: Address, code: Bytes) -> anyhow::Result<()> {
        self.rpc("anvil_setCode", json!([at, code])).await
    }

    /// Mines a block per transaction, or none until [`Chain::mine`].
    pub async fn set_automine(&self, on: bool) -> anyhow::Result<()> {
        self.rpc("evm_setAutomine", json!([on])).await
    }

    /// Mines one block with what is in the pool.
    pub async fn mine(&self) -> anyhow::Result<()> {
        self.rpc("anvil_mine", json!([1])).await
    }

    /// Mines so many empty blocks, a second after one another.
    pub async fn mine_many(&self, blocks: u64) -> anyhow::Result<()> {
        self.rpc("anvil_mine", json!([blocks, 1])).await
    }

    /// How many transactions wait to be mined.
    pub async fn pending(&self) -> anyhow::Result<usize> {
        let status: Value = self.provider.raw_request("txpool_status".into(), ()).await?;
        let hex = status["pending"].as_str().context("txpool_status: no count")?;
        Ok(usize::from_str_radix(hex.trim_start_matches("0x"), 16)?)
    }

    /// Returns once that many transactions wait to be mined; fails if they have not come after ten seconds.
    pub async fn wait_for_pending(&self, count: usize) -> anyhow::Result<()> {
        let arrived = async {
            while self.pending().await? < count {
                tokio::time::sleep(POLL).await;
            }
            Ok(())
        };
        timeout(Duration::from_secs(10), arrived).await.context("the transactions did not reach the pool")?
    }

    /// Forgets the transactions that wait to be mined.
    pub async fn drop_pending(&self) -> anyhow::Result<()> {
        self.rpc("anvil_dropAllTransactions", json!([])).await
    }

    /// Moves the chain's clock forward and mines a block at the new time.
    pub async fn warp(&self, seconds: u64) -> anyhow::Result<()> {
        self.rpc("evm_increaseTime", json!([seconds])).await?;
        self.mine().await
    }

    /// Mines a block at this time, in seconds since 1970, later than the latest one's. The chain's clock goes on from
    /// there.
    pub async fn mine_at(&self, timestamp: u64) -> anyhow::Result<()> {
        self.rpc("evm_setNextBlockTimestamp", json!([timestamp])).await?;
        self.mine().await
    }

    /// The latest block's time, in seconds since 1970.
    pub async fn latest_timestamp(&self) -> anyhow::Result<u64> {
        let block = self.provider.get_block(Default::default()).await?.context("no block")?;
        Ok(block.header.timestamp)
    }

    /// How many transactions of an account are in blocks.
    pub async fn nonce(&self, account: Address) -> anyhow::Result<u64> {
        Ok(self.provider.get_transaction_count(account).await?)
    }

    /// The hashes of an account's transactions in blocks, oldest first.
    pub async fn transactions_of(&self, account: Address) -> anyhow::Result<Vec<B256>> {
        let mut hashes = Vec::new();
        for number in 0..=self.provider.get_block_number().await? {
            let block = self.provider.get_block(number.into()).full().await?.context("no block")?;
            let sent =
                block.transactions.into_transactions().filter(|transaction| transaction.from() == account);
            hashes.extend(sent.map(|transaction| transaction.tx_hash()));
        }
        Ok(hashes)
    }

    /// How many times an account was paid in dollars.
    pub async fn transfers(&self, to: Address) -> anyhow::Result<usize> {
        Ok(self.transfer_log(to).await?.len())
    }

    /// What an account was paid in dollars, oldest first. Minted money is no payment.
    pub async fn transfer_log(&self, to: Address) -> anyhow::Result<Vec<Transfer>> {
        let filter =
            Filter::new().from_block(0).address(self.usdc).event_signature(Token::Transfer::SIGNATURE_HASH);
        let logs = self.provider.get_logs(&filter.topic2(to)).await?;
        let mut transfers = Vec::with_capacity(logs.len());
        for log in logs {
            let transaction = log.transaction_hash.context("a log outside of a block")?;
            let Token::Transfer { from, to, value } = log.log_decode()?.inner.data;
            if !from.is_zero() {
                transfers.push(Transfer { from, to, value, transaction });
            }
        }
        Ok(transfers)
    }

    // Sends from an account of the node's and sees to it that the transaction is mined and did not revert.
    async fn transact(&self, transaction: TransactionRequest) -> anyhow::Result<TransactionReceipt> {
        let _turn = self.turn.lock().await;
        let automine: bool = self.provider.raw_request("anvil_getAutomine".into(), ()).await?;
        let pending = self.provider.send_transaction(transaction).await?;
        if !automine {
            self.mine().await?;
        }
        let receipt = pending.with_timeout(Some(Duration::from_secs(10))).get_receipt().await?;
        ensure!(receipt.status(), "transaction {} reverted", receipt.transaction_hash);
        Ok(receipt)
    }

    async fn rpc(&self, method: &'static str, parameters: Value) -> anyhow::Result<()> {
        let _: Value = self.provider.raw_request(method.into(), parameters).await?;
        Ok(())
    }
}

/// Who pays the gas of settlements.
pub fn facilitator() -> PrivateKeySigner {
    signer(0)
}

/// Who buys. Has ether; dollars are to be minted.
pub fn payer() -> PrivateKeySigner {
    signer(1)
}

/// Who sells.
pub fn merchant() -> PrivateKeySigner {
    signer(2)
}

/// A second buyer, or whoever else signs what he should not.
pub fn stranger() -> PrivateKeySigner {
    signer(3)
}

/// Who pays the gas of a second facilitator.
pub fn second_facilitator() -> PrivateKeySigner {
    signer(4)
}

// Pays for what the rig itself sends, so that the nonces of the others count only what is under test.
fn minter() -> PrivateKeySigner {
    signer(9)
}

/// One of the ten accounts a node starts with, by the keys that every Ethereum developer knows.
///
/// # Panics
///
/// If there are not that many.
pub fn signer(index: usize) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&KEYS[index]).expect("the well-known keys are keys")
}

/// The private key of a [`signer`], `0x` and 64 digits, as the JS programs take it.
pub fn private_key(signer: &PrivateKeySigner) -> String {
    signer.to_bytes().to_string()
}

// The accounts of the phrase "test test test test test test test test test test test junk", m/44'/60'/0'/0/i.
const KEYS: [B256; 10] = [
    b256!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"),
    b256!("59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"),
    b256!("5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"),
    b256!("7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6"),
    b256!("47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a"),
    b256!("8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba"),
    b256!("92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e"),
    b256!("4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356"),
    b256!("dbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97"),
    b256!("2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6"),
];

// Where Circle's USDC is on a chain, and the contract that bears its name there.
fn usdc_of(chain_id: u64) -> (Address, &'static str) {
    match chain_id {
        1 => (address!("A0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"), "TestUSDCoin"),
        137 => (address!("3c499c542cEF5E3811e1192ce70d8cC03d5c3359"), "TestUSDCoin"),
        8453 => (address!("833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"), "TestUSDCoin"),
        42161 => (address!("af88d065e77c8cC2239327C5EDb3A432268e5831"), "TestUSDCoin"),
        43114 => (address!("B97EF9Ef8734C71904D8002F8b6Bc66Dd9c48a6E"), "TestUSDCoin"),
        421614 => (address!("75faf114eafb1BDbe2F0316DF893fd58CE46AA4d"), "TestUSDCoin"),
        11155111 => (address!("1c7D4B196Cb0C7B01d743Fbc6116a902379C7238"), "TestUSDC"),
        _ => (USDC, "TestUSDC"),
    }
}

fn binary() -> anyhow::Result<std::path::PathBuf> {
    let os = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let path = crate::at(format!("js/node_modules/@foundry-rs/anvil-{os}-{arch}/bin/anvil"));
    ensure!(
        path.is_file(),
        "the chain of the tests is not installed ({}): run `cargo xtask test`, or `npm ci --ignore-scripts` in tests/js",
        path.display()
    );
    Ok(path)
}
