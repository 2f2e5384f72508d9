//! The EVM chains the binary knows by name, and where their nodes are.

use x402_core::network::Network;

/// A chain, and the hosts that serve it.
pub(crate) struct Chain {
    pub(crate) name: &'static str,
    id: u64,
    /// Below `.g.alchemy.com/v2`.
    alchemy: &'static str,
    /// Below `.infura.io/v3`.
    infura: Option<&'static str>,
    public: &'static str,
}

#[rustfmt::skip]
const CHAINS: &[Chain] = &[
    chain("base", 8453, "base-mainnet", Some("base-mainnet"), "https://mainnet.base.org"),
    chain("base-sepolia", 84532, "base-sepolia", Some("base-sepolia"), "https://sepolia.base.org"),
    chain("ethereum", 1, "eth-mainnet", Some("mainnet"), "https://eth.drpc.org"),
    chain("sepolia", 11155111, "eth-sepolia", Some("sepolia"), "https://rpc.sepolia.org"),
    chain("polygon", 137, "polygon-mainnet", Some("polygon-mainnet"), "https://polygon-rpc.com"),
    chain("polygon-amoy", 80002, "polygon-amoy", None, "https://rpc-amoy.polygon.technology"),
    chain("arbitrum", 42161, "arb-mainnet", Some("arbitrum-mainnet"), "https://arb1.arbitrum.io/rpc"),
    chain("arbitrum-sepolia", 421614, "arb-sepolia", None, "https://sepolia-rollup.arbitrum.io/rpc"),
    chain("optimism", 10, "opt-mainnet", Some("optimism-mainnet"), "https://mainnet.optimism.io"),
    chain("optimism-sepolia", 11155420, "opt-sepolia", None, "https://sepolia.optimism.io"),
    chain("avalanche", 43114, "avax-mainnet", None, "https://api.avax.network/ext/bc/C/rpc"),
    chain("avalanche-fuji", 43113, "avax-fuji", None, "https://api.avax-test.network/ext/bc/C/rpc"),
    chain("abstract", 2741, "abstract-mainnet", None, "https://api.mainnet.abs.xyz"),
    chain("abstract-testnet", 11124, "abstract-testnet", None, "https://api.testnet.abs.xyz"),
];

const fn chain(
    name: &'static str,
    id: u64,
    alchemy: &'static str,
    infura: Option<&'static str>,
    public: &'static str,
) -> Chain {
    Chain { name, id, alchemy, infura, public }
}

impl Chain {
    /// All that are known.
    pub(crate) fn all() -> impl Iterator<Item = &'static Self> {
        CHAINS.iter()
    }

    /// The chain of this name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        CHAINS.iter().find(|chain| chain.name == name)
    }

    /// What is known of this network.
    pub(crate) fn of(network: &Network) -> Option<&'static Self> {
        CHAINS.iter().find(|chain| network.evm_chain_id() == Some(chain.id))
    }

    /// Its CAIP-2 id.
    pub(crate) fn network(&self) -> Network {
        Network::evm(self.id)
    }

    /// Its node: the operator's account at Alchemy, then at Infura, then the public one.
    pub(crate) fn rpc_url(&self, alchemy_key: Option<&str>, infura_key: Option<&str>) -> String {
        match (alchemy_key, self.infura, infura_key) {
            (Some(key), _, _) => format!("https://{}.g.alchemy.com/v2/{key}", self.alchemy),
            (None, Some(host), Some(key)) => format!("https://{host}.infura.io/v3/{key}"),
            _ => self.public.to_owned(),
        }
    }
}
