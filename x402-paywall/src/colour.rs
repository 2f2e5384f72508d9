//! Accent colours that stay readable, by WCAG 2.2's contrast.

/// A colour of sRGB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Colour([u8; 3]);

const BLACK: Colour = Colour([0; 3]);
const WHITE: Colour = Colour([255; 3]);

/// What a button must have against what it stands on (WCAG 2.2, 1.4.11).
const ENOUGH: f64 = 3.0;
/// On a dark card, what just meets that looks switched off: there it is bright, with black on it.
const BRIGHT: f64 = 5.5;

impl Colour {
    /// The cards of `paywall.css`: light and dark.
    pub(crate) const CARDS: [Self; 2] = [Self([0xff, 0xff, 0xff]), Self([0x19, 0x1d, 0x24])];

    /// A blue.
    pub(crate) const DEFAULT: Self = Self([0x1d, 0x5b, 0xd6]);

    /// Reads `#rrggbb`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6 && digits.is_ascii())?;
        let mut rgb = [0; 3];
        for (at, part) in rgb.iter_mut().enumerate() {
            let pair = &digits[2 * at..2 * at + 2];
            if !pair.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return None;
            }
            *part = u8::from_str_radix(pair, 16).ok()?;
        }
        Some(Self(rgb))
    }

    /// The custom properties that `paywall.css` takes from here, in both themes.
    pub(crate) fn style(self) -> String {
        let [light, dark] = Self::CARDS.map(|card| self.visible_on(card));
        let (on_light, on_dark) = (light.readable(), dark.readable());
        let [light, dark, on_light, on_dark] = [light, dark, on_light, on_dark].map(Self::css);
        format!(
            ":root{{--accent:{light};--on-accent:{on_light}}}\
             @supports (color:light-dark(#000,#fff)){{:root{{\
             --accent:light-dark({light},{dark});--on-accent:light-dark({on_light},{on_dark})}}}}"
        )
    }

    /// This colour, or one that is darker or lighter by as little as makes it visible there.
    fn visible_on(self, ground: Self) -> Self {
        let towards = ground.readable();
        let steps = (0_u16..=20).map(|step| self.mixed(towards, step));
        let enough = if towards == WHITE { BRIGHT } else { ENOUGH };
        steps.clone().find(|colour| colour.contrast(ground) >= enough).unwrap_or(towards)
    }

    /// Black or white, whichever is read better on it: one of them has 4.5 on any colour.
    fn readable(self) -> Self {
        if self.contrast(WHITE) >= 4.5 || self.contrast(WHITE) >= self.contrast(BLACK) {
            WHITE
        } else {
            BLACK
        }
    }

    fn mixed(self, other: Self, twentieths: u16) -> Self {
        let mut mixed = self.0;
        for (part, other) in mixed.iter_mut().zip(other.0) {
            let sum = u16::from(*part) * (20 - twentieths) + u16::from(other) * twentieths;
            *part = u8::try_from(sum / 20).unwrap_or(u8::MAX);
        }
        Self(mixed)
    }

    fn contrast(self, other: Self) -> f64 {
        let (a, b) = (self.luminance(), other.luminance());
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    fn luminance(self) -> f64 {
        let [red, green, blue] = self.0.map(|part| {
            let part = f64::from(part) / 255.0;
            if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    /// As style sheets write it.
    pub(crate) fn css(self) -> String {
        let [red, green, blue] = self.0;
        format!("#{red:02x}{green:02x}{blue:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_six_hex_digits() {
        assert_eq!(Colour::parse("#1D5bd6"), Some(Colour::DEFAULT));
        for bad in [
            "", "#", "#fff", "1d5bd6", "#1d5bd", "#1d5bd6f", "#+1d5bd", "#gggggg", "red", "#é5bd6",
            "#1d5bd6;",
        ] {
            assert_eq!(Colour::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn every_accent_can_be_seen_and_read() {
        for red in (0..=255).step_by(15) {
            for green in (0..=255).step_by(15) {
                for blue in (0..=255).step_by(15) {
                    let accent = Colour([red, green, blue]);
                    for (card, enough) in Colour::CARDS.into_iter().zip([ENOUGH, BRIGHT]) {
                        let shown = accent.visible_on(card);
                        assert!(shown.contrast(card) >= enough, "{accent:?} as {shown:?} on {card:?}");
                        assert!(shown.contrast(shown.readable()) >= 4.5, "{shown:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_accent_that_can_be_seen_stays_as_it_is() {
        assert_eq!(Colour::DEFAULT.visible_on(Colour::CARDS[0]), Colour::DEFAULT);
        assert_eq!(WHITE.contrast(BLACK).round(), 21.0);
    }

    /// The text colours of `paywall.css` against what they stand on, in both themes.
    #[test]
    fn the_texts_of_the_style_sheet_are_readable() {
        let css = include_str!("../page/paywall.css");
        let pair = |name: &str| -> [Colour; 2] {
            let value = css.split_once(&format!("--{name}: light-dark(")).expect(name).1;
            let (light, dark) = value.split_once(')').unwrap().0.split_once(", ").unwrap();
            [light, dark].map(|text| {
                let text = if text == "#fff" { "#ffffff" } else { text };
                Colour::parse(text).expect(text)
            })
        };
        for (text, ground, least) in [
            ("ink", "card", 7.0),
            ("ink", "ground", 7.0),
            ("soft", "card", 4.5),
            ("bad", "bad-ground", 4.5),
            ("note", "note-ground", 4.5),
            ("edge", "card", ENOUGH),
        ] {
            for (text_colour, ground_colour) in pair(text).into_iter().zip(pair(ground)) {
                let contrast = text_colour.contrast(ground_colour);
                assert!(contrast >= least, "{text} on {ground}: {contrast:.2}");
            }
        }
        assert_eq!(pair("card"), Colour::CARDS);
    }
}
