//! The variables of the environment that the binary reads: what `--help` says of them, and which one was meant.

use std::fmt::Write;

use crate::{chains::Chain, config::EvmChain};

/// A variable, or one for each network where it ends in `<NAME>`.
pub(crate) struct Variable {
    pub(crate) name: &'static str,
    /// `None` where it is required.
    pub(crate) default: Option<&'static str>,
    about: &'static str,
}

#[rustfmt::skip]
pub(crate) const VARIABLES: &[Variable] = &[
    required("EVM_PRIVATE_KEY",
        "The account that pays the gas of settlements: 64 hex digits, with or without 0x."),
    optional("EVM_NETWORKS", "base,base-sepolia",
        "Where payments are settled: names or CAIP-2 ids, separated by commas."),
    optional("EVM_RPC_URL_<NAME>", "Alchemy, Infura, then a public one",
        "A network's node: EVM_RPC_URL_BASE_SEPOLIA, EVM_RPC_URL_EIP155_31337; or several, separated by commas, the preferred one first."),
    optional("ALCHEMY_API_KEY", "none",
        "An account to reach the networks' nodes through."),
    optional("INFURA_API_KEY", "none",
        "The same, where there is none at Alchemy."),
    optional("EVM_ASSETS", "none",
        "Tokens to settle beside the known ones: addresses separated by commas, on every network; or `any`, which runs every stranger's contract on the signer's gas."),
    optional("EVM_MIN_AMOUNT_<NAME>", "0.001 of a known token, else one unit",
        "The least a payment on this network must be: USDC=0.0005 for a known token, in whole tokens, or 0x…=500 for any, in atomic units; several separated by commas."),
    optional("EVM_MAX_GAS", "500000",
        "The most gas a settlement may take: a smart wallet's check runs on the signer's gas."),
    optional("SETTLEMENT_RECEIPT_TIMEOUT_MS", "45000",
        "How long a settlement waits for its receipt, in milliseconds."),
    optional("STORE_URL", "memory:",
        "Where what was sent is written down, so that a restart knows of it: redis://host/, postgres://user@host/database, or memory:, which forgets."),
    optional("HOST", "127.0.0.1",
        "The address to listen on. Anybody who reaches it has payments settled on the signer's gas."),
    optional("PORT", "8090",
        "The port to listen on; 0 is any free one."),
    optional("RUST_LOG", "info",
        "What is logged, to stderr; of libraries no more than `info`, since what they log beyond it has payments in it."),
];

const fn required(name: &'static str, about: &'static str) -> Variable {
    Variable { name, default: None, about }
}

const fn optional(name: &'static str, default: &'static str, about: &'static str) -> Variable {
    Variable { name, default: Some(default), about }
}

/// What `--help` says of them.
pub(crate) fn help() -> String {
    let mut text = "Environment (an empty variable is an unset one):\n".to_owned();
    for Variable { name, default, about } in VARIABLES {
        let default = default.map_or_else(|| "required".to_owned(), |default| format!("default: {default}"));
        // Writing into a string cannot fail.
        let _ = writeln!(text, "  {name} [{default}]\n      {about}");
    }
    let names: Vec<_> = Chain::all().map(|chain| chain.name).collect();
    let _ = write!(
        text,
        "\nNetworks known by name: {}.\nAny other EVM chain goes by its id, like eip155:31337, and needs its EVM_RPC_URL_.\n\n\
         Exit status: 0 stopped by a signal, 2 a wrong argument or variable, 1 anything else.",
        names.join(", ")
    );
    text
}

/// What is wrong with the names of variables that begin with `EVM_`: each would be ignored. `chains` are those of
/// EVM_NETWORKS, where that can be read.
pub(crate) fn ignored(names: impl Iterator<Item = String>, chains: Option<&[EvmChain]>) -> Vec<String> {
    let mut words: Vec<_> = names.filter_map(|name| why_ignored(&name, chains)).collect();
    words.sort();
    words
}

fn why_ignored(name: &str, chains: Option<&[EvmChain]>) -> Option<String> {
    if !name.to_ascii_uppercase().starts_with("EVM_") || VARIABLES.iter().any(|known| known.name == name) {
        return None;
    }
    let of_networks = || VARIABLES.iter().filter_map(|known| known.name.strip_suffix("<NAME>"));
    if let Some(suffix) = of_networks().find_map(|prefix| name.strip_prefix(prefix))
        && let Some(chain) = EvmChain::of_suffix(suffix)
    {
        let used = chains.is_none_or(|chains| chains.iter().any(|it| it.network == chain));
        return (!used).then(|| format!("{name} is ignored: EVM_NETWORKS does not name {chain}"));
    }
    let plain = VARIABLES.iter().map(|known| known.name).filter(|name| !name.ends_with("<NAME>"));
    let mut suffixes: Vec<_> = Chain::all().map(|chain| EvmChain::suffix(chain.name)).collect();
    for chain in chains.unwrap_or_default() {
        suffixes.extend([&chain.name, chain.network.as_str()].map(EvmChain::suffix));
    }
    let of_networks =
        of_networks().flat_map(|prefix| suffixes.iter().map(move |suffix| format!("{prefix}{suffix}")));
    let meant = nearest(&name.to_ascii_uppercase(), plain.map(str::to_owned).chain(of_networks));
    let meant = meant.map_or_else(
        || "`x402-facilitator --help` lists the known ones".to_owned(),
        |meant| format!("did you mean {meant}?"),
    );
    Some(format!("{name} is unknown and ignored: {meant}"))
}

/// The name that was probably meant: few letters are otherwise.
pub(crate) fn nearest(typed: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let most = (typed.chars().count() / 3).clamp(1, 3);
    known
        .map(|name| (strsim::damerau_levenshtein(typed, &name), name))
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, name)| name)
}
