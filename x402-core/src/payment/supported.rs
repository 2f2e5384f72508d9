//! What a facilitator can do.

use std::collections::BTreeMap;

use super::{JsonMap, Version};
use crate::network::Network;

/// A kind of payment a facilitator verifies and settles.
#[derive(Debug, Clone, PartialEq)]
pub struct SupportedKind {
    /// The protocol's version.
    pub version: Version,
    /// The scheme.
    pub scheme: String,
    /// The chain.
    pub network: Network,
    /// What requirements of this kind must carry, like a fee payer.
    pub extra: JsonMap,
}

/// Everything a facilitator can do.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Supported {
    /// The kinds of payment.
    pub kinds: Vec<SupportedKind>,
    /// The extensions, by key.
    pub extensions: Vec<String>,
    /// The accounts it settles from, by network pattern (`eip155:*`).
    pub signers: BTreeMap<String, Vec<String>>,
}

impl Supported {
    /// The kind of payments of this scheme on this network, in this version of the protocol.
    pub fn kind(&self, version: Version, scheme: &str, network: &Network) -> Option<&SupportedKind> {
        self.kinds
            .iter()
            .find(|kind| kind.version == version && kind.scheme == scheme && kind.network == *network)
    }
}
