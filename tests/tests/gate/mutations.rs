//! A payment whose bytes were changed buys nothing, or is the same payment.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use x402_core::payment::Payment;
use x402_tests::{script::Script, serve::encoded};

use crate::{
    harness::{Case, Stack, case},
    shop::Shop,
    support::{MARKER, header_of},
};

pub const CASES: &[Case] = &[case!(a_mutated_header_is_refused_or_means_the_same)];

const ROUNDS: usize = 400;

/// A generator of numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

/// Whether this is the payment that was signed: its content, whatever case its hex digits have.
fn same(payment: &Payment, good: &Value) -> bool {
    let text = |value: &Value| value.to_string().to_lowercase();
    text(&payment.payload.payload) == text(&good["payload"])
}

async fn a_mutated_header_is_refused_or_means_the_same(stack: Stack) {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=-_ ,!";
    for v1 in [false, true] {
        let signed = Arc::new(Mutex::new(Value::Null));
        let judged = signed.clone();
        let script = Script::new().judged_by(move |payment| same(payment, &judged.lock().unwrap()));
        let shop = Shop::open(stack, script).await;
        let fresh = async || {
            let payment = if v1 { shop.v1("/cheap").await } else { shop.v2("/cheap").await };
            *signed.lock().unwrap() = payment.clone();
            payment
        };
        let mut good = fresh().await;
        let mut dice = Dice(0x5eed + u64::from(v1));
        let (mut refused, mut sold) = (0, 0);
        for _ in 0..ROUNDS {
            let header = encoded(&good).into_bytes();
            let mut mutated = header.clone();
            let at = dice.roll(mutated.len());
            match dice.roll(4) {
                0 => drop(mutated.remove(at)),
                1 => mutated.insert(at, LETTERS[dice.roll(LETTERS.len())]),
                2 => mutated.swap(at, (at + 1) % header.len()),
                _ => mutated[at] = LETTERS[dice.roll(LETTERS.len())],
            }
            let mutated = String::from_utf8(mutated).unwrap();
            let answer = shop.get("/cheap", &[(header_of(&good), &mutated)]).await;
            match answer.status {
                400 | 402 => {
                    assert!(!answer.body.contains(MARKER), "{mutated}");
                    refused += 1;
                }
                // The judge found that what is left is what was signed. Sold once, so another is signed.
                200 => {
                    sold += 1;
                    good = fresh().await;
                }
                status => panic!("{status} for {mutated}"),
            }
            assert_eq!((shop.visits.get(), shop.script.settle_calls()), (sold, sold), "{mutated}");
        }
        assert!(refused > ROUNDS / 2, "{refused} refused, {sold} sold");
    }
}
