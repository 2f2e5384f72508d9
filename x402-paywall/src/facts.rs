//! What the page says: the facts of a visit, in the words of a language.

use x402_core::{
    asset::{Token, token_at},
    gate::Visit,
    payment::{JsonMap, PaymentRequirements},
};

use crate::{Chain, PaywallPage, language::Language, money};

/// For how long the script has anything signed at most, in seconds: what is signed is money in the hands of whoever has it.
const LONGEST_SIGNATURE: u64 = 24 * 60 * 60;

/// The longest description and address that are shown, in characters: what is sold can be told in fewer.
const LONGEST: usize = 300;

/// What a page has to say, ready to be shown, for a template of your own. All of it is plain text: escape it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Facts {
    /// The language they are in.
    pub language: Language,
    /// Who sells: the app's name as set, else its host.
    pub app_name: String,
    /// The `https` address of a logo.
    pub app_logo: Option<String>,
    /// What is sold, where that is said.
    pub description: Option<String>,
    /// The address of what is sold, for people.
    pub resource: String,
    /// The ways to pay, in the order they are offered.
    pub ways: Vec<WayToPay>,
    /// Whether all of it is about test money.
    pub testnet: bool,
    /// What the service adds.
    pub extra_text: Option<String>,
}

/// One way to pay, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WayToPay {
    /// The price as money, like `$0.01`, or in the token where that is no dollar known to core.
    pub price: String,
    /// Whether that is in dollars.
    pub(crate) is_dollar: bool,
    /// The price in the token, and where: `0.01 USDC on Base`.
    pub amount: String,
    /// The token's symbol.
    pub token: String,
    /// The chain's name, or its id.
    pub network: String,
    /// Whether it is a test network: known for one, or unknown and said to be one.
    pub testnet: bool,
    /// Who is paid.
    pub pay_to: String,
    /// The same, shortened.
    pub pay_to_short: String,
    /// For how long a signature is valid: `5 minutes`.
    pub valid_for: String,
    /// Whether a wallet in a browser can pay it: `exact`, by EIP-3009, on an EVM chain, with a signature that is valid for
    /// 24 hours at most.
    pub payable: bool,
    /// Where its transactions can be looked up; their hash follows.
    pub explorer: Option<String>,
}

impl Facts {
    pub(crate) fn of(page: &PaywallPage, visit: &Visit<'_>) -> Self {
        let language = page.language_for(visit.headers);
        let resource = &visit.required.resource;
        let url = page.current_url.as_deref().unwrap_or(&resource.url);
        let shown = url.strip_prefix("https://").or(url.strip_prefix("http://")).unwrap_or(url);
        let host = shown.split(['/', '?', '#']).next().unwrap_or_default();
        let accepts = visit.required.accepts.iter().zip(visit.tokens);
        let ways: Vec<_> =
            accepts.map(|(option, token)| WayToPay::of(option, token, language, page)).collect();
        Self {
            language,
            app_name: cut(page.app_name.as_deref().unwrap_or(host), 80),
            app_logo: page.app_logo.clone(),
            description: resource.description.as_deref().map(|text| cut(text, LONGEST)),
            resource: cut(shown, LONGEST),
            testnet: !ways.is_empty() && ways.iter().all(|way| way.testnet),
            ways,
            extra_text: page.extra_text.clone(),
        }
    }
}

impl WayToPay {
    fn of(option: &PaymentRequirements, token: &Token, language: Language, page: &PaywallPage) -> Self {
        let chain = page.known_chain(&option.network);
        let network = chain.map_or_else(|| option.network.to_string(), |chain| cut(&chain.name, 40));
        let symbol = cut(&token.symbol, 20);
        let amount = money::tokens(option.amount, token.decimals, &symbol, language);
        let is_dollar = is_dollar(token);
        let price = if is_dollar {
            money::dollars(option.amount, token.decimals, language)
        } else {
            // Where it stands alone, a long one may be broken there.
            amount.replace('\u{a0}', " ")
        };
        let texts = language.texts();
        Self {
            price,
            is_dollar,
            amount: texts.say("amount", &[("amount", &amount), ("network", &network)]),
            token: symbol,
            network,
            testnet: chain.map_or(page.testnet == Some(true), |chain| chain.testnet),
            pay_to: option.pay_to.to_string(),
            pay_to_short: shorten(option.pay_to.as_str()),
            valid_for: texts.duration(option.max_timeout_seconds),
            payable: is_payable(option),
            explorer: chain.and_then(Chain::transactions),
        }
    }
}

/// Core's table has the tokens that prices in dollars are charged in, and no others.
fn is_dollar(token: &Token) -> bool {
    token_at(&token.network, &token.address).is_some_and(|known| known.decimals == token.decimals)
}

/// Whether the script can have it signed.
fn is_payable(option: &PaymentRequirements) -> bool {
    let text = |name| option.extra.get(name).and_then(|value| value.as_str()).filter(|text| !text.is_empty());
    option.scheme == "exact"
        && is_eip3009(&option.extra)
        && text("name").is_some()
        && text("version").is_some()
        // A larger number is not exact in JavaScript.
        && option.network.evm_chain_id().is_some_and(|id| (1..1 << 53).contains(&id))
        && [&option.asset, &option.pay_to].iter().all(|address| is_evm_address(address.as_str()))
        && (1..=LONGEST_SIGNATURE).contains(&option.max_timeout_seconds)
}

fn is_eip3009(extra: &JsonMap) -> bool {
    match extra.get("assetTransferMethod") {
        None => true,
        Some(method) => method.is_null() || method == "eip3009",
    }
}

fn is_evm_address(text: &str) -> bool {
    text.strip_prefix("0x")
        .is_some_and(|digits| digits.len() == 40 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn shorten(address: &str) -> String {
    match (address.get(..6), address.len().checked_sub(4).and_then(|at| address.get(at..))) {
        (Some(head), Some(tail)) if address.len() > 14 => format!("{head}…{tail}"),
        _ => address.to_owned(),
    }
}

/// As long as this, and without the characters that show a text, or what is beside it, in another order.
fn cut(text: &str, longest: usize) -> String {
    let turns = |char: &char| matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let text: String = text.chars().filter(|char| !turns(char)).collect();
    match text.char_indices().nth(longest) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn option(change: impl FnOnce(&mut Value)) -> PaymentRequirements {
        let mut option = json!({
            "scheme": "exact",
            "network": "eip155:8453",
            "amount": "10000",
            "asset": "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",
            "payTo": "0x209693Bc6afc0C5328bA36FaF03C514EF312287C",
            "maxTimeoutSeconds": 300,
            "extra": { "name": "USD Coin", "version": "2" },
        });
        change(&mut option);
        serde_json::from_value(option).unwrap()
    }

    #[test]
    fn what_a_wallet_can_sign_is_payable() {
        assert!(is_payable(&option(|_| ())));
        assert!(is_payable(&option(|it| it["extra"]["assetTransferMethod"] = "eip3009".into())));
        assert!(is_payable(&option(|it| it["network"] = "eip155:31337".into())));
        assert!(is_payable(&option(|it| it["maxTimeoutSeconds"] = 86_400.into())));
        type Change = fn(&mut Value);
        let unpayable: [(&str, Change); 10] = [
            ("scheme", |it| it["scheme"] = "upto".into()),
            ("solana", |it| it["network"] = "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1".into()),
            ("no chain id", |it| it["network"] = "eip155:x".into()),
            ("inexact chain id", |it| it["network"] = "eip155:9007199254740992".into()),
            ("permit2", |it| it["extra"]["assetTransferMethod"] = "permit2".into()),
            ("no name", |it| it["extra"]["name"] = "".into()),
            ("no version", |it| it["extra"]["version"] = 2.into()),
            ("payee", |it| it["payTo"] = "0x209693".into()),
            ("no time", |it| it["maxTimeoutSeconds"] = 0.into()),
            ("too much time", |it| it["maxTimeoutSeconds"] = 86_401.into()),
        ];
        for (name, change) in unpayable {
            assert!(!is_payable(&option(change)), "{name}");
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(shorten("0x209693Bc6afc0C5328bA36FaF03C514EF312287C"), "0x2096…287C");
        assert_eq!(shorten("me"), "me");
        assert_eq!(cut("ééé", 2), "éé…");
        assert_eq!(cut("ééé", 3), "ééé");
        assert_eq!(cut("a\u{202e}b\u{2066}c", 3), "abc");
    }
}
