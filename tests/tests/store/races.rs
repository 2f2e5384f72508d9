//! What `ClaimStore` promises of many who write at once, in two instances.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::Barrier, task::JoinSet};
use x402_core::store::{AnyClaimStore, ClaimStore, Key, Record, Stamp, Swapped};

use crate::harness::{Case, Does, Kind, case, key, open, record, two};

pub const CASES: &[Case] = &[
    case!(of_all_that_have_seen_the_same_one_gets_there),
    case!(of_all_that_create_after_expiry_one_gets_there),
    case!(every_record_has_one_history),
    case!(what_is_open_throughout_is_listed_throughout),
];

const TASKS: usize = 64;
const ROUNDS: usize = 200;

/// All at once, on either instance: who won, and what the others found.
async fn race(
    stores: &[Arc<AnyClaimStore>; 2],
    key: &Key,
    seen: Option<Stamp>,
    next: impl Fn(usize) -> Option<Record>,
) -> (Vec<Option<Stamp>>, Vec<Option<Stamp>>) {
    let start = Arc::new(Barrier::new(TASKS));
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (store, key, start, next) = (stores[task % 2].clone(), key.clone(), start.clone(), next(task));
        tasks.spawn(async move {
            let stamp = next.as_ref().map(|next| next.stamp);
            start.wait().await;
            (stamp, store.swap(&key, seen, next).await.unwrap())
        });
    }
    let (mut winners, mut found) = (Vec::new(), Vec::new());
    while let Some(done) = tasks.join_next().await {
        match done.unwrap() {
            (stamp, Swapped::Done) => winners.push(stamp),
            (_, Swapped::Lost(stored)) => found.push(stored.map(|stored| stored.stamp)),
        }
    }
    (winners, found)
}

async fn of_all_that_have_seen_the_same_one_gets_there(kind: Kind) {
    let stores = two(kind).await;
    let key = key("a");
    let mut seen = None;
    for round in 0..ROUNDS {
        // Created, replaced, replaced or deleted, and so on.
        let next = |task: usize| (round % 3 < 2 || task.is_multiple_of(2)).then(|| record("1"));
        let (winners, found) = race(&stores, &key, seen, next).await;
        assert_eq!(winners.len(), 1, "in round {round}");
        assert!(
            found.iter().all(|found| *found == winners[0]),
            "{found:?} after {winners:?} in round {round}"
        );
        seen = winners[0];
        assert_eq!(stores[round % 2].stamp(&key).await, seen);
    }
}

async fn of_all_that_create_after_expiry_one_gets_there(kind: Kind) {
    let stores = two(kind).await;
    for round in 0..20 {
        let key = key(&round.to_string());
        // Some of them are there before it expires, and some after.
        let keep = Duration::from_millis(1 + round % 5);
        stores[0].put(&key, None, Record { keep, ..open("1") }).await;
        let (winners, _) = race(&stores, &key, None, |_| Some(record("2"))).await;
        assert!(winners.len() <= 1, "{} winners in round {round}", winners.len());
        if let [winner] = winners[..] {
            assert_eq!(stores[1].stamp(&key).await, winner);
        }
    }
}

/// Each writes what it wants over what it has last seen. If there is an order in which that happened, one at a time, the
/// winners are a chain: each has seen the one before it, and nobody else has.
async fn every_record_has_one_history(kind: Kind) {
    const KEYS: usize = 4;
    let stores = two(kind).await;
    let mut tasks = JoinSet::new();
    for task in 0..24_usize {
        let store = stores[task % 2].clone();
        tasks.spawn(async move {
            let mut random = task as u64 + 1;
            let mut won = Vec::new();
            let mut last: HashMap<Key, Option<Stamp>> = HashMap::new();
            for _ in 0..100 {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let choice = random >> 33;
                let key = key(&(choice as usize % KEYS).to_string());
                let seen = last.get(&key).copied().flatten();
                let next = match choice / 8 % 8 {
                    0 => None,
                    1 | 2 => Some(open("1")),
                    3 => {
                        last.insert(key.clone(), store.stamp(&key).await);
                        continue;
                    }
                    _ => Some(record("1")),
                };
                let stamp = next.as_ref().map(|next| next.stamp);
                let now = match store.swap(&key, seen, next).await.unwrap() {
                    Swapped::Done => {
                        // Nothing in place of nothing is no writing.
                        if (seen, stamp) != (None, None) {
                            won.push((key.clone(), seen, stamp));
                        }
                        stamp
                    }
                    Swapped::Lost(found) => {
                        let found = found.map(|found| found.stamp);
                        assert_ne!(found, seen, "a swap was lost to what it had seen");
                        found
                    }
                };
                last.insert(key, now);
            }
            won
        });
    }
    let won = tasks.join_all().await.concat();
    assert!(won.len() > 200, "only {} won", won.len());

    for id in 0..KEYS {
        let key = key(&id.to_string());
        let won: Vec<_> = won.iter().filter(|(of, ..)| *of == key).collect();
        let mut followed = HashMap::new();
        let (mut created, mut deleted) = (0_i64, 0_i64);
        for (_, seen, stamp) in &won {
            created += i64::from(seen.is_none());
            deleted += i64::from(stamp.is_none());
            if let Some(seen) = seen {
                assert_eq!(followed.insert(*seen, *stamp), None, "two got there who had seen the same");
            }
        }
        let written: HashSet<Stamp> = won.iter().filter_map(|(.., stamp)| *stamp).collect();
        assert!(followed.keys().all(|seen| written.contains(seen)), "somebody has seen what nobody wrote");
        // What was written and not followed is there now, and there is no other.
        let ends: Vec<Stamp> = written.into_iter().filter(|stamp| !followed.contains_key(stamp)).collect();
        let there = stores[0].stamp(&key).await;
        assert_eq!(ends, Vec::from_iter(there));
        assert_eq!(created - deleted, i64::from(there.is_some()), "a record was created beside another");
        assert_eq!(stores[1].stamp(&key).await, there);
    }
}

async fn what_is_open_throughout_is_listed_throughout(kind: Kind) {
    const IDS: usize = 300; // several pages, where there are pages
    let stores = two(kind).await;
    for id in 0..IDS {
        stores[0].put(&key(&format!("{id:03}")), None, open("1")).await;
    }
    let writer = {
        let store = stores[0].clone();
        tokio::spawn(async move {
            for id in 0..IDS {
                let key = key(&format!("{id:03}"));
                let seen = store.stamp(&key).await;
                store.put(&key, seen, open("2")).await;
                store.put(&super::harness::key(&format!("more {id}")), None, open("3")).await;
            }
        })
    };
    let mut lists = 0;
    while !writer.is_finished() || lists == 0 {
        let ids: HashSet<String> = stores[1].ids("claim").await.into_iter().collect();
        for id in 0..IDS {
            assert!(ids.contains(&format!("{id:03}")), "{id} was not listed");
        }
        lists += 1;
    }
    writer.await.unwrap();
    assert_eq!(stores[1].ids("claim").await.len(), 2 * IDS);
}
