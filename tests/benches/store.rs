//! What a store costs a payment: its record created, replaced and deleted, one after the other.
//! `cargo bench -p x402-tests --bench store`.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use divan::{Bencher, counter::ItemsCount};
use shared::{RUNTIME, STORES, stop, store};
use tokio::task::JoinSet;
use x402_core::store::{AnyClaimStore, ClaimStore, Key, Record, Stamp, Swapped};

mod shared;

fn main() {
    divan::main();
    stop();
}

#[divan::bench(args = STORES)]
fn one_payment(bencher: Bencher<'_, '_>, name: &str) {
    let store = store(name);
    bencher.bench_local(|| RUNTIME.block_on(payment(&store)));
}

#[divan::bench(args = STORES)]
fn sixteen_payments_at_once(bencher: Bencher<'_, '_>, name: &str) {
    let store = store(name);
    bencher.counter(ItemsCount::new(16_usize)).bench_local(|| {
        RUNTIME.block_on(async {
            let mut payments = JoinSet::new();
            for _ in 0..16 {
                let store = store.clone();
                payments.spawn(async move { payment(&store).await });
            }
            payments.join_all().await
        })
    });
}

async fn payment(store: &AnyClaimStore) {
    static PAYMENTS: AtomicU64 = AtomicU64::new(0);
    let key = Key::new("claim", PAYMENTS.fetch_add(1, Ordering::Relaxed).to_string());
    let record =
        |open| Record { stamp: Stamp::new(), state: "x".repeat(1000), open, keep: Duration::from_secs(3600) };
    let mut seen = None;
    for next in [Some(record(false)), Some(record(true)), None] {
        let stamp = next.as_ref().map(|next| next.stamp);
        assert_eq!(store.swap(&key, seen, next).await.expect("the server runs"), Swapped::Done);
        seen = stamp;
    }
}
