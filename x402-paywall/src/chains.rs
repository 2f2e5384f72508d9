//! What people and wallets call the chains: names, explorers, and what a wallet needs to add one.
//!
//! The rows are those of core's tables of networks and tokens. A chain that is not here works as well: it goes by its
//! CAIP-2 id, has no explorer, and must be in the wallet already; or a service says what it is ([`Chain`]).
//! Source: viem's table of chains (npm, 2.50.4), row by row.

use std::borrow::Cow;

use x402_core::network::Network;

use crate::error::{Error, ErrorKind};

/// A chain as people know it, for [`PaywallPage::chain`](crate::PaywallPage::chain).
///
/// ```
/// # fn main() -> Result<(), x402_paywall::Error> {
/// use x402_core::network::Network;
/// use x402_paywall::{Chain, PaywallPage};
///
/// let ours = Chain::new("Example Chain").explorer("https://scan.example.com")?.rpc("https://rpc.example.com", "EXC")?;
/// let page = PaywallPage::new().chain(Network::evm(999), ours);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    pub(crate) name: Cow<'static, str>,
    pub(crate) testnet: bool,
    /// Its explorer by EIP-3091; none where nobody vouches for one.
    explorer: Cow<'static, str>,
    /// The coin that fees are paid in, and where a wallet reaches the chain.
    coin: Cow<'static, str>,
    rpc: Cow<'static, str>,
}

pub(crate) fn find(network: &Network) -> Option<&'static Chain> {
    CHAINS.iter().find(|(id, _)| *id == network.as_str()).map(|(_, chain)| chain)
}

impl Chain {
    /// A chain of this name, with real money, without an explorer; who pays must have it in their wallet.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        const NONE: Cow<'static, str> = Cow::Borrowed("");
        Self { name: name.into(), testnet: false, explorer: NONE, coin: NONE, rpc: NONE }
    }

    /// Its money is worth nothing.
    #[must_use]
    pub fn testnet(mut self) -> Self {
        self.testnet = true;
        self
    }

    /// Where its transactions can be looked up, at `/tx/` and their hash below this address (EIP-3091).
    ///
    /// # Errors
    /// When it is no `https` address.
    pub fn explorer(mut self, url: impl Into<String>) -> Result<Self, Error> {
        let url = url.into();
        if !is_https(&url) {
            return Err(Error::new(ErrorKind::Chain, "a chain's explorer is an https address", &url));
        }
        self.explorer = url.trim_end_matches('/').to_owned().into();
        Ok(self)
    }

    /// What a wallet that does not know the chain is told, so that it can add it (EIP-3085): an RPC endpoint that the
    /// wallet can reach, and the symbol of the coin, of 18 decimals, that fees are paid in.
    ///
    /// # Errors
    /// When the endpoint is no `https` address, nor an `http` address of the same machine, or the symbol is not of two to
    /// six characters: wallets take no other.
    pub fn rpc(mut self, url: impl Into<String>, coin: impl Into<String>) -> Result<Self, Error> {
        let (url, coin) = (url.into(), coin.into());
        if !is_https(&url) && !is_local(&url) {
            let expected = "a chain's RPC endpoint is an https address, or http on localhost";
            return Err(Error::new(ErrorKind::Chain, expected, &url));
        }
        if !(2..=6).contains(&coin.chars().count()) {
            let expected = "the symbol of a chain's coin has two to six characters";
            return Err(Error::new(ErrorKind::Chain, expected, &coin));
        }
        (self.rpc, self.coin) = (url.into(), coin.into());
        Ok(self)
    }

    /// The address of a transaction, without its hash.
    pub(crate) fn transactions(&self) -> Option<String> {
        (!self.explorer.is_empty()).then(|| format!("{}/tx/", self.explorer))
    }

    /// The coin and the endpoint that a wallet is told of with a chain it does not know (EIP-3085).
    pub(crate) fn for_wallet(&self) -> Option<(&str, &str)> {
        (!self.rpc.is_empty()).then_some((&self.coin, &self.rpc))
    }
}

/// Whether it is an `https` address of a host, without a user's name that would look like one.
pub(crate) fn is_https(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else { return false };
    uri.scheme() == Some(&http::uri::Scheme::HTTPS) && host(&uri).is_some()
}

fn is_local(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else { return false };
    uri.scheme() == Some(&http::uri::Scheme::HTTP)
        && host(&uri).is_some_and(|host| ["localhost", "127.0.0.1", "[::1]"].contains(&host))
}

fn host(uri: &http::Uri) -> Option<&str> {
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    Some(authority.host()).filter(|host| !host.is_empty())
}

type Row = (&'static str, Chain);

const fn chain(id: &'static str, words: [&'static str; 4]) -> Row {
    row(id, false, words)
}

const fn testnet(id: &'static str, words: [&'static str; 4]) -> Row {
    row(id, true, words)
}

/// The name, the explorer, the coin, and the RPC endpoint.
const fn row(id: &'static str, testnet: bool, [name, explorer, coin, rpc]: [&'static str; 4]) -> Row {
    let [name, explorer, coin, rpc] =
        [Cow::Borrowed(name), Cow::Borrowed(explorer), Cow::Borrowed(coin), Cow::Borrowed(rpc)];
    (id, Chain { name, testnet, explorer, coin, rpc })
}

#[rustfmt::skip]
static CHAINS: &[Row] = &[
    chain("eip155:8453", ["Base", "https://basescan.org", "ETH", "https://mainnet.base.org"]),
    testnet("eip155:84532", ["Base Sepolia", "https://sepolia.basescan.org", "ETH", "https://sepolia.base.org"]),
    chain("eip155:1", ["Ethereum", "https://etherscan.io", "ETH", "https://eth.merkle.io"]),
    testnet("eip155:11155111", ["Sepolia", "https://sepolia.etherscan.io", "ETH", "https://11155111.rpc.thirdweb.com"]),
    chain("eip155:43114", ["Avalanche", "https://snowtrace.io", "AVAX", "https://api.avax.network/ext/bc/C/rpc"]),
    testnet("eip155:43113", ["Avalanche Fuji", "https://testnet.snowtrace.io", "AVAX", "https://api.avax-test.network/ext/bc/C/rpc"]),
    chain("eip155:137", ["Polygon", "https://polygonscan.com", "POL", "https://polygon.drpc.org"]),
    testnet("eip155:80002", ["Polygon Amoy", "https://amoy.polygonscan.com", "POL", "https://rpc-amoy.polygon.technology"]),
    chain("eip155:42161", ["Arbitrum One", "https://arbiscan.io", "ETH", "https://arb1.arbitrum.io/rpc"]),
    testnet("eip155:421614", ["Arbitrum Sepolia", "https://sepolia.arbiscan.io", "ETH", "https://sepolia-rollup.arbitrum.io/rpc"]),
    chain("eip155:143", ["Monad", "https://monadscan.com", "MON", "https://rpc.monad.xyz"]),
    chain("eip155:4326", ["MegaETH", "https://mega.etherscan.io", "ETH", "https://mainnet.megaeth.com/rpc"]),
    chain("eip155:988", ["Stable", "https://stablescan.xyz", "USDT0", "https://rpc.stable.xyz"]),
    testnet("eip155:2201", ["Stable Testnet", "https://testnet.stablescan.xyz", "USDT0", "https://rpc.testnet.stable.xyz"]),
    chain("eip155:31612", ["Mezo", "https://explorer.mezo.org", "BTC", "https://rpc.mezo.org"]),
    testnet("eip155:31611", ["Mezo Testnet", "https://explorer.test.mezo.org", "BTC", "https://rpc.test.mezo.org"]),
    chain("eip155:723487", ["Radius", "", "RUSD", "https://rpc.radiustech.xyz"]),
    testnet("eip155:72344", ["Radius Testnet", "", "RUSD", "https://rpc.testnet.radiustech.xyz"]),
    chain("eip155:36900", ["ADI Chain", "https://explorer.adifoundation.ai", "ADI", "https://rpc.adifoundation.ai"]),
    chain("eip155:190415", ["HPP", "https://explorer.hpp.io", "ETH", "https://mainnet.hpp.io"]),
    testnet("eip155:181228", ["HPP Sepolia", "https://sepolia-explorer.hpp.io", "ETH", "https://testnet.hpp.io"]),
    chain("eip155:50", ["XDC", "https://xdcscan.com", "XDC", "https://rpc.xdcrpc.com"]),
    testnet("eip155:51", ["XDC Apothem", "https://testnet.xdcscan.com", "TXDC", "https://erpc.apothem.network"]),
    chain("eip155:38833", ["Igra", "https://explorer.igralabs.com", "iKAS", "https://rpc.igralabs.com:8545"]),
    chain("eip155:14", ["Flare", "https://flare-explorer.flare.network", "FLR", "https://flare-api.flare.network/ext/C/rpc"]),
    chain("eip155:42220", ["Celo", "https://celoscan.io", "CELO", "https://forno.celo.org"]),
    testnet("eip155:11142220", ["Celo Sepolia", "https://celo-sepolia.blockscout.com", "S-CELO", "https://forno.celo-sepolia.celo-testnet.org"]),
    chain("eip155:1329", ["Sei", "https://seiscan.io", "SEI", "https://evm-rpc.sei-apis.com"]),
    testnet("eip155:1328", ["Sei Testnet", "", "SEI", "https://evm-rpc-testnet.sei-apis.com"]),
    chain("eip155:4689", ["IoTeX", "https://iotexscan.io", "IOTX", "https://babel-api.mainnet.iotex.io"]),
    chain("eip155:2741", ["Abstract", "https://abscan.org", "ETH", "https://api.mainnet.abs.xyz"]),
    testnet("eip155:11124", ["Abstract Testnet", "https://sepolia.abscan.org", "ETH", "https://api.testnet.abs.xyz"]),
    chain("eip155:3338", ["peaq", "", "PEAQ", "https://quicknode1.peaq.xyz"]),
    chain("eip155:1514", ["Story", "https://storyscan.io", "IP", "https://mainnet.storyrpc.io"]),
    chain("eip155:41923", ["EDU Chain", "", "EDU", "https://rpc.edu-chain.raas.gelato.cloud"]),
    testnet("eip155:324705682", ["SKALE Base Sepolia", "", "CREDIT", ""]),
    chain("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", ["Solana", "", "SOL", ""]),
    testnet("solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1", ["Solana Devnet", "", "SOL", ""]),
    testnet("solana:4uhcVJyU9pJkvQyS88uRDiswHXSCkY3z", ["Solana Testnet", "", "SOL", ""]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chain_is_there_once_and_its_addresses_are_https() {
        for (at, (id, chain)) in CHAINS.iter().enumerate() {
            let network: Network = id.parse().expect(id);
            assert_eq!(find(&network), Some(chain));
            assert!(CHAINS[at + 1..].iter().all(|(_, other)| other.name != chain.name), "{}", chain.name);
            for address in [&chain.explorer, &chain.rpc] {
                assert!(address.is_empty() || address.starts_with("https://"), "{address}");
                assert!(!address.ends_with('/'), "{address}");
            }
        }
    }

    #[test]
    fn every_chain_with_a_token_or_an_old_name_is_there() {
        let known = (1..1_000_000).chain([11_155_111, 11_142_220, 324_705_682]).map(Network::evm);
        for network in known {
            let used = x402_core::asset::default_token(&network).is_some() || network.v1_name().is_some();
            assert!(!used || find(&network).is_some(), "{network}");
        }
    }

    #[test]
    fn what_nobody_vouches_for_is_left_out() {
        let chain = find(&x402_core::network::BASE_SEPOLIA).unwrap();
        assert_eq!(chain.for_wallet(), Some(("ETH", "https://sepolia.base.org")));
        assert_eq!(chain.transactions().unwrap(), "https://sepolia.basescan.org/tx/");
        let solana = find(&x402_core::network::SOLANA).unwrap();
        assert_eq!((solana.for_wallet(), solana.transactions()), (None, None));
        assert_eq!(find(&Network::evm(999)), None);
    }
    #[test]
    fn a_chain_of_ones_own_has_addresses_that_wallets_take() {
        let chain = || Chain::new("Ours");
        assert_eq!((chain().transactions(), chain().for_wallet()), (None, None));
        let ours = chain().testnet().explorer("https://scan.example/chain/").unwrap();
        let ours = ours.rpc("http://127.0.0.1:8545", "ETH").unwrap();
        assert_eq!(ours.transactions().unwrap(), "https://scan.example/chain/tx/");
        assert_eq!((ours.for_wallet(), ours.testnet), (Some(("ETH", "http://127.0.0.1:8545")), true));
        for url in
            ["", "scan.example", "http://scan.example", "https://a@scan.example", "javascript:alert(1)"]
        {
            let error = chain().explorer(url).expect_err(url);
            assert_eq!(error.to_string(), format!("a chain's explorer is an https address, not `{url}`"));
            assert_eq!(chain().rpc(url, "ETH").expect_err(url).kind(), ErrorKind::Chain);
        }
        for coin in ["", "E", "ETHEREUM"] {
            assert_eq!(chain().rpc("https://rpc.example", coin).expect_err(coin).kind(), ErrorKind::Chain);
        }
    }
}
