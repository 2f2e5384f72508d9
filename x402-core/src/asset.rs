//! The stablecoins that prices in dollars are charged in, by network.

use std::borrow::Cow;

use crate::{address::Address, network::Network};

/// A token: what a scheme must know to charge in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The chain it lives on.
    pub network: Network,
    /// Its address there.
    pub address: Address,
    /// The symbol people write, like `USDC`.
    pub symbol: Cow<'static, str>,
    /// How many decimals its smallest unit is below one.
    pub decimals: u8,
    /// How a payer authorises a transfer of it.
    pub transfer: TransferMethod,
}

/// How a payer authorises a transfer of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransferMethod {
    /// EIP-3009 `transferWithAuthorization`, signed under the token's EIP-712 domain.
    Eip3009 {
        /// The domain's name.
        name: Cow<'static, str>,
        /// The domain's version.
        version: Cow<'static, str>,
    },
    /// Uniswap's Permit2; with the token's EIP-712 domain (name, version) where it has EIP-2612 `permit`.
    Permit2 {
        /// The domain, if the token has `permit`.
        eip2612: Option<(Cow<'static, str>, Cow<'static, str>)>,
    },
    /// A transaction the payer signs whole, as on Solana.
    Transaction,
}

impl Token {
    /// A token with EIP-3009, like every USDC.
    pub fn eip3009(
        network: Network,
        address: Address,
        symbol: impl Into<Cow<'static, str>>,
        decimals: u8,
        name: impl Into<Cow<'static, str>>,
        version: impl Into<Cow<'static, str>>,
    ) -> Self {
        let transfer = TransferMethod::Eip3009 { name: name.into(), version: version.into() };
        Self { network, address, symbol: symbol.into(), decimals, transfer }
    }
}

/// The token that dollars are charged in on this network.
pub fn default_token(network: &Network) -> Option<Token> {
    tokens_of(network).next()
}

/// The known token of this symbol on this network; case does not matter.
pub fn token_by_symbol(network: &Network, symbol: &str) -> Option<Token> {
    tokens_of(network).find(|token| token.symbol.eq_ignore_ascii_case(symbol))
}

/// The known token at this address.
pub fn token_at(network: &Network, address: &Address) -> Option<Token> {
    tokens_of(network).find(|token| token.address == *address)
}

/// Every token known on this network, its default first.
pub fn tokens_of(network: &Network) -> impl Iterator<Item = Token> + '_ {
    let evm = network
        .evm_chain_id()
        .into_iter()
        .flat_map(move |chain| EVM.iter().filter(move |row| row.0 == chain).map(|row| row.token(network)));
    let solana = SOLANA.iter().filter(|row| row.0 == network.as_str()).map(|row| row.token(network));
    evm.chain(solana)
}

enum Via {
    Eip3009,
    Permit2,
    Permit2With2612,
}

/// Chain id, address, symbol, EIP-712 name and version, decimals, transfer method.
struct EvmRow(u64, &'static str, &'static str, &'static str, &'static str, u8, Via);

impl EvmRow {
    fn token(&self, network: &Network) -> Token {
        let (name, version) = (Cow::Borrowed(self.3), Cow::Borrowed(self.4));
        Token {
            network: network.clone(),
            address: self.1.parse().expect("the table holds addresses"),
            symbol: Cow::Borrowed(self.2),
            decimals: self.5,
            transfer: match self.6 {
                Eip3009 => TransferMethod::Eip3009 { name, version },
                Permit2 => TransferMethod::Permit2 { eip2612: None },
                Permit2With2612 => TransferMethod::Permit2 { eip2612: Some((name, version)) },
            },
        }
    }
}

/// Network, mint, symbol.
struct SolanaRow(&'static str, &'static str, &'static str);

impl SolanaRow {
    fn token(&self, network: &Network) -> Token {
        Token {
            network: network.clone(),
            address: self.1.parse().expect("the table holds addresses"),
            symbol: Cow::Borrowed(self.2),
            decimals: 6,
            transfer: TransferMethod::Transaction,
        }
    }
}

use Via::{Eip3009, Permit2, Permit2With2612};

/// A chain's first row is its default. The default assets of the reference packages.
#[rustfmt::skip]
const EVM: &[EvmRow] = &[
    EvmRow(8453, "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913", "USDC", "USD Coin", "2", 6, Eip3009),
    EvmRow(84532, "0x036CbD53842c5426634e7929541eC2318f3dCF7e", "USDC", "USDC", "2", 6, Eip3009),
    EvmRow(1, "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48", "USDC", "USD Coin", "2", 6, Eip3009),
    EvmRow(11155111, "0x1c7D4B196Cb0C7B01d743Fbc6116a902379C7238", "USDC", "USDC", "2", 6, Eip3009),
    EvmRow(43114, "0xB97EF9Ef8734C71904D8002F8b6Bc66Dd9c48a6E", "USDC", "USD Coin", "2", 6, Eip3009),
    EvmRow(137, "0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359", "USDC", "USD Coin", "2", 6, Eip3009),
    EvmRow(42161, "0xaf88d065e77c8cC2239327C5EDb3A432268e5831", "USDC", "USD Coin", "2", 6, Eip3009),
    EvmRow(421614, "0x75faf114eafb1BDbe2F0316DF893fd58CE46AA4d", "USDC", "USD Coin", "2", 6, Eip3009),
    EvmRow(143, "0x754704Bc059F8C67012fEd69BC8A327a5aafb603", "USDC", "USDC", "2", 6, Eip3009),
    EvmRow(4326, "0xFAfDdbb3FC7688494971a79cc65DCa3EF82079E7", "USDm", "MegaUSD", "1", 18, Permit2With2612),
    EvmRow(988, "0x779Ded0c9e1022225f8E0630b35a9b54bE713736", "USDT0", "USDT0", "1", 6, Eip3009),
    EvmRow(2201, "0x78Cf24370174180738C5B8E352B6D14c83a6c9A9", "USDT0", "USDT0", "1", 6, Eip3009),
    EvmRow(31612, "0xdD468A1DDc392dcdbEf6db6e34E89AA338F9F186", "MUSD", "Mezo USD", "1", 18, Permit2With2612),
    EvmRow(31611, "0x118917a40FAF1CD7a13dB0Ef56C86De7973Ac503", "MUSD", "Mezo USD", "1", 18, Permit2With2612),
    EvmRow(723487, "0x33ad9e4BD16B69B5BFdED37D8B5D9fF9aba014Fb", "SBC", "Stable Coin", "1", 6, Permit2With2612),
    EvmRow(72344, "0x33ad9e4BD16B69B5BFdED37D8B5D9fF9aba014Fb", "SBC", "Stable Coin", "1", 6, Permit2With2612),
    EvmRow(36900, "0x9cb8142aEBBcdc60AF7c97Af897A67A8f3CA71C2", "USDC.e", "USDC.e", "2", 6, Eip3009),
    EvmRow(190415, "0x401eCb1D350407f13ba348573E5630B83638E30D", "USDC.e", "Bridged USDC", "2", 6, Eip3009),
    EvmRow(181228, "0x401eCb1D350407f13ba348573E5630B83638E30D", "USDC.e", "Bridged USDC", "2", 6, Eip3009),
    EvmRow(50, "0xfA2958CB79b0491CC627c1557F441eF849Ca8eb1", "USDC", "USDC", "2", 6, Eip3009),
    EvmRow(51, "0xb5AB69F7bBada22B28e79C8FFAECe55eF1c771D4", "USDC", "USDC", "2", 6, Eip3009),
    EvmRow(38833, "0xA5b8BF902b2844dA17d4506cc827F7F1681735E7", "USDC", "USDC", "1", 6, Permit2),
    EvmRow(14, "0xe7cd86e13AC4309349F30B3435a9d337750fC82D", "USDT0", "USD₮0", "1", 6, Eip3009),
    EvmRow(42220, "0xcebA9300f2b948710d2653dD7B07f33A8B32118C", "USDC", "USDC", "2", 6, Eip3009),
    EvmRow(42220, "0x48065fbBE25f71C9282ddf5e1cD6D6A887483D5e", "USDT", "Tether USD", "1", 6, Eip3009),
    EvmRow(42220, "0xD2ab3C9A02DBBAB236BfEC45D1d755DF4267F771", "USAT", "Tether America USD", "1", 6, Eip3009),
    EvmRow(11142220, "0x01C5C0122039549AD1493B8220cABEdD739BC44E", "USDC", "USDC", "2", 6, Eip3009),
    EvmRow(1329, "0xe15fC38F6D8c56aF07bbCBe3BAf5708A2Bf42392", "USDC", "USDC", "2", 6, Eip3009),
    EvmRow(1328, "0x4fCF1784B31630811181f670Aea7A7bEF803eaED", "USDC", "USDC", "2", 6, Eip3009),
];

#[rustfmt::skip]
const SOLANA: &[SolanaRow] = &[
    SolanaRow("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v", "USDC"),
    SolanaRow("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", "Es9vMFrzaCERmJfrF4H2FYD4KCoNkY11McCe8BenwNYB", "USDT"),
    SolanaRow("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", "2b1kV6DkPAnxd5ixfnxCpjxmKwqjjaYmCZfHsFu24GXo", "PYUSD"),
    SolanaRow("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", "2u1tszSeqZ3qBWF3uNGPFc8TzMk2tdiwknnRMWGWjGWH", "USDG"),
    SolanaRow("solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1", "4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU", "USDC"),
    SolanaRow("solana:4uhcVJyU9pJkvQyS88uRDiswHXSCkY3z", "4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU", "USDC"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{BASE, SOLANA as SOLANA_MAINNET};

    #[test]
    fn every_row_is_well_formed() {
        for row in EVM {
            assert!(
                row.1.len() == 42 && row.1[2..].bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{}",
                row.1
            );
            let network = Network::evm(row.0);
            let token = token_by_symbol(&network, row.2).expect(row.2);
            assert_eq!(token_at(&network, &token.address), Some(token));
        }
        for row in SOLANA {
            assert_eq!(token_by_symbol(&row.0.parse().unwrap(), row.2).unwrap().address.as_str(), row.1);
        }
    }

    #[test]
    fn a_chain_has_one_default() {
        assert_eq!(default_token(&BASE).unwrap().symbol, "USDC");
        assert_eq!(default_token(&Network::evm(42220)).unwrap().symbol, "USDC");
        assert_eq!(default_token(&SOLANA_MAINNET).unwrap().symbol, "USDC");
        assert_eq!(default_token(&Network::evm(999)), None);
    }
}
