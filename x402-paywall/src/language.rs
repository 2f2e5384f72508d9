//! The languages the page speaks. All of its words are in `texts/`, one file a language.

use std::{collections::BTreeMap, sync::LazyLock};

use http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::value::RawValue;

/// A language of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Language {
    /// English, which is spoken where the browser asks for nothing we know.
    #[default]
    English,
    /// German.
    German,
}

impl Language {
    const ALL: [Self; 2] = [Self::English, Self::German];

    /// What `Accept-Language` asks for most (RFC 9110, 12.5.4). Where it weighs two the same, the one it names first.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut best = (0, Self::default());
        let values = headers.get_all(header::ACCEPT_LANGUAGE).iter();
        let ranges: Vec<_> =
            values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).collect();
        let named = |tag: &str| ranges.iter().any(|range| primary(range).eq_ignore_ascii_case(tag));
        for range in &ranges {
            let weight = weight(range);
            for language in Self::ALL {
                let meant = match primary(range) {
                    "*" => !named(language.tag()),
                    tag => tag.eq_ignore_ascii_case(language.tag()),
                };
                if meant && weight > best.0 {
                    best = (weight, language);
                }
            }
        }
        best.1
    }

    /// Its BCP 47 tag.
    pub fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
        }
    }

    pub(crate) fn texts(self) -> &'static Texts {
        match self {
            Self::English => &ENGLISH,
            Self::German => &GERMAN,
        }
    }
}

/// The part of a range that names the language: `de` of `de-AT;q=0.5`.
fn primary(range: &str) -> &str {
    range.split([';', '-']).next().unwrap_or_default().trim()
}

/// Thousandths; what is no weight counts for nothing.
fn weight(range: &str) -> u16 {
    let Some(text) = range.split(';').skip(1).find_map(|part| {
        let part = part.trim();
        part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="))
    }) else {
        return 1000;
    };
    match text.parse::<f32>() {
        Ok(weight) if (0.0..=1.0).contains(&weight) => (weight * 1000.0) as u16,
        _ => 0,
    }
}

static ENGLISH: LazyLock<Texts> = LazyLock::new(|| Texts::read(include_str!("../texts/en.json")));
static GERMAN: LazyLock<Texts> = LazyLock::new(|| Texts::read(include_str!("../texts/de.json")));

/// All words of one language. A missing word or one too many is an error, which a test finds.
#[derive(Debug)]
pub(crate) struct Texts {
    pub(crate) page: PageTexts,
    /// What the script says.
    pub(crate) script: BTreeMap<String, String>,
    /// The same, as the script is told.
    pub(crate) script_json: Box<RawValue>,
}

/// A file of `texts/`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    page: PageTexts,
    script: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct PageTexts {
    pub(crate) title: String,
    pub(crate) testnet: String,
    pub(crate) sold: String,
    pub(crate) options: String,
    pub(crate) unpayable_option: String,
    pub(crate) test_option: String,
    pub(crate) payee: String,
    pub(crate) valid: String,
    pub(crate) wallets: String,
    pub(crate) promise: String,
    pub(crate) unstarted: String,
    pub(crate) retry: String,
    pub(crate) anew: String,
    pub(crate) done: String,
    pub(crate) receipt: String,
    pub(crate) receipt_amount: String,
    pub(crate) receipt_transaction: String,
    pub(crate) receipt_evidence: String,
    pub(crate) cancel: String,
    pub(crate) copy: String,
    pub(crate) explorer: String,
    pub(crate) unavailable: String,
    pub(crate) unavailable_help: String,
    pub(crate) reload: String,
    pub(crate) details: String,
    pub(crate) step_connect: String,
    pub(crate) step_sign: String,
    pub(crate) step_done: String,
    pub(crate) no_wallet: String,
    pub(crate) no_wallet_install: String,
    pub(crate) no_wallet_load: String,
    pub(crate) load_again: String,
    pub(crate) copy_link: String,
    pub(crate) receipt_seller: String,
    pub(crate) receipt_date: String,
    pub(crate) second: String,
    pub(crate) seconds: String,
    pub(crate) minute: String,
    pub(crate) minutes: String,
    pub(crate) hour: String,
    pub(crate) hours: String,
}

impl Texts {
    fn read(json: &str) -> Self {
        let File { page, script } = serde_json::from_str(json).expect("the texts have every word, once");
        let script_json = serde_json::value::to_raw_value(&script).expect("strings are JSON");
        Self { page, script, script_json }
    }

    /// What the script says, and the server too.
    pub(crate) fn say(&self, name: &str, values: &[(&str, &str)]) -> String {
        fill(self.script.get(name).map_or("", String::as_str), values)
    }

    /// A duration, like `1 hour 30 minutes`.
    pub(crate) fn duration(&self, seconds: u64) -> String {
        let Self { page, .. } = self;
        let units = [
            (seconds / 3600, &page.hour, &page.hours),
            (seconds / 60 % 60, &page.minute, &page.minutes),
            (seconds % 60, &page.second, &page.seconds),
        ];
        let told = units.into_iter().filter(|(count, ..)| *count > 0).map(|(count, one, several)| {
            fill(if count == 1 { one } else { several }, &[("count", &count.to_string())])
        });
        told.collect::<Vec<_>>().join(" ")
    }
}

/// A text with its `{names}` replaced. What is filled in is not looked at again.
pub(crate) fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(text.len() + 32);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        filled.push_str(values.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value));
        rest = after;
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_language_is_the_one_that_is_asked_for_most() {
        use Language::{English, German};
        for (asked, expected) in [
            (&[][..], English),
            (&[""], English),
            (&["de"], German),
            (&["de-AT"], German),
            (&["DE-ch"], German),
            (&["en-US,en;q=0.9,de;q=0.8"], English),
            (&["fr,de;q=0.7,en;q=0.3"], German),
            (&["en;q=0.5, de;q=0.501"], German),
            (&["de, en"], German),
            (&["en, de"], English),
            (&["fr", "de"], German),
            (&["fr"], English),
            (&["*"], English),
            (&["en;q=0, *"], German),
            (&["*, de;q=0.5"], English),
            (&["de;q=0"], English),
            (&["de;q=2"], English),
            (&["de;q=x"], English),
            (&["de;Q=0.2, en;Q=0.3"], English),
            (&["deu"], English),
            (&["de;level=1;q=0.4, en;q=0.3"], German),
        ] {
            let headers = asked.iter().map(|text| (header::ACCEPT_LANGUAGE, text.parse().unwrap()));
            let mut map = HeaderMap::new();
            headers.for_each(|(name, value)| {
                map.append(name, value);
            });
            assert_eq!(Language::of(&map), expected, "{asked:?}");
        }
    }

    #[test]
    fn every_language_says_the_same_things() {
        let placeholders = |text: &str| -> BTreeSet<String> {
            text.split('{').skip(1).map(|part| part.split('}').next().unwrap().to_owned()).collect()
        };
        let english = Language::English.texts();
        for language in Language::ALL {
            let texts = language.texts();
            assert!(texts.script.keys().eq(english.script.keys()), "{language:?}");
            for (name, text) in &texts.script {
                assert!(!text.is_empty(), "{language:?} {name}");
                assert_eq!(placeholders(text), placeholders(&english.script[name]), "{language:?} {name}");
            }
        }
    }

    #[test]
    fn durations_are_told_as_people_do() {
        for (seconds, english, german) in [
            (45, "45 seconds", "45 Sekunden"),
            (60, "1 minute", "1 Minute"),
            (61, "1 minute 1 second", "1 Minute 1 Sekunde"),
            (90, "1 minute 30 seconds", "1 Minute 30 Sekunden"),
            (300, "5 minutes", "5 Minuten"),
            (3600, "1 hour", "1 Stunde"),
            (7200, "2 hours", "2 Stunden"),
        ] {
            assert_eq!(Language::English.texts().duration(seconds), english);
            assert_eq!(Language::German.texts().duration(seconds), german);
        }
    }

    #[test]
    fn what_is_filled_in_stays_as_it_is() {
        assert_eq!(fill("{a} and {b}{c}.", &[("a", "{b}"), ("b", "x")]), "{b} and x.");
        assert_eq!(fill("{", &[]), "");
    }
}
