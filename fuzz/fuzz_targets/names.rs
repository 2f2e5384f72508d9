//! Prices, amounts, networks, addresses, route keys: what people and peers write.
#![no_main]

use libfuzzer_sys::fuzz_target;
use x402_core::{
    address::Address,
    amount::Amount,
    gate::{RouteTable, exact},
    network::{BASE, Network},
    price::Price,
};

fuzz_target!(|text: &str| {
    if let Ok(price) = text.parse::<Price>() {
        let again: Price = price.to_string().parse().expect("a price prints as a price");
        for decimals in [0, 6, 18, 77, 255] {
            assert_eq!(price.to_amount(decimals), again.to_amount(decimals), "{text:?}");
        }
    }
    if let Ok(amount) = text.parse::<Amount>() {
        assert_eq!(amount.to_string(), text, "an amount has one spelling");
    }
    if let Ok(network) = text.parse::<Network>() {
        assert_eq!(format!("{}:{}", network.namespace(), network.reference()), text);
    }
    let _ = text.parse::<Address>();
    let free = exact("$1").on(BASE).to("0x209693Bc6afc0C5328bA36FaF03C514EF312287C");
    let _ = RouteTable::new().route(text, free);
});
