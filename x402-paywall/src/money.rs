//! Amounts as people write them: exact, in the words of a language.

use x402_core::amount::Amount;

use crate::language::Language;

/// The amount as a decimal, with at least two places and none cut off.
pub(crate) fn number(amount: Amount, decimals: u8, language: Language) -> String {
    let decimals = usize::from(decimals);
    let digits = format!("{:0>width$}", amount.to_string(), width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    let (group, point) = match language {
        Language::English => (',', '.'),
        Language::German => ('.', ','),
    };
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    for (at, digit) in whole.char_indices() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            text.push(group);
        }
        text.push(digit);
    }
    let places = fraction.trim_end_matches('0').len().max(decimals.min(2));
    if places > 0 {
        text.push(point);
        text.push_str(&fraction[..places]);
    }
    text
}

/// The amount with the token's symbol.
pub(crate) fn tokens(amount: Amount, decimals: u8, symbol: &str, language: Language) -> String {
    format!("{}\u{a0}{symbol}", number(amount, decimals, language))
}

/// The amount of a dollar token, as dollars.
pub(crate) fn dollars(amount: Amount, decimals: u8, language: Language) -> String {
    let number = number(amount, decimals, language);
    match language {
        Language::English => format!("${number}"),
        Language::German => format!("{number}\u{a0}$"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_exactly() {
        for (amount, decimals, english, german) in [
            ("10000", 6, "0.01", "0,01"),
            ("0", 6, "0.00", "0,00"),
            ("1", 6, "0.000001", "0,000001"),
            ("100000", 6, "0.10", "0,10"),
            ("1500000", 6, "1.50", "1,50"),
            ("1234567", 6, "1.234567", "1,234567"),
            ("999999999999", 6, "999,999.999999", "999.999,999999"),
            ("1234567890000", 6, "1,234,567.89", "1.234.567,89"),
            ("1", 18, "0.000000000000000001", "0,000000000000000001"),
            ("1000000000000000000", 18, "1.00", "1,00"),
            ("1234", 0, "1,234", "1.234"),
            ("5", 1, "0.5", "0,5"),
        ] {
            let amount: Amount = amount.parse().unwrap();
            assert_eq!(number(amount, decimals, Language::English), english);
            assert_eq!(number(amount, decimals, Language::German), german);
        }
        let max: Amount = ruint_max().parse().unwrap();
        assert!(number(max, 255, Language::English).starts_with("0.00000"));
    }

    fn ruint_max() -> &'static str {
        "115792089237316195423570985008687907853269984665640564039457584007913129639935"
    }

    #[test]
    fn money_is_where_the_language_puts_it() {
        let cent = Amount::from(10_000);
        assert_eq!(dollars(cent, 6, Language::English), "$0.01");
        assert_eq!(dollars(cent, 6, Language::German), "0,01\u{a0}$");
        assert_eq!(tokens(cent, 6, "USDC", Language::German), "0,01\u{a0}USDC");
    }
}
