//! Chains: CAIP-2 ids, and the names that version 1 of the protocol used for them.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Base mainnet.
pub const BASE: Network = Network::from_static("eip155:8453");
/// Base Sepolia, the test network most examples use.
pub const BASE_SEPOLIA: Network = Network::from_static("eip155:84532");
/// Ethereum mainnet.
pub const ETHEREUM: Network = Network::from_static("eip155:1");
/// Ethereum's test network Sepolia.
pub const SEPOLIA: Network = Network::from_static("eip155:11155111");
/// Avalanche C-Chain.
pub const AVALANCHE: Network = Network::from_static("eip155:43114");
/// Polygon PoS.
pub const POLYGON: Network = Network::from_static("eip155:137");
/// Arbitrum One.
pub const ARBITRUM: Network = Network::from_static("eip155:42161");
/// Solana mainnet.
pub const SOLANA: Network = Network::from_static("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp");
/// Solana devnet.
pub const SOLANA_DEVNET: Network = Network::from_static("solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1");

/// Version 1 names, and the chains they stand for.
const V1_NAMES: &[(&str, &str)] = &[
    ("base", "eip155:8453"),
    ("base-sepolia", "eip155:84532"),
    ("ethereum", "eip155:1"),
    ("sepolia", "eip155:11155111"),
    ("avalanche", "eip155:43114"),
    ("avalanche-fuji", "eip155:43113"),
    ("polygon", "eip155:137"),
    ("polygon-amoy", "eip155:80002"),
    ("sei", "eip155:1329"),
    ("sei-testnet", "eip155:1328"),
    ("iotex", "eip155:4689"),
    ("abstract", "eip155:2741"),
    ("abstract-testnet", "eip155:11124"),
    ("peaq", "eip155:3338"),
    ("story", "eip155:1514"),
    ("educhain", "eip155:41923"),
    ("skale-base-sepolia", "eip155:324705682"),
    ("megaeth", "eip155:4326"),
    ("monad", "eip155:143"),
    ("stable", "eip155:988"),
    ("stable-testnet", "eip155:2201"),
    ("celo", "eip155:42220"),
    ("flare", "eip155:14"),
    ("solana", "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp"),
    ("solana-devnet", "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"),
    ("solana-testnet", "solana:4uhcVJyU9pJkvQyS88uRDiswHXSCkY3z"),
];

/// A chain, by its CAIP-2 id: `namespace:reference`, like `eip155:8453`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(Cow<'static, str>);

impl Network {
    /// A network from an id known at compile time.
    ///
    /// # Panics
    /// When the id is not `namespace:reference`; in a `const` that is a compile error.
    pub const fn from_static(id: &'static str) -> Self {
        assert!(is_caip2(id), "a network id is `namespace:reference`, like `eip155:8453`");
        Self(Cow::Borrowed(id))
    }

    /// The EVM chain of this id.
    pub fn evm(chain_id: u64) -> Self {
        Self(Cow::Owned(format!("eip155:{chain_id}")))
    }

    /// The chain that version 1 calls by this name.
    pub fn from_v1_name(name: &str) -> Option<Self> {
        V1_NAMES.iter().find(|(v1, _)| *v1 == name).map(|(_, id)| Self(Cow::Borrowed(id)))
    }

    /// The name version 1 has for this chain, if it has one.
    pub fn v1_name(&self) -> Option<&'static str> {
        V1_NAMES.iter().find(|(_, id)| *id == self.0).map(|(name, _)| *name)
    }

    /// The part before the colon: the kind of chain.
    pub fn namespace(&self) -> &str {
        self.0.split_once(':').map_or("", |(namespace, _)| namespace)
    }

    /// The part after the colon: which chain of its kind.
    pub fn reference(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, reference)| reference)
    }

    /// The EVM chain id, when this is an EVM chain.
    pub fn evm_chain_id(&self) -> Option<u64> {
        if self.namespace() == "eip155" { self.reference().parse().ok() } else { None }
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// CAIP-2, but with room for the 44 base64 characters that Algorand's older ids carry.
const fn is_caip2(id: &str) -> bool {
    let bytes = id.as_bytes();
    let mut colon = 0;
    while colon < bytes.len() && bytes[colon] != b':' {
        if !matches!(bytes[colon], b'a'..=b'z' | b'0'..=b'9' | b'-') {
            return false;
        }
        colon += 1;
    }
    let reference = bytes.len().saturating_sub(colon + 1);
    if colon < 3 || colon > 8 || reference == 0 || reference > 64 {
        return false;
    }
    let mut at = colon + 1;
    while at < bytes.len() {
        if !(bytes[at].is_ascii_alphanumeric() || matches!(bytes[at], b'-' | b'_' | b'+' | b'/' | b'=')) {
            return false;
        }
        at += 1;
    }
    true
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(id: &str) -> Result<Self, NetworkError> {
        if is_caip2(id) { Ok(Self(Cow::Owned(id.to_owned()))) } else { Err(NetworkError) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Network({})", self.0)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if is_caip2(&text) { Ok(Self(Cow::Owned(text))) } else { Err(de::Error::custom(NetworkError)) }
    }
}

/// A text that is no CAIP-2 id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a network is a CAIP-2 id `namespace:reference`, like `eip155:8453`")]
pub struct NetworkError;

/// One network, or every network of a namespace (`eip155:*`).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum NetworkPattern {
    /// This network.
    Exactly(Network),
    /// Every network of this namespace.
    Namespace(Cow<'static, str>),
}

impl NetworkPattern {
    /// Every EVM chain.
    pub const EVM: Self = Self::Namespace(Cow::Borrowed("eip155"));

    /// Whether the network is one of these.
    pub fn matches(&self, network: &Network) -> bool {
        match self {
            Self::Exactly(one) => one == network,
            Self::Namespace(namespace) => network.namespace() == namespace,
        }
    }
}

impl From<Network> for NetworkPattern {
    fn from(network: Network) -> Self {
        Self::Exactly(network)
    }
}

impl fmt::Display for NetworkPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(network) => network.fmt(f),
            Self::Namespace(namespace) => write!(f, "{namespace}:*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_caip2() {
        for good in ["eip155:8453", "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", "starknet:SN_MAIN"] {
            assert_eq!(good.parse::<Network>().unwrap().as_str(), good);
        }
        let algorand = "algorand:wGHE2Pwdvd7S12BL5FaOP20EGYesN73ktiC1qzkkit8=";
        assert!(algorand.parse::<Network>().is_ok());
        for bad in ["", "base", ":1", "eip155:", "ei:1", "EIP155:1", "eip155:1 ", "eip155:*", "eip155:1\n"] {
            assert_eq!(bad.parse::<Network>(), Err(NetworkError), "{bad:?}");
        }
        assert_eq!(BASE.evm_chain_id(), Some(8453));
        assert_eq!(SOLANA.evm_chain_id(), None);
    }

    #[test]
    fn v1_names_go_both_ways() {
        for (name, id) in V1_NAMES {
            let network: Network = id.parse().unwrap();
            assert_eq!(network.v1_name(), Some(*name));
            assert_eq!(Network::from_v1_name(name), Some(network));
        }
        assert_eq!(ARBITRUM.v1_name(), None);
        assert_eq!(Network::from_v1_name("eip155:8453"), None);
    }
}
