//! The binary's settings, from the [variables](crate::variables) of the environment.
//!
//! An empty variable is an unset one. A value that is wrong ends the start, and all that are wrong are told at once.

use std::{collections::BTreeSet, time::Duration};

use alloy::{primitives::Address, signers::local::PrivateKeySigner};
use anyhow::{Context, Error, anyhow, bail};
use url::Url;
use x402_core::{
    amount::Amount,
    asset::{token_by_symbol, tokens_of},
    network::Network,
    price::Price,
};

use crate::{chains::Chain, variables::nearest};

pub(crate) struct Config {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) signer: PrivateKeySigner,
    pub(crate) chains: Vec<EvmChain>,
    pub(crate) assets: Assets,
    pub(crate) max_gas: Option<u64>,
    pub(crate) receipt_timeout: Duration,
    pub(crate) store: Store,
}

/// Where what was sent is written down. The URLs may carry passwords: never printed.
#[derive(PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) enum Store {
    Memory,
    Redis(String),
    Postgres(String),
}

/// What is settled beside the known tokens.
#[derive(Debug, PartialEq)]
pub(crate) enum Assets {
    Listed(Vec<Address>),
    Any,
}

/// A chain to settle on.
#[derive(Debug, PartialEq)]
pub(crate) struct EvmChain {
    pub(crate) name: String,
    pub(crate) network: Network,
    /// The preferred one first. May carry a key: never printed.
    pub(crate) rpc_urls: Vec<Url>,
    /// What a payment must be at least, in atomic units, where it is another amount than by default.
    pub(crate) minimums: Vec<(Address, Amount)>,
    /// What to set for another node.
    pub(crate) variable: String,
}

/// One variable of the environment.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> anyhow::Result<Option<String>>;

/// A variable of the process's environment; `None` when it is unset or empty.
pub(crate) fn environment(name: &str) -> anyhow::Result<Option<String>> {
    let Some(value) = std::env::var_os(name) else { return Ok(None) };
    let Ok(value) = value.into_string() else { bail!("{name} is not UTF-8") };
    let value = value.trim();
    Ok((!value.is_empty()).then(|| value.to_owned()))
}

impl Config {
    /// Reads the settings. `None` when something is wrong: then it is among the faults, with what was expected.
    pub(crate) fn read(lookup: Lookup<'_>, faults: &mut Vec<Error>) -> Option<Self> {
        let host = fault(faults, lookup("HOST"));
        let port = fault(faults, port(lookup));
        let receipt_timeout = fault(faults, receipt_timeout(lookup));
        let signer = fault(faults, signer(lookup));
        let chains = chains(lookup, faults);
        let assets = fault(faults, assets(lookup));
        let max_gas = fault(faults, max_gas(lookup));
        let store = fault(faults, store(lookup));
        Some(Self {
            host: host?.unwrap_or_else(|| "127.0.0.1".to_owned()),
            port: port?,
            signer: signer?,
            chains: chains?,
            assets: assets?,
            max_gas: max_gas?,
            receipt_timeout: receipt_timeout?,
            store: store?,
        })
    }
}

/// What was read, or one more fault.
fn fault<T>(faults: &mut Vec<Error>, read: anyhow::Result<T>) -> Option<T> {
    read.map_err(|error| faults.push(error)).ok()
}

fn port(lookup: Lookup<'_>) -> anyhow::Result<u16> {
    let Some(text) = lookup("PORT")? else { return Ok(8090) };
    text.parse()
        .ok()
        .with_context(|| format!("PORT is {text:?}: expected a number from 0 (any free port) to 65535"))
}

fn receipt_timeout(lookup: Lookup<'_>) -> anyhow::Result<Duration> {
    let Some(text) = lookup("SETTLEMENT_RECEIPT_TIMEOUT_MS")? else { return Ok(Duration::from_secs(45)) };
    let milliseconds = text.parse().ok().filter(|ms| (1..=3_600_000).contains(ms));
    milliseconds.map(Duration::from_millis).with_context(|| {
        format!(
            "SETTLEMENT_RECEIPT_TIMEOUT_MS is {text:?}: expected milliseconds from 1 to 3600000, like 45000"
        )
    })
}

fn signer(lookup: Lookup<'_>) -> anyhow::Result<PrivateKeySigner> {
    let key = lookup("EVM_PRIVATE_KEY")?.context(
        "EVM_PRIVATE_KEY is not set: set it to the private key of the account that pays the gas of settlements \
         (64 hex digits, with or without 0x)",
    )?;
    let digits = key.strip_prefix("0x").or_else(|| key.strip_prefix("0X")).unwrap_or(&key);
    // Neither the value nor the parser's words about it: they may repeat it.
    digits.parse().ok().filter(|_| digits.len() == 64).context(
        "EVM_PRIVATE_KEY is not a private key: expected 64 hex digits, with or without 0x, that are a valid \
         secp256k1 key",
    )
}

fn store(lookup: Lookup<'_>) -> anyhow::Result<Store> {
    let Some(url) = lookup("STORE_URL")? else { return Ok(Store::Memory) };
    match url.split(':').next() {
        Some("memory") => Ok(Store::Memory),
        Some("redis" | "rediss" | "redis+unix") => Ok(Store::Redis(url)),
        Some("postgres" | "postgresql") => Ok(Store::Postgres(url)),
        _ => bail!(
            "STORE_URL is not the URL of a store: expected one like redis://host:6379/ or \
             postgres://user:password@host:5432/database, or memory: for none"
        ),
    }
}

fn assets(lookup: Lookup<'_>) -> anyhow::Result<Assets> {
    let Some(list) = lookup("EVM_ASSETS")? else { return Ok(Assets::Listed(Vec::new())) };
    if list.eq_ignore_ascii_case("any") {
        return Ok(Assets::Any);
    }
    let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
    let assets = items.map(|item| {
        asset(item).with_context(|| {
            format!(
                "EVM_ASSETS names {item:?}: expected token addresses (`0x` and 40 hex digits, in one case or with their \
                 EIP-55 checksum), separated by commas, or `any` alone"
            )
        })
    });
    Ok(Assets::Listed(assets.collect::<Result<_, _>>()?))
}

fn asset(item: &str) -> Option<Address> {
    let digits = item.strip_prefix("0x")?;
    let one_case = digits.to_ascii_lowercase() == digits || digits.to_ascii_uppercase() == digits;
    let address: Address = item.parse().ok()?;
    (!address.is_zero() && (one_case || address.to_checksum(None) == item)).then_some(address)
}

fn max_gas(lookup: Lookup<'_>) -> anyhow::Result<Option<u64>> {
    let Some(text) = lookup("EVM_MAX_GAS")? else { return Ok(None) };
    let gas = text.parse().ok().filter(|gas| (50_000..=30_000_000).contains(gas));
    gas.map(Some).with_context(|| {
        format!("EVM_MAX_GAS is {text:?}: expected units of gas from 50000 to 30000000, like 500000")
    })
}

/// The minimums of a chain, under the name its node has as well.
fn minimums(
    lookup: Lookup<'_>,
    network: &Network,
    names: [&str; 2],
) -> anyhow::Result<Vec<(Address, Amount)>> {
    let mut minimums = Vec::new();
    for name in names {
        let variable = format!("EVM_MIN_AMOUNT_{name}");
        let Some(list) = lookup(&variable)? else { continue };
        for item in list.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            minimums.push(minimum(network, item).with_context(|| {
                let known: Vec<_> = tokens_of(network).map(|token| token.symbol).collect();
                format!(
                    "{variable} has {item:?}: expected tokens with the least that is paid in each, separated by commas: a \
                     known one ({}) with whole tokens, like USDC=0.0005, or the address of any with its atomic units, \
                     like 0x036CbD53842c5426634e7929541eC2318f3dCF7e=500",
                    if known.is_empty() { "there is none on this chain".to_owned() } else { known.join(", ") }
                )
            })?);
        }
    }
    Ok(minimums)
}

fn minimum(network: &Network, item: &str) -> Option<(Address, Amount)> {
    let (token, amount) = item.split_once('=')?;
    let (token, amount) = (token.trim(), amount.trim());
    if let Some(address) = asset(token) {
        return Some((address, amount.parse().ok()?));
    }
    let token = token_by_symbol(network, token)?;
    // As a price is read: digits and a point, no finer than the token.
    let plain = amount.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let amount = plain.then(|| amount.parse::<Price>()).and_then(Result::ok)?;
    Some((asset(token.address.as_str())?, amount.to_amount(token.decimals).ok()?))
}

fn chains(lookup: Lookup<'_>, faults: &mut Vec<Error>) -> Option<Vec<EvmChain>> {
    let list = fault(faults, lookup("EVM_NETWORKS"))?.unwrap_or_else(|| "base,base-sepolia".to_owned());
    let (mut chains, mut complete) = (Vec::new(), true);
    let mut seen = BTreeSet::new();
    for item in list.split(',').map(|item| item.trim().to_ascii_lowercase()).filter(|item| !item.is_empty()) {
        let network = fault(faults, network(&item).with_context(|| unknown_network(&item)));
        match network {
            Some(network) if !seen.insert(network.clone()) => {}
            Some(network) => match fault(faults, evm_chain(lookup, network)) {
                Some(chain) => chains.push(chain),
                None => complete = false,
            },
            None => complete = false,
        }
    }
    if complete && chains.is_empty() {
        let expected = "expected names like `base,base-sepolia` or CAIP-2 ids like `eip155:8453`";
        faults.push(anyhow!("EVM_NETWORKS is {list:?} and names no network: {expected}"));
        complete = false;
    }
    complete.then_some(chains)
}

fn unknown_network(item: &str) -> String {
    let names = || Chain::all().map(|chain| chain.name);
    let meant = nearest(item, names().map(str::to_owned));
    let meant = meant.map_or_else(String::new, |meant| format!(" (did you mean {meant}?)"));
    format!(
        "EVM_NETWORKS names {item:?}, which is no known EVM network{meant}: expected one of {}, or an id like \
         `eip155:8453`",
        names().collect::<Vec<_>>().join(", ")
    )
}

fn network(item: &str) -> Option<Network> {
    let network = match Chain::named(item) {
        Some(chain) => chain.network(),
        None => Network::from_v1_name(item).or_else(|| item.parse().ok())?,
    };
    // One spelling for each chain: `eip155:08453` is `eip155:8453`.
    network.evm_chain_id().map(Network::evm)
}

impl EvmChain {
    /// What a network is called here.
    fn name_of(network: &Network) -> String {
        let known = Chain::of(network).map(|chain| chain.name);
        known.or(network.v1_name()).unwrap_or(network.as_str()).to_owned()
    }

    /// How the variables of a network of this name, or with this id, end.
    pub(crate) fn suffix(name: &str) -> String {
        name.to_ascii_uppercase().replace(['-', ':'], "_")
    }

    /// The network whose variables end so.
    pub(crate) fn of_suffix(suffix: &str) -> Option<Network> {
        let name = suffix.to_ascii_lowercase().replace('_', "-");
        let network = match name.strip_prefix("eip155-") {
            Some(id) => network(&format!("eip155:{id}")),
            None => network(&name),
        }?;
        let suffixes = [&Self::name_of(&network), network.as_str()].map(Self::suffix);
        suffixes.iter().any(|known| known == suffix).then_some(network)
    }
}

fn evm_chain(lookup: Lookup<'_>, network: Network) -> anyhow::Result<EvmChain> {
    let known = Chain::of(&network);
    let name = EvmChain::name_of(&network);
    let suffix = EvmChain::suffix;
    let by_name = format!("EVM_RPC_URL_{}", suffix(&name));
    let by_id = format!("EVM_RPC_URL_{}", suffix(network.as_str()));
    let own =
        if lookup(&by_name)?.is_none() && lookup(&by_id)?.is_some() { &by_id } else { &by_name }.clone();
    let (variable, text) = match (lookup(&by_name)?, lookup(&by_id)?, known) {
        (Some(url), _, _) => (by_name, url),
        (None, Some(url), _) => (by_id, url),
        (None, None, Some(chain)) => {
            let (alchemy, infura) = (lookup("ALCHEMY_API_KEY")?, lookup("INFURA_API_KEY")?);
            let url = chain.rpc_url(alchemy.as_deref(), infura.as_deref());
            ("ALCHEMY_API_KEY or INFURA_API_KEY".to_owned(), url)
        }
        (None, None, None) => bail!("{by_name} is not set: {network} has no public node that is known here"),
    };
    let urls = text.split(',').map(str::trim).filter(|url| !url.is_empty());
    let urls = urls.map(|url| Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https")));
    let rpc_urls: Option<Vec<Url>> = urls.collect();
    let rpc_urls = rpc_urls.filter(|urls| !urls.is_empty()).with_context(|| {
        format!(
            "{variable} does not make a URL: expected one like https://node.example.com, or several separated by \
             commas (for {network})"
        )
    })?;
    let minimums = minimums(lookup, &network, [&suffix(&name), &suffix(network.as_str())])?;
    Ok(EvmChain { name, network, rpc_urls, minimums, variable: own })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variables::{VARIABLES, Variable, help, ignored};

    #[test]
    fn a_store_is_named_by_its_url() {
        let read = |url: &'static str| store(&|_| Ok(Some(url.to_owned()).filter(|url| !url.is_empty())));
        for url in ["redis://h/", "rediss://:secret@h/2", "redis+unix:///tmp/r.sock"] {
            assert_eq!(read(url).unwrap(), Store::Redis(url.to_owned()));
        }
        assert_eq!(
            read("postgres://u:secret@h/d").unwrap(),
            Store::Postgres("postgres://u:secret@h/d".into())
        );
        assert_eq!((read("").unwrap(), read("memory:").unwrap()), (Store::Memory, Store::Memory));
        for bad in ["h:6379", "mysql://u:secret@h/", "/tmp/store", "http://h/"] {
            let error = read(bad).unwrap_err().to_string();
            assert!(error.contains("STORE_URL") && !error.contains("secret"), "{error}");
        }
    }

    const KEY: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";

    fn read(set: &[(&str, &str)]) -> Result<Config, String> {
        let lookup = |name: &str| {
            let value = set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            Ok(value.or_else(|| (name == "EVM_PRIVATE_KEY").then(|| KEY.to_owned())))
        };
        let mut faults = Vec::new();
        let config = Config::read(&lookup, &mut faults);
        assert_eq!(config.is_some(), faults.is_empty());
        let faults: Vec<_> = faults.iter().map(|error| format!("{error:#}")).collect();
        config.ok_or_else(|| faults.join("\n"))
    }

    fn urls(set: &[(&str, &str)]) -> Vec<(String, String)> {
        let chains = read(set).unwrap().chains;
        let urls = |chain: &EvmChain| chain.rpc_urls.iter().map(Url::to_string).collect::<Vec<_>>().join(" ");
        chains.iter().map(|chain| (chain.network.to_string(), urls(chain))).collect()
    }

    fn rows(rows: &[(&str, &str)]) -> Vec<(String, String)> {
        rows.iter().map(|(network, url)| ((*network).to_owned(), (*url).to_owned())).collect()
    }

    #[test]
    fn an_empty_environment_with_a_key_is_enough() {
        let config = read(&[]).unwrap();
        assert_eq!(
            (config.host.as_str(), config.port),
            ("127.0.0.1", 8090),
            "whoever reaches it spends our gas"
        );
        assert_eq!(config.max_gas, None);
        assert!(config.chains.iter().all(|chain| chain.minimums.is_empty()));
        assert_eq!(config.receipt_timeout, Duration::from_secs(45));
        assert_eq!(config.signer.address().to_string(), "0x70997970C51812dc3A010C7d01b50e0d17dc79C8");
        let public =
            [("eip155:8453", "https://mainnet.base.org/"), ("eip155:84532", "https://sepolia.base.org/")];
        assert_eq!(urls(&[]), rows(&public));
        assert!(read(&[("EVM_PRIVATE_KEY", KEY.trim_start_matches("0x"))]).is_ok());
    }

    #[test]
    fn nodes_are_found_in_order() {
        let networks = ("EVM_NETWORKS", " Base-Sepolia,eip155:84532, ,polygon-amoy,eip155:31337,");
        let dev = ("EVM_RPC_URL_EIP155_31337", "http://127.0.0.1:8545");
        let local = ("EVM_RPC_URL_BASE_SEPOLIA", "http://localhost:1/x");
        let several = ("EVM_RPC_URL_BASE_SEPOLIA", " http://localhost:1/x, https://node.example.com ,");
        let (alchemy, infura) = (("ALCHEMY_API_KEY", "ak"), ("INFURA_API_KEY", "ik"));
        let amoy = "https://rpc-amoy.polygon.technology/";
        for (set, base_sepolia, polygon_amoy) in [
            (vec![networks, dev], "https://sepolia.base.org/", amoy),
            (vec![networks, dev, infura], "https://base-sepolia.infura.io/v3/ik", amoy),
            (
                vec![networks, dev, infura, alchemy],
                "https://base-sepolia.g.alchemy.com/v2/ak",
                "https://polygon-amoy.g.alchemy.com/v2/ak",
            ),
            (vec![networks, dev, infura, local], "http://localhost:1/x", amoy),
            (vec![networks, dev, infura, several], "http://localhost:1/x https://node.example.com/", amoy),
        ] {
            let expected = [
                ("eip155:84532", base_sepolia),
                ("eip155:80002", polygon_amoy),
                ("eip155:31337", "http://127.0.0.1:8545/"),
            ];
            assert_eq!(urls(&set), rows(&expected));
        }
    }

    #[test]
    fn tokens_are_added() {
        let usdc = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
        let of = |list: &str| read(&[("EVM_ASSETS", list)]).unwrap().assets;
        let address = usdc.parse().unwrap();
        assert_eq!(read(&[]).unwrap().assets, Assets::Listed(vec![]));
        assert_eq!(
            of(&format!(" {usdc},, {} ", usdc.to_lowercase())),
            Assets::Listed(vec![address, address])
        );
        assert_eq!(of("Any"), Assets::Any);
    }

    #[test]
    fn the_least_that_is_paid_is_set_by_token_and_chain() {
        let usdc: Address = "0x036CbD53842c5426634e7929541eC2318f3dCF7e".parse().unwrap();
        let other = Address::repeat_byte(5);
        let of = |variable: &str, list: &str| {
            let mut chains = read(&[(variable, list)]).unwrap().chains;
            let sepolia = chains.pop().unwrap().minimums;
            (chains.pop().unwrap().minimums.len(), sepolia)
        };
        for name in ["EVM_MIN_AMOUNT_BASE_SEPOLIA", "EVM_MIN_AMOUNT_EIP155_84532"] {
            assert_eq!(of(name, "USDC=0.0005"), (0, vec![(usdc, 500.into())]));
            let list = format!(" usdc = 1 ,, {other}=77");
            assert_eq!(of(name, &list), (0, vec![(usdc, 1_000_000.into()), (other, 77.into())]));
        }
        assert_eq!(of("EVM_MIN_AMOUNT_BASE", "USDC=1").0, 1, "each chain has its own");
        assert_eq!(read(&[("EVM_MAX_GAS", "300000")]).unwrap().max_gas, Some(300_000));
    }

    #[test]
    fn the_variable_of_a_chains_node_is_known() {
        let of = |set: &[(&str, &str)]| read(set).unwrap().chains.remove(0).variable;
        let url = "http://127.0.0.1:8545";
        assert_eq!(of(&[]), "EVM_RPC_URL_BASE");
        assert_eq!(of(&[("EVM_RPC_URL_BASE", url)]), "EVM_RPC_URL_BASE");
        assert_eq!(of(&[("EVM_RPC_URL_EIP155_8453", url)]), "EVM_RPC_URL_EIP155_8453");
    }

    #[test]
    fn a_wrong_value_is_named_and_no_secret_shown() {
        let short = &KEY[..60];
        for (variable, value) in [
            ("PORT", "-1"),
            ("PORT", "65536"),
            ("PORT", "http"),
            ("SETTLEMENT_RECEIPT_TIMEOUT_MS", "45s"),
            ("SETTLEMENT_RECEIPT_TIMEOUT_MS", "0"),
            ("EVM_PRIVATE_KEY", short),
            ("EVM_PRIVATE_KEY", "0x0000000000000000000000000000000000000000000000000000000000000000"),
            ("EVM_PRIVATE_KEY", "secretsecretsecretsecretsecretsecretsecretsecretsecretsecretsecr"),
            ("EVM_NETWORKS", "nowhere, , solana"),
            ("EVM_NETWORKS", "base,bse-sepolia"),
            ("EVM_NETWORKS", "eip155:0x1"),
            ("EVM_NETWORKS", ","),
            ("EVM_ASSETS", "USDC"),
            ("EVM_ASSETS", "any,0x036cbd53842c5426634e7929541ec2318f3dcf7e"),
            ("EVM_ASSETS", "0x036cbd53842c5426634e7929541ec2318f3dcf7"),
            ("EVM_ASSETS", "036cbd53842c5426634e7929541ec2318f3dcf7e"),
            ("EVM_ASSETS", "0x036CbD53842c5426634e7929541eC2318f3dCF7E"),
            ("EVM_ASSETS", "0x0000000000000000000000000000000000000000"),
            ("EVM_MIN_AMOUNT_BASE", "0.001"),
            ("EVM_MIN_AMOUNT_BASE", "USDC=0"),
            ("EVM_MIN_AMOUNT_BASE", "USDC=-1"),
            ("EVM_MIN_AMOUNT_BASE", "USDC=$1"),
            ("EVM_MIN_AMOUNT_BASE", "USDC=1 EURC"),
            ("EVM_MIN_AMOUNT_BASE", "USDC=0.0000001"),
            ("EVM_MIN_AMOUNT_BASE", "DOGE=1"),
            ("EVM_MIN_AMOUNT_BASE", "USDC=1,0x0000000000000000000000000000000000000005=0.1"),
            ("EVM_MAX_GAS", "0.5e6"),
            ("EVM_MAX_GAS", "49999"),
            ("EVM_RPC_URL_BASE", "secret.example.com"),
            ("EVM_RPC_URL_BASE", "file:///secret"),
            ("EVM_RPC_URL_BASE", "https://node.example.com,secret.example.com"),
            ("EVM_RPC_URL_BASE", ","),
        ] {
            let error = read(&[(variable, value)]).err().unwrap_or_else(|| panic!("{variable}={value}"));
            assert!(error.contains(variable), "{variable}={value}: {error}");
            assert!(error.contains("expected"), "{variable}={value}: {error}");
            assert!(!error.contains("secret") && !error.contains(short), "{error}");
        }
        let error = read(&[("EVM_NETWORKS", "eip155:31337")]).err().unwrap();
        assert!(error.contains("EVM_RPC_URL_EIP155_31337"), "{error}");
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let wrong = [
            ("EVM_PRIVATE_KEY", "none"),
            ("PORT", "http"),
            ("EVM_NETWORKS", "bse,base,solana,polygon,eip155:31337"),
            ("EVM_RPC_URL_BASE", "nowhere"),
            ("EVM_MAX_GAS", "lots"),
            ("STORE_URL", "file"),
        ];
        let error = read(&wrong).err().unwrap();
        for part in [
            "EVM_PRIVATE_KEY is not a private key",
            "PORT is",
            "names \"bse\", which is no known EVM network (did you mean base?)",
            "names \"solana\", which is no known EVM network: expected one of base, ",
            "EVM_RPC_URL_BASE",
            "EVM_RPC_URL_EIP155_31337 is not set",
            "EVM_MAX_GAS",
            "STORE_URL",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert_eq!(error.lines().count(), 8, "{error}");
    }

    #[test]
    fn every_variable_that_is_read_is_in_the_help() {
        let asked = std::cell::RefCell::new(BTreeSet::new());
        let lookup = |name: &str| {
            asked.borrow_mut().insert(name.to_owned());
            Ok((name == "EVM_PRIVATE_KEY").then(|| KEY.to_owned()))
        };
        assert!(Config::read(&lookup, &mut Vec::new()).is_some());
        let mut asked = asked.into_inner();
        asked.insert("RUST_LOG".to_owned());
        let is_known = |name: &String| {
            VARIABLES.iter().any(|known| match known.name.strip_suffix("<NAME>") {
                Some(prefix) => name.starts_with(prefix),
                None => name == known.name,
            })
        };
        let unknown: Vec<_> = asked.iter().filter(|name| !is_known(name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        for Variable { name, default, .. } in VARIABLES {
            let prefix = name.trim_end_matches("<NAME>");
            assert!(asked.iter().any(|asked| asked.starts_with(prefix)), "{name} is not read");
            assert!(help().contains(&format!("  {name} [")), "{name}");
            // What is said to be the default reads as nothing does.
            if let (Some(default), true) = (default, ["HOST", "PORT", "EVM_NETWORKS"].contains(name)) {
                let (said, unsaid) = (read(&[(*name, *default)]).unwrap(), read(&[]).unwrap());
                assert_eq!((&said.host, said.port), (&unsaid.host, unsaid.port));
                assert_eq!(said.chains, unsaid.chains);
            }
        }
    }

    #[test]
    fn a_variable_that_would_be_ignored_is_told() {
        let config = read(&[]).unwrap();
        let told = |name: &str| ignored([name.to_owned()].into_iter(), Some(&config.chains)).pop();
        for known in
            ["EVM_PRIVATE_KEY", "EVM_RPC_URL_BASE", "EVM_MIN_AMOUNT_EIP155_84532", "PATH", "STORE_UR"]
        {
            assert_eq!(told(known), None, "{known}");
        }
        for (name, words) in [
            ("EVM_RPC_URL_BASE_SEPOILA", "did you mean EVM_RPC_URL_BASE_SEPOLIA?"),
            ("EVM_MIN_AMOUNT_BSE", "did you mean EVM_MIN_AMOUNT_BASE?"),
            ("EVM_RPC_URLS_BASE", "did you mean EVM_RPC_URL_BASE?"),
            ("EVM_NETWORK", "did you mean EVM_NETWORKS?"),
            ("evm_private_key", "did you mean EVM_PRIVATE_KEY?"),
            ("EVM_RPC_URL_", "--help"),
            ("EVM_SOMETHING_ELSE", "--help"),
            ("EVM_RPC_URL_POLYGON", "EVM_NETWORKS does not name eip155:137"),
            ("EVM_RPC_URL_EIP155_31337", "EVM_NETWORKS does not name eip155:31337"),
        ] {
            assert!(
                told(name).is_some_and(|told| told.contains(name) && told.contains(words)),
                "{name}: {:?}",
                told(name)
            );
        }
        assert_eq!(ignored(["EVM_RPC_URL_POLYGON".to_owned()].into_iter(), None), [] as [&str; 0]);
    }
}
