//! A shop, or two on one store, and a facilitator in this process, with proxies between all of them.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use alloy::{
    primitives::{Address, U256},
    signers::local::PrivateKeySigner,
};
use tempfile::TempDir;
use x402_core::{
    gate::PaymentGate,
    network::BASE_SEPOLIA,
    store::{AnyClaimStore, ClaimStore, MemoryStore, StoreErrorKind},
};
use x402_evm::exact::ExactFacilitator;
use x402_facilitator::{LocalFacilitator, RemoteFacilitator, http};
use x402_tests::{
    Chain,
    crash::{Ledger, shop, store_at},
    proxy::Proxy,
    serve::Serving,
};

use crate::{
    books::{Books, JOURNAL, Sums},
    buyer::Payment,
};

pub struct Market {
    pub chain: Arc<Chain>,
    /// From the shops to their facilitator.
    pub to_facilitator: Proxy,
    /// From the facilitator to the node.
    pub to_node: Proxy,
    shops: Vec<Shop>,
    seller: Address,
    store: AnyClaimStore,
    journal: AnyClaimStore,
    folder: TempDir,
    _facilitator: Serving,
    /// Whose transactions they are.
    settler: Address,
}

struct Shop {
    serving: Serving,
    _gate: PaymentGate,
}

/// Where a market keeps its records. Whoever counts has connections of their own.
pub struct Records {
    /// Of each gate.
    pub gates: Vec<AnyClaimStore>,
    /// Of the facilitator.
    pub journal: AnyClaimStore,
    pub gates_counted: AnyClaimStore,
    pub journal_counted: AnyClaimStore,
}

impl Records {
    /// Those of a gate behind this URL, and of a facilitator that keeps its own.
    pub async fn of_gate(through: &str, url: &str) -> Self {
        let journal = AnyClaimStore::new(MemoryStore::new());
        let (gate, counted) = (store_at(through).await.unwrap(), store_at(url).await.unwrap());
        Self { gates: vec![gate], journal: journal.clone(), gates_counted: counted, journal_counted: journal }
    }

    /// Those of a facilitator behind this URL, and of a gate that keeps its own.
    pub async fn of_facilitator(through: &str, url: &str) -> Self {
        let Self { gates, journal, gates_counted, journal_counted } = Self::of_gate(through, url).await;
        let gate = gates.into_iter().next().unwrap();
        Self {
            gates: vec![journal],
            journal: gate,
            gates_counted: journal_counted,
            journal_counted: gates_counted,
        }
    }

    /// Each keeps its own.
    pub fn in_memory() -> Self {
        let (gate, journal) =
            (AnyClaimStore::new(MemoryStore::new()), AnyClaimStore::new(MemoryStore::new()));
        Self {
            gates: vec![gate.clone()],
            journal: journal.clone(),
            gates_counted: gate,
            journal_counted: journal,
        }
    }
}

impl Market {
    pub async fn open(chain: Arc<Chain>, records: Records) -> Self {
        let Records { gates, journal, gates_counted, journal_counted } = records;
        let signer = PrivateKeySigner::random();
        let settler = signer.address();
        chain.set_ether(settler, U256::from(10).pow(U256::from(20))).await.unwrap();
        let to_node = Proxy::to_http(chain.rpc_url().as_str()).await.unwrap();
        let exact = ExactFacilitator::connect(to_node.url(), BASE_SEPOLIA, signer)
            .unwrap()
            .call_timeout(Duration::from_secs(1))
            .receipt_timeout(Duration::from_secs(3))
            .store(journal);
        let facilitator = Serving::start(http::router(LocalFacilitator::new().with(exact))).await.unwrap();
        let to_facilitator = Proxy::to_http(&facilitator.url("")).await.unwrap();

        let (seller, folder) = (PrivateKeySigner::random().address(), tempfile::tempdir().unwrap());
        let mut shops = Vec::new();
        for store in gates {
            let facilitator = RemoteFacilitator::builder(&to_facilitator.url())
                .connect_timeout(Duration::from_secs(1))
                .verify_timeout(Duration::from_secs(3))
                .settle_timeout(Duration::from_secs(5))
                .build()
                .unwrap();
            let gate = PaymentGate::builder("https://shop.example.com")
                .facilitator(facilitator)
                .scheme(x402_evm::exact::server())
                .store(store)
                .claim_lease(Duration::from_secs(1))
                .build()
                .unwrap();
            gate.ready().await.unwrap();
            let app = shop(&gate, &seller.to_string(), Self::ledger_in(&folder)).unwrap();
            shops.push(Shop { serving: Serving::start(app).await.unwrap(), _gate: gate });
        }
        let (store, journal) = (gates_counted, journal_counted);
        Self {
            settler,
            chain,
            to_facilitator,
            to_node,
            shops,
            seller,
            store,
            journal,
            folder,
            _facilitator: facilitator,
        }
    }

    fn ledger_in(folder: &TempDir) -> Ledger {
        Ledger::at(folder.path().join("ledger"))
    }

    /// Where the shops listen.
    pub fn shops(&self) -> Vec<SocketAddr> {
        self.shops.iter().map(|shop| shop.serving.address).collect()
    }

    /// How many settlements are still open. A facilitator closes them when it starts: one does.
    pub async fn recover(&self) -> usize {
        let open = loop {
            match self.journal.open(JOURNAL).await {
                Ok(open) => break open.len(),
                // A connection to a server that was killed is found broken when it is used.
                Err(error) => assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}"),
            }
        };
        if open > 0 {
            let url = self.chain.rpc_url().to_string();
            let exact = ExactFacilitator::connect(url, BASE_SEPOLIA, PrivateKeySigner::random()).unwrap();
            exact.store(self.journal.clone()).recover().await.unwrap();
        }
        open
    }

    pub async fn count(&self, payments: &mut [Payment]) -> Sums {
        let books = Books {
            chain: &self.chain,
            seller: self.seller,
            shops: &self.shops(),
            ledger: &Self::ledger_in(&self.folder),
            store: self.store.clone(),
            journal: self.journal.clone(),
        };
        let sums = books.count(payments).await;
        let sent = self.chain.nonce(self.settler).await.unwrap() as usize;
        Sums { in_vain: sent.saturating_sub(sums.transfers), ..sums }
    }
}
