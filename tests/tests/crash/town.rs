//! A shop and the facilitator's own binary, each a process of its own, on one store.

use std::sync::Arc;

use alloy::{
    primitives::{Address, U256},
    signers::local::PrivateKeySigner,
};
use tempfile::TempDir;
use x402_tests::{
    Chain,
    chain::private_key,
    crash::{Ledger, Service, store_at},
    process::facilitator_binary,
};

use crate::{
    books::{Books, Sums},
    buyer::Payment,
    stage::{Kind, Stage, Store},
};

pub struct Town {
    pub chain: Arc<Chain>,
    pub shop: Service,
    pub facilitator: Service,
    seller: Address,
    /// Who pays the gas.
    settler: Address,
    store: Store,
    shop_env: Vec<(&'static str, String)>,
    folder: TempDir,
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    Shop,
    Facilitator,
}

impl Town {
    pub async fn build(stage: &Stage, kind: Kind) -> Self {
        Self::build_on(stage.chain().await, stage, kind).await
    }

    /// One on a chain of its own.
    pub async fn build_on(chain: Arc<Chain>, stage: &Stage, kind: Kind) -> Self {
        let store = stage.store(kind).await;
        let folder = tempfile::tempdir().unwrap();
        let signer = PrivateKeySigner::random();
        chain.set_ether(signer.address(), U256::from(10).pow(U256::from(20))).await.unwrap();
        let env = [
            ("HOST", "127.0.0.1".to_owned()),
            ("EVM_NETWORKS", "base-sepolia".to_owned()),
            ("EVM_RPC_URL_BASE_SEPOLIA", chain.rpc_url().to_string()),
            ("EVM_PRIVATE_KEY", private_key(&signer)),
            ("STORE_URL", store.url.clone()),
            ("SETTLEMENT_RECEIPT_TIMEOUT_MS", "2000".to_owned()),
            // Much fails there, as it should.
            ("RUST_LOG", "off".to_owned()),
        ];
        let facilitator = Service::start(facilitator_binary().unwrap(), &borrowed(&env)).await.unwrap();
        let seller = PrivateKeySigner::random().address();
        let shop_env = vec![
            ("FACILITATOR_URL", facilitator.url()),
            ("STORE_URL", store.url.clone()),
            ("LEASE_MS", "1000".to_owned()),
            ("PAY_TO", seller.to_string()),
            ("LEDGER", Self::ledger_in(&folder).path().display().to_string()),
        ];
        let shop = open(&shop_env).await;
        let settler = signer.address();
        Self { chain, shop, facilitator, seller, settler, store, shop_env, folder }
    }

    /// A second instance of the shop.
    pub async fn another_shop(&self) -> Service {
        open(&self.shop_env).await
    }

    fn ledger_in(folder: &TempDir) -> Ledger {
        Ledger::at(folder.path().join("ledger"))
    }

    pub fn party(&mut self, party: Party) -> &mut Service {
        match party {
            Party::Shop => &mut self.shop,
            Party::Facilitator => &mut self.facilitator,
        }
    }

    pub async fn count(&self, payments: &mut [Payment]) -> Sums {
        let store = store_at(&self.store.url).await.unwrap();
        let books = Books {
            chain: &self.chain,
            seller: self.seller,
            shops: &[self.shop.address()],
            ledger: &Self::ledger_in(&self.folder),
            store: store.clone(),
            journal: store,
        };
        let sums = books.count(payments).await;
        let sent = self.chain.nonce(self.settler).await.unwrap() as usize;
        Sums { in_vain: sent.saturating_sub(sums.transfers), ..sums }
    }
}

async fn open(shop_env: &[(&str, String)]) -> Service {
    Service::start(env!("CARGO_BIN_EXE_crash-shop"), &borrowed(shop_env)).await.unwrap()
}

fn borrowed<'a>(env: &'a [(&'a str, String)]) -> Vec<(&'a str, &'a str)> {
    env.iter().map(|(name, value)| (*name, value.as_str())).collect()
}
